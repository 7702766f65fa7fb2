package abi_test

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/souk-market/souk/sdk/abi"
)

// This file is a second implementation of the contract: by reflection over the
// records instead of generated, and able to write what the generated one never
// does, messages of a newer or an older partner. The two are held against each
// other, so that no mistake of the generator becomes a golden vector.

// message is what the generated code makes of a record that travels.
type message interface {
	Append([]byte) []byte
	Read([]byte) error
}

// messages makes an empty message by the name of its record.
var messages = map[string]func() message{
	"EntitleRequest":       func() message { return new(abi.EntitleRequest) },
	"EntitleVerdict":       func() message { return new(abi.EntitleVerdict) },
	"SelectVersionRequest": func() message { return new(abi.SelectVersionRequest) },
	"SelectVersionVerdict": func() message { return new(abi.SelectVersionVerdict) },
	"SignInRequest":        func() message { return new(abi.SignInRequest) },
	"SignInVerdict":        func() message { return new(abi.SignInVerdict) },
	"ExchangeRequest":      func() message { return new(abi.ExchangeRequest) },
	"ExchangeVerdict":      func() message { return new(abi.ExchangeVerdict) },
	"FetchRequest":         func() message { return new(abi.FetchRequest) },
	"FetchResponse":        func() message { return new(abi.FetchResponse) },
}

func recordOf(m message) string { return reflect.TypeOf(m).Elem().Name() }

// partner says how a message of another minor version differs: bytes that its
// fixed part and the elements of its lists have more, or less.
type partner struct{ fixed, stride int }

// unknown fills the fields that only the partner knows.
const unknown = 0xEE

// encode writes a message as a partner would.
func encode(m message, p partner) []byte {
	v := reflect.ValueOf(m).Elem()
	size := sizeOf(v.Type()) + p.fixed
	e := &reflected{b: make([]byte, size), partner: p}
	e.record(0, size, v)
	numbers := map[string]uint16{"EntitleRequest": 1, "SelectVersionRequest": 2, "SignInRequest": 3, "ExchangeRequest": 4}
	if hook, ok := numbers[recordOf(m)]; ok {
		binary.LittleEndian.PutUint16(e.b[6:], hook)
		binary.LittleEndian.PutUint32(e.b[16:], uint32(size))
	}
	binary.LittleEndian.PutUint16(e.b[4:], abi.Minor)
	binary.LittleEndian.PutUint32(e.b, uint32(len(e.b)))
	return e.b
}

type reflected struct {
	b []byte
	partner
}

// record writes the fields of v into the size bytes at an offset.
func (e *reflected) record(at, size int, v reflect.Value) {
	place := at
	each(v, func(_ string, f reflect.Value) {
		if place+sizeOf(f.Type()) <= at+size { // else the partner has no such field
			e.field(place, f)
		}
		place += sizeOf(f.Type())
	})
	for ; place < at+size; place++ {
		e.b[place] = unknown
	}
}

func (e *reflected) field(at int, f reflect.Value) {
	switch f.Kind() {
	case reflect.Uint16:
		binary.LittleEndian.PutUint16(e.b[at:], uint16(f.Uint()))
	case reflect.Uint32:
		binary.LittleEndian.PutUint32(e.b[at:], uint32(f.Uint()))
	case reflect.Int32:
		binary.LittleEndian.PutUint32(e.b[at:], uint32(f.Int()))
	case reflect.Uint64:
		binary.LittleEndian.PutUint64(e.b[at:], f.Uint())
	case reflect.String:
		if s := f.String(); s != "" {
			e.point(at, len(e.b), len(s))
			e.b = append(e.b, s...)
		}
	case reflect.Slice:
		if f.Len() == 0 {
			return
		}
		elem := f.Type().Elem()
		stride := sizeOf(elem)
		if elem.Kind() == reflect.Struct {
			stride += e.stride
		}
		for len(e.b)%8 != 0 {
			e.b = append(e.b, 0)
		}
		from := len(e.b)
		e.b = append(e.b, make([]byte, f.Len()*stride)...)
		e.point(at, from, f.Len())
		binary.LittleEndian.PutUint32(e.b[at+8:], uint32(stride))
		for i := range f.Len() {
			if elem.Kind() == reflect.Struct {
				e.record(from+i*stride, stride, f.Index(i))
			} else {
				e.field(from+i*stride, f.Index(i))
			}
		}
	default:
		panic("no layout for " + f.Type().String())
	}
}

func (e *reflected) point(at, off, n int) {
	binary.LittleEndian.PutUint32(e.b[at:], uint32(off))
	binary.LittleEndian.PutUint32(e.b[at+4:], uint32(n))
}

func sizeOf(t reflect.Type) int {
	switch t.Kind() {
	case reflect.Uint16:
		return 2
	case reflect.Uint32, reflect.Int32:
		return 4
	case reflect.Uint64, reflect.String:
		return 8
	case reflect.Slice:
		return 16
	case reflect.Struct:
		n := 0
		for f := range t.Fields() {
			n += sizeOf(f.Type)
		}
		return n
	}
	panic("no layout for " + t.String())
}

// each calls f for the fields of a record, those of its head first, with their
// names as the contract writes them.
func each(v reflect.Value, f func(name string, field reflect.Value)) {
	for t, field := range v.Fields() {
		if t.Anonymous {
			each(field, f)
		} else {
			f(snake(t.Name), field)
		}
	}
}

// snake turns BundleID into bundle_id.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, c := range runes {
		lowerBefore := i > 0 && unicode.IsLower(runes[i-1])
		lowerBehind := i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if unicode.IsUpper(c) && (lowerBefore || lowerBehind) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// toJSON turns a record into what the vectors hold: fields by their names in
// the contract, u64 as decimal text, nothing where a field is zero or empty.
func toJSON(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Uint16, reflect.Uint32:
		return v.Uint()
	case reflect.Int32:
		return v.Int()
	case reflect.Uint64:
		return fmt.Sprint(v.Uint())
	case reflect.String:
		return v.String()
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = toJSON(v.Index(i))
		}
		return list
	}
	table := map[string]any{}
	each(v, func(name string, f reflect.Value) {
		if !f.IsZero() && (f.Kind() != reflect.Slice || f.Len() > 0) {
			table[name] = toJSON(f)
		}
	})
	return table
}

// fromJSON is toJSON backwards, for what encoding/json has read.
func fromJSON(j any, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Uint16, reflect.Uint32, reflect.Int32, reflect.Uint64:
		if _, err := fmt.Sscan(fmt.Sprint(j), v.Addr().Interface()); err != nil {
			return fmt.Errorf("%v: %w", j, err)
		}
	case reflect.String:
		s, ok := j.(string)
		if !ok {
			return fmt.Errorf("%v is no text", j)
		}
		v.SetString(s)
	case reflect.Slice:
		list, ok := j.([]any)
		if !ok {
			return fmt.Errorf("%v is no list", j)
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		for i := range list {
			if err := fromJSON(list[i], v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		table, ok := j.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no record", j)
		}
		known := 0
		var failed error
		each(v, func(name string, f reflect.Value) {
			if e, ok := table[name]; ok && failed == nil {
				known++
				failed = fromJSON(e, f)
			}
		})
		if failed == nil && known != len(table) {
			failed = fmt.Errorf("%v has fields that %s has not", j, v.Type().Name())
		}
		return failed
	}
	return nil
}
