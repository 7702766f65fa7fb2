package abi_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/souk-market/souk/sdk/abi"
)

// TestRandomMessages holds the generated codec against the one by reflection,
// also where a partner knows more.
func TestRandomMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		for name, make := range messages {
			m := make()
			randomize(r, reflect.ValueOf(m).Elem())
			b := m.Append(nil)
			if other := encode(m, partner{}); !bytes.Equal(b, other) {
				t.Fatalf("%s is encoded as\n%x, by reflection\n%x", name, b, other)
			}
			same := make()
			if err := same.Read(b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if again := same.Append(nil); !bytes.Equal(again, b) {
				t.Fatalf("%s is read and written as\n%x, want\n%x", name, again, b)
			}
			grown := make()
			if err := grown.Read(encode(m, partner{fixed: 8 * r.IntN(4), stride: 8 * r.IntN(4)})); err != nil {
				t.Fatalf("%s of a partner that knows more: %v", name, err)
			}
			if again := grown.Append(nil); !bytes.Equal(again, b) {
				t.Fatalf("%s of a partner that knows more is read as\n%x, want\n%x", name, again, b)
			}
		}
	}
}

// TestTwoReaders holds the quick reader against the careful one. What a partner of the
// same version writes must never be left to the careful one; in damaged messages the
// quick one must see all that the careful one does.
func TestTwoReaders(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	read, refused := 0, 0
	for range 300 {
		for name, make := range messages {
			m := make()
			if !abi.HasQuick(m) {
				continue
			}
			randomize(r, reflect.ValueOf(m).Elem())
			b := m.Append(nil)
			if !twoReaders(t, name, b, b) {
				t.Fatalf("%s: the quick reader has no answer for %x", name, b)
			}
			if !twoReaders(t, name, b, encode(m, partner{fixed: 8, stride: 16})) {
				t.Fatalf("%s: the quick reader has no answer for a newer partner", name)
			}
			for range 20 {
				damaged := bytes.Clone(b)
				at := 4 * r.IntN(len(b)/4)
				old := binary.LittleEndian.Uint32(damaged[at:])
				binary.LittleEndian.PutUint32(damaged[at:], []uint32{0, old + 1, old - 1, old ^ 1<<r.IntN(32), uint32(len(b)), r.Uint32()}[r.IntN(6)])
				if twoReaders(t, name, b, damaged) {
					read++
				} else {
					refused++
				}
			}
		}
	}
	if read < 1000 || refused < 1000 {
		t.Errorf("of the damaged messages the quick reader reads %d and refuses %d: this looks at too few", read, refused)
	}
}

func randomize(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Int32:
		v.SetInt(int64(int32(r.Uint32())))
	case reflect.String:
		var b []byte
		for range r.IntN(12) {
			b = utf8.AppendRune(b, []rune("aZ 0\x00äß本🚫")[r.IntN(9)])
		}
		v.SetString(string(b))
	case reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			randomize(r, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			randomize(r, v.Field(i))
		}
	}
}
