package demo

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheDataOfARealServerIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := Command{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Data: dir, TLS: true, Once: true}
	if err := c.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "name another directory") {
		t.Errorf("the demo in the directory of a real server = %v, want a refusal", err)
	}
	if made, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(made) != 1 {
		t.Errorf("the directory of the real server has %v, %v, want its store alone", made, err)
	}
}

func TestADemoGoesOnWithItsOwnData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := claim(dir); err != nil {
		t.Fatalf("claim of a new directory = %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := claim(dir); err != nil {
		t.Errorf("claim of an earlier demo's directory = %v", err)
	}
}
