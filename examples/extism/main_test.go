package main

import (
	"testing"

	"github.com/souk-market/souk/core/plugin/bench"
)

// least is how many times longer extism takes, at least: half of what was the least
// on a machine that others use too.
const least = 10

// TestExtism asks both hosts in one run. That they answer the same is checked by
// compare itself.
func TestExtism(t *testing.T) {
	rows, err := compare(t.Context(), bench.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 {
		t.Errorf("%d questions, want 4", len(rows))
	}
	for _, r := range rows {
		t.Logf("%s: %.0f ×, with a deadline %.0f ×", r.question, r.ratio(), r.limitedRatio())
		if r.ratio() < least || r.limitedRatio() < least {
			t.Errorf("%s: souk takes %.0f ns, extism %.0f and with a deadline %.0f: less than %d ×",
				r.question, r.souk.Min, r.extism.Min, r.limited.Min, least)
		}
	}
}
