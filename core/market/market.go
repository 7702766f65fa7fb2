// Package market holds the rules of the market: which apps a device may have
// back, which updates it is offered, and which version of each. It knows no HTTP
// and no JSON; a request names apps, and the answer names releases with their
// install verification tokens.
//
// The order of every decision is the same: the catalogue says which versions fit
// the device, policy says whether the account may have the app and which version
// it is to be, and the core keeps to what no policy may override: nothing that
// was taken down, nothing that does not fit, no halted version as an update.
// Where nothing fits, nobody is asked: most update checks end there.
package market

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// Market answers for restores, updates and install tokens. Wire it by field
// name; every field is needed but Polling, Pool, Spare and Log.
type Market struct {
	Config  Config
	Polling *Polling // nil = what Config says
	Catalog *catalog.Catalog
	Store   *store.Store
	Plugins *plugin.Host
	Signer  *token.InstallSigner
	Pool    *token.InstallPool                    // of that signer; nil = each token is signed when it is asked for
	Client  func(dst []byte, key [16]byte) []byte // appends the client of a token, as policy sees it
	Device  store.DeviceOf                        // what its sign-in counts as
	Now     func() time.Time
	Rand    io.Reader
	Log     *slog.Logger // nil = silent
	// Spare reports whether an update check has to do with what was signed ahead, and
	// without what would be signed for it: a signature takes longer than all the rest, and who does without asks again
	// tomorrow. nil = none has to.
	Spare func() bool

	scratch sync.Pool // of *work
	queues  queues
	spared  atomic.Uint64
}

// Spared is how many offers of update checks were left out because Spare said so.
func (m *Market) Spared() uint64 { return m.spared.Load() }

// ErrNoAccount means that a token is genuine but its account is gone or was
// signed out everywhere.
var ErrNoAccount = errors.New("market: the token's account is gone")

// Request is what a device asks: about these apps, on this device.
type Request struct {
	Apps      []App
	Platform  catalog.Platform // 0 = another than ours: nothing fits
	OS        uint32           // major<<16 | minor<<8 | patch, or catalog.AnyOS
	Territory string           // as a trusted proxy says, or empty
	Access    *token.Access    // nil = nobody is signed in
	Now       time.Time        // when it came; zero = what Market.Now says

	seen []uint64 // of Once
}

// App is an app of a request. The texts are what the device wrote, so that an
// answer can name the app in the same words; a text that is no id has the id 0,
// which no app has.
type App struct {
	Item, Version         uint64
	ItemText, VersionText string
}

// Answer is what a device gets. It can be used again: Reset keeps its space.
type Answer struct {
	Offers   []Offer
	Failures []App // apps that there is nothing of
	tokens   []byte
}

// Offer is a release and the token that lets the device install it.
type Offer struct {
	Release  *catalog.Release
	from, to int
}

// Token returns the install verification token of an offer of this answer.
func (a *Answer) Token(o Offer) []byte { return a.tokens[o.from:o.to] }

// Reset empties the answer.
func (a *Answer) Reset() {
	clear(a.Offers)
	clear(a.Failures)
	a.Offers, a.Failures, a.tokens = a.Offers[:0], a.Failures[:0], a.tokens[:0]
}

// Once leaves out every app but the first of the same id, so that a request
// can't ask for the same signature a thousand times over.
//
// hot: called for every request; no allocation after the first ones.
func (q *Request) Once() {
	const few = 8 // below, looking is quicker than a table
	kept := q.Apps[:0]
	if len(q.Apps) > few {
		q.seen = emptyTable(q.seen, len(q.Apps))
	}
	for i := range q.Apps {
		id, again := q.Apps[i].Item, false
		switch {
		case id == 0: // no id: it will be a failure
		case len(q.Apps) > few:
			again = seenBefore(q.seen, id)
		default:
			for j := range kept {
				again = again || kept[j].Item == id
			}
		}
		if again {
			continue
		}
		if len(kept) == i {
			kept = q.Apps[:i+1] // in its place already
		} else {
			kept = append(kept, q.Apps[i])
		}
	}
	q.Apps = kept
}

// emptyTable returns a table for n ids: places in a row, half of them free at least.
func emptyTable(t []uint64, n int) []uint64 {
	size := 2 << bits.Len(uint(n-1))
	if cap(t) < size {
		return make([]uint64, size)
	}
	t = t[:size]
	clear(t)
	return t
}

// spread is another one in each process, so that nobody can choose ids that all want the
// same place.
var spread = rand.Uint64() | 1

// seenBefore puts an id into a table and says whether it was there.
func seenBefore(t []uint64, id uint64) bool {
	mask := uint64(len(t) - 1)
	for i := id * spread >> 32; ; i++ {
		switch t[i&mask] {
		case id:
			return true
		case 0:
			t[i&mask] = id
			return false
		}
	}
}

// NeedsSignIn reports whether apps can't be asked for without a token: one of
// them is for people who are signed in, or nobody knows it.
func (m *Market) NeedsSignIn(apps []App) bool {
	snapshot := m.Catalog.Snapshot()
	for i := range apps {
		if e := snapshot.Item(apps[i].Item); e == nil || e.SignIn {
			return true
		}
	}
	return false
}

// work is the scratch space of one request.
type work struct {
	picks      []pick
	candidates []catalog.Candidate
	account    *store.Account
	now        time.Time
	device     [16]byte   // of the token; zero without one
	ended      [][16]byte // devices that are taken off the account: they have no sign-in
	again      bool       // the account is read from the store, and not from memory
	client     []byte     // as policy sees it
	lots       *rand.ChaCha8
}

// pick is one app on its way to a decision.
type pick struct {
	app      *App
	entry    *catalog.Entry
	from, to int // its candidates in work
	choice   abi.Choice
	own      bool // the choice is the core's, and no plugin's
	denied   bool
}

func (m *Market) begin() *work {
	w, ok := m.scratch.Get().(*work)
	if !ok {
		w = new(work)
	}
	w.account = nobody
	return w
}

func (m *Market) end(w *work) {
	clear(w.candidates) // no old snapshot is kept alive
	clear(w.picks)
	*w = work{picks: w.picks[:0], candidates: w.candidates[:0], client: w.client[:0], lots: w.lots}
	m.scratch.Put(w)
}

// Updates answers an update check. Apps without news are left out; apps that are
// gone are failures, which a device is free to ignore.
//
// hot: called once a day by every device.
func (m *Market) Updates(ctx context.Context, q *Request, a *Answer) error {
	w := m.begin()
	defer m.end(w)
	m.outdated(q, w, a)
	if len(w.picks) == 0 {
		return nil
	}
	if err := m.decide(ctx, q, w, abi.PurposeUpdate); err != nil {
		return err
	}
	spare := m.Spare != nil && m.Spare() // signatures for all or for none: half an answer is not half as good
	for i := range w.picks {
		p := &w.picks[i]
		if p.denied || p.choice < 0 {
			continue
		}
		r := w.candidates[p.from+int(p.choice)].Release
		if spare {
			m.offerReady(a, p.entry, r, true, w.now)
			continue
		}
		if err := m.offer(a, p.entry, r, true, w.now); err != nil {
			return err
		}
	}
	return nil
}

// Prefetch has what an update check will read come into the processor's cache while the
// caller does something else: it may be called as soon as the apps of a request are known.
// In a large catalogue most of the time of a check would go into waiting for memory, and
// the places of its apps, and what there is to know of those that are outdated, can all
// be waited for at once.
//
// hot: called for every update check.
func (m *Market) Prefetch(q *Request) {
	const most = 32 // beyond that the first would be gone when they are needed
	apps, snapshot := q.Apps[:min(len(q.Apps), most)], m.Catalog.Snapshot()
	for i := range apps {
		snapshot.Prefetch(apps[i].Item)
	}
	for i := range apps {
		app := &apps[i]
		if e, outdated := snapshot.Outdated(app.Item, app.Version); outdated {
			e.Prefetch()
		}
	}
}

// outdated picks the apps of which there are newer versions.
func (m *Market) outdated(q *Request, w *work, a *Answer) {
	snapshot := m.Catalog.Snapshot()
	for i := range q.Apps {
		app := &q.Apps[i]
		if e, outdated := snapshot.Outdated(app.Item, app.Version); outdated || e == nil {
			if len(w.picks) == 0 && q.Access != nil { // policy will be told who asks
				m.Store.PrefetchAccount(&q.Access.Subject)
			}
			w.picks = append(w.picks, pick{app: app, entry: e})
		}
	}
	found := w.picks
	w.picks = w.picks[:0]
	for i := range found {
		p := &found[i]
		if p.entry == nil || p.entry.Removed {
			a.Failures = append(a.Failures, *p.app)
			continue
		}
		p.from = len(w.candidates)
		w.candidates = p.entry.AppendUpdates(w.candidates, p.app.Version, q.Platform, q.OS)
		if p.to = len(w.candidates); p.to == p.from {
			continue
		}
		if kept := len(w.picks); kept == i {
			w.picks = found[:i+1] // in its place already
		} else {
			w.picks = append(w.picks, *p)
		}
	}
	clear(found[len(w.picks):]) // end clears what is kept only
}

// Restore answers for apps that a device had before: each is restored or is a
// failure. To say "you may not" with a status would make the device ask for a
// password again.
func (m *Market) Restore(ctx context.Context, q *Request, a *Answer) error {
	return m.give(ctx, q, a, abi.PurposeRestore, nil)
}

// InstallTokens answers the marketplace app, which installs apps itself. An app
// that the account never had is a first download.
func (m *Market) InstallTokens(ctx context.Context, q *Request, a *Answer) error {
	return m.give(ctx, q, a, abi.PurposeInstallToken, m.remember)
}

// give answers for each app. before, if any, has a last word when everything is
// decided and nothing given.
func (m *Market) give(ctx context.Context, q *Request, a *Answer, purpose abi.Purpose, before func(context.Context, *Request, *work) error) error {
	w := m.begin()
	defer m.end(w)
	snapshot := m.Catalog.Snapshot()
	for i := range q.Apps {
		app := &q.Apps[i]
		e := snapshot.Item(app.Item)
		from := len(w.candidates)
		if e != nil {
			w.candidates = fitting(w.candidates, e, app, q, purpose)
		}
		if len(w.candidates) == from {
			a.Failures = append(a.Failures, *app)
			continue
		}
		w.picks = append(w.picks, pick{app: app, entry: e, from: from, to: len(w.candidates)})
	}
	if len(w.picks) == 0 {
		return nil
	}
	for try := 1; ; try++ {
		err := m.decide(ctx, q, w, purpose)
		if err == nil && before != nil {
			err = before(ctx, q, w)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errMoved) || try == maxTries {
			return err
		}
		if w.again = true; try == 1 {
			defer m.queues.wait(w.account.Account)()
		}
	}
	for i := range w.picks {
		p := &w.picks[i]
		if p.denied || p.choice == abi.Unavailable {
			a.Failures = append(a.Failures, *p.app)
			continue
		}
		again := purpose != abi.PurposeInstallToken || w.account.HasItem(p.entry.ID)
		if err := m.offer(a, p.entry, w.candidates[p.from+int(p.choice)].Release, again, w.now); err != nil {
			return err
		}
	}
	return nil
}

// fitting appends the versions that the device could be given.
func fitting(dst []catalog.Candidate, e *catalog.Entry, app *App, q *Request, purpose abi.Purpose) []catalog.Candidate {
	if purpose == abi.PurposeUpdate {
		return e.AppendUpdates(dst, app.Version, q.Platform, q.OS)
	}
	from := len(dst)
	dst = e.AppendRestores(dst, app.Version, q.Platform, q.OS)
	if purpose == abi.PurposeInstallToken {
		dst = withoutHalted(dst, from)
	}
	return dst
}

// withoutHalted takes out what nobody gets for the first time.
func withoutHalted(list []catalog.Candidate, from int) []catalog.Candidate {
	kept := list[:from]
	for _, c := range list[from:] {
		if !c.Release.Halted {
			kept = append(kept, c)
		}
	}
	clear(list[len(kept):])
	return kept
}

// offerReady adds a release if a token for it was signed ahead.
func (m *Market) offerReady(a *Answer, e *catalog.Entry, r *catalog.Release, again bool, now time.Time) {
	from, ok := len(a.tokens), false
	if m.Pool != nil && !r.Halted {
		a.tokens, ok = m.Pool.AppendReady(a.tokens, token.InstallClaims{BundleID: e.BundleID, Item: e.ID, Version: r.ID, Redownload: again}, now)
	}
	if !ok {
		m.spared.Add(1)
		return
	}
	a.Offers = append(a.Offers, Offer{Release: r, from: from, to: len(a.tokens)})
}

// offer adds a release with a token that was never used before.
func (m *Market) offer(a *Answer, e *catalog.Entry, r *catalog.Release, again bool, now time.Time) error {
	from := len(a.tokens)
	var err error
	claims := token.InstallClaims{BundleID: e.BundleID, Item: e.ID, Version: r.ID, Redownload: again}
	if m.Pool != nil && !r.Halted {
		a.tokens, err = m.Pool.Append(a.tokens, claims, now)
	} else {
		a.tokens, err = m.Signer.Append(a.tokens, claims)
	}
	if err != nil {
		return fmt.Errorf("sign install token of item %d: %w", e.ID, err)
	}
	a.Offers = append(a.Offers, Offer{Release: r, from: from, to: len(a.tokens)})
	return nil
}
