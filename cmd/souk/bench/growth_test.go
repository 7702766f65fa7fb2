package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each series begins small, and all of it is played by stages that a child knows.
func TestGrowthPoints(t *testing.T) {
	var got []string
	_, f := signer(t, 4096)
	for _, p := range growthPoints() {
		got = append(got, fmt.Sprintf("%s %d", p.series, p.at))
		c := p.stage.cases[0]
		if s, err := stageNamed(p.stage.name); err != nil || len(s.plugins) != len(p.stage.plugins) || seriesGrow[p.series] == "" || c.guestCalls != float64(len(s.plugins)) {
			t.Errorf("%s %d: stage %s: %v, %v", p.series, p.at, p.stage.name, s, err)
		}
		f.Items = p.items
		if p.items > 1000 {
			f.Items = 1000
		}
		clients, err := c.clients(f, "host", c.connections)
		if err != nil || len(clients) != c.connections {
			t.Errorf("%s %d: %d clients, %v", p.series, p.at, len(clients), err)
		}
	}
	want := "apps 1, apps 10, apps 100, items 100, items 1000, items 10000, items 100000, plugins 1, plugins 2, plugins 4, plugins 8, connections 64, connections 256, connections 1024, connections 4096"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("the points are %s, want %s", s, want)
	}
	if got := fmt.Sprint(catalogues(growthPoints())); got != "[20000 100 1000 10000 100000]" {
		t.Errorf("the catalogues are %s", got)
	}
}

func TestGrowthFlags(t *testing.T) {
	good := Growth{Rounds: 3, Slice: time.Second, Families: 8192}
	for want, change := range map[string]func(*Growth){
		"":                      func(c *Growth) {},
		"no series \"threads\"": func(c *Growth) { c.Series = []string{"apps", "threads"} },
		"--most":                func(c *Growth) { c.Series, c.Most = []string{"connections"}, 63 },
		"--rounds":              func(c *Growth) { c.Rounds = 0 },
		"--families":            func(c *Growth) { c.Families = 0 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Validate = %v, want a sentence about %q", err, want)
		}
	}
	c := good
	c.Series, c.Most = []string{"plugins", "apps"}, 4
	got := ""
	for _, p := range c.chosen() {
		got += fmt.Sprintf("%s %d ", p.series, p.at)
	}
	if got != "apps 1 plugins 1 plugins 2 plugins 4 " {
		t.Errorf("chosen: %s", got)
	}
}

func TestPrintGrowth(t *testing.T) {
	steady := []int{1000, 1000, 1000}
	p := &point{series: "apps", at: 10, result: &result{pairs: pairsOf(steady, []int{500, 500, 500}), counted: counters{guestCalls: 2}}}
	var out bytes.Buffer
	if err := printGrowthJSON(&out, []*point{p}); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("as JSON: %v\n%s", err, &out)
	}
	want := map[string]any{"series": "apps", "at": 10.0, "ratio": 0.5, "cpu_us": 1000.0, "bare_cpu_us": 500.0, "cpu_ratio": 2.0, "guest_calls": 2.0}
	if fmt.Sprint(rows[0]) != fmt.Sprint(want) {
		t.Errorf("as JSON: %v, want %v", rows[0], want)
	}
	c := Growth{Rounds: 3, Slice: time.Second, Families: 8192, Report: filepath.Join(t.TempDir(), "growth.html")}
	if err := c.report([]*point{p, {series: "apps", at: 100, result: p.result}, {series: "plugins", at: 1, result: p.result}}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(c.Report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<!doctype html>", "souk bench growth --rounds 3 --slice 1s --families 8192", "Apps of a device", "Plugins that each check asks"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(string(page), "Connections at a time") {
		t.Error("the page has a series that was not measured")
	}
	if c.Report = filepath.Join(t.TempDir(), "nowhere", "growth.html"); c.report(nil) == nil {
		t.Error("a page is written where there is no directory")
	}
	out.Reset()
	if err := printGrowth(&out, []*point{p}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"apps of a device", "1000.0 µs", "500.0 µs", "2.00 ×", "0.500"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("as a table:\n%s\nwant %q", &out, want)
		}
	}
}
