package population

import (
	"math"
	"strconv"
	"time"
	"unsafe"

	"github.com/souk-market/souk/core/catalog"
)

// systems are the versions of the devices' systems, in units of a thousandth. Three in a
// hundred have one that is too old for the newest version of half of the apps.
var systems = [...]struct {
	os    uint32
	share int
}{
	{17<<16 | 4<<8, 5}, {17<<16 | 5<<8, 10}, {17<<16 | 6<<8 | 1, 15},
	{18<<16 | 1<<8, 10}, {18<<16 | 3<<8, 20}, {18<<16 | 5<<8, 40}, {18<<16 | 6<<8, 80}, {18<<16 | 7<<8, 100}, {26 << 16, 120}, {26<<16 | 1<<8, 600},
}

const (
	oldestOS uint32 = 17<<16 | 4<<8 // that installs apps of a marketplace
	newerOS  uint32 = 18 << 16
)

// territories are where people of a zone live, in units of a thousandth of the zone.
var territories = [len(zoneOffsets)][]struct {
	code  string
	share int
}{
	{{"PRT", 660}, {"IRL", 340}},
	{{"DEU", 260}, {"FRA", 210}, {"ITA", 180}, {"ESP", 150}, {"POL", 70}, {"NLD", 50}, {"BEL", 30}, {"SWE", 20}, {"AUT", 20}, {"DNK", 10}},
	{{"GRC", 300}, {"ROU", 400}, {"FIN", 180}, {"BGR", 120}},
}

// Shares of iPads among the first and the second devices of people.
const (
	iPads       = 0.1
	secondIPads = 0.6
)

// Device fills d with the device of an index, as it is at a time if it was offered all
// that is in the versions of the apps: what was out when it asked last it has installed,
// within the hour, and some installations go by the pace of their person. Whoever holds
// something back, or brings out more, keeps what came of that.
//
// An app of which no version runs on the device is not on it.
//
// hot: once a request; no allocation when d has room.
func (p *Population) Device(d *Device, index uint64, at time.Time) {
	seed, z := p.config.Seed, p.zone(index)
	d.Index = index
	d.name(seed)
	d.Platform = catalog.IOS
	pads := iPads
	if second(index) {
		pads = secondIPads
	}
	if chance(hash(seed, index, namePlatform), pads) {
		d.Platform = catalog.IPadOS
	}
	left := int(below(hash(seed, index, nameOS), 1000))
	for i := range systems {
		if d.OS = systems[i].os; left < systems[i].share {
			break
		}
		left -= systems[i].share
	}
	left = int(below(hash(seed, person(index), nameTerritory), 1000))
	for _, t := range territories[z.id] {
		if d.Territory = t.code; left < t.share {
			break
		}
		left -= t.share
	}
	d.Apps = p.install(d.Apps[:0], index, d.OS, at.UnixNano())
}

// name writes the account and the client id.
func (d *Device) name(seed uint64) {
	b := append(d.account[:0], 'p')
	b = strconv.AppendUint(b, person(d.Index), 10)
	b = append(b, "@example.com"...)
	d.Account = unsafe.String(&d.account[0], len(b))

	s := stream(hash(seed, d.Index, nameClient))
	hi, lo := s.next()&^0xf000|0x4000, s.next()&^(0b11<<62)|0b10<<62 // version 4, RFC 9562
	const digits = "0123456789ABCDEF"
	at := 0
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			d.client[at] = '-'
			at++
		}
		half := hi
		if i >= 16 {
			half = lo
		}
		d.client[at] = digits[half>>(60-4*(i%16))&0xf]
		at++
	}
	d.ClientID = unsafe.String(&d.client[0], at)
}

// app is an app as devices look at it.
type app struct {
	item uint64
	base float64
	out  []edition // its versions, oldest first
}

// edition is a version and when it came out, in Unix nanoseconds.
type edition struct {
	id    uint64
	minOS uint32
	at    int64
}

func newApp(a *App) app {
	made := app{item: a.Item, base: a.Base}
	for i := range a.Versions {
		v := &a.Versions[i]
		e := edition{v.ID, v.MinOS, math.MinInt64 / 2} // nobody knows: long ago
		if !v.Released.IsZero() {
			e.at = v.Released.UnixNano()
		}
		made.out = append(made.out, e)
	}
	return made
}

// install appends the apps of a device: those with a base of their own, and then as many
// as it has room for, most of them of one cluster and none twice.
func (p *Population) install(dst []Installed, index uint64, os uint32, at int64) []Installed {
	seed := p.config.Seed
	n := 1
	for h := hash(seed, index, nameCount); n <= len(p.more) && h >= p.more[n-1]; n++ {
	}
	var seen [maxApps]int32
	have := 0
	last := p.lastCheck(index, at)
	for _, i := range p.based {
		if !chance(hash(seed^uint64(i)*0xff51afd7ed558ccd, index, nameBased), p.apps[i].base) {
			continue
		}
		if have++; have > maxApps {
			return dst
		}
		dst = p.version(dst, i, index, os, last, at)
	}
	drawn := 0
	liked := &p.draws.all
	if c := p.draws.kinds.roll(hash(seed, index, nameCluster)); c >= 0 {
		liked = &p.draws.clusters[c]
	}
	s := stream(hash(seed, index, nameApp))
	// One that is drawn again is drawn anew, but not for ever: a cluster may be used up.
	for tries := 8 * n; have < n && tries > 0; tries-- {
		from := &p.draws.all
		if h := s.next(); chance(h, inCluster) && tries > 4*n {
			from = liked
		}
		i := from.roll(s.next())
		if i < 0 || drawnBefore(seen[:drawn], int32(i)) {
			continue
		}
		seen[drawn] = int32(i)
		drawn++
		have++
		dst = p.version(dst, i, index, os, last, at)
	}
	return dst
}

func drawnBefore(seen []int32, i int32) bool {
	for _, s := range seen {
		if s == i {
			return true
		}
	}
	return false
}

// installTime is how long a device takes to install what it was offered. It is longer
// than what is left open of the moment at which it asked.
const installTime = time.Hour

// longAway is how many days back is looked for a check.
const longAway = 30

// lastCheck is when a device asked last, and has installed since what was out then.
func (p *Population) lastCheck(index uint64, at int64) int64 {
	at -= int64(installTime)
	z := p.zone(index)
	home := z.home.place(z.number(index))
	d := p.dayOf(at)
	for range longAway {
		if p.asks(index, d) && p.kind(index, d).Answered() {
			if asked := p.dayStart(d) + int64(p.asked(z, home, d)); asked <= at {
				return asked
			}
		}
		d--
	}
	return p.dayStart(d)
}

// asked is when in a day the device with a home asks, to within the length of a block.
func (p *Population) asked(z *zone, home uint64, d int64) time.Duration {
	w := z.window(home)
	wander := p.wander(z, d, w)
	place := z.windows[w] + wander.place(home-z.windows[w])
	return z.checks.moment((float64(place) + 0.5) / float64(z.n))
}

// Weibull curves of how long after a release it is installed, in days, fitted to the
// published adoption of a fast and of a slow app.
const (
	fastShape, fastScale = 0.78, 3.0
	slowShape, slowScale = 0.47, 44.0
	fastShare            = 0.7
)

// version appends an app with the version that is installed. Most installations follow
// the daily check; some go by the pace of their person.
func (p *Population) version(dst []Installed, i int, index uint64, os uint32, last, at int64) []Installed {
	a := &p.apps[i]
	key := hash(p.config.Seed^uint64(i)*0xff51afd7ed558ccd, index, nameLag)
	lags := chance(key, p.config.Lag)
	oldest := uint64(0)
	for k := len(a.out) - 1; k >= 0; k-- {
		v := &a.out[k]
		if v.minOS > os || v.at > at {
			continue
		}
		oldest = v.id
		if !lags && v.at <= last || lags && at-v.at >= taken(key, v.id) {
			break
		}
	}
	if oldest == 0 {
		return dst
	}
	return append(dst, Installed{App: i, Item: a.item, Version: oldest})
}

// taken is how long after its release an installation that goes its own pace has a version.
func taken(key, version uint64) int64 {
	shape, scale := slowShape, slowScale
	if chance(hash(key, 0, nameFast), fastShare) {
		shape, scale = fastShape, fastScale
	}
	days := scale * math.Pow(-math.Log(1-unit(hash(key, version, nameTaken))), 1/shape)
	return int64(min(days, 10_000) * float64(day))
}

// takenUp is the share of offers that are installed: a device may be full, or in use.
const takenUp = 0.95

// Takes says whether a device installs a version that it is offered, whenever it is. Of
// the market's own versions Device knows; this is for those that whoever plays the market
// keeps.
func (p *Population) Takes(device, version uint64) bool {
	return chance(hash(p.config.Seed^version*0xff51afd7ed558ccd, device, nameTakes), takenUp)
}
