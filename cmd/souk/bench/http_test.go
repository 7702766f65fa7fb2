package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	steady := []int{1000, 1000, 1000}
	calls := httpCase{name: "x", least: 0.5, guestCalls: 1, signatures: 0.1}
	costs := httpCase{name: "x", most: 2}
	none := httpCase{name: "x", least: 0.5}
	for _, test := range []struct {
		name    string
		command HTTP
		result  result
		want    string // part of the error; empty = none
	}{
		{"all is well", HTTP{Check: true, Slack: 1}, result{httpCase: none, pairs: pairsOf(steady, []int{500, 500, 500})}, ""},
		{"too slow", HTTP{Check: true, Slack: 1}, result{httpCase: none, pairs: pairsOf(steady, []int{499, 499, 499})}, "case x: 0.499 of bare fasthttp, and at least 0.5 is wanted"},
		{"too slow, and nobody asks", HTTP{Slack: 1}, result{httpCase: none, pairs: pairsOf(steady, []int{1, 1, 1})}, ""},
		{"within the slack", HTTP{Check: true, Slack: 1.25}, result{httpCase: none, pairs: pairsOf(steady, []int{400, 400, 400})}, ""},
		{"beyond the slack", HTTP{Check: true, Slack: 1.25}, result{httpCase: none, pairs: pairsOf(steady, []int{399, 399, 399})}, "at least 0.4"},
		{"cheap enough", HTTP{Check: true, Slack: 1}, result{httpCase: costs, pairs: pairsOf(steady, []int{500, 500, 500})}, ""},
		{"too dear", HTTP{Check: true, Slack: 1}, result{httpCase: costs, pairs: pairsOf(steady, []int{400, 400, 400})}, "case x: 2.50 times the processor time of bare fasthttp, and at most 2 is wanted"},
		{"too dear, within the slack", HTTP{Check: true, Slack: 1.25}, result{httpCase: costs, pairs: pairsOf(steady, []int{400, 400, 400})}, ""},
		{"too dear, and nobody asks", HTTP{Slack: 1}, result{httpCase: costs, pairs: pairsOf(steady, []int{1, 1, 1})}, ""},
		{"void", HTTP{Slack: 1}, result{httpCase: none, pairs: pairsOf([]int{500, 1000, 1500}, steady)}, "void: bare fasthttp varied by 100 % beside case x"},
		{"void by processor time", HTTP{Slack: 1}, result{httpCase: httpCase{name: "x", byCPU: true}, pairs: pairsOf([]int{500, 1000, 1500}, steady)}, "void: the processor time of bare fasthttp varied by 133 % beside case x"},
		{"void says nothing of the ratio", HTTP{Check: true, Slack: 1}, result{httpCase: none, pairs: pairsOf([]int{5000, 10000, 15000}, []int{1, 1, 1})}, "void"},
		{"as claimed", HTTP{Slack: 1}, result{httpCase: calls, pairs: pairsOf(steady, steady), counted: counters{1, 0.101}, requests: 1e6, connections: 4}, ""},
		{"a connection ended within a round", HTTP{Slack: 1}, result{httpCase: calls, pairs: pairsOf(steady, steady), counted: counters{1, 0.11}, requests: 400, connections: 4}, ""},
		{"more than that", HTTP{Slack: 1}, result{httpCase: calls, pairs: pairsOf(steady, steady), counted: counters{1, 0.12}, requests: 400, connections: 4}, "and not 1 and 0.1"},
		{"no guest was asked", HTTP{Slack: 1}, result{httpCase: calls, pairs: pairsOf(steady, steady), counted: counters{0, 0.1}, requests: 1e6, connections: 4}, "counted 0 guest calls and 0.1 signatures a request, and not 1 and 0.1"},
		{"a guest was asked", HTTP{Slack: 1}, result{httpCase: none, pairs: pairsOf(steady, steady), counted: counters{0.001, 0}, requests: 400, connections: 4}, "counted 0.001 guest calls"},
		{"something was signed", HTTP{Slack: 1}, result{httpCase: none, pairs: pairsOf(steady, steady), counted: counters{0, 1e-6}, requests: 400, connections: 4}, "1e-06 signatures"},
	} {
		err := test.command.verdict([]*result{&test.result})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: verdict = %v, want %q", test.name, err, test.want)
		}
		if test.name == "void says nothing of the ratio" && err != nil && strings.Contains(err.Error(), "wanted") {
			t.Errorf("%s: verdict = %v", test.name, err)
		}
	}
}

// Each case may have half of the time that those after it don't need.
func TestPatience(t *testing.T) {
	for _, test := range []struct{ left, later, takes, want time.Duration }{
		{20 * time.Second, 6 * time.Second, 2 * time.Second, 9 * time.Second}, // 4 s are for others: 14 s to spare
		{8 * time.Second, 6 * time.Second, 2 * time.Second, 3 * time.Second},
		{time.Second, 6 * time.Second, 2 * time.Second, 2 * time.Second}, // late already
	} {
		p := &patience{until: time.Now().Add(test.left), later: test.later}
		got := time.Until(p.begin(test.takes))
		if got > test.want || got < test.want-time.Second/2 {
			t.Errorf("with %v left and %v for cases of %v: %v, want %v", test.left, test.later, test.takes, got, test.want)
		}
		if p.later != test.later-test.takes {
			t.Errorf("the cases after it have %v, want %v", p.later, test.later-test.takes)
		}
	}
}

func TestPrint(t *testing.T) {
	r := &result{
		httpCase: httpCase{name: "x", does: "does a thing"}, pairs: pairsOf([]int{1000, 1000, 1000}, []int{250, 250, 250}),
		p99: 7500 * time.Microsecond, bareP99: time.Millisecond, counted: counters{1, 0.1}, connections: 64,
	}
	var out bytes.Buffer
	resumed := *r
	resumed.name, resumed.beside, resumed.restless = "x-resumed", true, 7
	if err := printJSON(&out, []*result{r, &resumed}); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("as JSON: %v\n%s", err, &out)
	}
	want := map[string]any{
		"case": "x", "rps": 250.0, "ratio": 0.25, "cpu_us": 2000.0, "cpu_ratio": 4.0, "p99_ms": 7.5, "guest_calls": 1.0, "signatures": 0.1,
	}
	if fmt.Sprint(rows[0]) != fmt.Sprint(want) {
		t.Errorf("as JSON: %v, want %v", rows[0], want)
	}
	out.Reset()
	if err := printTable(&out, []*result{r, &resumed}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.250", "4.00 ×", "7.5 ms", "does a thing", "3 slices of each, 64 connections; bare varied by 0 %; a request took its client 1000.0 µs", "x-resumed", "3 slices of each after 7 restless ones, 64"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("as a table:\n%s\nwant %q", &out, want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := HTTP{Rounds: 3, Slice: time.Second, Connections: 8, Items: 100, Families: 64, Slack: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*HTTP){
		"--rounds":      func(c *HTTP) { c.Rounds = 0 },
		"--slice":       func(c *HTTP) { c.Slice = 0 },
		"--connections": func(c *HTTP) { c.Connections = -1 },
		"--items":       func(c *HTTP) { c.Items = 99 },
		"--families":    func(c *HTTP) { c.Families = 7 },
		"--patience":    func(c *HTTP) { c.Patience = -1 },
		"--slack":       func(c *HTTP) { c.Slack = 0.5 },
		"no case \"z\"": func(c *HTTP) { c.Case = []string{"f", "z"} },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want a sentence about %s", err, want)
		}
	}
}

// Every case has a name of its own, a sentence, a place and a target, and is played
// with as many connections as it says.
func TestCases(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range stages {
		if got, err := stageNamed(s.name); err != nil || got != s || len(s.cases) == 0 {
			t.Errorf("stage %q is not to be found, or has no cases", s.name)
		}
		for _, c := range s.cases {
			if seen[c.name] || c.place() < 0 || c.does == "" || (c.least <= 0) != c.beside || c.clients == nil || c.connections == 0 || c.way.tls != s.tls || (c.after == nil) != (c.signatures == 0 && c.before == nil) {
				t.Errorf("case %q of stage %s lacks something, or is there twice", c.name, s.name)
			}
			seen[c.name] = true
		}
	}
	if len(seen) != len(caseOrder) {
		t.Errorf("there are %d cases, and places for %d", len(seen), len(caseOrder))
	}
	if _, err := stageNamed("nowhere"); err == nil {
		t.Error("there is a stage called nowhere")
	}
	for name := range seen {
		got, err := chosen([]string{name})
		if err != nil || len(got) != 1 || len(got[0].cases) != 1 || got[0].cases[0].name != name {
			t.Errorf("chosen(%q) = %v, %v", name, got, err)
		}
	}
}

func TestCounters(t *testing.T) {
	for _, test := range []struct {
		text string
		want counters
		err  string
	}{
		{text: "souk_install_tokens_signed_total 0\n"},
		{
			text: "# HELP souk_plugin_calls_total Questions.\n" +
				`souk_plugin_calls_total{hook="entitle",plugin="a b"} 3` + "\n" + `souk_plugin_calls_total{hook="sign_in",plugin="a b"} 1.5e+06` + "\n" +
				`souk_plugin_calls_total_other{plugin="a"} 7` + "\nsouk_install_tokens_signed_total 12\n",
			want: counters{1_500_003, 12},
		},
		{text: `souk_plugin_calls_total{hook="entitle"} 3`, err: "souk_install_tokens_signed_total is not there"},
		{text: "souk_install_tokens_signed_total many\n", err: "invalid syntax"},
	} {
		got, err := parseCounters(strings.NewReader(test.text))
		if test.err == "" && (err != nil || got != test.want) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("parseCounters = %v, %v, want %v, %q of\n%s", got, err, test.want, test.err, test.text)
		}
	}
}
