package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type benchCase struct {
	name                   string
	guestCalls, signatures float64
}

// benchCases are all, in the order in which they are printed, with the guest calls and
// signatures of a request.
var benchCases = []benchCase{
	{"a", 0, 0}, {"b", 0, 0.1}, {"c", 0, 1}, {"c'", 0, 0}, {"d", 0, 5},
	{"e-go", 1, 0}, {"e-rust", 1, 0}, {"e-assemblyscript", 1, 0}, {"e-c", 1, 0}, {"f", 0, 0}, {"g", 0, 0},
}

// restless is what the command says where the machine is not quiet enough for figures.
const restless = "souk: void: bare fasthttp varied by"

// TestBench runs all cases with servers in processes of their own, for a moment only.
// Whether the machine is quiet enough for their figures is another matter. Under the
// race detector the guest in Go alone would take most of a minute to compile.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	args := []string{"bench", "--rounds", "1", "--slice", "20ms", "--connections", "4", "--items", "400", "--families", "120", "--dir", dir, "--json"}
	want := slices.Clone(benchCases)
	if raceDetector {
		want = slices.DeleteFunc(want, func(c benchCase) bool { return c.name == "e-go" })
		for _, c := range want {
			args = append(args, "--case", c.name)
		}
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("souk", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !strings.HasPrefix(errs.String(), restless) {
		t.Fatalf("souk bench: %v\n%s", err, &errs)
	}
	var rows []struct {
		Case       string
		RPS, Ratio *float64
		CPU        *float64 `json:"cpu_us"`
		CPURatio   *float64 `json:"cpu_ratio"`
		P99        *float64 `json:"p99_ms"`
		GuestCalls *float64 `json:"guest_calls"`
		Signatures *float64
	}
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&rows); err != nil || len(rows) != len(want) {
		t.Fatalf("souk bench --json: %v, %+v", err, rows)
	}
	for i, r := range rows {
		if r.Case != want[i].name {
			t.Errorf("case %d is %s, want %s", i, r.Case, want[i].name)
		}
		for name, value := range map[string]*float64{"rps": r.RPS, "ratio": r.Ratio, "cpu_us": r.CPU, "cpu_ratio": r.CPURatio, "p99_ms": r.P99} {
			if value == nil || *value <= 0 {
				t.Errorf("%s: %s is not there, or nothing", r.Case, name)
			}
		}
		for name, v := range map[string]struct {
			have *float64
			want float64
		}{"guest_calls": {r.GuestCalls, want[i].guestCalls}, "signatures": {r.Signatures, want[i].signatures}} {
			if v.have == nil || math.Abs(*v.have-v.want) > 0.05*v.want {
				t.Errorf("%s: %s is not there, or not %v", r.Case, name, v.want)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("souk bench leaves %v behind, %v", left, err)
	}
}

// TestBenchGrowth runs one point of what grows.
func TestBenchGrowth(t *testing.T) {
	var out, errs bytes.Buffer
	cmd := exec.Command("souk", "bench", "growth", "--series", "items", "--most", "100", "--rounds", "1", "--slice", "20ms", "--families", "64", "--dir", t.TempDir(), "--json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !strings.HasPrefix(errs.String(), restless) {
		t.Fatalf("souk bench growth: %v\n%s", err, &errs)
	}
	var rows []struct {
		Series   string
		At       int
		Ratio    float64
		CPU      float64 `json:"cpu_us"`
		Bare     float64 `json:"bare_cpu_us"`
		CPURatio float64 `json:"cpu_ratio"`
		Guests   float64 `json:"guest_calls"`
	}
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("souk bench growth --json: %v, %s", err, &out)
	}
	if r := rows[0]; r.Series != "items" || r.At != 100 || r.Ratio <= 0 || r.CPU <= 0 || r.Bare <= 0 || r.CPURatio <= 0 || r.Guests != 0 {
		t.Errorf("the point is %+v, want items 100 with figures", r)
	}
}
