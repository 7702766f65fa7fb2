package store

import (
	"errors"
	"fmt"
	"time"
)

// The limits of every engine. They keep a batch well below what any engine takes
// in one transaction, and a record small enough to be rewritten whole.
const (
	MaxKey   = 512      // bytes of Table, Part and Sub together
	MaxValue = 64 << 10 // bytes
	MaxOps   = 128      // ops of one Apply
)

// ErrLimit is wrapped by each refusal of a key, value or Apply that an engine
// does not take. It is the caller's mistake; retrying does not help.
var ErrLimit = errors.New("store: limit")

// CheckKey refuses a key that is too long or whose Table is not a letter.
func CheckKey(k Key) error {
	if !letter(k.Table) {
		return fmt.Errorf("%w: table %#02x is not an ASCII letter", ErrLimit, k.Table)
	}
	if n := 1 + len(k.Part) + len(k.Sub); n > MaxKey {
		return fmt.Errorf("%w: key of table %c has %d bytes, at most %d", ErrLimit, k.Table, n, MaxKey)
	}
	return nil
}

// CheckWrite refuses a value that is too long for the key's record.
func CheckWrite(k Key, value []byte) error {
	if n := len(value); n > MaxValue {
		return fmt.Errorf("%w: value in table %c has %d bytes, at most %d", ErrLimit, k.Table, n, MaxValue)
	}
	return nil
}

// CheckOps refuses what Apply does not take: too many ops, more than one Part, a
// key named twice, an op that neither guards nor writes.
func CheckOps(ops []Op) error {
	if len(ops) > MaxOps {
		return fmt.Errorf("%w: apply of %d ops, at most %d", ErrLimit, len(ops), MaxOps)
	}
	seen := make(map[Key]struct{}, len(ops))
	for _, op := range ops {
		if err := CheckKey(op.Key); err != nil {
			return err
		}
		if err := CheckWrite(op.Key, op.Value); err != nil {
			return err
		}
		if op.Key.Part != ops[0].Key.Part {
			return fmt.Errorf("%w: apply spans the parts %q and %q", ErrLimit, ops[0].Key.Part, op.Key.Part)
		}
		if _, twice := seen[op.Key]; twice {
			return fmt.Errorf("%w: apply names the key %q of table %c twice", ErrLimit, op.Key.Sub, op.Key.Table)
		}
		if !op.Guard && !op.Delete && op.Value == nil {
			return fmt.Errorf("%w: op on %q of table %c neither guards nor writes", ErrLimit, op.Key.Sub, op.Key.Table)
		}
		seen[op.Key] = struct{}{}
	}
	return nil
}

// Millis is the precision of Expires: engines store and return whole
// milliseconds in UTC, so that an item reads back as it was returned.
func Millis(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// Expired says whether an item with this expiry is absent at now. The very
// instant of expiry is past it.
func Expired(expires, now time.Time) bool {
	return !expires.IsZero() && !expires.After(now)
}

func letter(b byte) bool {
	return 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}
