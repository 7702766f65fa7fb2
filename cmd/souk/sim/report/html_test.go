package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/souk-market/souk/cmd/souk/sim/report"
)

// parse draws a page and reads it as a browser does.
func parse(t *testing.T, r *report.Result) *html.Node {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func find(n *html.Node, want func(*html.Node) bool) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && want(d) {
			found = append(found, d)
		}
	}
	return found
}

func is(a atom.Atom) func(*html.Node) bool {
	return func(n *html.Node) bool { return n.DataAtom == a }
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func withID(id string) func(*html.Node) bool {
	return func(n *html.Node) bool { return attr(n, "id") == id }
}

// text is what a person reads of a node, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func one(t *testing.T, doc *html.Node, id string) *html.Node {
	t.Helper()
	found := find(doc, withID(id))
	if len(found) != 1 {
		t.Fatalf("the page has %d elements %q, want 1", len(found), id)
	}
	return found[0]
}

func TestPageSaysAllOfARun(t *testing.T) {
	r := release()
	r.Checks[0].Failed, r.Checks[0].First = 3, "device 41, app 7: 1.0 was offered over 2.0"
	doc := parse(t, r)
	checks := text(one(t, doc, "checked"))
	for _, c := range r.Checks {
		if !strings.Contains(checks, c.Name+" "+c.Sentence) {
			t.Errorf("no check %q in %s", c.Name, checks)
		}
	}
	if !strings.Contains(checks, "12,903 3 device 41, app 7: 1.0 was offered over 2.0") {
		t.Errorf("what failed is not told in %s", checks)
	}
	numbers := text(one(t, doc, "numbers"))
	for _, c := range r.Classes {
		if !strings.Contains(numbers, c.Name) {
			t.Errorf("no class %q in %s", c.Name, numbers)
		}
	}
	for _, f := range r.Figures {
		if !strings.Contains(numbers, f.Name+" "+f.Value) {
			t.Errorf("no figure %q in %s", f.Name, numbers)
		}
	}
	marks := text(one(t, doc, "marks"))
	for _, m := range r.Marks {
		if !strings.Contains(marks, m.At.Format("15:04")+" "+m.What) {
			t.Errorf("no mark %q in %s", m.What, marks)
		}
	}
	head := text(find(doc, is(atom.Header))[0])
	for _, want := range []string{"release-day, phased", "It fails:", "newer (3 of 12,903)", "100,000", "× 1,440", "seed 1", r.Command, "keep-alive", r.Software, r.Machine, "p99.9", "CPU per request", "Signatures", "Shed"} {
		if !strings.Contains(head, want) {
			t.Errorf("the head has no %q: %s", want, head)
		}
	}
}

func TestEachPlotHasATitleACaptionAndATable(t *testing.T) {
	doc := parse(t, release())
	var plots []struct {
		ID    string
		Xs    []float64
		Lines []struct {
			Name string
			Ys   []*float64
		}
	}
	if err := json.Unmarshal([]byte(one(t, doc, "plots").FirstChild.Data), &plots); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range plots {
		ids = append(ids, p.ID)
		figure := one(t, doc, "plot-"+p.ID).Parent
		if figure.DataAtom != atom.Figure {
			t.Fatalf("plot %s stands in <%s>", p.ID, figure.Data)
		}
		if title, caption := find(figure, is(atom.H3)), find(find(figure, is(atom.Figcaption))[0], is(atom.P)); len(title) != 1 || len(caption) != 1 || len(text(caption[0])) < 20 {
			t.Errorf("plot %s has no title or caption", p.ID)
		}
		rows := find(find(figure, is(atom.Tbody))[0], is(atom.Tr))
		columns := find(find(figure, is(atom.Thead))[0], is(atom.Th))
		if len(rows) < 3 || len(rows) > 32 || len(columns) < 2 {
			t.Errorf("the table of %s has %d rows and %d columns", p.ID, len(rows), len(columns))
		}
		table := text(find(figure, is(atom.Table))[0])
		for _, l := range p.Lines {
			if len(l.Ys) != len(p.Xs) {
				t.Errorf("plot %s: %s has %d values for %d places", p.ID, l.Name, len(l.Ys), len(p.Xs))
			}
			if !strings.Contains(table, l.Name) {
				t.Errorf("plot %s: the table knows no %q", p.ID, l.Name)
			}
		}
		if !slices.IsSorted(p.Xs) {
			t.Errorf("plot %s goes back", p.ID)
		}
	}
	if want := []string{"latency", "spectrum", "cpu", "rate", "answers", "rare", "adoption"}; !slices.Equal(ids, want) {
		t.Errorf("plots are %v, want %v", ids, want)
	}
}

// TestHostileTextStaysText has texts of a server under test in every place that takes
// one.
func TestHostileTextStaysText(t *testing.T) {
	r := broken()
	doc := parse(t, r)
	if scripts := find(doc, is(atom.Script)); len(scripts) != 3 {
		t.Errorf("the page has %d scripts, want the data, the library and its own", len(scripts))
	}
	if images := find(doc, is(atom.Img)); len(images) > 0 {
		t.Error("a text became an image")
	}
	for _, n := range find(doc, func(n *html.Node) bool { return true }) {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" {
				t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	seen := text(doc)
	for _, prefix := range []string{"s", "v", "t", "c", "w", "m", "n", "x", "k", "z", "f", "u", "1.0 was offered over 2.0 ", "4 ms "} {
		if !strings.Contains(seen, prefix+`</script><script>alert(1)</script><!--<img src=x onerror=alert(2)> & "quoted"`) {
			t.Errorf("the text with %q before it can't be read as it was", prefix)
		}
	}
	var d report.Document
	if err := json.Unmarshal([]byte(one(t, doc, "json").FirstChild.Data), &d); err != nil {
		t.Fatalf("the data of the page: %v", err)
	}
	if d.Checks[0].First != r.Checks[0].First {
		t.Errorf("the data has %q, want %q", d.Checks[0].First, r.Checks[0].First)
	}
}

func TestPageAsksNobody(t *testing.T) {
	doc := parse(t, release())
	policy := ""
	for _, m := range find(doc, is(atom.Meta)) {
		if attr(m, "http-equiv") == "Content-Security-Policy" {
			policy = attr(m, "content")
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Count(policy, "'sha256-") != 3 {
		t.Errorf("the page's policy is %q", policy)
	}
	if links := find(doc, func(n *html.Node) bool {
		return n.DataAtom == atom.Link || n.DataAtom == atom.Base || n.DataAtom == atom.Iframe
	}); len(links) > 0 {
		t.Errorf("the page has a <%s>", links[0].Data)
	}
}

func TestVerdicts(t *testing.T) {
	ok := []report.Check{{Name: "newer", Looked: 5}}
	for _, c := range []struct {
		name string
		r    report.Result
		want report.Verdict
		says string
	}{
		{"what was looked at holds", report.Result{Checks: ok}, report.Holds, "1 property was looked at, none failed"},
		{"what was not looked at is told", report.Result{Checks: append(ok, report.Check{Name: "halt"})}, report.Holds, "1 more had nothing to look at"},
		{"a run that looked at nothing is void", report.Result{Checks: []report.Check{{Name: "halt"}}}, report.Void, "nothing was checked"},
		{"a run without checks is void", report.Result{}, report.Void, "nothing was checked"},
		{"a generator that was late voids what held", report.Result{Checks: ok, Void: []string{"late"}}, report.Void, "late"},
		{"what failed has failed, though the run is void", report.Result{Checks: []report.Check{{Name: "nonce", Looked: 9, Failed: 1}}, Void: []string{"late"}}, report.Fails, "nonce (1 of 9); beyond that the run is void: late"},
	} {
		got, why := c.r.Verdict()
		if got != c.want || !strings.Contains(why, c.says) {
			t.Errorf("%s: %v, %q; want %v, %q", c.name, got, why, c.want, c.says)
		}
	}
}

// TestPageOfNothing draws what a run that ended at once has: no histogram, no tick,
// numbers that are none.
func TestPageOfNothing(t *testing.T) {
	for name, r := range map[string]*report.Result{
		"an empty run": {},
		"a class without a histogram, a tick without a length": {Classes: []*report.Class{{Name: "404"}}, Ticks: []report.Tick{{}}, Speed: math.Inf(1)},
		"one answer": {
			Answered: 1, Took: time.Nanosecond, Simulated: time.Nanosecond, CPU: 1, Marks: []report.Mark{{}},
			Ticks: []report.Tick{{Answered: 1, Classes: map[string]uint64{"a": 1}}}, Adoption: []report.Adoption{{Open: math.NaN()}},
		},
	} {
		doc := parse(t, r)
		if seen := text(one(t, doc, "numbers")) + text(one(t, doc, "checked")) + text(find(doc, is(atom.Header))[0]); strings.Contains(seen, "NaN") || strings.Contains(seen, "Inf") {
			t.Errorf("%s: a person reads %s", name, seen)
		}
		var b bytes.Buffer
		if err := report.JSON(&b, r); err != nil {
			t.Errorf("%s as JSON: %v", name, err)
		}
		if err := report.Text(&b, r); err != nil {
			t.Errorf("%s as text: %v", name, err)
		}
	}
}

// TestLongRunStaysReadable has more ticks than a screen has pixels: nothing that was
// counted is lost.
func TestLongRunStaysReadable(t *testing.T) {
	r := release()
	one := r.Ticks[3]
	r.Ticks = nil
	for i := range 20_000 {
		one.At = r.Start.Add(time.Duration(i) * time.Second)
		r.Ticks = append(r.Ticks, one)
	}
	var b bytes.Buffer
	if err := report.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	var plots []struct {
		ID    string
		Lines []struct{ Ys []float64 }
	}
	if err := json.Unmarshal([]byte(find(doc, withID("plots"))[0].FirstChild.Data), &plots); err != nil {
		t.Fatal(err)
	}
	for _, p := range plots {
		if n := len(p.Lines[0].Ys); n > 1500 {
			t.Errorf("plot %s has %d points", p.ID, n)
		}
		if p.ID != "rate" {
			continue
		}
		want := float64(one.Offered) / one.Length.Seconds()
		for _, y := range p.Lines[0].Ys {
			if math.Abs(y-want) > want/1000 {
				t.Fatalf("a joined stretch has %v requests a second, want %v", y, want)
			}
		}
	}
}

func TestGrowthPage(t *testing.T) {
	var b bytes.Buffer
	if err := report.GrowthHTML(&b, growth()); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	seen := text(doc)
	for _, want := range []string{"Apps of a device", "12.1 µs at 1, 96.2 µs at 100: × 7.95 for × 100.", "100,000 16.9 µs 1.66 1.19", "8 46 µs – 2.56", "souk bench growth"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if n := len(find(doc, is(atom.Figure))); n != 7 {
		t.Errorf("the page has %d plots, want 2 of each of the four but for the one that has no ratio", n)
	}
}

type full struct{}

var errFull = errors.New("disk is full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestErrorsOfTheDiskAreTold(t *testing.T) {
	for name, write := range map[string]func() error{
		"HTML":   func() error { return report.HTML(full{}, release()) },
		"JSON":   func() error { return report.JSON(full{}, release()) },
		"Text":   func() error { return report.Text(full{}, release()) },
		"Growth": func() error { return report.GrowthHTML(full{}, growth()) },
	} {
		if err := write(); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want the disk's error", name, err)
		}
	}
}
