package market

import (
	"context"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Supposed is an update check of a device that need not exist.
type Supposed struct {
	At        time.Time
	Account   string // "" = nobody is signed in
	Client    string // as policy sees it
	Platform  catalog.Platform
	OS        uint32
	Territory string
	Grants    []string
	Apps      []App // by Item and Version; none twice
}

// Suppose goes the way of an update check through a catalogue that may never be and
// leaves no trace: the same candidates, plugins and rules, on copies of what the plugins
// keep. It reads no store, so the Market needs no more than Config and Plugins. It
// appends what comes of each app that has a candidate; apps without one are left out, as
// they are in an answer.
//
// The strings of an Outcome are the caller's to keep.
func (m *Market) Suppose(ctx context.Context, s *catalog.Snapshot, y *Supposed, dst []plugin.Outcome) ([]plugin.Outcome, error) {
	w := m.begin()
	defer m.end(w)
	q := Request{Platform: y.Platform, OS: y.OS}
	for i := range y.Apps {
		e, from := s.Item(y.Apps[i].Item), len(w.candidates)
		if e == nil || e.SignIn && y.Account == "" {
			continue
		}
		if w.candidates = fitting(w.candidates, e, &y.Apps[i], &q, abi.PurposeUpdate); len(w.candidates) > from {
			w.picks = append(w.picks, pick{app: &y.Apps[i], entry: e, from: from, to: len(w.candidates)})
		}
	}
	if len(w.picks) == 0 {
		return dst, nil
	}
	head := abi.Head{
		NowMS: uint64(y.At.UnixMilli()), Purpose: abi.PurposeUpdate, Platform: abi.Platform(y.Platform), OS: y.OS,
		Territory: y.Territory, Account: y.Account, BucketKey: y.Account, Grants: y.Grants, Client: y.Client,
	}
	if y.OS == catalog.AnyOS {
		head.OS = 0 // to policy, not known
	}
	call := m.Plugins.Acquire()
	defer call.Release()
	var dry *plugin.Dry
	if call.Asks(abi.HookEntitle) || call.Asks(abi.HookSelectVersion) {
		dry = call.Dry()
	}
	if err := m.consult(ctx, call, w, &head); err != nil {
		return dst, err
	}
	for i := range w.picks {
		dst = append(dst, w.outcome(&w.picks[i], dry))
	}
	return dst, nil
}

// outcome says what a pick came to, and whose word it was.
func (w *work) outcome(p *pick, dry *plugin.Dry) plugin.Outcome {
	entitled, chosen := decidedBy(dry, p.entry.ID)
	if p.own {
		chosen = plugin.Outcome{}
	}
	o := chosen
	switch {
	case p.denied:
		o, o.Result = entitled, plugin.ResultDeny
	case p.choice >= 0:
		o.Result, o.Version = plugin.ResultOffer, w.candidates[p.from+int(p.choice)].Release.ID
	case p.choice == abi.Unavailable:
		o.Result = plugin.ResultUnavailable
	default:
		o.Result = plugin.ResultHold
	}
	o.Item = p.entry.ID
	return o
}

// decidedBy finds what the two questions came to for an app; an empty Outcome where
// there was no question.
func decidedBy(dry *plugin.Dry, item uint64) (entitled, chosen plugin.Outcome) {
	if dry == nil {
		return entitled, chosen
	}
	for i := range dry.Inquiries {
		inquiry := &dry.Inquiries[i]
		for k := range inquiry.Outcomes {
			switch o := &inquiry.Outcomes[k]; {
			case o.Item != item:
			case inquiry.Hook == abi.HookEntitle:
				entitled = *o
			default:
				chosen = *o
			}
		}
	}
	return entitled, chosen
}
