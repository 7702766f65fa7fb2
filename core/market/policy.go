package market

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"unsafe"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// decide asks policy about all picks at once: at most one question to each plugin
// and hook. Afterwards each pick is denied or has a choice; only an update may
// have none.
func (m *Market) decide(ctx context.Context, q *Request, w *work, purpose abi.Purpose) error {
	// One Call for both: a plugin that is swapped meanwhile answers all of a request
	// or nothing of it.
	call := m.Plugins.Acquire()
	defer call.Release()
	head, err := m.head(ctx, q, w, purpose)
	if err != nil {
		return err
	}
	return m.consult(ctx, call, w, &head)
}

// consult asks both questions.
func (m *Market) consult(ctx context.Context, call *plugin.Call, w *work, head *abi.Head) error {
	if head.Purpose == abi.PurposeInstallToken && (call.Asks(abi.HookEntitle) || w.account.Crowded()) {
		if err := m.leaveOut(ctx, w); err != nil {
			return err
		}
	}
	m.entitle(ctx, call, w, head)
	m.selectVersions(ctx, call, w, head)
	return nil
}

// head says who asks. It costs one look at the account record, mostly in memory.
func (m *Market) head(ctx context.Context, q *Request, w *work, purpose abi.Purpose) (abi.Head, error) {
	if w.now = q.Now; w.again || w.now.IsZero() { // who waited for his turn may have waited for seconds
		w.now = m.Now()
	}
	h := abi.Head{
		NowMS: uint64(w.now.UnixMilli()), Purpose: purpose, Seed: m.seed(w),
		Platform: abi.Platform(q.Platform), OS: q.OS, Territory: q.Territory,
	}
	if q.OS == catalog.AnyOS {
		h.OS = 0 // to policy, not known
	}
	if q.Access == nil {
		return h, nil
	}
	account, err := m.account(ctx, q.Access, w.again)
	if err != nil {
		return h, err
	}
	w.account, w.device, w.ended = account, m.Device(q.Access.Client, q.Access.Family), nil
	h.Account, h.BucketKey, h.Grants = account.Account, account.Account, account.Grants
	w.client = m.Client(w.client[:0], q.Access.Client)
	h.Client = unsafe.String(unsafe.SliceData(w.client), len(w.client)) // the head is gone before w is used again
	if account.Territory != "" {
		h.Territory = account.Territory
	}
	return h, nil
}

// nobody is the account of who is not signed in.
var nobody = new(store.Account)

// account is the account of a token, from memory if it may be, or ErrNoAccount. It may
// be shared: nobody may modify it.
func (m *Market) account(ctx context.Context, access *token.Access, again bool) (account *store.Account, err error) {
	if again {
		var read store.Account
		read, err = m.Store.Account(ctx, access.Subject)
		account = &read
	} else {
		account, err = m.Store.CachedAccount(ctx, access.Subject)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return account, ErrNoAccount
	case err != nil:
		return account, fmt.Errorf("read account: %w", err)
	case account.Epoch != access.Epoch:
		return account, ErrNoAccount
	}
	return account, nil
}

func (m *Market) entitle(ctx context.Context, call *plugin.Call, w *work, head *abi.Head) {
	allowed := m.Config.Entitled(call.Has(abi.HookEntitle))
	if !call.Asks(abi.HookEntitle) {
		for i := range w.picks {
			w.picks[i].denied = !allowed
		}
		return
	}
	call.Entitle.Head = *head
	call.Entitle.Apps = call.Entitle.Apps[:0]
	for i := range w.picks {
		p := &w.picks[i]
		app := abi.EntitleApp{Item: p.entry.ID, BundleID: p.entry.BundleID}
		app.Devices, app.DevicesItem = w.account.Ahead(w.device, p.entry.ID)
		if head.Purpose == abi.PurposeInstallToken {
			app.Version = p.app.Version
		}
		call.Entitle.Apps = append(call.Entitle.Apps, app)
	}
	tells := m.tells(ctx, call)
	for i, e := range call.AskEntitle(ctx) {
		p := &w.picks[i]
		switch e.Decision {
		case abi.Allow:
			p.denied = false
		case abi.DecisionPass:
			p.denied = !allowed
		default:
			p.denied = true
		}
		if tells {
			m.note(ctx, head, p, "entitle", e.Plugin, e.Reason, slog.Bool("denied", p.denied))
		}
	}
}

// selectVersions lets policy choose for every app that is not denied, and puts
// the core's rule in its place where it abstains or holds.
func (m *Market) selectVersions(ctx context.Context, call *plugin.Call, w *work, head *abi.Head) {
	open := 0
	for i := range w.picks {
		w.picks[i].choice = abi.ChoicePass
		if !w.picks[i].denied {
			open++
		}
	}
	if open > 0 && call.Asks(abi.HookSelectVersion) {
		m.askVersions(ctx, call, w, head, open)
	}
	for i := range w.picks {
		p := &w.picks[i]
		candidates, said := w.candidates[p.from:p.to], p.choice
		if head.Purpose != abi.PurposeUpdate {
			p.choice = restoreChoice(p.choice, candidates)
		} else if p.choice == abi.ChoicePass {
			p.choice = openChoice(candidates, head.BucketKey)
		}
		p.own = said == abi.ChoicePass || p.choice != said
	}
}

func (m *Market) askVersions(ctx context.Context, call *plugin.Call, w *work, head *abi.Head, open int) {
	q := call.Versions(head, open)
	for i := range w.picks {
		p := &w.picks[i]
		if p.denied {
			continue
		}
		list := w.candidates[p.from:p.to]
		q.App(p.entry.ID, p.app.Version, p.entry.BundleID, "", len(list))
		for k := range list {
			q.Candidate(list[k].Packed, list[k].MinOS, list[k].Flags)
		}
	}
	answers := call.AskVersions(ctx)
	tells := m.tells(ctx, call)
	for i := range w.picks {
		p := &w.picks[i]
		if p.denied {
			continue
		}
		s := &answers[0]
		answers = answers[1:]
		p.choice = s.Choice
		if tells {
			m.note(ctx, head, p, "select_version", s.Plugin, s.Reason, slog.Int("choice", int(s.Choice)))
		}
	}
}

// openChoice is the newest version whose rollout is open to the key; anonymous
// devices have none, and only a rollout of everyone is open to them.
func openChoice(candidates []catalog.Candidate, key string) abi.Choice {
	for i, c := range candidates {
		if open(key, c.Release.Salt, c.Release.Share) {
			return abi.Choice(i)
		}
	}
	return abi.Hold
}

func open(key, salt string, share uint32) bool {
	return share >= abi.Buckets || share > 0 && key != "" && abi.Bucket(key, salt) < share
}

// restoreChoice is the requested version, else the newest, where policy does not
// name another.
func restoreChoice(choice abi.Choice, candidates []catalog.Candidate) abi.Choice {
	if choice >= 0 || choice == abi.Unavailable {
		return choice
	}
	for i, c := range candidates {
		if c.Flags&abi.FlagRequested != 0 {
			return abi.Choice(i)
		}
	}
	return 0
}

// tells says whether decisions are written to the log.
func (m *Market) tells(ctx context.Context, call *plugin.Call) bool {
	return m.Log != nil && !call.IsDry() && m.Log.Enabled(ctx, slog.LevelDebug)
}

// note writes a decision to the log, for an operator who wants to see them.
func (m *Market) note(ctx context.Context, head *abi.Head, p *pick, hook, name, reason string, what slog.Attr) {
	m.Log.LogAttrs(ctx, slog.LevelDebug, "decision", slog.String("hook", hook), slog.String("account", head.Account),
		slog.Uint64("item", p.entry.ID), what, slog.String("plugin", name), slog.String("reason", reason))
}

// seed is the randomness that policy gets for one request. It comes from a generator
// that nobody can foresee, seeded from Rand: asking the system for eight bytes takes as
// long as a small guest.
func (m *Market) seed(w *work) uint64 {
	if w.lots == nil {
		var b [32]byte
		if _, err := io.ReadFull(m.Rand, b[:]); err != nil {
			return 0 // a plugin may not rely on it; nothing of the core does
		}
		w.lots = rand.NewChaCha8(b)
	}
	return w.lots.Uint64()
}
