package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Vector is a golden vector for the tests of a language that has no parser of
// JSON.
type Vector struct {
	Name   string
	Record *Record
	Value  map[string]any // nil: the bytes must be refused
	Bytes  []byte
	Plain  []byte // the same value as this version writes it
}

// Bucket is a golden vector of bucket.
type Bucket struct {
	Key, Salt string
	Bucket    uint32
}

// golden reads the vectors in dir.
func (s *Schema) golden(dir string) error {
	var vectors struct {
		Vectors []struct {
			Name, Record, Wrong, Hex string
			Value                    map[string]any
		}
	}
	if err := readJSON(filepath.Join(dir, "vectors.json"), &vectors); err != nil {
		return err
	}
	for _, v := range vectors.Vectors {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			return fmt.Errorf("vector %q: %w", v.Name, err)
		}
		c := &Vector{Name: v.Name, Record: s.byName[v.Record], Bytes: b}
		if v.Wrong == "" {
			c.Value = v.Value
			if c.Plain, err = s.encode(c.Record, v.Value); err != nil {
				return fmt.Errorf("vector %q: %w", v.Name, err)
			}
		}
		s.Vectors = append(s.Vectors, c)
	}
	var buckets struct{ Vectors []Bucket }
	if err := readJSON(filepath.Join(dir, "bucket.json"), &buckets); err != nil {
		return err
	}
	s.Buckets = buckets.Vectors
	return nil
}

func readJSON(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// encode writes a value of the vectors as a message.
func (s *Schema) encode(r *Record, value map[string]any) ([]byte, error) {
	b := make([]byte, r.Size)
	b, err := s.put(b, 0, s.byName[r.Head], value)
	if err == nil {
		b, err = s.put(b, 0, r, value)
	}
	if err != nil {
		return nil, err
	}
	if r.Request {
		binary.LittleEndian.PutUint32(b[offset(s.byName[r.Head], "Fixed"):], uint32(r.Size))
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b, nil
}

func (s *Schema) put(b []byte, at int, r *Record, value map[string]any) ([]byte, error) {
	for _, f := range r.Fields {
		place := at + f.Offset
		switch f.Kind {
		case U16, U32, U64, I32:
			n, err := number(value[snake(f.Name)])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
			var raw [8]byte
			binary.LittleEndian.PutUint64(raw[:], n)
			copy(b[place:place+f.Size], raw[:])
		case Str:
			text, _ := value[snake(f.Name)].(string)
			b = putText(b, place, text)
		case Strs, List:
			list, _ := value[snake(f.Name)].([]any)
			if len(list) == 0 {
				continue
			}
			stride := 8
			if f.Kind == List {
				stride = f.Elem.Size
			}
			off := (len(b) + 7) &^ 7
			b = append(b, make([]byte, off+len(list)*stride-len(b))...)
			binary.LittleEndian.PutUint32(b[place:], uint32(off))
			binary.LittleEndian.PutUint32(b[place+4:], uint32(len(list)))
			binary.LittleEndian.PutUint32(b[place+8:], uint32(stride))
			for i, e := range list {
				if f.Kind == Strs {
					b = putText(b, off+i*stride, e.(string))
					continue
				}
				var err error
				if b, err = s.put(b, off+i*stride, f.Elem, e.(map[string]any)); err != nil {
					return nil, err
				}
			}
		}
	}
	return b, nil
}

func putText(b []byte, at int, text string) []byte {
	if text == "" {
		return b
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[at+4:], uint32(len(text)))
	return append(b, text...)
}

// number reads what the vectors hold: a number, or a decimal text of 64 bits.
func number(v any) (uint64, error) {
	if v == nil {
		return 0, nil
	}
	text := fmt.Sprint(v)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return uint64(n), nil
	}
	return strconv.ParseUint(text, 10, 64)
}
