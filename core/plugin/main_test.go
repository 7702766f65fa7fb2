package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// scratch is for what the tests share: built guests and compiled code.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "souk-plugin-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(scratch)
	os.Exit(status)
}

var (
	plainGuest = sync.OnceValues(func() ([]byte, error) { return buildGuest("plain") })
	fullGuest  = sync.OnceValues(func() ([]byte, error) { return buildGuest("full") })
)

// buildGuest builds a Go guest as authors do.
func buildGuest(name string) ([]byte, error) {
	out := filepath.Join(scratch, name+".wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared",
		"-ldflags=-s -w -buildid=", "-o", out, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build guest %s: %w\n%s", name, err, text)
	}
	return os.ReadFile(out)
}

func goGuest(t testing.TB, get func() ([]byte, error)) []byte {
	t.Helper()
	wasm, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}
