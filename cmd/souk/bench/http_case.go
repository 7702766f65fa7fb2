package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/souk-market/souk/core"
)

// stage is a server with its configuration and with what its store holds. The cases
// that are played on it share one process.
type stage struct {
	name      string
	configure func(*core.Config) // beyond the defaults; nil = nothing
	// fill writes what clients work with, by the rules of the core, and returns what
	// they have to know, for JSON. size is how many sign-ins there are to be.
	fill  func(ctx context.Context, h *core.Host, size int) (any, error)
	cases []httpCase
}

// httpCase is one kind of request.
type httpCase struct {
	name  string
	does  string
	least float64 // of bare fasthttp's requests a second, for --check

	// What a request is said to need, which the server's own counters have to agree
	// with.
	guestCalls, signatures float64

	// clients makes the clients of so many connections to a host of what fill said.
	clients func(said json.RawMessage, host string, connections int) ([]client, error)
}

// stages are all there are. A further case is a file of its own, and a line here.
var stages = []*stage{refreshStage}

func stageNamed(name string) (*stage, error) {
	for _, s := range stages {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no stage %q", name)
}

// caseNames are those of all cases, in order.
func caseNames() (names []string) {
	for _, s := range stages {
		for i := range s.cases {
			names = append(names, s.cases[i].name)
		}
	}
	return names
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
		return nil, fmt.Errorf("--case: there is no case %q: there are %s", name, strings.Join(caseNames(), ", "))
	}
	return all, nil
}
