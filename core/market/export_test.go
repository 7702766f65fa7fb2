package market

import (
	"context"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// The core's own rules for versions, where policy leaves the choice to it.
var (
	OpenChoice    = openChoice
	RestoreChoice = restoreChoice
)

// TimeOf is what policy and pool take for the time of a request: asked for the first time,
// or again.
func (m *Market) TimeOf(ctx context.Context, q *Request, again bool) (asked, pool time.Time, err error) {
	w := work{again: again}
	h, err := m.head(ctx, q, &w, abi.PurposeInstallToken)
	return time.UnixMilli(int64(h.NowMS)), w.now, err
}
