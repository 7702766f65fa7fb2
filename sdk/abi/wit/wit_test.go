// Package wit_test has sdk/souk.wit read by the tools of those who made the
// language.
package wit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

// parse makes a component of a WIT file and returns its world as the parser
// understood it.
func parse(t *testing.T, file string) (world string, err error) {
	t.Helper()
	out, err := exec.Command("node", "check.js", file, "plugin").CombinedOutput()
	return string(out), err
}

func TestWIT(t *testing.T) {
	missing := t.Skip
	if os.Getenv("SOUK_CI") != "" {
		missing = t.Fatal
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("there is no node")
	}
	if _, err := os.Stat("node_modules/@bytecodealliance/jco-transpile"); err != nil {
		missing("there is no parser: run npm ci in sdk/abi/wit")
	}
	world, err := parse(t, "../../souk.wit")
	if err != nil {
		t.Fatalf("%v\n%s", err, world)
	}
	for _, want := range []string{"import souk:plugin/host@1.0.0;", "export configure: func("} {
		if !strings.Contains(world, want) {
			t.Errorf("the world has no %q:\n%s", want, world)
		}
	}
	for _, h := range abi.Hooks {
		if name := strings.ReplaceAll(h.String(), "_", "-"); !strings.Contains(world, "export "+name+": func(request: "+name+"-request)") {
			t.Errorf("the world doesn't export %s:\n%s", name, world)
		}
	}

	// A function that takes what nobody declared is a mistake that only a parser sees.
	good, err := os.ReadFile("../../souk.wit")
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "souk.wit")
	if err := os.WriteFile(bad, []byte(strings.Replace(string(good), "value: s64)", "value: number)", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := parse(t, bad); err == nil || !strings.Contains(said, "number") {
		t.Errorf("a wrong type is read as\n%s", said)
	}
}
