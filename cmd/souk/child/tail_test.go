package child_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/souk-market/souk/cmd/souk/child"
)

func TestTail(t *testing.T) {
	var log child.Tail
	if got := log.Text(); got != "" {
		t.Errorf("a child that said nothing said %q", got)
	}
	for i := range 10_000 {
		fmt.Fprintf(&log, "line %d\n", i)
	}
	got := log.Text()
	if len(got) > child.TailSize+1 || !strings.HasSuffix(got, "line 9998\nline 9999") {
		t.Errorf("of much output %d bytes are kept, at the end %q", len(got), got[len(got)-20:])
	}
}
