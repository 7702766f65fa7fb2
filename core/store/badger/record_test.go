package badger

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func FuzzKey(f *testing.F) {
	f.Add(byte('P'), "part", "sub")
	f.Add(byte('A'), "", "")
	f.Add(byte('z'), string(make([]byte, 300)), "\xff")
	f.Fuzz(func(t *testing.T, table byte, part, sub string) {
		k := store.Key{Table: table, Part: part, Sub: sub}
		got, err := decodeKey(encodeKey(k))
		if err != nil || got != k {
			t.Errorf("%q decodes to %q, %v", k, got, err)
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("P"))
	f.Add([]byte("P\x05part"))
	f.Add([]byte("P\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeKey(b); err != nil && !errors.Is(err, errCorrupt) {
			t.Errorf("decodeKey(%x) = %v", b, err)
		}
	})
}

func FuzzDecodeValue(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(encodeValue(nil, time.Time{}))
	f.Add(encodeValue([]byte("value"), time.Unix(1, 0)))
	f.Add([]byte{formExpires, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeValue(b)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Errorf("decodeValue(%x) = %v", b, err)
			}
			return
		}
		again := encodeValue(s.value, s.expires)
		setSeq(again, s.seq)
		if !bytes.Equal(again, b) {
			t.Errorf("%x encodes to %x", b, again)
		}
	})
}
