package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// This program is a child that fails, where it is started as one.
func init() {
	if len(os.Args) > 3 && os.Args[1] == "bench" && os.Args[2] == "child" {
		fmt.Fprintln(os.Stderr, "souk: the disk is gone")
		os.Exit(3)
	}
}

// What a child has said on its way out is what the command says.
func TestAChildThatEnds(t *testing.T) {
	if _, err := startServer(t.Context(), roleSouk, "--stage", "refresh"); err == nil ||
		!strings.Contains(err.Error(), "the child souk: exit status 3") || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("startServer = %v", err)
	}
	if _, err := startFill(t.Context(), t.TempDir(), 1, 1); err == nil ||
		!strings.Contains(err.Error(), "the child fill: exit status 3") || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("startFill = %v", err)
	}
}
