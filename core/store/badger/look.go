package badger

import (
	"context"
	"hash/maphash"

	"github.com/souk-market/souk/core/store"
)

// look is a record as its caller saw it before it queued. To read a record is most
// of the work of an update, and callers have all the cores for it, while the
// committer is one goroutine that everybody waits for. A look holds unless the key
// was written since; then the committer reads for itself.
type look struct {
	at   uint64     // all that was committed by then was seen; 0 = nobody looked
	item store.Item // Version 0 = there was none; it may be past its expiry
}

// look reads a record for a job. What goes wrong here goes wrong again in the
// committer, where it is told.
func (e *Engine) look(ctx context.Context, k store.Key, enc []byte) (l look) {
	v, err := e.snapshot(ctx)
	if err != nil {
		return look{}
	}
	defer v.leave()
	defer func() {
		if recover() != nil { // over a block that is damaged
			l = look{}
		}
	}()
	if l.item, err = find(v.txn, k, enc); err != nil {
		return look{}
	}
	l.at = v.txn.ReadTs()
	return l
}

// places are for how many keys a moment is remembered, 512 KiB.
const places = 1 << 16

// recent remembers when keys were written last. Keys that fall into one place
// share its moment: a look may be thought stale that is not, and never the other
// way round.
type recent struct {
	seed    maphash.Seed
	written [places]uint64 // the committer's: timestamp of the last commit, by place
}

func (r *recent) place(enc []byte) uint16 { return uint16(maphash.Bytes(r.seed, enc)) }

func (r *recent) write(place uint16, ts uint64) { r.written[place] = ts }

// holds says whether the look is still what is committed.
func (r *recent) holds(place uint16, l *look) bool {
	return l.at != 0 && r.written[place] <= l.at
}
