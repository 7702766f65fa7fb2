package store

import (
	"context"
	"time"
)

// reloadAfter is how long a read that failed waits if no further hint arrives.
const reloadAfter = time.Second

// Reload is how a table that is kept in memory follows the store: it calls read after
// each hint, and a second after one that failed, until ctx or the hints end. failed is
// what the read before Reload came to; tell hears of each error that is another than
// the one before.
func Reload(ctx context.Context, hints <-chan struct{}, failed error, read func(context.Context) error, tell func(error)) {
	for {
		var retry <-chan time.Time
		if failed != nil {
			retry = time.After(reloadAfter)
		}
		select {
		case <-ctx.Done():
			return
		case _, open := <-hints:
			if !open {
				return
			}
		case <-retry:
		}
		before := failed
		failed = read(ctx)
		if failed != nil && ctx.Err() == nil && (before == nil || before.Error() != failed.Error()) {
			tell(failed)
		}
	}
}
