package cases

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// answer is what a plugin said about one app, or about the one question of sign_in
// and exchange: the texts of its fields by the names that an expectation has them
// under. Its head is the field that matters most.
type answer struct {
	fields  map[string]string
	failure *plugin.Failure
	fuel    uint64
}

// String writes the fields that aren't empty.
func (a *answer) String(f form) string {
	if a.failure != nil {
		return fmt.Sprintf("failed (%v: %s)", a.failure.Kind, a.failure.Reason)
	}
	var parts []string
	for _, field := range f.fields {
		switch text := a.fields[field]; {
		case text == "":
		case field == f.head || field == "index" || field == "version" || field == "code":
			parts = append(parts, field+" "+text)
		default:
			parts = append(parts, fmt.Sprintf("%s %q", field, text))
		}
	}
	return strings.Join(parts, ", ")
}

// form says how the answers of a hook are written and expected.
type form struct {
	head   string   // the field that `expect = "…"` is about
	words  []string // its values
	fields []string // all
}

var forms = map[abi.Hook]form{
	abi.HookEntitle:       {"decision", []string{"allow", "deny", "abstain"}, []string{"decision", "code", "reason"}},
	abi.HookSelectVersion: {"choice", []string{"hold", "abstain", "unavailable"}, []string{"choice", "index", "version", "code", "reason"}},
	abi.HookSignIn: {"outcome", []string{"abstain", "page", "signed in", "refused", "redirect"}, []string{
		"outcome", "account", "display_name", "territory", "title", "message", "html", "location", "state", "fields", "grants",
	}},
	abi.HookExchange: {"outcome", []string{"abstain", "accepted", "refused"}, []string{"outcome", "account", "reason"}},
}

// The expectations that every hook has beside its fields.
const (
	keyFailure = "failure"
	keyMaxFuel = "max_fuel"
	contains   = "_contains"
	anyFailure = "any"
)

// expectation is what one answer has to be.
type expectation struct {
	is      []want // in the order of the form
	has     []want // texts that are part of a field
	failure string // the kind, "any", or "" = it answers
	because string // a part of the failure's reason
	maxFuel uint64 // of the question; 0 = the plugin's own limit
}

type want struct{ field, text string }

// expectations reads `expect`: a word for each app, or a table, or a list of them.
func (t table) expectations(q *question, v any) []expectation {
	f := forms[q.hook]
	if v == nil {
		t.d.fail(t.path, "expect", "is missing: say what the answer has to be, like expect = %q", f.words[0])
		return nil
	}
	all := []any{v}
	switch v := v.(type) {
	case []any:
		all = v
	case []map[string]any:
		all = nil
		for _, e := range v {
			all = append(all, e)
		}
	}
	if len(all) != q.apps() {
		t.d.fail(t.path, "expect", "has %d answers, but the question is about %d apps: write one for each, in their order", len(all), q.apps())
		return nil
	}
	var expected []expectation
	for i, v := range all {
		path := join(t.path, "expect")
		if len(all) > 1 {
			path += fmt.Sprintf("[%d]", i)
		}
		if head, ok := v.(string); ok {
			v = map[string]any{f.head: head}
		}
		expected = append(expected, t.d.expectation(path, f, q, i, v))
	}
	return expected
}

func (d *document) expectation(path string, f form, q *question, app int, v any) expectation {
	keys := append(slices.Clone(f.fields), keyFailure, keyFailure+contains, keyMaxFuel)
	for _, field := range f.fields {
		keys = append(keys, field+contains) // a part of the text
	}
	t := table{d, path, d.tableOf(path, "", v)}
	for _, key := range sortedKeys(t.m) {
		if !slices.Contains(keys, key) {
			d.fail(path, key, "there is no such key: %s", instead(key, keys))
		}
	}
	e := expectation{
		failure: t.text(keyFailure, ""), because: t.text(keyFailure+contains, ""), maxFuel: t.number(keyMaxFuel, 1<<40, 0),
	}
	if e.failure == "" && e.because != "" {
		e.failure = anyFailure
	}
	kinds := append(plugin.KindNames(), anyFailure)
	if e.failure != "" && !slices.Contains(kinds, e.failure) {
		t.bad(keyFailure, "one of "+list(kinds))
	}
	for _, field := range f.fields {
		if text, ok := t.expected(field); ok {
			e.is = append(e.is, want{field, text})
		}
		if text := t.text(field+contains, ""); text != "" {
			e.has = append(e.has, want{field, text})
		}
	}
	switch {
	case d.err != nil:
	case len(e.is)+len(e.has) == 0 && e.failure == "":
		d.fail(path, "", "expects nothing: write %s", f.head)
	case e.failure != "" && len(e.is)+len(e.has) > 0:
		d.fail(path, keyFailure, "stands beside %s: a plugin that fails gives no answer", append(e.is, e.has...)[0].field)
	}
	d.checkHead(path, f, q, app, e)
	return e
}

// expected reads the text of a field: names and codes may stand without quotes.
func (t table) expected(key string) (string, bool) {
	switch v := t.m[key].(type) {
	case nil:
		return "", false
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case []any:
		return strings.Join(t.texts(key), ", "), true
	}
	t.bad(key, "a text in quotes, a number or a list of texts")
	return "", false
}

// checkHead refuses what no answer can be: it is a slip.
func (d *document) checkHead(path string, f form, q *question, app int, e expectation) {
	possible := f.words
	if q.hook == abi.HookSelectVersion {
		for _, c := range q.selection[app].Candidates {
			possible = append(slices.Clip(possible), c.Short)
		}
	}
	for _, w := range e.is {
		if w.field == f.head && !slices.Contains(possible, w.text) {
			d.fail(path, w.field, "%q is no possible answer here: %s are", w.text, list(possible))
		}
	}
}

// compare says how an answer differs from what is expected; nothing = it doesn't.
func (e *expectation) compare(f form, a *answer) []string {
	if a.failure != nil {
		failed := a.String(f)
		switch {
		case e.failure == "":
			return []string{failed + e.wanted(f)}
		case e.failure != anyFailure && e.failure != a.failure.Kind.String():
			return []string{failed + ", want " + e.failure}
		}
		if !strings.Contains(a.failure.Reason, e.because) {
			return []string{fmt.Sprintf("%s, want %q in the reason", failed, e.because)}
		}
		return nil
	}
	if e.failure != "" {
		return []string{fmt.Sprintf("%s %s, want a failure (%s)", f.head, a.fields[f.head], e.failure)}
	}
	var differences []string
	for _, w := range e.is {
		have := a.fields[w.field]
		if have == w.text {
			continue
		}
		if w.field == f.head {
			// The other fields are those of another answer.
			return []string{fmt.Sprintf("%s %s%s, want %s", w.field, have, excuse(a), w.text)}
		}
		differences = append(differences, fmt.Sprintf("%s %q, want %q", w.field, have, w.text))
	}
	for _, w := range e.has {
		if have := a.fields[w.field]; !strings.Contains(have, w.text) {
			differences = append(differences, fmt.Sprintf("%s %q, want %q in it", w.field, have, w.text))
		}
	}
	if e.maxFuel > 0 && a.fuel > e.maxFuel {
		differences = append(differences, fmt.Sprintf("fuel %d, want %d at most", a.fuel, e.maxFuel))
	}
	return differences
}

// wanted is the head of what was expected.
func (e *expectation) wanted(f form) string {
	for _, w := range e.is {
		if w.field == f.head {
			return ", want " + w.text
		}
	}
	return ", want an answer"
}

// excuse adds what the plugin itself says about a surprising answer.
func excuse(a *answer) string {
	for _, field := range []string{"reason", "message"} {
		if text := a.fields[field]; text != "" {
			return fmt.Sprintf(" (%q)", text)
		}
	}
	return ""
}
