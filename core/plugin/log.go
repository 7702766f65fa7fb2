package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/souk-market/souk/sdk/abi"
)

// What one plugin may write to the log.
const (
	logRate     = 64 << 10 // bytes a second, and as many at once
	logLine     = 4 << 10  // bytes of a line; the rest is cut off
	failureRate = 10       // failures a second, and as many at once
)

// limiter lets so much through a second and counts what it held back.
type limiter struct {
	mu      sync.Mutex
	rate    float64
	left    float64
	last    time.Time
	dropped int
}

func newLimiter(rate float64) *limiter { return &limiter{rate: rate, left: rate} }

// admit takes n; dropped is how often it was refused since it last wasn't.
func (l *limiter) admit(now time.Time, n float64) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := now.Sub(l.last); d > 0 {
		if !l.last.IsZero() {
			l.left = min(l.rate, l.left+l.rate*d.Seconds())
		}
		l.last = now
	}
	if l.left < n {
		l.dropped++
		return false, 0
	}
	l.left -= n
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}

// pluginLog writes what a plugin says and what is said about it.
type pluginLog struct {
	log      *slog.Logger
	now      func() time.Time
	lines    *limiter
	failures *limiter
}

func newPluginLog(log *slog.Logger, now func() time.Time, plugin string) *pluginLog {
	return &pluginLog{
		log:      log.With("plugin", plugin),
		now:      now,
		lines:    newLimiter(logRate),
		failures: newLimiter(failureRate),
	}
}

// line writes one line of the guest.
func (l *pluginLog) line(level slog.Level, hook, text string) {
	ctx := context.Background()
	ok, dropped := l.lines.admit(l.now(), float64(len(text)+64))
	if !ok || !l.log.Enabled(ctx, level) {
		return
	}
	if dropped > 0 {
		l.log.LogAttrs(ctx, slog.LevelWarn, "plugin log: lines dropped", slog.Int("lines", dropped))
	}
	l.log.LogAttrs(ctx, level, "plugin log", slog.String("hook", hook), slog.String("text", sanitize(text)))
}

// failure writes one failure of the plugin.
func (l *pluginLog) failure(f *Failure) {
	ok, dropped := l.failures.admit(l.now(), 1)
	if !ok {
		return
	}
	attrs := []slog.Attr{
		slog.String("hook", f.Hook.String()),
		slog.String("kind", f.Kind.String()),
		slog.String("reason", f.Reason),
	}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("unlogged", dropped))
	}
	l.log.LogAttrs(context.Background(), slog.LevelError, "plugin failed", attrs...)
}

var levels = [...]slog.Level{
	abi.LevelDebug: slog.LevelDebug,
	abi.LevelInfo:  slog.LevelInfo,
	abi.LevelWarn:  slog.LevelWarn,
	abi.LevelError: slog.LevelError,
}

func logLevel(l uint32) slog.Level {
	if int(l) < len(levels) {
		return levels[l]
	}
	return slog.LevelInfo
}

// sanitize makes a guest's text safe to be read in a terminal: what isn't
// printable is escaped, what is too long is cut off.
func sanitize(s string) string {
	cut := len(s) > logLine
	if cut {
		s = s[:logLine]
	}
	clean := !cut
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return strings.Clone(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	if cut {
		b.WriteString("…")
	}
	return b.String()
}

func (l *pluginLog) debug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }
