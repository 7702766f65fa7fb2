package population_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

const day = 24 * time.Hour

// market makes a population and its apps.
func market(t testing.TB, change func(*population.Config)) (*population.Population, []population.App) {
	t.Helper()
	c := population.Default()
	if change != nil {
		change(&c)
	}
	apps := population.Catalogue(c)
	p, err := population.New(c, apps)
	if err != nil {
		t.Fatal(err)
	}
	return p, apps
}

// within fails unless a share of n independent draws is inside its 99.99 % bounds.
func within(t *testing.T, what string, got, n int, share float64) {
	t.Helper()
	mean, sd := share*float64(n), math.Sqrt(share*(1-share)*float64(n))
	if d := math.Abs(float64(got) - mean); d > 3.9*sd+1 {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, mean, 3.9*sd)
	}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %.4f, want %.4f ± %.4f", what, got, want, tolerance)
	}
}

// newest is what a device is offered of an app at a time.
func newest(a *population.App, os uint32, at time.Time) uint64 {
	id := uint64(0)
	for _, v := range a.Versions {
		if !v.Released.After(at) && v.MinOS <= os {
			id = v.ID
		}
	}
	return id
}

func TestAboutEveryEighthCheckCarriesAnOffer(t *testing.T) {
	// Whether one of the most liked apps has news says much of a single day, so that many
	// days of many markets are looked at; in two parts, for nothing changes while it is
	// played.
	var device population.Device
	var checks, carrying, offers [2]int
	for seed := range uint64(20) {
		p, apps := market(t, func(c *population.Config) { c.Seed, c.Devices = seed+1, 400 })
		for d := 0; d < 20; d += 2 {
			from, part := p.Config().Start.Add(time.Duration(d)*day), d/10
			for a := range p.Arrivals(from, from.Add(day)) {
				if a.Kind != population.Background {
					continue
				}
				p.Device(&device, a.Device, a.At)
				checks[part]++
				before := offers[part]
				for _, i := range device.Apps {
					if newest(&apps[i.App], device.OS, a.At) > i.Version {
						offers[part]++
					}
				}
				if offers[part] > before {
					carrying[part]++
				}
			}
		}
	}
	for part, n := range checks {
		near(t, fmt.Sprintf("part %d: share of checks with an offer", part), float64(carrying[part])/float64(n), 0.12, 0.01)
		near(t, fmt.Sprintf("part %d: offers a check", part), float64(offers[part])/float64(n), 0.13, 0.012)
	}
}

func TestADeviceInstallsWhatItWasOffered(t *testing.T) {
	p, apps := market(t, func(c *population.Config) { c.Devices, c.Lag = 3000, 0 })
	start := p.Config().Start
	offered := map[uint64]map[int]uint64{} // at its last check
	looked, again := 0, 0
	var d population.Device
	for a := range p.Arrivals(start, start.Add(4*day)) {
		if a.Kind == population.Tap || !a.Kind.Answered() {
			continue
		}
		p.Device(&d, a.Device, a.At)
		news := map[int]uint64{}
		for _, i := range d.Apps {
			if before := offered[a.Device][i.App]; before > 0 {
				looked++
				if i.Version < before {
					again++
				}
			}
			if id := newest(&apps[i.App], d.OS, a.At); id > i.Version {
				news[i.App] = id
			}
		}
		offered[a.Device] = news
	}
	// One that came out in the minutes before the check may be offered once more.
	if looked < 500 || again > looked/50 {
		t.Errorf("of %d updates %d were offered again, want hundreds and hardly any", looked, again)
	}
}

func TestDevicesHaveFewAppsAndTheSameFavourites(t *testing.T) {
	const n = 20_000
	p, apps := market(t, func(c *population.Config) { c.Devices = n })
	var d population.Device
	var counts []int
	sum, installs := 0, make([]int, len(apps))
	for i := range uint64(n) {
		p.Device(&d, i, p.Config().Start)
		counts = append(counts, len(d.Apps))
		sum += len(d.Apps)
		for k, a := range d.Apps {
			installs[a.App]++
			if a.Item != apps[a.App].Item {
				t.Fatalf("device %d: app %d is item %d, want %d", i, a.App, a.Item, apps[a.App].Item)
			}
			if slices.ContainsFunc(d.Apps[:k], func(b population.Installed) bool { return a.App == b.App }) {
				t.Fatalf("device %d has app %d twice", i, a.App)
			}
			if !slices.ContainsFunc(apps[a.App].Versions, func(v population.Version) bool {
				return v.ID == a.Version && v.MinOS <= d.OS && v.Released.Before(p.Config().Start)
			}) {
				t.Fatalf("device %d has version %d of app %d, which it can't have", i, a.Version, a.App)
			}
		}
	}
	slices.Sort(counts)
	near(t, "mean of the apps of a device", float64(sum)/n, 4, 0.1)
	for _, q := range []struct {
		share float64
		want  int
	}{{0.5, 3}, {0.9, 8}, {0.99, 16}} {
		if got := counts[int(q.share*n)]; got < q.want-1 || got > q.want+1 {
			t.Errorf("%g of the devices have at most %d apps, want %d", q.share, got, q.want)
		}
	}
	if base := apps[population.TopApp].Base; base < 0.6 || base > 0.8 {
		t.Errorf("the top app is meant for %g of the devices, want 0.6 to 0.8", base)
	}
	within(t, "devices with the top app", installs[population.TopApp], n, apps[population.TopApp].Base)
	// Zipf with s = 1, flatter at the head since nobody has an app twice.
	tens, hundreds := 0, 0
	for i := 1; i <= 10; i++ {
		tens += installs[i]
	}
	for i := 101; i <= 200; i++ {
		hundreds += installs[i]
	}
	near(t, "apps 1-10 beside apps 101-200", float64(tens)/float64(hundreds), 2.2, 0.4)
}

func TestMostAppsOfADeviceAreOfOneKind(t *testing.T) {
	// Devices that share a rare app share more of their others than chance would have it.
	const n = 30_000
	p, _ := market(t, func(c *population.Config) { c.Devices, c.AppsPerDevice = n, 10 })
	var d population.Device
	with := func(i uint64) []int {
		p.Device(&d, i, p.Config().Start)
		var list []int
		for _, a := range d.Apps[1:] {
			list = append(list, a.App)
		}
		return list
	}
	count := make(map[[2]int]int)
	single := make(map[int]int)
	for i := range uint64(n) {
		list := with(i)
		for k, a := range list {
			if a < 20 || a > 120 {
				continue
			}
			single[a]++
			for _, b := range list[k+1:] {
				if b >= 20 && b <= 120 {
					count[[2]int{min(a, b), max(a, b)}]++
				}
			}
		}
	}
	often := 0
	for pair, seen := range count {
		if expected := float64(single[pair[0]]) * float64(single[pair[1]]) / n; float64(seen) > 4*expected && seen > 20 {
			often++
		}
	}
	// 101 apps of 20 kinds are about 5050/20 pairs of one kind.
	if often < 50 || often > 700 {
		t.Errorf("%d pairs of apps go together, want about 250", often)
	}
}

func TestSystemsPlatformsAndPeople(t *testing.T) {
	const n = 30_000
	p, _ := market(t, func(c *population.Config) { c.Devices = n })
	var d, other population.Device
	newest, old, pads, zones, systems := 0, 0, 0, map[string]int{}, map[uint32]bool{}
	owners, clients := map[string]int{}, map[string]bool{}
	for i := range uint64(n) {
		p.Device(&d, i, p.Config().Start)
		systems[d.OS] = true
		if d.OS >= 26<<16|1<<8 {
			newest++
		}
		if d.OS < 18<<16 {
			old++
		}
		if d.Platform == catalog.IPadOS {
			pads++
		}
		zones[d.Territory]++
		owners[strings.Clone(d.Account)]++
		clients[strings.Clone(d.ClientID)] = true
		if len(d.ClientID) != 36 || strings.ToUpper(d.ClientID) != d.ClientID || d.ClientID[14] != '4' || !strings.HasSuffix(d.Account, "@example.com") {
			t.Fatalf("device %d is %q of %q", i, d.ClientID, d.Account)
		}
		if p.Device(&other, i, p.Config().Start); other.Account != d.Account || other.ClientID != d.ClientID || !slices.Equal(other.Apps, d.Apps) {
			t.Fatalf("device %d is another the second time", i)
		}
	}
	if len(systems) != 10 {
		t.Errorf("there are %d systems, want 10", len(systems))
	}
	within(t, "devices with the newest system", newest, n, 0.6)
	within(t, "devices with a system that is too old for some app", old, n, 0.03)
	within(t, "iPads", pads, n, 0.1*5/6+0.6/6)
	west, east := zones["PRT"]+zones["IRL"], zones["GRC"]+zones["ROU"]+zones["FIN"]+zones["BGR"]
	near(t, "share of the western zone", float64(west)/n, 0.12, 1e-9)
	near(t, "share of the eastern zone", float64(east)/n, 0.20, 1e-9)
	two := 0
	for account, devices := range owners {
		if devices > 2 {
			t.Fatalf("%s has %d devices", account, devices)
		}
		if devices == 2 {
			two++
		}
	}
	if len(owners) != n*5/6 || two != n/6 || len(clients) != n {
		t.Errorf("%d people, %d with two devices, %d clients of %d devices", len(owners), two, len(clients), n)
	}
}

func TestReleasesComeAsOftenAsConfigured(t *testing.T) {
	c := population.Default()
	apps := population.Catalogue(c)
	after := 0
	rules := catalog.Rules{}
	ids := map[uint64]bool{}
	for i := range apps {
		a := &apps[i]
		if err := rules.Validate(a.Entry(c.Start)); err != nil {
			t.Fatalf("app %d: %v", i, err)
		}
		if i == population.TopApp {
			continue
		}
		for _, v := range a.Versions {
			if ids[v.ID] {
				t.Fatalf("version %d exists twice", v.ID)
			}
			ids[v.ID] = true
			if v.Released.After(c.Start) {
				after++
			}
		}
	}
	near(t, "versions of an app in 60 days", float64(after)/float64(len(apps)-1), 2, 0.15)
	for _, e := range apps[7].Entry(c.Start).Versions {
		if e.Released.After(c.Start) {
			t.Errorf("version %d is in the catalogue before it is out", e.ID)
		}
	}
}

func TestTheTopAppHasNewsOnReleaseDayOnly(t *testing.T) {
	c := population.Default()
	apps := population.Catalogue(c)
	r := population.ReleaseDay(c, apps)
	a := &apps[population.TopApp]
	if last := a.Versions[len(a.Versions)-1]; r.App != population.TopApp || r.Item != a.Item || r.Version.ID <= last.ID ||
		!last.Released.Before(c.Start) || !r.Version.Released.Equal(c.Start) {
		t.Errorf("ReleaseDay = %+v after %+v", r, last)
	}
	a.Versions = append(a.Versions, r.Version)
	if it := a.Entry(r.Version.Released); (catalog.Rules{}).Validate(it) != nil || it.Versions[0].ID != r.Version.ID {
		t.Errorf("the entry on release day is %+v", it)
	}
}

func TestInstallationsThatLagFollowThePublishedCurves(t *testing.T) {
	// Two versions, the newer of which came out some days before Start.
	const n = 15_000
	for _, days := range []float64{0.5, 1, 2, 7, 30} {
		c := population.Default()
		c.Devices, c.Lag, c.Apps = n, 0.9, 1
		out := c.Start.Add(-time.Duration(days * float64(day)))
		apps := []population.App{{Item: 1, Base: 1, Versions: []population.Version{
			{ID: 1, Released: out.Add(-2000 * day)}, {ID: 2, Released: out},
		}}}
		p, err := population.New(c, apps)
		if err != nil {
			t.Fatal(err)
		}
		var d population.Device
		have := 0
		for i := range uint64(n) {
			p.Device(&d, i, c.Start)
			if d.Apps[0].Version == 2 {
				have++
			}
		}
		fast := 1 - math.Exp(-math.Pow(days/3, 0.78))
		slow := 1 - math.Exp(-math.Pow(days/44, 0.47))
		share := 0.9*(0.7*fast+0.3*slow) + 0.1*followed(days)
		if days == 0.5 || days == 1 { // those who follow have asked meanwhile, or not
			near(t, "share of the newer", float64(have)/n, share, 0.1)
			continue
		}
		near(t, "share of the newer", float64(have)/n, share, 0.02)
	}
}

// followed is the share of devices that asked within whole days before Start.
func followed(days float64) float64 { return 1 - math.Pow(0.15, days) }

func TestDeviceAllocatesNothing(t *testing.T) {
	p, _ := market(t, nil)
	d := population.Device{Apps: make([]population.Installed, 0, 100)}
	i := uint64(0)
	if n := testing.AllocsPerRun(2000, func() {
		p.Device(&d, i%10_000, p.Config().Start)
		i++
	}); n != 0 {
		t.Errorf("Device allocates %g times", n)
	}
}

func TestImpossibleFiguresAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*population.Config)
		want   string
	}{
		"no devices":          {func(c *population.Config) { c.Devices = 0 }, "0 devices"},
		"too many devices":    {func(c *population.Config) { c.Devices = 1 << 62 }, "devices: use 1 to"},
		"no midnight":         {func(c *population.Config) { c.Start = c.Start.Add(time.Hour) }, "no midnight"},
		"no apps":             {func(c *population.Config) { c.Apps = 0 }, "0 apps"},
		"less than one app":   {func(c *population.Config) { c.AppsPerDevice = 0.5 }, "apps per device"},
		"NaN apps":            {func(c *population.Config) { c.AppsPerDevice = math.NaN() }, "apps per device"},
		"a gap of minutes":    {func(c *population.Config) { c.ReleaseGap = time.Minute }, "release gap"},
		"more than one check": {func(c *population.Config) { c.ChecksPerDay = 1.5 }, "checks per day"},
		"a negative share":    {func(c *population.Config) { c.Traffic.Expired = -0.1 }, "expired"},
		"all is bad traffic":  {func(c *population.Config) { c.Traffic.Expired, c.Traffic.NoToken = 0.5, 0.5 }, "traffic, all"},
	} {
		config := population.Default()
		c.change(&config)
		_, err := population.New(config, population.Catalogue(population.Default()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
	apps := []population.App{{Item: 7, Versions: []population.Version{{ID: 2}, {ID: 1}}}}
	if _, err := population.New(population.Default(), apps); err == nil || !strings.Contains(err.Error(), "app 7") {
		t.Errorf("versions out of order: %v", err)
	}
}

// A sample is drawn as often as it should be, also of a hundred million, and a smaller one
// is part of it.
func TestSampled(t *testing.T) {
	p, _ := market(t, func(c *population.Config) { c.Devices = 100_000_000 })
	n := 0
	for d := range uint64(1_000_000) {
		in := p.Sampled(d*99, 0.01)
		if in {
			n++
		} else if p.Sampled(d*99, 0.001) {
			t.Fatalf("device %d is of the small sample, and not of the large one", d*99)
		}
	}
	if n < 9672 || n > 10_328 { // 99.9 %
		t.Errorf("%d of a million are in a sample of one in a hundred", n)
	}
}
