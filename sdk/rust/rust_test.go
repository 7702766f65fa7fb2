// Package rust_test runs the tests of the Rust SDK without cargo: it has no
// dependencies.
package rust_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// rustc is the compiler of the system before any other, as in sdk/TOOLCHAINS.
func rustc(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/rustc", "rustc"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("SOUK_CI") != "" {
		t.Fatal("there is no rustc")
	}
	t.Skip("there is no rustc")
	return ""
}

func TestRust(t *testing.T) {
	rustc, dir := rustc(t), t.TempDir()
	lib, test := filepath.Join(dir, "libsouk.rlib"), filepath.Join(dir, "test")
	for _, args := range [][]string{
		{rustc, "--edition", "2021", "-D", "warnings", "--crate-type", "rlib", "--crate-name", "souk", "-o", lib, "src/lib.rs"},
		{rustc, "--edition", "2021", "-D", "warnings", "--test", "--extern", "souk=" + lib, "-o", test, "tests/sdk.rs"},
		{test},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
