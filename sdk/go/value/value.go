// Package value reads JSON text, such as a plugin's configuration, into values
// that know where they stand, so that a policy can refuse one with a sentence
// that names its key. It works without reflection: a Go guest that leaves
// encoding/json and fmt alone is a third smaller and starts faster.
//
// It is stricter than encoding/json, because what it reads is written by
// people: keys match exactly, the same key twice is an error, and so is half of
// a surrogate pair. It doesn't write JSON, and numbers are read as whole numbers
// that are not negative, the only ones that policies have needed.
package value

import (
	"errors"
	"strconv"
)

// Kind is the kind of a Value.
type Kind string

// The kinds, as an error names them.
const (
	Null   Kind = "null"
	Bool   Kind = "true or false"
	Number Kind = "a number"
	Text   Kind = "a text"
	List   Kind = "a list"
	Table  Kind = "a table"
)

// Value is one JSON value.
type Value struct {
	Kind Kind
	Path string // where it stands: items.1000002.accounts[0], "" for the whole text

	text string   // of a Text its meaning, of the others but List and Table their spelling
	keys []string // of a Table
	list []Value  // of a List its elements, of a Table the values of its keys
}

// Wrong returns an error that says what is wrong with the value, and where it
// stands.
func (v Value) Wrong(what string) error {
	if v.Path == "" {
		return errors.New(what)
	}
	return errors.New(v.Path + ": " + what)
}

// Unknown is the error about a key that the reader has no use for.
func (v Value) Unknown() error { return v.Wrong("there is no such key") }

func (v Value) want(k Kind) error {
	if v.Kind != k {
		return v.Wrong("want " + string(k) + ", not " + string(v.Kind))
	}
	return nil
}

// Text returns the value of a text.
func (v Value) Text() (string, error) { return v.text, v.want(Text) }

// Bool returns the value of true or false.
func (v Value) Bool() (bool, error) { return v.text == "true", v.want(Bool) }

// Uint returns the value of a whole number that is not negative.
func (v Value) Uint() (uint64, error) {
	if err := v.want(Number); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(v.text, 10, 64)
	if err != nil {
		return 0, v.Wrong("want a whole number from 0 to 18446744073709551615, not " + v.text)
	}
	return n, nil
}

// List returns the elements of a list.
func (v Value) List() ([]Value, error) { return v.list, v.want(List) }

// Texts returns the elements of a list of texts.
func (v Value) Texts() ([]string, error) {
	list, err := v.List()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(list))
	for i, e := range list {
		if texts[i], err = e.Text(); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// Table calls f for each key of a table, in the order of the text, until f
// returns an error.
func (v Value) Table(f func(key string, v Value) error) error {
	if err := v.want(Table); err != nil {
		return err
	}
	for i, key := range v.keys {
		if err := f(key, v.list[i]); err != nil {
			return err
		}
	}
	return nil
}
