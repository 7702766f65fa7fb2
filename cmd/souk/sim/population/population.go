// Package population is the people, devices and apps of a simulated market: who asks
// when, for which apps, with which versions installed. Nothing is kept per device:
// each property is a hash of the seed, the device and the property's name, so that a
// hundred million devices take no memory, and the same seed is the same market.
//
// It knows no server. Whoever plays the market publishes the versions when their time
// has come, and keeps what came of the answers.
package population

import (
	"fmt"
	"time"

	"github.com/souk-market/souk/core/catalog"
)

// Config says what a population is like. Begin with Default; the figures and where
// they come from are in RATIONALE.md.
type Config struct {
	Seed    uint64
	Devices uint64
	Start   time.Time // of the simulated time; a midnight, UTC

	Apps          int           // of a generated catalogue
	AppsPerDevice float64       // mean of 1 + geometric
	ReleaseGap    time.Duration // mean time between two versions of an app
	ChecksPerDay  float64       // of a device: 0.85 of them ask on a day
	Spike         float64       // share of an hour's checks within 30 s of its beginning
	Taps          float64       // share of checks that a person has asked for
	Lag           float64       // share of installations that go by their person's pace, and not by the daily check
	Traffic       Traffic
}

// Traffic is the share of checks that are not what they should be.
type Traffic struct{ Expired, NoToken, UnknownApp, Malformed, Oversized float64 }

// maxDevices is more than there are. With it all arithmetic stays inside 64 bits.
const maxDevices = 1e11

// Default is the market that the simulator plays when nothing else is asked for.
func Default() Config {
	return Config{
		Seed: 1, Devices: 10_000, Start: time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC),
		Apps: 2000, AppsPerDevice: 4, ReleaseGap: 30 * day, ChecksPerDay: 0.85, Spike: 0.05, Taps: 0.03, Lag: 0.005,
		Traffic: Traffic{Expired: 0.02, NoToken: 0.005, UnknownApp: 0.005, Malformed: 0.002, Oversized: 0.0005},
	}
}

// Validate names the first field with an impossible value.
func (c *Config) Validate() error {
	switch {
	case c.Devices == 0 || c.Devices > maxDevices:
		return fmt.Errorf("population: %d devices: use 1 to %d", c.Devices, uint64(maxDevices))
	case !c.Start.Equal(c.Start.UTC().Truncate(day)):
		return fmt.Errorf("population: start %s is no midnight, UTC", c.Start.Format(time.RFC3339))
	case c.Apps < 1 || c.Apps > 100_000:
		return fmt.Errorf("population: %d apps: use 1 to 100000", c.Apps)
	case !(c.AppsPerDevice >= 1 && c.AppsPerDevice <= maxApps/2):
		return fmt.Errorf("population: %g apps per device: use 1 to %d", c.AppsPerDevice, maxApps/2)
	case c.ReleaseGap < day || c.ReleaseGap > 1000*day:
		return fmt.Errorf("population: a release gap of %v: use 24h to 24000h", c.ReleaseGap)
	case !(c.ChecksPerDay > 0 && c.ChecksPerDay <= 1):
		return fmt.Errorf("population: %g checks per day: use more than 0 and at most 1", c.ChecksPerDay)
	}
	t := &c.Traffic
	for _, share := range []struct {
		name  string
		value float64
	}{
		{"spike", c.Spike}, {"taps", c.Taps}, {"lag", c.Lag}, {"traffic, expired", t.Expired}, {"traffic, no token", t.NoToken},
		{"traffic, unknown app", t.UnknownApp}, {"traffic, malformed", t.Malformed}, {"traffic, oversized", t.Oversized},
		{"traffic, all", t.Expired + t.NoToken + t.UnknownApp + t.Malformed + t.Oversized},
	} {
		if !(share.value >= 0 && share.value <= 0.9) {
			return fmt.Errorf("population: %s: %g is no share: use 0 to 0.9", share.name, share.value)
		}
	}
	return nil
}

// Population answers questions about its devices. It is safe for concurrent use.
type Population struct {
	config Config
	start  int64 // Unix nanoseconds
	apps   []app
	based  []int // apps with a base of their own
	draws  draws
	more   []uint64 // thresholds of the number of apps beyond the first
	zones  [len(zoneOffsets)]zone
}

// New makes the population of a market. The apps stand in the order of their popularity,
// the versions of each oldest first.
func New(c Config, apps []App) (*Population, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if len(apps) == 0 {
		return nil, fmt.Errorf("population: there are no apps")
	}
	p := &Population{config: c, start: c.Start.UnixNano(), apps: make([]app, len(apps))}
	for i := range apps {
		a := &apps[i]
		if err := a.check(); err != nil {
			return nil, err
		}
		p.apps[i] = newApp(a)
		if a.Base > 0 {
			p.based = append(p.based, i)
		}
	}
	p.draws = newDraws(c.Seed, apps)
	p.more = geometric(c.AppsPerDevice)
	for z := range p.zones {
		p.zones[z] = newZone(&p.config, z)
	}
	return p, nil
}

// Config is what the population was made of.
func (p *Population) Config() Config { return p.config }

// Sampled says whether a device is of a sample that has a share of all, each device of
// which is drawn or not whatever becomes of the others. A sample holds all smaller ones.
func (p *Population) Sampled(device uint64, share float64) bool {
	return chance(hash(p.config.Seed, device, nameSampled), share)
}

// Device is one device. It can be filled again: Device.Apps keeps its space.
//
// Account and ClientID lie inside the Device: they are good until it is filled again.
// strings.Clone keeps one.
type Device struct {
	Index     uint64
	Account   string // of the person, an address at example.com; people with two devices exist
	ClientID  string // a UUID in upper case, as devices make them
	Platform  catalog.Platform
	OS        uint32
	Territory string
	Apps      []Installed

	account [40]byte
	client  [36]byte
}

// Installed is an app on a device.
type Installed struct {
	App     int // index in the apps of the population
	Item    uint64
	Version uint64
}

// Kind is what kind of request a device makes.
type Kind uint8

// The kinds of requests.
const (
	Background Kind = iota // the daily check
	Tap                    // a person has asked, for one app
	Expired                // with a token that is out of date
	NoToken                // without one
	UnknownApp             // for an app that is not of this market
	Malformed              // a body that is no JSON
	Oversized              // a body that is larger than is taken
)

// String names the kind.
func (k Kind) String() string {
	if names := [...]string{"background", "tap", "expired token", "no token", "unknown app", "malformed", "oversized"}; int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Answered says whether it is answered with what there is to offer. A token that is out
// of date is refused; that the device renews it and asks again is a scenario of its own.
func (k Kind) Answered() bool { return k == Background || k == Tap || k == UnknownApp }

// Arrival is a request on its way.
type Arrival struct {
	At     time.Time
	Device uint64
	Kind   Kind
}

// TapOf returns which of n apps a Tap is for.
func (a Arrival) TapOf(n int) int {
	return int(below(hash(uint64(a.At.UnixNano()), a.Device, nameTapped), uint64(n)))
}
