package abi_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

// viewer is the view of a question.
type viewer interface {
	Open(b []byte) error
	Fail(err error)
}

var views = map[string]func() viewer{
	"EntitleRequest":       func() viewer { return new(abi.EntitleView) },
	"SelectVersionRequest": func() viewer { return new(abi.SelectVersionView) },
}

// TestViews holds what views say against what readers read: of messages of this version,
// of partners that know more or less, and of those that are damaged.
func TestViews(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	open, closed := 0, 0
	for range 300 {
		for name := range views {
			m := messages[name]()
			randomize(r, reflect.ValueOf(m).Elem())
			b := m.Append(nil)
			if !sameView(t, name, b) {
				t.Fatalf("%s: the view doesn't open %x", name, b)
			}
			sameView(t, name, encode(m, partner{fixed: 8 * r.IntN(4), stride: 8 * r.IntN(4)}))
			for range 30 {
				b := bytes.Clone(b)
				for range 1 + r.IntN(3) {
					b[r.IntN(len(b))] = byte(r.Uint32())
				}
				if sameView(t, name, b[:len(b)-r.IntN(2)]) {
					open++
				} else {
					closed++
				}
			}
		}
	}
	if open == 0 || closed == 0 {
		t.Errorf("of the damaged messages %d were opened and %d were not: want some of both", open, closed)
	}
	var file vectorFile
	read(t, "vectors.json", &file)
	for _, v := range file.Vectors {
		if views[v.Record] == nil {
			continue
		}
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if !sameView(t, v.Record, b) && v.Wrong == "" {
			t.Errorf("%s: the view doesn't open it", v.Name)
		}
	}
}

func FuzzViewEntitleRequest(f *testing.F)       { fuzzView(f, "EntitleRequest") }
func FuzzViewSelectVersionRequest(f *testing.F) { fuzzView(f, "SelectVersionRequest") }

func fuzzView(f *testing.F, record string) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) { sameView(t, record, b) })
}

// sameView says whether the view of a message opens. What is read, it has to open and to
// show just so; what isn't, it may open, but then some text is none, or the whole is more
// than a reader takes.
func sameView(t *testing.T, record string, b []byte) (open bool) {
	t.Helper()
	m, v := messages[record](), views[record]()
	err := m.Read(b)
	if v.Open(b) != nil {
		if err == nil {
			t.Errorf("%s: it is read, and the view doesn't open it: %x", record, b)
		}
		return false
	}
	budget := len(b) // overlapping lists would have elements without end
	shown := show(t, reflect.ValueOf(v), reflect.TypeOf(m).Elem(), &budget)
	switch broken := abi.ViewBroken(v); {
	case err == nil && broken:
		t.Errorf("%s: it is read, and to the view a text is none: %x", record, b)
	case err == nil && !reflect.DeepEqual(shown.Addr().Interface(), any(whatIsShown(m))):
		t.Errorf("%s: the view shows\n%+v, and what is read is\n%+v", record, shown, m)
	case err != nil && !broken && !strings.Contains(err.Error(), "overlap") && !strings.Contains(err.Error(), "add up"):
		t.Errorf("%s: it is not read (%v), and the view finds nothing wrong: %x", record, err, b)
	}
	return true
}

// show makes a record of what the methods of its view return.
func show(t *testing.T, view reflect.Value, record reflect.Type, budget *int) reflect.Value {
	t.Helper()
	r := reflect.New(record).Elem()
	for i := range record.NumField() {
		f := record.Field(i)
		if f.Anonymous {
			r.Field(i).Set(show(t, view, f.Type, budget))
			continue
		}
		method := view.MethodByName(f.Name)
		switch {
		case f.Name == "Zero" || slices.Contains(shape, f.Name):
			if method.IsValid() {
				t.Fatalf("a view shows %s", f.Name)
			}
		case !method.IsValid():
			t.Fatalf("no view shows %s", f.Name)
		case f.Type.Kind() != reflect.Slice:
			r.Field(i).Set(method.Call(nil)[0])
		default:
			n := int(method.Call(nil)[0].Int())
			one := view.MethodByName(strings.TrimSuffix(f.Name, "s"))
			for k := 0; k < n && *budget > 0; k++ {
				*budget--
				element := one.Call([]reflect.Value{reflect.ValueOf(k)})[0]
				if element.Kind() != reflect.String {
					element = show(t, element, f.Type.Elem(), budget)
				}
				r.Field(i).Set(reflect.Append(r.Field(i), element))
			}
			for _, k := range []int{-1, n} {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%s: there are %d, and one more", f.Name, n)
						}
					}()
					one.Call([]reflect.Value{reflect.ValueOf(k)})
				}()
			}
		}
	}
	return r
}

// whatIsShown is a message without what a view has no method for.
func whatIsShown(m message) message {
	withoutShape(m)
	if r, ok := m.(*abi.SelectVersionRequest); ok {
		for i := range r.Apps {
			for k := range r.Apps[i].Candidates {
				r.Apps[i].Candidates[k].Zero = 0
			}
		}
	}
	return m
}

// TestAnswers holds what is answered app by app against the verdict as a whole.
func TestAnswers(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	reasons := []string{"", "open", "not open yet", strings.Repeat("a long one ", 30), "offen für dich"}
	var space []byte
	for range 500 {
		var q abi.SelectVersionRequest
		randomize(r, reflect.ValueOf(&q).Elem())
		want := make([]abi.VersionChoice, len(q.Apps))
		for i := range want {
			want[i] = abi.VersionChoice{Choice: abi.Choice(r.Int32()), Code: r.Uint32(), Reason: reasons[r.IntN(len(reasons))]}
			if r.IntN(2) == 0 {
				want[i].Reason = strings.Clone(want[i].Reason) // the same words elsewhere
			}
		}
		var v abi.SelectVersionView
		if err := v.Open(q.Append(nil)); err != nil {
			t.Fatal(err)
		}
		i := 0
		answer := func(q *abi.SelectVersionView, app abi.SelectVersionAppView) abi.VersionChoice {
			if app != q.App(i) {
				t.Errorf("app %d is asked about out of turn", i)
			}
			i++
			return want[i-1]
		}
		b, err := v.Answer(space, answer)
		if err != nil {
			t.Fatal(err)
		}
		var got abi.SelectVersionVerdict
		if err := got.Read(b); err != nil {
			t.Fatalf("%v: %x", err, b)
		}
		if len(got.Items) != len(want) || len(want) > 0 && !reflect.DeepEqual(got.Items, want) {
			t.Fatalf("answered are\n%+v, want\n%+v", got.Items, want)
		}
		if got.Minor != abi.Minor {
			t.Fatalf("the answer's minor is %d, want %d", got.Minor, abi.Minor)
		}
		space = b
	}
}

// TestFailedAnswers holds that one app's failure is the whole question's, and that the
// first one is told.
func TestFailedAnswers(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	q := abi.EntitleRequest{Apps: []abi.EntitleApp{{Item: 1}, {Item: 2}, {Item: 3}}}
	decide := func(q *abi.EntitleView, app abi.EntitleAppView) abi.EntitleDecision {
		switch app.Item() {
		case 2:
			q.Fail(first)
		case 3:
			q.Fail(second)
		}
		return abi.EntitleDecision{Decision: abi.Allow}
	}
	if items, err := q.Each(decide); err != first || items != nil {
		t.Errorf("Each = %v, %v, want the first error and no items", items, err)
	}
	asked := 0
	if _, err := q.Each(func(q *abi.EntitleView, _ abi.EntitleAppView) abi.EntitleDecision {
		asked++
		q.Fail(nil)
		return abi.EntitleDecision{}
	}); err == nil || asked != 1 {
		t.Errorf("Each = %v after %d apps, want an error after the first", err, asked)
	}
	q.Apps = q.Apps[:1]
	if items, err := q.Each(decide); err != nil || len(items) != 1 || items[0].Decision != abi.Allow {
		t.Errorf("Each = %v, %v, want the app allowed", items, err)
	}
}

// TestHasGrant asks for grants in turn, about each app.
func TestHasGrant(t *testing.T) {
	q := abi.EntitleRequest{Head: abi.Head{Grants: []string{"sub:plus", "", "role:tester"}}, Apps: make([]abi.EntitleApp, 3)}
	for range 2 {
		items, err := q.Each(func(v *abi.EntitleView, _ abi.EntitleAppView) abi.EntitleDecision {
			for _, grant := range []string{"sub:plus", "sub:plu", "sub:plus", "", "role:tester", "role:tester", "nothing"} {
				if got, want := v.HasGrant(grant), slices.Contains(q.Grants, grant); got != want {
					t.Errorf("HasGrant(%q) = %t of %q", grant, got, q.Grants)
				}
			}
			return abi.EntitleDecision{}
		})
		if err != nil || len(items) != 3 {
			t.Errorf("%d items, %v", len(items), err)
		}
		q.Grants = nil // of the next question nothing is remembered
	}
	var v abi.EntitleView
	for i, grants := range [][]string{{"a"}, {"b"}, nil, {"a"}} {
		r := abi.EntitleRequest{Head: abi.Head{Grants: grants}}
		if err := v.Open(r.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if got, want := v.HasGrant("a"), slices.Contains(grants, "a"); got != want {
			t.Errorf("question %d: HasGrant = %t of %q", i, got, grants)
		}
	}
}
