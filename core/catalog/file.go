package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// ReadFile reads the operator's catalogue file: TOML with [[items]] and
// [[items.versions]], or the same in JSON, as its name says.
func ReadFile(name string, rules Rules) ([]Item, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read catalogue file: %w", err)
	}
	items, err := Parse(name, text, rules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return items, nil
}

// Parse reads the text of a catalogue file; of the name only the ending counts, .toml or
// .json. What it returns is valid. All problems are found in one go and returned as
// Invalid, unless the text is not even TOML or JSON.
func Parse(name string, text []byte, rules Rules) ([]Item, error) {
	var tree any
	var err error
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".toml":
		tree, err = tomlTree(text)
	case ".json":
		tree, err = jsonTree(text)
	default:
		return nil, fmt.Errorf("catalog: a catalogue file ends in .toml or .json, not %q", ext)
	}
	if err != nil {
		return nil, err
	}
	var d decoder
	items := d.file(tree)
	// With a value of the wrong kind the rules would complain again, that it is missing.
	if len(d.problems) == 0 {
		d.problems = rules.validateAll(items, nil)
	}
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	for i := range items {
		items[i].normalise()
	}
	return items, nil
}

func tomlTree(text []byte) (any, error) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, fmt.Errorf("catalog: line %d: %s", parse.Position.Line, parse.Message)
		}
		return nil, fmt.Errorf("catalog: %w", err)
	}
	if tree == nil {
		tree = map[string]any{}
	}
	return tree, nil
}

// maxDepth is deeper than any catalogue and shallow enough for recursion.
const maxDepth = 16

// jsonTree reads one JSON value. Unlike the library it refuses a key that is given twice,
// of which the reader of the file may have seen the other.
func jsonTree(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	tree, err := jsonValue(d, "", maxDepth)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return tree, nil
		} else if err == nil {
			err = errors.New("something follows the JSON value")
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if invalid, ok := errors.AsType[Invalid](err); ok {
		return nil, invalid
	}
	line := 1 + bytes.Count(text[:d.InputOffset()], []byte("\n"))
	return nil, fmt.Errorf("catalog: line %d: %w", line, err)
}

func jsonValue(d *json.Decoder, path string, depth int) (any, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	switch {
	case !ok:
		return tok, nil
	case depth == 0:
		return nil, Invalid{{path, "nested too deeply"}}
	case delim == '[':
		list := []any{}
		for i := 0; d.More(); i++ {
			v, err := jsonValue(d, fmt.Sprintf("%s[%d]", path, i), depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	m := map[string]any{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, Invalid{{path, "a key is no string"}}
		}
		if _, twice := m[key]; twice {
			return nil, Invalid{{at(path, key), "is given twice"}}
		}
		if m[key], err = jsonValue(d, at(path, key), depth-1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return m, err
}
