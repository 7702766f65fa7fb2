package population

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/souk-market/souk/core/catalog"
)

// App is an app of the market.
type App struct {
	Item     uint64
	BundleID string
	Name     string
	Versions []Version // oldest first
	Base     float64   // share of devices that have it; 0 = it follows from its place in the catalogue
}

// Version is one version of an app.
type Version struct {
	ID       uint64
	Short    string
	MinOS    uint32    // as catalog.ParseOS has it, the same for iOS and iPadOS
	Released time.Time // in simulated time; one that lies after Start is not in the catalogue yet
}

// TopApp is the index of the app that most devices have in a generated catalogue: 60 to
// 80 %, as the seed will have it. It has no news of its own, so that the figures of a
// usual day don't hang on one app; ReleaseDay brings them.
const TopApp = 0

// The history of a generated catalogue.
const (
	past     = 400 * day // long enough that the beginning is forgotten
	future   = 60 * day
	quiet    = 10 * day // before Start, without a version of the top app
	kept     = 8        // versions of an app that are still in the catalogue at Start
	spread   = 1.0      // σ of the logarithm of the gaps
	idsOfApp = 1000     // version ids of an app
)

// Catalogue generates the apps of a market, the most popular first.
func Catalogue(c Config) []App {
	apps := make([]App, c.Apps)
	for i := range apps {
		a := &apps[i]
		a.Item = 6_500_000_001 + uint64(i)
		a.BundleID = fmt.Sprintf("com.example.app%d", i+1)
		a.Name = fmt.Sprintf("App %d", i+1)
		a.Versions = releases(c, uint64(i))
	}
	apps[TopApp].Base = 0.6 + 0.2*unit(hash(c.Seed, TopApp, nameTop))
	return apps
}

// releases draws when an app has its versions: gaps are lognormal, with a mean of
// ReleaseGap.
func releases(c Config, i uint64) []Version {
	s := stream(hash(c.Seed, i, nameRelease))
	end, mu := c.Start.Add(future), math.Log(float64(c.ReleaseGap))-spread*spread/2
	if i == TopApp {
		end = c.Start.Add(-quiet)
	}
	var out []time.Time
	for at := c.Start.Add(-past - time.Duration(unit(s.next())*float64(c.ReleaseGap))); at.Before(end); {
		out = append(out, at.Truncate(time.Second))
		gap := time.Duration(math.Exp(mu + spread*normal(&s)))
		at = at.Add(min(max(gap, time.Hour), past))
	}
	old := 0 // that are out at Start
	for old < len(out) && out[old].Before(c.Start) {
		old++
	}
	drop := max(old-kept, 0)
	out = out[drop:min(len(out), drop+idsOfApp-2)]
	raised := len(out) // the version from which on it needs a newer system
	if hash(c.Seed, i, nameNeeds)%2 == 0 {
		raised = max(min(old-drop, kept)-2, 1)
	}
	versions := make([]Version, len(out))
	for n, at := range out {
		versions[n] = newVersion(i, n, at)
		if n >= raised {
			versions[n].MinOS = newerOS
		}
	}
	return versions
}

func newVersion(i uint64, n int, at time.Time) Version {
	return Version{ID: 900_000_000 + i*idsOfApp + uint64(n) + 1, Short: fmt.Sprintf("%d.%d", 1+n/10, n%10), MinOS: oldestOS, Released: at}
}

// normal draws from the normal distribution (Box and Muller).
func normal(s *stream) float64 {
	return math.Sqrt(-2*math.Log(1-unit(s.next()))) * math.Cos(2*math.Pi*unit(s.next()))
}

// Release is a version that a scenario brings out.
type Release struct {
	App     int // index in the apps
	Item    uint64
	Version Version
}

// ReleaseDay is the release that the scenario of that name plays, and that a forecast of
// it is of: the next version of the top app. It is not in the versions of Catalogue:
// whoever plays it adds it, with the salt that a rollout has when nobody names one, and
// keeps who has it. It comes out at Start, so that a run of whole days has whole phases.
func ReleaseDay(c Config, apps []App) Release {
	a := &apps[TopApp]
	v := newVersion(TopApp, len(a.Versions), c.Start)
	if n := len(a.Versions); n > 0 {
		v.MinOS = a.Versions[n-1].MinOS
	}
	return Release{App: TopApp, Item: a.Item, Version: v}
}

// Entry is the app as the catalogue takes it, with the versions that are out at a time.
func (a *App) Entry(at time.Time) catalog.Item {
	it := catalog.Item{ID: a.Item, BundleID: a.BundleID, Name: a.Name, SignIn: catalog.SignInRequired, Versions: []catalog.Version{}}
	for i := len(a.Versions) - 1; i >= 0; i-- {
		v := &a.Versions[i]
		if v.Released.After(at) {
			continue
		}
		it.Versions = append(it.Versions, catalog.Version{
			ID: v.ID, Short: v.Short, Build: strconv.FormatUint(v.ID%idsOfApp, 10), Released: v.Released,
			MinOS: map[string]string{"ios": catalog.FormatOS(v.MinOS)}, Rollout: catalog.Rollout{Share: catalog.FullShare},
		})
	}
	return it
}

// check says what is wrong with an app.
func (a *App) check() error {
	if !(a.Base >= 0 && a.Base <= 1) {
		return fmt.Errorf("population: app %d: a base of %g is no share: use 0 to 1", a.Item, a.Base)
	}
	if !slices.IsSortedFunc(a.Versions, func(v, w Version) int { return cmp.Compare(v.ID, w.ID) }) {
		return fmt.Errorf("population: app %d: its versions are not in the order of their ids, oldest first", a.Item)
	}
	return nil
}
