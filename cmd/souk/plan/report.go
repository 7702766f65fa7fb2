package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Report is what a forecast came to: a day of the market as it is, and as it would be.
// Where only a share of the devices was looked at, all counts are scaled to all of them,
// and Within says how far a count is from what all would have come to: in 999 of 1000
// samples no farther. It is 0 where nothing was scaled.
type Report struct {
	Devices uint64    `json:"devices"`
	Share   float64   `json:"share"` // of them that were looked at; 1 = all
	Seed    uint64    `json:"seed"`
	From    time.Time `json:"from"`   // the market goes on as it is
	Change  time.Time `json:"change"` // from then on, both are looked at
	To      time.Time `json:"to"`

	Hours    []Hour     `json:"hours"`
	Before   Total      `json:"before"`
	After    Total      `json:"after"`
	Rollouts []Foretold `json:"rollouts"`
	Apps     []App      `json:"apps"` // of which something is offered on the day, those that change first

	Changed  uint64    `json:"changed"` // devices that get another answer
	Within   uint64    `json:"changed_within"`
	Changes  []Change  `json:"changes"` // how and why, the most frequent first; an app on a device counts once
	Examples []Example `json:"examples"`
	Notes    []string  `json:"notes"` // what the forecast took for granted
}

// Hour is one of the day.
type Hour struct {
	At     time.Time `json:"at"`
	Checks uint64    `json:"checks"`
	Before Offered   `json:"before"`
	After  Offered   `json:"after"`
}

// Offered counts offers, each of which is a signature, and who gets them.
type Offered struct {
	Devices       uint64 `json:"devices"`
	DevicesWithin uint64 `json:"devices_within"`
	Offers        uint64 `json:"offers"`
	OffersWithin  uint64 `json:"offers_within"`

	squares uint64 // the sum of those of each device's offers
}

// add counts a device, or an answer to one.
func (o *Offered) add(offers uint64) {
	o.Devices++
	o.Offers += offers
	o.squares += offers * offers
}

// Total is a side's whole day.
type Total struct {
	Offered
	Mean   float64   `json:"signatures_per_second"`
	Peak   float64   `json:"signatures_per_second_peak"` // over the busiest 30 s
	Within float64   `json:"signatures_per_second_peak_within"`
	PeakAt time.Time `json:"peak_at"`

	bin         int64   // the 30 s that are counted
	inBin, most Offered // in them, and in the busiest
}

// Foretold is a rollout as it would go.
type Foretold struct {
	Item    uint64 `json:"item,string"`
	Version uint64 `json:"version,string"`
	Salt    string `json:"salt"`
	Before  int    `json:"before"` // basis points
	After   int    `json:"after"`

	Asked              uint64 `json:"asked"`                // devices with the app that ask until the end of the day, and could have it
	OfferedUntilChange uint64 `json:"offered_until_change"` // of them, those that were offered it by the change
	Offered            uint64 `json:"offered"`              // and by the end of the day
	OnTheDay           uint64 `json:"on_the_day"`           // devices that are offered it on the day as it is
	WouldBe            uint64 `json:"would_be"`             // and as it would be
	Within             uint64 `json:"within"`               // all of them
}

// App is an app on the day.
type App struct {
	Item   uint64  `json:"item,string"`
	Name   string  `json:"name"`
	Before Offered `json:"before"`
	After  Offered `json:"after"`
}

// Change is a kind of change, and how often it is there. From and To are results of a
// plugin.Outcome, or nothing: there is no candidate.
type Change struct {
	Item    uint64 `json:"item,string"`
	From    string `json:"from"`
	To      string `json:"to"`
	WhyFrom string `json:"why_from"`
	WhyTo   string `json:"why_to"`
	Count   uint64 `json:"count"`
	Within  uint64 `json:"within"`
}

// Example is one device that gets another answer.
type Example struct {
	Device    uint64    `json:"device"`
	Account   string    `json:"account"`
	Platform  string    `json:"platform"`
	OS        string    `json:"os"`
	Territory string    `json:"territory"`
	At        time.Time `json:"at"` // it asks
	Item      uint64    `json:"item,string"`
	Installed uint64    `json:"installed,string"`
	Bucket    *uint32   `json:"bucket"` // of the rollout; null = there is none of the app
	Before    string    `json:"before"`
	After     string    `json:"after"`
	WhyBefore string    `json:"why_before"`
	WhyAfter  string    `json:"why_after"`
}

// What is kept.
const (
	maxChanges  = 1000 // beyond, all others count as one
	maxExamples = 100
	perChange   = 10 // examples of one kind
)

// because says whose word an outcome is, and why: the plugin with its reason and code, or
// the market's own rule.
func because(o plugin.Outcome) string {
	switch {
	case o.Failed:
		return fmt.Sprintf("%s: %s, on_error", o.Plugin, o.Reason)
	case o.Plugin != "":
		return fmt.Sprintf("%s: %s (code %d)", o.Plugin, o.Reason, o.Code)
	case o.Result == plugin.ResultOffer:
		return "core: the newest that is open to it"
	case o.Result == plugin.ResultHold:
		return "core: no rollout is open to its bucket"
	case o.Result == plugin.ResultDeny:
		return "core: market.entitle_default"
	}
	return "core: nothing newer fits it"
}

// kind is because without the numbers of one device, so that what says the same of many
// counts as one.
func kind(o plugin.Outcome) string {
	if o.Plugin != "" && !o.Failed {
		o.Reason = strings.TrimPrefix(plugin.NewChange(abi.HookSelectVersion, o, o).Reason, o.Plugin+": ")
	}
	return because(o)
}

// count adds an answer with offers.
func (r *Report) count(s *side, hour int, at time.Time, offers uint64) {
	h, t := &r.Hours[hour].Before, &r.Before
	if s.after {
		h, t = &r.Hours[hour].After, &r.After
	}
	h.add(offers)
	if bin := at.UnixNano() / int64(peakOver); bin != t.bin {
		t.bin, t.inBin = bin, Offered{}
	}
	if t.inBin.add(offers); t.inBin.Offers > t.most.Offers {
		t.most, t.PeakAt = t.inBin, time.Unix(0, t.bin*int64(peakOver)).UTC()
	}
}

// finish puts the lists in order.
func (r *Report) finish(f *Forecast) {
	r.Changed = uint64(len(f.differing))
	r.Changes = make([]Change, 0, len(f.changes))
	for c, n := range f.changes {
		c.Count = uint64(n)
		r.Changes = append(r.Changes, c)
	}
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Item, b.Item), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	r.Apps = make([]App, 0, len(f.perApp))
	for _, a := range f.perApp {
		r.Apps = append(r.Apps, *a)
	}
	moved := func(a App) uint64 { return max(a.After.Offers, a.Before.Offers) - min(a.After.Offers, a.Before.Offers) }
	slices.SortFunc(r.Apps, func(a, b App) int {
		return cmp.Or(cmp.Compare(moved(b), moved(a)), cmp.Compare(b.After.Offers, a.After.Offers), cmp.Compare(a.Item, b.Item))
	})
	if r.Examples == nil {
		r.Examples = []Example{}
	}
	if r.Rollouts == nil {
		r.Rollouts = []Foretold{}
	}
}
