package catalog

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder turns a tree of maps and lists, whether it was TOML or JSON, into items. It
// goes on after a problem, so that an operator sees all of them at once.
type decoder struct {
	problems Invalid
}

// table is a node of the tree with its place in the file.
type table struct {
	d    *decoder
	path string
	m    map[string]any
}

func (d *decoder) bad(path, format string, args ...any) {
	d.problems = append(d.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// file reads the top level of a catalogue file.
func (d *decoder) file(tree any) []Item {
	t := d.table("", tree, "items")
	list := t.list("items")
	items := make([]Item, 0, len(list))
	for i, v := range list {
		items = append(items, d.item(nth("", "items", i), v))
	}
	return items
}

func (d *decoder) item(path string, v any) Item {
	t := d.table(path, v, "id", "bundle_id", "name", "sign_in", "share_url", "removed", "reason", "versions")
	it := Item{
		ID:       t.id("id"),
		BundleID: t.text("bundle_id"),
		Name:     t.text("name"),
		SignIn:   t.text("sign_in"),
		ShareURL: t.text("share_url"),
		Removed:  t.yes("removed"),
		Reason:   t.text("reason"),
	}
	for i, v := range t.list("versions") {
		it.Versions = append(it.Versions, d.version(nth(path, "versions", i), v))
	}
	return it
}

func (d *decoder) version(path string, v any) Version {
	t := d.table(path, v, "id", "short", "build", "released", "min_os", "package", "channel", "critical", "withdrawn", "rollout")
	return Version{
		ID:        t.id("id"),
		Short:     t.text("short"),
		Build:     t.text("build"),
		Released:  t.time("released"),
		MinOS:     t.texts("min_os"),
		Package:   t.text("package"),
		Channel:   t.text("channel"),
		Critical:  t.yes("critical"),
		Withdrawn: t.yes("withdrawn"),
		Rollout:   d.rollout(at(path, "rollout"), t.m["rollout"]),
	}
}

func (d *decoder) rollout(path string, v any) Rollout {
	if v == nil {
		return Rollout{Share: FullShare}
	}
	t := d.table(path, v, "share", "salt", "halted")
	return Rollout{
		Share:  t.number("share", FullShare),
		Salt:   t.text("salt"),
		Halted: t.yes("halted"),
	}
}

// table checks that v is one, and that it has no other keys than these.
func (d *decoder) table(path string, v any, keys ...string) table {
	m, ok := v.(map[string]any)
	if !ok {
		d.bad(path, "found %s, want a table with the keys %s", kind(v), strings.Join(keys, ", "))
		return table{d: d, path: path}
	}
	for _, k := range sortedKeys(m) {
		if !slices.Contains(keys, k) {
			d.bad(at(path, k), "unknown key: the keys here are %s", strings.Join(keys, ", "))
		}
	}
	return table{d, path, m}
}

func (t table) bad(key, want string) {
	t.d.bad(at(t.path, key), "found %s, want %s", kind(t.m[key]), want)
}

func (t table) text(key string) string {
	switch v := t.m[key].(type) {
	case nil:
	case string:
		return v
	default:
		t.bad(key, "a string in quotes")
	}
	return ""
}

func (t table) yes(key string) bool {
	switch v := t.m[key].(type) {
	case nil:
	case bool:
		return v
	default:
		t.bad(key, "true or false")
	}
	return false
}

// number returns a whole number that fits an int32; absent is what a missing key means.
func (t table) number(key string, absent int) int {
	var n int64
	switch v := t.m[key].(type) {
	case nil:
		return absent
	case int64:
		n = v
	case json.Number:
		var err error
		if n, err = strconv.ParseInt(v.String(), 10, 64); err != nil {
			t.bad(key, "a whole number")
			return absent
		}
	default:
		t.bad(key, "a whole number")
		return absent
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		t.bad(key, "a smaller number")
		return absent
	}
	return int(n)
}

// id reads an Apple id: a decimal string, because such ids are strings on the wire and
// may be too large for a TOML or JavaScript number; a number is taken too.
func (t table) id(key string) uint64 {
	var s string
	switch v := t.m[key].(type) {
	case nil:
		return 0 // Validate calls it missing
	case string:
		s = v
	case int64:
		s = strconv.FormatInt(v, 10)
	case json.Number:
		s = v.String()
	default:
		t.bad(key, `a decimal string, as in "1234567890"`)
		return 0
	}
	id, ok := ParseID(s)
	if !ok {
		t.d.bad(at(t.path, key), "%s: want a decimal number from 1 to 18446744073709551615 without leading zeros", quote(s))
	}
	return id
}

// ParseID reads an Apple item or version id: decimal, not 0, without leading zeros.
func ParseID(s string) (uint64, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	id, err := strconv.ParseUint(s, 10, 64)
	return id, err == nil
}

// time reads an RFC 3339 time or a day, which means its beginning in UTC.
func (t table) time(key string) time.Time {
	switch v := t.m[key].(type) {
	case nil:
	case time.Time:
		// TOML marks times without an offset by the name of their zone.
		switch y, m, d := v.Date(); v.Location().String() {
		case "date-local":
			return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		case "datetime-local":
			t.d.bad(at(t.path, key), "%s says no offset: add Z for UTC", v.Format("2006-01-02T15:04:05"))
		case "time-local":
			t.d.bad(at(t.path, key), "%s says no day", v.Format("15:04:05"))
		default:
			return v
		}
	case string:
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if at, err := time.Parse(layout, v); err == nil {
				return at
			}
		}
		t.d.bad(at(t.path, key), `%s: want a day or a time with its offset, as in "2026-03-01T12:00:00Z"`, quote(v))
	default:
		t.bad(key, "a day or a time")
	}
	return time.Time{}
}

// texts reads a table of strings.
func (t table) texts(key string) map[string]string {
	switch v := t.m[key].(type) {
	case nil:
	case map[string]any:
		texts := make(map[string]string, len(v))
		inner := table{t.d, at(t.path, key), v}
		for _, k := range sortedKeys(v) {
			texts[k] = inner.text(k)
		}
		return texts
	default:
		t.bad(key, `a table, as in { ios = "17.4" }`)
	}
	return nil
}

// list reads a list, which TOML hands out in two ways.
func (t table) list(key string) []any {
	switch v := t.m[key].(type) {
	case nil:
	case []any:
		return v
	case []map[string]any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		return list
	default:
		t.bad(key, "a list")
	}
	return nil
}

// kind names a value in an error.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return "the string " + quote(v)
	case bool:
		return "the word " + strconv.FormatBool(v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case json.Number:
		return "the number " + v.String()
	case time.Time:
		return "a time"
	case map[string]any:
		return "a table"
	}
	return "a list"
}
