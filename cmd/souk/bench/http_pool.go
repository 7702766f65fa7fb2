package bench

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/token"
)

// poolStage is a release day: apps that came out just now, whose tokens were signed
// while nobody asked. The pool is filled by hand between the slices, so that none of
// that is measured, and none of what is measured is signed.
var poolStage = &stage{
	name: "pool",
	configure: func(c *core.Config) {
		c.PoolByHand, c.Token.Pool = true, poolMost // so many are never there: a quick machine needs more than the default in a slice
	},
	cases: []httpCase{{
		name: "c'", does: "each check is offered one, signed ahead", least: 0.68, connections: checkConnections, longest: 250 * time.Millisecond,
		clients: checks{apps: appsEach, offered: oneIn(1), released: true}.clients, before: warm, after: verifyTokens,
	}},
}

// releases is how many apps came out just now.
const releases = 64

const poolMost = 1_000_000

// released are the apps that came out: they are all over the catalogue.
func released(items int) (apps []int) {
	step := max(1, items/releases)
	for i := 0; i < items && len(apps) < releases; i += step {
		if isHeld(i) {
			i++ // which is not
		}
		if i < items {
			apps = append(apps, i)
		}
	}
	return apps
}

// warm is the order to have enough tokens for a slice: half as many again as one has
// taken so far.
func warm(f *filled, most int) order {
	apps := released(f.Items)
	return order{Warm: max(256, 3*most/2/len(apps)+64), Apps: apps}
}

// warmPool fills the pool with so many tokens of each app, on all cores.
func warmPool(p *token.InstallPool, tokens int, apps []int) error {
	cores := runtime.GOMAXPROCS(0)
	errs := make([]error, cores)
	var wg sync.WaitGroup
	for share := range cores {
		var claims []token.InstallClaims
		for i := share; i < len(apps); i += cores {
			claims = append(claims, token.InstallClaims{
				BundleID: bundleID(apps[i]), Item: itemID(apps[i]), Version: versionID(apps[i], newest), Redownload: true,
			})
		}
		wg.Go(func() { errs[share] = p.Warm(context.Background(), tokens, claims...) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
