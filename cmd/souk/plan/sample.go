package plan

import "math"

// z is how many standard deviations 999 of 1000 samples are away at most.
const z = 3.2905

// sample is a share of the devices, each of which was drawn or not by itself. So the
// bounds need to know nothing of how devices are alike: of a population that is what it
// is, chance is only in who was drawn.
type sample float64

// all is what a count of the sample is of all devices.
func (s sample) all(n uint64) uint64 { return uint64(math.Round(float64(n) / float64(s))) }

// within is how far that may be from what all devices come to. A device that adds k to
// the count adds k² to squares. Also where few or none were found, it is no less than the
// score interval of a Poisson variable is long.
func (s sample) within(squares uint64) uint64 {
	if s >= 1 {
		return 0
	}
	return uint64(math.Ceil((z*z/2 + z*math.Sqrt((1-float64(s))*(float64(squares)+z*z/4))) / float64(s)))
}

// count scales a count to which each device adds one at most, and bounds it.
func (s sample) count(n, within *uint64) {
	*n, *within = s.all(*n), s.within(*n)
}

// scale turns what was counted of a share of the devices into what all come to.
func (r *Report) scale(share float64) {
	s := sample(share)
	r.Share = share
	for i := range r.Hours {
		h := &r.Hours[i]
		h.Checks = s.all(h.Checks)
		h.Before.scale(s)
		h.After.scale(s)
	}
	for _, t := range []*Total{&r.Before, &r.After} {
		t.scale(s)
		t.most.scale(s)
		t.Mean = float64(t.Offers) / horizon.Seconds()
		t.Peak, t.Within = float64(t.most.Offers)/peakOver.Seconds(), float64(t.most.OffersWithin)/peakOver.Seconds()
	}
	for i := range r.Rollouts {
		o := &r.Rollouts[i]
		for _, n := range []*uint64{&o.Asked, &o.OfferedUntilChange, &o.Offered, &o.OnTheDay, &o.WouldBe} {
			o.Within = max(o.Within, s.within(*n))
			*n = s.all(*n)
		}
	}
	for i := range r.Apps {
		r.Apps[i].Before.scale(s)
		r.Apps[i].After.scale(s)
	}
	s.count(&r.Changed, &r.Within)
	for i := range r.Changes {
		s.count(&r.Changes[i].Count, &r.Changes[i].Within)
	}
}

func (o *Offered) scale(s sample) {
	s.count(&o.Devices, &o.DevicesWithin)
	o.Offers, o.OffersWithin = s.all(o.Offers), s.within(o.squares)
}
