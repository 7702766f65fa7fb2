package population

import (
	"math"
	"time"
)

// zoneOffsets are the hours that the time zones of the EU are ahead of UTC, in winter:
// Western, Central and Eastern European Time, with 12, 68 and 20 % of the people.
var zoneOffsets = [...]int{0, 1, 2}

// Devices belong to people in groups: of six devices, the last two are one person's. Of
// 25 such groups 3, 17 and 5 live in the three zones, spread so that the first thousand
// devices are like the last.
const (
	perGroup  = 6
	perCycle  = 25
	cycleSize = perGroup * perCycle
)

var zoneOfGroup = func() (zones [perCycle]uint8) {
	for i := range zones {
		switch {
		case i%5 == 4:
			zones[i] = 2
		case i%10 == 2:
			zones[i] = 0
		default:
			zones[i] = 1
		}
	}
	return zones
}()

// zone is the devices of a time zone. They have an order, in which each has a home: where
// it asks in the day's curve. A day then mixes them inside windows of two hours, so that
// a device asks about a day after the last time, up to two hours more or less.
type zone struct {
	id       uint64
	n        uint64 // devices
	groups   []uint64
	rank     [perCycle]uint64 // of a group among those of the zone
	home     permutation
	checks   *curve
	waking   *curve
	taps     uint64 // a day
	windows  [windows + 1]uint64
	perBlock uint64
}

// windows is how many drifts of two hours a day has.
const windows = 12

func newZone(c *Config, id int) zone {
	z := zone{id: uint64(id), checks: newCharging(zoneOffsets[id], c.Spike), waking: newWaking(zoneOffsets[id])}
	for g, zone := range zoneOfGroup {
		if int(zone) == id {
			z.rank[g] = uint64(len(z.groups))
			z.groups = append(z.groups, uint64(g))
		}
	}
	z.n = c.Devices / cycleSize * perGroup * uint64(len(z.groups))
	for rest := range c.Devices % cycleSize {
		if int(zoneOfGroup[rest/perGroup]) == id {
			z.n++
		}
	}
	z.home = newPermutation(hash(c.Seed, z.id, nameHome), z.n)
	z.taps = uint64(math.Round(float64(z.n) * c.ChecksPerDay * c.Taps / (1 - c.Taps)))
	for w := range z.windows {
		z.windows[w] = uint64(math.Round(z.checks.came(time.Duration(w)*day/windows) * float64(z.n)))
	}
	z.perBlock = min(max(z.n/96, 1), maxBlock)
	return z
}

// device returns the index of the device that is a number among those of the zone.
func (z *zone) device(i uint64) uint64 {
	group, per := i/perGroup, uint64(len(z.groups))
	return (group/per*perCycle+z.groups[group%per])*perGroup + i%perGroup
}

// number is the inverse of device.
func (z *zone) number(device uint64) uint64 {
	group := device / perGroup
	return (group/perCycle*uint64(len(z.groups))+z.rank[group%perCycle])*perGroup + device%perGroup
}

// zone returns where a device is.
func (p *Population) zone(device uint64) *zone {
	return &p.zones[zoneOfGroup[device/perGroup%perCycle]]
}

// person numbers the people.
func person(device uint64) uint64 {
	return device/perGroup*(perGroup-1) + min(device%perGroup, perGroup-2)
}

// second says whether the device is the second one of its person.
func second(device uint64) bool { return device%perGroup == perGroup-1 }

// window returns the window of a place in the order.
func (z *zone) window(place uint64) int {
	w := 0
	for place >= z.windows[w+1] {
		w++
	}
	return w
}
