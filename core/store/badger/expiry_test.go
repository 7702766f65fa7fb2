package badger

import (
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// Records that nobody will see again give their room back, as soon as Badger's own
// expiry, which comes later than ours, has passed too.
func TestExpiredRecordsGiveTheirRoomBack(t *testing.T) {
	const parts, value = 64, 1 << 10
	tables := func(expires time.Time, now func() time.Time) (size int64) {
		dir := t.TempDir()
		open := func() *Engine {
			e, err := Open(Options{Dir: dir, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := open()
		for part := range parts {
			ops := make([]store.Op, store.MaxOps)
			for i := range ops {
				k := testKey(part)
				k.Sub = string([]byte{byte(i)})
				ops[i] = store.Op{Key: k, Value: make([]byte, value), Expires: expires}
			}
			if err := e.Apply(ctx, ops...); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := e.Update(ctx, testKey(parts), set("lives")); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil { // writes the tables
			t.Fatal(err)
		}
		e = open()
		defer e.Close()
		if err := e.db.Flatten(1); err != nil {
			t.Fatal(err)
		}
		if it, err := e.Get(ctx, testKey(parts)); err != nil || string(it.Value) != "lives" {
			t.Errorf("Get of what does not expire = %q, %v", it.Value, err)
		}
		for _, l := range e.Usage().Levels {
			size += l.Bytes
		}
		return size
	}
	const written = parts * store.MaxOps * value
	now := time.Now()
	if size := tables(now.Add(24*time.Hour), nil); size < written {
		t.Errorf("what lives a day has tables of %d bytes, %d were written", size, written)
	}
	if size := tables(now.Add(-expirySlop/2), nil); size < written {
		t.Errorf("what has just expired has tables of %d bytes, %d were written: a clock that is behind may still see it", size, written)
	}
	if size := tables(now.Add(-2*expirySlop), nil); size > written/100 {
		t.Errorf("what expired long ago still has tables of %d bytes of %d", size, written)
	}
	// A clock of the program's own: Badger's is another, and may not decide.
	if size := tables(now.Add(-2*expirySlop), func() time.Time { return now.Add(-4 * expirySlop) }); size < written {
		t.Errorf("what lives by the program's clock has tables of %d bytes, %d were written", size, written)
	}
}
