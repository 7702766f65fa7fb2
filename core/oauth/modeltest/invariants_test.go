package modeltest

import (
	"context"
	"errors"
	"slices"

	"github.com/souk-market/souk/core/store"
)

// This file holds histories to sentences that need no model.

// maybeLate notes that a party may have been late in a generation: it asks for it since
// then.
func (w *world) maybeLate(p *party, since int64, generation uint32) {
	if w.now.Load()-since > w.script.lives.grace && !slices.Contains(p.late, generation) {
		p.late = append(p.late, generation)
	}
}

// heard is what a party makes of the end of its refresh. A device that means well and
// did nothing but ask again when an answer was lost must not be signed out.
func (w *world) heard(o *op, a answer) {
	p, f := o.party, o.family
	p.asking--
	if a.outcome != refused || o.call.other || o.sent != p.refresh || p.out {
		return
	}
	p.out = true
	if p.thief {
		w.tally["thief was refused"]++
		return
	}
	const slack = 2 * minute // the server's clock was read a little earlier
	now, l := w.now.Load(), w.script.lives
	// What ended it may have been a request for the token before this one.
	times, lately := 0, false
	for _, g := range p.late {
		if g+lateOver > o.call.token.generation {
			times++
		}
		lately = lately || g >= o.call.token.generation
	}
	switch {
	case f.tainted:
		w.tally["owner was signed out by another's doing"]++
	case o.call.gone:
		w.tally["owner was signed out by a retired key"]++
	case now+slack >= f.kept+l.idle, l.absolute > 0 && now+slack >= f.created+l.absolute:
		w.tally["owner came back too late"]++
	case f.device && times > lateTimes:
		w.tally["owner lost more answers than a device may"]++
	case !f.device && lately:
		w.tally["app came back after the grace"]++
	default:
		w.fault("call %d: party %d of sign-in %d did nothing but ask again, %d times late in %d generations, and was signed out", o.number, p.number, f.number, times, lateOver)
	}
}

// noted holds the store to what a refresh relies on: it looks at the account only where
// a sign-out everywhere is under way. So a sign-in that somebody was given tokens of, and
// that is active and of an epoch that is over, has to be one that such a sign-out, which
// came to no known end, has not reached.
func (w *world) noted() error {
	ctx, s, subject := context.Background(), w.life.server.Store, store.SubjectID(account)
	a, err := s.Account(ctx, subject)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	for _, f := range w.signIns {
		if !f.named {
			continue
		}
		switch kept, err := s.Family(ctx, f.id); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case kept.State == store.Active && kept.Epoch != a.Epoch:
			w.tally["sign-in that a sign-out has not reached"]++
			if !s.SigningOut(subject) {
				w.fault("sign-in %d is active, its account was signed out everywhere since, and no refresh will find that out", f.number)
			}
		}
	}
	return nil
}

// finished holds a process that has started, and whom nobody disturbed, to having left
// nothing of a sign-out that was cut off.
func (w *world) finished(o *op) error {
	if o.answer.outcome != done {
		w.fault("call %d: nobody was in the way, and sign-outs that were cut off were not finished", o.number)
	}
	ctx, s := context.Background(), w.life.server.Store
	if n := len(s.SignOuts()); n > 0 {
		w.fault("call %d: %d sign-outs are still under way, and nobody will end them", o.number, n)
	}
	a, err := s.Account(ctx, store.SubjectID(account))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	for _, f := range w.signIns {
		if !f.named {
			continue
		}
		switch kept, err := s.Family(ctx, f.id); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case kept.State == store.Active && kept.Epoch != a.Epoch:
			w.fault("call %d: sign-in %d is active, and its account was signed out everywhere since", o.number, f.number)
		}
	}
	return nil
}

// invariants are looked at when the history is over.
func (w *world) invariants() {
	for _, f := range w.signIns {
		redeemed := 0
		chain := map[uint32]int{}
		for _, o := range f.ops {
			if o.answer.outcome != done {
				continue
			}
			switch o.call.kind {
			case kindRedeem:
				if redeemed++; redeemed == 2 {
					w.fault("call %d: the code of sign-in %d was redeemed twice", o.number, f.number)
				}
			case kindRefresh:
			default:
				continue
			}
			p := o.answer.pair
			if before, ok := chain[p.generation]; ok && before != p.refresh {
				w.fault("call %d: sign-in %d has two refresh tokens of generation %d", o.number, f.number, p.generation)
			}
			chain[p.generation] = p.refresh
		}
	}
}

// forks goes on with sign-ins that were copied and of which neither has noticed: each
// of the two comes once a day, and in three days at the latest neither has anything.
func (w *world) forks(run func(*op), days func(int64)) {
	for _, thief := range w.parties {
		if !thief.thief || thief.out {
			continue
		}
		f := thief.family
		var owner *party
		for _, p := range w.parties {
			if p.family == f && !p.thief && !p.out {
				owner = p
			}
		}
		if owner == nil {
			continue
		}
		f.tainted = true
		for range lateTimes + 1 {
			for _, p := range []*party{owner, thief} {
				days(day / 2)
				if !p.out {
					run(w.refresh(p, p.refresh, false, false))
				}
			}
		}
		if !thief.out {
			w.fault("sign-in %d is held by party %d and thief %d, both used it for %d days, and neither was refused", f.number, owner.number, thief.number, lateTimes+1)
		}
		w.tally["fork that came out"]++
		for _, text := range f.access {
			run(w.bearer(f, text))
		}
	}
}
