package modeltest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/core/unit"
)

// plant is a fault that is planted between the rules and what is around them, to see
// that it is found. The zero value is none.
type plant struct {
	name  string
	fresh func(*plant) // at the begin of a history

	drop  func(k store.Key, cur *store.Item) bool // a write is answered and not made
	shown func(p *port, k store.Key, cur *store.Item) *store.Item
	open  func(p *port) // a process starts
	set   func(*oauth.Lives)
	grant func(w *world, p oauth.Params, ask askToken) (*oauth.TokenResponse, error)
	// finish stands in the place of what ends cut-off sign-outs.
	finish func(s *oauth.Server) error
	good   func(text string, ask func() (token.Access, error)) (token.Access, error)
}

type askToken func(oauth.Params) (*oauth.TokenResponse, error)

func (t *plant) begin() {
	if t.fresh != nil {
		t.fresh(t)
	}
}

func (t *plant) update(p *port, k store.Key, cur *store.Item, f store.UpdateFunc) (*store.Write, error) {
	if t.shown != nil {
		cur = t.shown(p, k, cur)
	}
	w, err := f(cur)
	if err == nil && w != nil && t.drop != nil && t.drop(k, cur) {
		return nil, dropped{store.Item{Key: k, Value: w.Value, Version: 1, Expires: store.Millis(w.Expires)}}
	}
	return w, err
}

// dropped carries the item that a dropped write would have made.
type dropped struct{ item store.Item }

func (dropped) Error() string { return "modeltest: a planted fault dropped a write" }

func (t *plant) updated(it store.Item, err error) (store.Item, error) {
	if d, ok := err.(dropped); ok {
		return d.item, nil
	}
	return it, err
}

func (t *plant) start(p *port) {
	if t.open != nil {
		t.open(p)
	}
}

func (t *plant) lives(l *oauth.Lives) {
	if t.set != nil {
		t.set(l)
	}
}

func (t *plant) token(w *world, p oauth.Params, ask askToken) (*oauth.TokenResponse, error) {
	if t.grant != nil {
		return t.grant(w, p, ask)
	}
	return ask(p)
}

func (t *plant) finishes(s *oauth.Server, ask func() error) error {
	if t.finish != nil {
		return t.finish(s)
	}
	return ask()
}

func (t *plant) bearer(text string, ask func() (token.Access, error)) (token.Access, error) {
	if t.good != nil {
		return t.good(text, ask)
	}
	return ask()
}

// The tables of the store that plants have to do with; see keys.go there.
const (
	tableSignOut      = 'E'
	tableFamily       = 'F'
	tableSubjectToken = 'T'
	tableAccount      = 'U'
	tableRevocation   = 'X'

	familySize = 73 // its last 8 bytes are the generations of late retries
)

// plants are the faults. They run on one bench, one history at a time, and in turn
// only: what they remember needs no lock.
func plants(t *testing.T) []*plant {
	ms := func(n int64) unit.Duration { return unit.Duration(time.Duration(n) * time.Millisecond) }
	every := func(table byte, nth int) func(store.Key, *store.Item) bool {
		n := 0
		return func(k store.Key, cur *store.Item) bool {
			if k.Table != table || cur == nil {
				return false
			}
			n++
			return n%nth == 0
		}
	}
	return []*plant{
		{name: "every tenth rotation is answered and not kept", drop: every(tableFamily, 10)},
		{name: "a sign-out everywhere is answered and not kept", drop: every(tableAccount, 1)},
		{name: "a sign-out everywhere that was cut off is forgotten at a crash", drop: func(k store.Key, _ *store.Item) bool { return k.Table == tableSignOut }},
		{name: "sign-outs that were cut off are crossed off and not finished", finish: func(s *oauth.Server) error {
			for _, subject := range s.Store.SignOuts() {
				a, err := s.Store.Account(t.Context(), subject)
				if err != nil {
					return err
				}
				if err := s.Store.SignedOut(t.Context(), subject, a.Epoch); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "sign-outs that were cut off are never finished", finish: func(*oauth.Server) error { return nil }},
		{name: "a subject token is bound to nobody", drop: every(tableSubjectToken, 1)},
		{name: "an end is forgotten at a crash", drop: func(k store.Key, _ *store.Item) bool { return k.Table == tableRevocation }},
		{name: "late retries are not counted", shown: func(_ *port, k store.Key, cur *store.Item) *store.Item {
			if k.Table != tableFamily || cur == nil {
				return cur
			}
			if len(cur.Value) != familySize {
				t.Fatalf("a family has %d bytes, this plant knows %d", len(cur.Value), familySize)
			}
			it := *cur
			it.Value = append(append([]byte{}, cur.Value[:familySize-8]...), make([]byte, 8)...)
			return &it
		}},
		lostAtCrash(),
		redeemedTwice(),
		tooOld(),
		otherSuccessor(),
		rememberedToken(),
		{name: "the grace lasts two minutes", set: func(l *oauth.Lives) { l.Grace = ms(2 * minute) }},
		{name: "there is no grace", set: func(l *oauth.Lives) { l.Grace = 0 }},
		{name: "an idle sign-in is kept for twice as long", set: func(l *oauth.Lives) { l.RefreshIdle = ms(360 * day) }},
		{name: "a code is good for twice as long", set: func(l *oauth.Lives) { l.Code = ms(10 * minute) }},
	}
}

// lostAtCrash undoes the last write of a family when the process starts again: what an
// engine does that answers before it has written.
func lostAtCrash() *plant {
	var last store.Key
	var before *store.Item
	return &plant{
		name:  "the last rotation is lost in a crash",
		fresh: func(*plant) { before = nil },
		shown: func(_ *port, k store.Key, cur *store.Item) *store.Item {
			if k.Table == tableFamily && cur != nil {
				at := *cur
				last, before = k, &at
			}
			return cur
		},
		open: func(p *port) {
			if before != nil {
				_, _ = p.inner.Update(context.Background(), p.in(last), func(*store.Item) (*store.Write, error) {
					return &store.Write{Value: before.Value, Expires: before.Expires}, nil
				})
			}
		},
	}
}

// redeemedTwice gives whoever comes second what the first was given.
func redeemedTwice() *plant {
	var first map[string]*oauth.TokenResponse
	return &plant{
		name:  "a code is redeemed twice",
		fresh: func(*plant) { first = map[string]*oauth.TokenResponse{} },
		grant: func(_ *world, p oauth.Params, ask askToken) (*oauth.TokenResponse, error) {
			code := p["code"]
			if before := first[code]; code != "" && before != nil {
				return before, nil
			}
			r, err := ask(p)
			if err == nil && code != "" {
				first[code] = r
			}
			return r, err
		},
	}
}

// tooOld takes a refresh token of two generations ago for the one after it.
func tooOld() *plant {
	var next map[string]string
	return &plant{
		name:  "a refresh token of two generations ago is taken",
		fresh: func(*plant) { next = map[string]string{} },
		grant: func(_ *world, p oauth.Params, ask askToken) (*oauth.TokenResponse, error) {
			if one := next[p["refresh_token"]]; one != "" && next[one] != "" && next[next[one]] == "" {
				with := oauth.Params{}
				for k, v := range p {
					with[k] = v
				}
				with["refresh_token"] = one
				p = with
			}
			r, err := ask(p)
			if err == nil && p["refresh_token"] != "" {
				next[p["refresh_token"]] = r.RefreshToken
			}
			return r, err
		},
	}
}

// otherSuccessor answers a retry with an access token of its own.
func otherSuccessor() *plant {
	var seen map[string]bool
	return &plant{
		name:  "a retry gets another access token",
		fresh: func(*plant) { seen = map[string]bool{} },
		grant: func(w *world, p oauth.Params, ask askToken) (*oauth.TokenResponse, error) {
			r, err := ask(p)
			if used := p["refresh_token"]; err == nil && used != "" {
				if seen[used] {
					access, e := w.ring().VerifyAccess([]byte(r.AccessToken), time.Unix(0, 0))
					if e != nil {
						return nil, e
					}
					access.Scope++ // what nobody looks at
					r.AccessToken = string(w.ring().AppendAccess(nil, &access))
				}
				seen[used] = true
			}
			return r, err
		},
	}
}

// rememberedToken remembers that an access token was good.
func rememberedToken() *plant {
	was := map[string]token.Access{}
	return &plant{
		name:  "an access token that was good stays good",
		fresh: func(*plant) { clear(was) },
		good: func(text string, ask func() (token.Access, error)) (token.Access, error) {
			if a, ok := was[text]; ok {
				return a, nil
			}
			a, err := ask()
			if err == nil {
				was[text] = a
			}
			return a, err
		},
	}
}

// TestPlantedFaultsAreFound plants one fault after the other: each has to be found in no
// more histories than a test run looks at, or the histories are worth little. They happen
// one call at a time, where the race detector has nothing to see.
func TestPlantedFaultsAreFound(t *testing.T) {
	if raceDetector {
		t.Skip("one call at a time, and ten times slower under the race detector: run it without")
	}
	const most = 1000 // a quarter of them
	b := newBench(t, host(t))
	for _, p := range plants(t) {
		t.Run(p.name, func(t *testing.T) {
			for n := 1; n <= most; n++ {
				s := write(uint64(n))
				if s.racing {
					continue
				}
				w, err := b.run(s, p)
				if err != nil {
					t.Fatal(err)
				}
				found := w.check()
				if len(found) == 0 {
					continue
				}
				report := b.report(s, p, w, found)
				t.Logf("found in history %d\n%s", n, report)
				for _, want := range []string{fmt.Sprintf("SOUK_SEED=%d ", n), "SOUK_HISTORIES=1", "lines of the script are enough", "→"} {
					if !strings.Contains(report, want) {
						t.Errorf("the report does not say %q", want)
					}
				}
				return
			}
			t.Errorf("not found in %d histories", most)
		})
	}
}
