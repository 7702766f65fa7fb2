package coretest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buildGuest builds a guest of testdata/guests as its author would, with the flags
// that plugins/TOOLCHAINS names.
func buildGuest(t *testing.T, name string) []byte {
	t.Helper()
	recipe, err := os.ReadFile(filepath.Join("..", "..", "plugins", "TOOLCHAINS"))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), name+".wasm")
	args, env := []string{"build"}, os.Environ()
	for line := range strings.Lines(string(recipe)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch value = strings.TrimSpace(value); key {
		case "flags":
			args = append(args, strings.Fields(value)...)
		case "ldflags":
			args = append(args, "-ldflags="+value)
		case "env":
			env = append(env, strings.Fields(value)...)
		}
	}
	cmd := exec.Command("go", append(args, "-o", out, "./testdata/guests/"+name)...)
	cmd.Env = env
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest %s: %v\n%s", name, err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}
