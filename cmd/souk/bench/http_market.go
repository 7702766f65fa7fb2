package bench

import (
	"fmt"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/examples"
)

// appsEach is how many apps a device has.
const appsEach = 5

// checkStage has no plugins and signs nothing ahead.
var checkStage = &stage{
	name: "checks", configure: func(c *core.Config) { c.Token.Pool = 0 },
	cases: []httpCase{
		{
			name: "a", does: "an update check, nothing newer", least: 0.80, most: 1.35,
			connections: checkConnections, clients: checks{apps: appsEach}.clients,
		},
		{
			name: "b", does: "one check in ten is offered an update", least: 0.58, most: 2.1, signatures: 0.1,
			connections: checkConnections, clients: checks{apps: appsEach, offered: oneIn(10)}.clients, after: verifyTokens,
		},
		{
			name: "c", does: "each check is offered one, signed meanwhile", least: 0.21, most: 6.8, signatures: 1,
			connections: checkConnections, clients: checks{apps: appsEach, offered: oneIn(1)}.clients, after: verifyTokens,
		},
		{
			name: "d", does: "each check is offered five, signed meanwhile", least: 0.072, signatures: appsEach,
			connections: checkConnections, clients: checks{apps: appsEach, offered: each(appsEach)}.clients, after: verifyTokens,
		},
	},
}

// checkConnections is how many connections send update checks.
const checkConnections = 64

// oneIn offers an update to one check in n. Connections begin at different places, so
// that it is one in n of the checks of any moment.
func oneIn(n int) func(connection, nth int) int {
	return func(connection, nth int) int {
		if (connection+nth)%n == 0 {
			return 1
		}
		return 0
	}
}

// each offers updates of so many apps to each check.
func each(apps int) func(connection, nth int) int {
	return func(int, int) int { return apps }
}

// guestStages have one plugin each: the same policy in another language, which is asked
// about five apps by each check and holds all five. The target is Go's; of the others,
// whose SDKs read a question into structs, no more is wanted than that they don't get
// slower.
var guestStages = func() (stages []*stage) {
	for _, g := range []struct {
		language string
		least    float64
	}{{"go", 0.70}, {"rust", 0.50}, {"assemblyscript", 0.40}, {"c", 0.55}} {
		stages = append(stages, &stage{
			name: "guest-" + g.language, plugins: []plugin.Spec{guest(g.language)},
			cases: []httpCase{{
				name: "e-" + g.language, does: fmt.Sprintf("a plugin in %s is asked by each check, and holds", g.language),
				least: g.least, guestCalls: 1, connections: checkConnections, clients: checks{apps: appsEach, held: true}.clients,
			}},
		})
	}
	return stages
}()

// guest is a plugin with the policy that the SDKs show.
func guest(language string) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name = language
	for _, e := range examples.All() {
		if e.Language == language {
			s.Wasm = e.Wasm
		}
	}
	return s
}
