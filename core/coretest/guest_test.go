package coretest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/souk-market/souk/sdk/toolchain"
)

// buildGuest builds a guest of testdata/guests as the shipped plugins in Go are.
func buildGuest(t *testing.T, name string) []byte {
	t.Helper()
	const root = "../.."
	chains, err := toolchain.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), name+".wasm")
	for _, c := range chains {
		if c.Language != "go" {
			continue
		}
		if err := c.Build(root, "core/coretest/testdata/guests/"+name+"/main.go", out); err != nil {
			t.Fatalf("build the guest %s: %v", name, err)
		}
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}
