// Package c_test runs the tests of the C SDK, which are a program in C.
package c_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestC(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("SOUK_CI") != "" {
			t.Fatal("there is no cc")
		}
		t.Skip("there is no cc")
	}
	program := filepath.Join(t.TempDir(), "test")
	build := exec.Command(cc, "-std=c11", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wno-overlength-strings",
		"-o", program, "tests/test.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
