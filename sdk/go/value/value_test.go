package value_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/go/value"
)

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for _, test := range []struct{ name, json, wrong string }{
		{"nothing", ``, "want a value"},
		{"only space", " \n", "want a value"},
		{"a word that JSON has not", `nul`, "want a value"},
		{"a second value", `{} {}`, "byte 3"},
		{"a key without quotes", `{a:1}`, "key in quotes"},
		{"a key without a colon", `{"a" 1}`, "colon"},
		{"a comma too many in a table", `{"a":1,}`, "key in quotes"},
		{"a comma too few in a table", `{"a":1 "b":2}`, "comma or }"},
		{"a comma too many in a list", `[1,]`, "want a value"},
		{"a comma too few in a list", `[1 2]`, "comma or ]"},
		{"a table without an end", `{"a":1`, "comma or }"},
		{"a text without an end", `"abc`, "no end"},
		{"a text that ends in an escape", `"abc\`, "unknown escape"},
		{"an escape that JSON has not", `"\x"`, "unknown escape"},
		{"a line break in a text", "\"a\nb\"", "control character"},
		{"a line break behind an escape", "\"\\t\n\"", "control character"},
		{"half of a surrogate pair", `"\ud83d"`, "surrogate"},
		{"two first halves", `"\ud83d\ud83d"`, "surrogate"},
		{"too few hexadecimal digits", `"\u12"`, "hexadecimal"},
		{"a sign among hexadecimal digits", `"\u+123"`, "hexadecimal"},
		{"a leading zero", `01`, "byte 1"},
		{"a number with a plus", `+1`, "want a value"},
		{"a point without digits", `1.`, "digit"},
		{"an exponent without digits", `1e`, "digit"},
		{"the same key twice", `{"a":{"b":1,"b":2}}`, "a.b: the key stands here twice"},
		{"the same key in two spellings", `{"a":1,"\u0061":2}`, "a: the key stands here twice"},
		{"what is not UTF-8", "\"\xff\"", "UTF-8"},
		{"deep nesting", deep, "too deeply"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := value.Parse([]byte(test.json)); err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("Parse(%s) = %v, want an error with %q", test.json, err, test.wrong)
			}
		})
	}
}

func TestErrorsNameTheKey(t *testing.T) {
	root, err := value.Parse([]byte(`{"items":{"7":{"names":["a",1],"n":-1,"b":"x","t":true}}}`))
	if err != nil {
		t.Fatal(err)
	}
	item := find(t, root, "items", "7")
	for _, test := range []struct {
		name string
		f    func() error
		want string
	}{
		{"an element of a list", func() error { _, err := find(t, item, "names").Texts(); return err }, "items.7.names[1]: want a text, not a number"},
		{"a negative number", func() error { _, err := find(t, item, "n").Uint(); return err }, "items.7.n: want a whole number from 0 to 18446744073709551615, not -1"},
		{"a text for a switch", func() error { _, err := find(t, item, "b").Bool(); return err }, "items.7.b: want true or false, not a text"},
		{"a switch for a list", func() error { _, err := find(t, item, "t").List(); return err }, "items.7.t: want a list, not true or false"},
		{"a switch for a number", func() error { _, err := find(t, item, "t").Uint(); return err }, "items.7.t: want a number, not true or false"},
		{"a switch for a table", func() error { return find(t, item, "t").Table(nil) }, "items.7.t: want a table, not true or false"},
		{"a table for a text", func() error { _, err := root.Text(); return err }, "want a text, not a table"},
		{"an unknown key", func() error { return find(t, item, "t").Unknown() }, "items.7.t: there is no such key"},
	} {
		if err := test.f(); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

func find(t *testing.T, v value.Value, path ...string) value.Value {
	t.Helper()
	for _, want := range path {
		found := value.Value{}
		err := v.Table(func(key string, e value.Value) error {
			if key == want {
				found = e
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		v = found
	}
	return v
}

func TestUintIsExact(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "9007199254740993": 1<<53 + 1, "18446744073709551615": 1<<64 - 1} {
		v, err := value.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Uint(); err != nil || got != want {
			t.Errorf("Uint of %s = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"18446744073709551616", "1.0", "1e3", "-0"} {
		v, err := value.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Uint(); err == nil {
			t.Errorf("Uint of %s = %d, want an error", text, got)
		}
	}
}

// FuzzParse holds the parser against encoding/json: what it reads, that reads
// as the same value, and what it refuses, that refuses too or is one of the
// differences that the package comment names.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"default":"deny","free":[1000001,"1000002"],"items":{"7":{"deny":true,"accounts":[]}}}`,
		`{"a":null,"b":[{},[],-1.5e+3,0],"c":"\ud83d\ude80\u00e9\"\\\/\b\f\n\r\t","d":false}`, ` [ 1 , 2 ] `, `"\ud800"`, `{"a":1,"a":2}`, `1 2`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := value.Parse(b)
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var want any
		wantErr := d.Decode(&want)
		if wantErr == nil && !json.Valid(b) {
			wantErr = errors.New("more than one value")
		}
		switch {
		case err == nil && wantErr != nil:
			t.Errorf("Parse reads %q, encoding/json says %v", b, wantErr)
		case err == nil && !reflect.DeepEqual(plain(t, got), want):
			t.Errorf("Parse reads %q as %v, encoding/json as %v", b, plain(t, got), want)
		case err != nil && wantErr == nil && !stricter(err.Error()):
			t.Errorf("Parse refuses %q: %v; encoding/json reads it", b, err)
		}
	})
}

func stricter(err string) bool {
	for _, s := range []string{"twice", "surrogate", "UTF-8", "too deeply"} {
		if strings.Contains(err, s) {
			return true
		}
	}
	return false
}

// plain turns a value into what encoding/json makes of the text.
func plain(t *testing.T, v value.Value) any {
	switch v.Kind {
	case value.Bool:
		b, _ := v.Bool()
		return b
	case value.Text:
		s, _ := v.Text()
		return s
	case value.Number:
		_, err := v.Uint()
		n := json.Number(v.Spelling())
		if u, parseErr := strconv.ParseUint(n.String(), 10, 64); (err == nil) != (parseErr == nil) || err == nil && strconv.FormatUint(u, 10) != n.String() {
			t.Errorf("the number %s: Uint says %v", n, err)
		}
		return n
	case value.List:
		elements, _ := v.List()
		list := []any{}
		for _, e := range elements {
			list = append(list, plain(t, e))
		}
		return list
	case value.Table:
		table := map[string]any{}
		_ = v.Table(func(key string, e value.Value) error {
			table[key] = plain(t, e)
			return nil
		})
		return table
	}
	return nil
}
