// Package population is the people, devices and apps of a simulated market: who asks
// when, for which apps, with which versions installed. Nothing is kept per device:
// each property is a hash of the seed, the device and the property's name, so that a
// hundred million devices take no memory, and the same seed is the same market.
package population

import (
	"iter"
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
	Traffic       Traffic
}

// Traffic is the share of checks that are not what they should be.
type Traffic struct{ Expired, NoToken, UnknownApp, Malformed, Oversized float64 }

// Default is the market that the simulator plays when nothing else is asked for.
func Default() Config { panic("not yet") }

// App is an app of the market.
type App struct {
	Item     uint64
	BundleID string
	Name     string
	Versions []Version // oldest first
}

// Version is one version of an app.
type Version struct {
	ID       uint64
	Short    string
	MinOS    uint32    // as catalog.ParseOS has it, the same for iOS and iPadOS
	Released time.Time // in simulated time; one that lies after Start is not in the catalogue yet
}

// Catalogue generates the apps of a market.
func Catalogue(c Config) []App { panic("not yet") }

// Item is an app as the catalogue takes it, with the versions that are out at a time.
func (a *App) Entry(at time.Time) catalog.Item { panic("not yet") }

// Population answers questions about its devices. It is safe for concurrent use.
type Population struct{}

// New makes the population of a market.
func New(c Config, apps []App) (*Population, error) { panic("not yet") }

// Device is one device. It can be filled again: Device.Apps keeps its space.
type Device struct {
	Index     uint64
	Account   string // of the person, an address at example.com; people with two devices exist
	ClientID  string // a UUID in upper case, as devices make them
	Platform  catalog.Platform
	OS        uint32
	Territory string
	Apps      []Installed
}

// Installed is an app on a device.
type Installed struct {
	App     int // index in the apps of the population
	Item    uint64
	Version uint64
}

// Device fills d with the device of an index, as it is at a time if nobody ever offers
// it anything: what is installed follows from the versions that were out before Start,
// and from how quickly this device takes news up.
//
// hot: once a request; no allocation when d has room.
func (p *Population) Device(d *Device, index uint64, at time.Time) { panic("not yet") }

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

// Arrival is a request on its way.
type Arrival struct {
	At     time.Time
	Device uint64
	Kind   Kind
}

// Arrivals are the requests from a time to another, in their order. A device asks in the
// background once a day at most. It takes no memory per device: the order of a day is a
// keyed permutation, and the times are the inverse of the day's curve.
func (p *Population) Arrivals(from, to time.Time) iter.Seq[Arrival] { panic("not yet") }

// Rate is how many requests a second of simulated time there are at a time.
func (p *Population) Rate(at time.Time) float64 { panic("not yet") }
