package coretest_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	tok "github.com/souk-market/souk/core/token"
)

var notesUpdate = tok.InstallClaims{BundleID: "com.example.notes", Item: 1000002, Version: 2000022, Redownload: true}

// poolHas waits for the pool to have some tokens, or none: it follows the catalogue and
// the offers by itself.
func poolHas(t testing.TB, s *coretest.Server, what string, ready func(int) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		st := s.Market.Pool.Stats()
		if ready(st.Ready) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the pool is %+v", what, st)
		}
		time.Sleep(5 * time.Millisecond) // between looks, not instead of them
	}
}

func some(n int) bool { return n > 0 }
func none(n int) bool { return n == 0 }

func TestPoolServesOffers(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.PoolByHand = true
	})
	access := deviceOf(t, s, coretest.Alice).access
	if err := s.Market.Pool.Warm(t.Context(), 3, notesUpdate); err != nil {
		t.Fatal(err)
	}
	nonces := map[any]bool{}
	for i := range 5 {
		g := updates(t, s, access, deviceOS, notesOld)
		g.gives(t, "an update", []app{notesNew})
		for _, u := range g.Updates {
			claims := verify(t, s, u.Token).claims
			if nonces[claims["nonce"]] || claims["dtype"] != "redownload" {
				t.Errorf("offer %d has the claims %v, want a nonce of its own and a redownload", i, claims)
			}
			nonces[claims["nonce"]] = true
		}
	}
	m := scrape(t, s)
	m.is(t, 5, "souk_install_tokens_signed_total")
	m.is(t, 3, "souk_install_pool_offers_total", "from=pool")
	m.is(t, 2, "souk_install_pool_offers_total", "from=inline")
	m.is(t, 0, "souk_install_pool_tokens")

	version := "/api/apps/" + coretest.NotesItem + "/versions/" + coretest.NotesNew
	takedown := "/api/apps/" + coretest.NotesItem + "/takedown"
	for _, test := range []struct {
		name   string
		change func(bool)
	}{
		{"halted", func(is bool) { s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": is}) }},
		{"withdrawn", func(is bool) { s.Must(t, http.MethodPut, version+"/withdrawn", map[string]bool{"withdrawn": is}) }},
		{"taken down", func(is bool) {
			if is {
				s.Must(t, http.MethodPut, takedown, map[string]string{"reason": "a test"})
			} else {
				s.Must(t, http.MethodDelete, takedown, nil)
			}
		}},
	} {
		if err := s.Market.Pool.Warm(t.Context(), 7, notesUpdate); err != nil {
			t.Fatalf("before the version is %s: %v", test.name, err)
		}
		test.change(true)
		poolHas(t, s, "the version is "+test.name, none)
		if err := s.Market.Pool.Warm(t.Context(), 7, notesUpdate); err == nil {
			t.Errorf("the version is %s, and its tokens are signed all the same", test.name)
		}
		test.change(false)
	}
	scrape(t, s).is(t, 21, "souk_install_pool_dropped_total")

	// Half of their life is over.
	if err := s.Market.Pool.Warm(t.Context(), 7, notesUpdate); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(10 * time.Minute)
	claims := verify(t, s, updates(t, s, access, deviceOS, notesOld).Updates[0].Token).claims
	iat, err := claims["iat"].(json.Number).Int64()
	if age := s.Clock.Now().Unix() - iat; err != nil || age > 60 {
		t.Errorf("an offer has a token of %d s ago (%v), want a new one", age, err)
	}
}

func TestPoolFillsItself(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	poolHas(t, s, "apps were published", some)
	version := "/api/apps/" + coretest.NotesItem + "/versions/" + coretest.NotesNew
	s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": true})
	s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": false})
	access := deviceOf(t, s, coretest.Alice).access
	for end := time.Now().Add(time.Minute); s.Market.Pool.Stats().Served == 0; {
		updates(t, s, access, deviceOS, notesOld).gives(t, "an update", []app{notesNew})
		if time.Now().After(end) {
			t.Fatalf("no offer came from the pool: %+v", s.Market.Pool.Stats())
		}
	}
	off := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Token.Pool = 0
	})
	access = deviceOf(t, off, coretest.Alice).access
	updates(t, off, access, deviceOS, notesOld).gives(t, "an update without a pool", []app{notesNew})
	if st := off.Market.Pool.Stats(); st != (tok.PoolStats{}) {
		t.Errorf("a pool that is off: %+v", st)
	}
	for _, n := range []int{-1, 1_000_001} {
		c := coretest.Config(t.TempDir())
		c.Token.Pool = n
		if err := c.Validate(); err == nil {
			t.Errorf("token.pool = %d: no error", n)
		}
	}
}
