package cases

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// document is a file that is being read. The first mistake is kept: it names the
// line, because a key may stand in many cases.
type document struct {
	lines    []string
	headers  []int // indexes of the lines that begin a case
	from, to int   // the lines of the case that is being read
	name     string
	err      error
}

var header = regexp.MustCompile(`^\s*\[\[\s*case\s*\]\]`)

func newDocument(text string) *document {
	d := &document{lines: strings.Split(text, "\n")}
	for i, line := range d.lines {
		if header.MatchString(line) {
			d.headers = append(d.headers, i)
		}
	}
	d.to = len(d.lines)
	return d
}

// enter goes to the case i of n. Cases that are not written as [[case]] have the
// whole file as their place.
func (d *document) enter(i, n int) {
	d.name, d.from, d.to = "", 0, len(d.lines)
	if len(d.headers) != n {
		return
	}
	d.from = d.headers[i]
	if i+1 < n {
		d.to = d.headers[i+1]
	}
}

// line is where a key stands first in the case, else where the case begins.
func (d *document) line(key string) int {
	if key != "" {
		is := regexp.MustCompile(`(^|[\s{,.\["'])` + regexp.QuoteMeta(key) + `["']?\s*[=.\]]`)
		for i, line := range d.lines[d.from:d.to] {
			line, _, _ = strings.Cut(line, " #")
			if is.MatchString(line) {
				return d.from + i + 1
			}
		}
	}
	return d.from + 1
}

// longestKey is what an error has of a key, in bytes: to look for a key in the file
// it becomes an expression, which has its bounds.
const longestKey = 200

func (d *document) fail(path, key, format string, args ...any) {
	if d.err != nil {
		return
	}
	if len(key) > longestKey {
		key = strings.ToValidUTF8(key[:longestKey], "") + "…"
	}
	where := fmt.Sprintf("line %d: ", d.line(key))
	if d.name != "" {
		where += fmt.Sprintf("case %q: ", d.name)
	}
	d.err = fmt.Errorf("%s%s: %s", where, join(path, key), fmt.Sprintf(format, args...))
}

func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "":
		return path
	}
	return path + "." + key
}

// table is a table of the file with its place.
type table struct {
	d    *document
	path string
	m    map[string]any
}

// table refuses what is no table, and keys that nobody reads.
func (d *document) table(path string, v any, keys ...string) table {
	t := table{d, path, d.tableOf(path, "", v)}
	for _, key := range sortedKeys(t.m) {
		if !slices.Contains(keys, key) {
			d.fail(path, key, "there is no such key: %s", instead(key, keys))
		}
	}
	return t
}

// instead names the key that is meant, if one is near, else all.
func instead(key string, keys []string) string {
	for _, k := range keys {
		if near(key, k) {
			return k + " is"
		}
	}
	return "here are " + list(keys)
}

// near says whether two names differ in one letter, or in two that changed places.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if a, b = a[i:], b[i:]; len(b) == 0 {
		return true
	}
	switch len(b) - len(a) {
	case 0:
		return a[1:] == b[1:] || len(a) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
	case 1:
		return a == b[1:]
	}
	return false
}

// open is a table with any keys.
func (t table) open(key string, v any) map[string]any { return t.d.tableOf(t.path, key, v) }

func (d *document) tableOf(path, key string, v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		d.fail(path, key, "is %s: it has to be a table", kind(v))
	}
	return m
}

func (t table) bad(key, want string) {
	t.d.fail(t.path, key, "is %s: it has to be %s", kind(t.m[key]), want)
}

func (t table) text(key, absent string) string {
	switch v := t.m[key].(type) {
	case nil:
		return absent
	case string:
		return v
	}
	t.bad(key, "a text in quotes")
	return absent
}

// number reads a whole number up to most.
func (t table) number(key string, most, absent uint64) uint64 {
	switch v := t.m[key].(type) {
	case nil:
		return absent
	case int64:
		if v >= 0 && uint64(v) <= most {
			return uint64(v)
		}
	case string: // TOML has no numbers beyond 63 bits
		if n, err := strconv.ParseUint(v, 10, 64); err == nil && n <= most && most == math.MaxUint64 {
			return n
		}
	}
	t.bad(key, fmt.Sprintf("a whole number from 0 to %d", most))
	return absent
}

func (t table) yes(key string, absent bool) bool {
	switch v := t.m[key].(type) {
	case nil:
		return absent
	case bool:
		return v
	}
	t.bad(key, "true or false")
	return absent
}

func (t table) texts(key string) []string {
	var all []string
	for _, v := range t.list(key) {
		s, ok := v.(string)
		if !ok {
			t.bad(key, "a list of texts")
			return nil
		}
		all = append(all, s)
	}
	return all
}

// time reads a time with its offset; TOML knows times without quotes too.
func (t table) time(key string, absent time.Time) time.Time {
	switch v := t.m[key].(type) {
	case nil:
		return absent
	case time.Time:
		if v.Location().String() != "datetime-local" && v.Location().String() != "date-local" && v.Location().String() != "time-local" {
			return t.after1970(key, v)
		}
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return t.after1970(key, at)
		}
	}
	t.d.fail(t.path, key, "is %s: it has to be a time with its offset, like 2026-03-01T12:00:00Z", kind(t.m[key]))
	return absent
}

func (t table) after1970(key string, at time.Time) time.Time {
	if at.UnixMilli() < 0 {
		t.d.fail(t.path, key, "is before 1970")
	}
	return at
}

// word reads one of several words.
func word[T any](t table, key string, words []string, values []T, absent T) T {
	v, there := t.m[key]
	if !there {
		return absent
	}
	if s, ok := v.(string); ok {
		if i := slices.Index(words, s); i >= 0 {
			return values[i]
		}
	}
	t.bad(key, "one of "+list(words))
	return absent
}

// list reads a list, which the parser hands out in two ways.
func (t table) list(key string) []any {
	switch v := t.m[key].(type) {
	case nil:
	case []any:
		return v
	case []map[string]any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = v[i]
		}
		return all
	default:
		t.bad(key, "a list")
	}
	return nil
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "missing"
	case string:
		return strconv.Quote(v)
	case bool, int64, float64:
		return fmt.Sprint(v)
	case time.Time:
		return "a time without an offset"
	case map[string]any:
		return "a table"
	}
	return "a list"
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// list writes names as a sentence has them: "a, b and c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
