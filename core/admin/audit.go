package admin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/souk-market/souk/core/store"
)

// LevelAudit is the level of the lines that say who changed what: above all
// others, so that no choice of a level to log loses them.
const LevelAudit = slog.Level(12)

// audit leaves a line that says what was changed: what it was and what it is.
// Nothing secret may be among the attributes. A write whose outcome is not known
// gets its line too, for it may have happened.
func (s *Server) audit(ctx context.Context, err error, action string, attrs ...slog.Attr) {
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return
	}
	line := []slog.Attr{
		slog.String("actor", "admin"), slog.String("action", action), slog.String("at", s.now().UTC().Format(time.RFC3339Nano)),
	}
	line = append(line, attrs...)
	if err != nil {
		line = append(line, slog.String("outcome", "unknown"))
	}
	s.log.LogAttrs(ctx, LevelAudit, "audit", line...)
}
