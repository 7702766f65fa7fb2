package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestBench runs "souk bench" with two servers in processes of their own, for a
// moment only. Whether the machine is quiet enough for its figures is another matter.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	cmd := exec.Command("souk", "bench", "--case", "f", "--rounds", "1", "--slice", "30ms", "--connections", "4", "--families", "40", "--dir", dir, "--json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !strings.Contains(errs.String(), "souk: void: bare fasthttp varied by") {
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
	if err := d.Decode(&rows); err != nil || len(rows) != 1 || rows[0].Case != "f" {
		t.Fatalf("souk bench --json: %v, %+v", err, rows)
	}
	r := rows[0]
	for name, value := range map[string]*float64{"rps": r.RPS, "ratio": r.Ratio, "cpu_us": r.CPU, "cpu_ratio": r.CPURatio, "p99_ms": r.P99} {
		if value == nil || *value <= 0 {
			t.Errorf("%s is not there, or nothing", name)
		}
	}
	for name, value := range map[string]*float64{"guest_calls": r.GuestCalls, "signatures": r.Signatures} {
		if value == nil || *value != 0 {
			t.Errorf("%s is not there, or not 0", name)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("souk bench leaves %v behind, %v", left, err)
	}
}
