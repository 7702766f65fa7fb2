package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
)

// stage is a server with its configuration. The cases that are played on it share one
// process. All stages of a run share one store, one after the other.
type stage struct {
	name      string
	configure func(*core.Config) // beyond the defaults; nil = nothing
	plugins   []plugin.Spec
	tls       bool // with a certificate that is made for the run; so has the bare handler
	cases     []httpCase
}

// httpCase is one kind of request.
type httpCase struct {
	name   string
	does   string
	least  float64 // of bare fasthttp's requests a second, for --check; 0 = any
	most   float64 // multiple of a bare request's processor time, for --check; 0 = any
	byCPU  bool    // what counts is processor time, and not requests a second
	beside bool    // in the table only: what another case is to be seen beside

	// What a request is said to need, which the server's own counters have to agree
	// with.
	guestCalls, signatures float64

	connections int // if nobody says otherwise
	way         way
	longest     time.Duration // that a slice may be; 0 = any

	// clients makes the clients of so many connections to a host of what the store was
	// filled with.
	clients func(f *filled, host string, connections int) ([]client, error)
	// before is what the server does before each slice, so that it is not measured; most
	// is how many requests a slice has had so far at most. nil = nothing.
	before func(f *filled, most int) order
	// after looks, when all is measured, at what would have been too much work
	// meanwhile; nil = nothing was left.
	after func(f *filled, clients []client) error
}

// stages are all there are, in the order in which they are played: what changes the
// store comes last. A further case is a file of its own, a line here and a word below.
var stages = slices.Concat([]*stage{checkStage, poolStage}, guestStages, []*stage{tlsStage, refreshStage})

// caseOrder is that of the cases in what is printed.
var caseOrder = []string{"a", "b", "c", "c'", "d", "e-go", "e-rust", "e-assemblyscript", "e-c", "f", "g", "g-resumed"}

// place is that of the case among all.
func (c *httpCase) place() int { return slices.Index(caseOrder, c.name) }

func stageNamed(name string) (*stage, error) {
	for _, s := range slices.Concat(stages, pluginStages) {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no stage %q", name)
}

// chosen are the stages with only the cases of these names; no names = all.
func chosen(names []string) ([]*stage, error) {
	left := map[string]bool{}
	for _, name := range names {
		left[name] = true
	}
	var all []*stage
	for _, s := range stages {
		some := *s
		some.cases = nil
		for _, c := range s.cases {
			if len(names) == 0 || left[c.name] {
				some.cases = append(some.cases, c)
				delete(left, c.name)
			}
		}
		if len(some.cases) > 0 {
			all = append(all, &some)
		}
	}
	for name := range left {
		return nil, fmt.Errorf("--case: there is no case %q: there are %s", name, strings.Join(caseOrder, ", "))
	}
	return all, nil
}
