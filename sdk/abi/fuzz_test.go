package abi_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

// Verdicts come from guests that nobody has read, requests are what the SDKs
// of guests read: neither reader may be brought to a panic, to a string outside
// the message, or to more work than the message is long.

func FuzzReadEntitleVerdict(f *testing.F)       { fuzz(f, "EntitleVerdict") }
func FuzzReadSelectVersionVerdict(f *testing.F) { fuzz(f, "SelectVersionVerdict") }
func FuzzReadSignInVerdict(f *testing.F)        { fuzz(f, "SignInVerdict") }
func FuzzReadExchangeVerdict(f *testing.F)      { fuzz(f, "ExchangeVerdict") }
func FuzzReadFetchRequest(f *testing.F)         { fuzz(f, "FetchRequest") }
func FuzzReadFetchResponse(f *testing.F)        { fuzz(f, "FetchResponse") }
func FuzzReadEntitleRequest(f *testing.F)       { fuzz(f, "EntitleRequest") }
func FuzzReadSelectVersionRequest(f *testing.F) { fuzz(f, "SelectVersionRequest") }
func FuzzReadSignInRequest(f *testing.F)        { fuzz(f, "SignInRequest") }
func FuzzReadExchangeRequest(f *testing.F)      { fuzz(f, "ExchangeRequest") }

func fuzz(f *testing.F, record string) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := messages[record]()
		if abi.HasQuick(m) {
			twoReaders(t, record, b, b)
		}
		if m.Read(b) != nil {
			return
		}
		if n := contents(t, b, reflect.ValueOf(m).Elem()); n > len(b)/8 {
			t.Errorf("a message of %d bytes has %d elements", len(b), n)
		}
		written := m.Append(nil)
		again := messages[record]()
		if err := again.Read(written); err != nil {
			t.Fatalf("what was read can't be read again: %v", err)
		}
		if other := again.Append(nil); !bytes.Equal(written, other) {
			t.Errorf("it is written as\n%x, and after reading that as\n%x", written, other)
		}
		if got, want := withoutShape(again), withoutShape(m); !reflect.DeepEqual(got, want) {
			t.Errorf("it is read again as\n%+v, want\n%+v", got, want)
		}
	})
}

// seed adds the golden vectors, those of other records too: they are nearly right.
func seed(f *testing.F) {
	var file vectorFile
	read(f, "vectors.json", &file)
	for _, v := range file.Vectors {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// contents counts the elements of all lists and looks for strings that are not
// part of the message.
func contents(t *testing.T, b []byte, v reflect.Value) int {
	n := 0
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		if s == "" {
			break
		}
		from := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
		at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
		if at < from || at+uintptr(len(s)) > from+uintptr(len(b)) {
			t.Errorf("the string %q is not in the message", s)
		}
	case reflect.Slice:
		n += v.Len()
		for i := range v.Len() {
			n += contents(t, b, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += contents(t, b, v.Field(i))
		}
	}
	return n
}

// shape are the fields of a head that describe its bytes.
var shape = []string{"Size", "Minor", "Hook", "Fixed"}

// withoutShape is a message without what describes its bytes.
func withoutShape(m message) message {
	v := reflect.ValueOf(m).Elem()
	for _, name := range shape {
		if f := v.FieldByName(name); f.IsValid() {
			f.SetZero()
		}
	}
	return m
}

// twoReaders has both readers read b, with the space that the message before left. The
// quick one may have no answer; if it has, it is that of the careful one.
func twoReaders(t *testing.T, record string, before, b []byte) (quick bool) {
	t.Helper()
	got, want := messages[record](), messages[record]()
	for _, m := range []message{got, want} {
		abi.Careful(m, before) // a message that is none leaves space too
	}
	err := abi.Careful(want, b)
	if quick = abi.Quick(got, b); !quick {
		return false
	}
	if err != nil {
		t.Errorf("%s: the quick reader takes %x, the careful one says %v", record, b, err)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the quick reader reads\n%+v, the careful one\n%+v", record, got, want)
	}
	contents(t, b, reflect.ValueOf(got).Elem())
	return true
}
