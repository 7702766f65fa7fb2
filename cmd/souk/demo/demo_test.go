package demo

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestWalk runs what `souk demo --once` runs, and looks at every line.
func TestWalk(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c := Command{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Data: t.TempDir(), TLS: tls, Once: true, JSON: true}
			if err := c.run(t.Context(), &out); err != nil {
				t.Errorf("the walk: %v", err)
			}
			events := map[string]int{}
			for line := range strings.Lines(out.String()) {
				var e struct {
					Event, Text, Error string
					Held               bool
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%q is no JSON: %v", line, err)
				}
				events[e.Event]++
				if e.Event == "step" && !e.Held {
					t.Errorf("%s: %s", e.Text, e.Error)
				}
			}
			if events["journey"] != 5 || events["step"] < 15 || events["summary"] != 1 {
				t.Errorf("the walk had %v, want 5 journeys with at least 15 steps and a summary", events)
			}
		})
	}
}
