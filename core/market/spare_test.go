package market_test

import (
	"testing"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/token"
)

// An update check can do without a signature, since the device asks again tomorrow;
// whoever waits for an answer can't.
func TestOnlyUpdateChecksDoWithoutSignatures(t *testing.T) {
	m, _, access := openMarket(t)
	ask := func(do func(*market.Request, *market.Answer) error) (offers, failures int, signed uint64) {
		t.Helper()
		before := m.Signer.Signed()
		q := market.Request{
			Apps: []market.App{{Item: item, Version: version - 1}, {Item: 1}}, Platform: catalog.IOS, OS: 26 << 16, Access: access,
		}
		var a market.Answer
		if err := do(&q, &a); err != nil {
			t.Fatal(err)
		}
		return len(a.Offers), len(a.Failures), m.Signer.Signed() - before
	}
	updates := func(q *market.Request, a *market.Answer) error { return m.Updates(t.Context(), q, a) }
	restore := func(q *market.Request, a *market.Answer) error { return m.Restore(t.Context(), q, a) }
	install := func(q *market.Request, a *market.Answer) error { return m.InstallTokens(t.Context(), q, a) }
	for _, c := range []struct {
		rule   string
		spare  func() bool
		deny   bool
		do     func(*market.Request, *market.Answer) error
		offers int
		spared uint64
	}{
		{"without anybody who says so an update is offered", nil, false, updates, 1, 0},
		{"while there is time it is offered", func() bool { return false }, false, updates, 1, 0},
		{"without the time it is not", func() bool { return true }, false, updates, 0, 1},
		{"what the account may not have is not spared, but denied", func() bool { return true }, true, updates, 0, 0},
		{"a restore is signed for all the same", func() bool { return true }, false, restore, 1, 0},
		{"and an install token is", func() bool { return true }, false, install, 1, 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m.Spare, m.Config.EntitleDefault = c.spare, market.DefaultAuto
			if c.deny {
				m.Config.EntitleDefault = market.DefaultDeny
			}
			before := m.Spared()
			offers, failures, signed := ask(c.do)
			if offers != c.offers || failures != 1 || signed != uint64(c.offers) {
				t.Errorf("%d offers, %d failures and %d signatures, want %d, 1 and %d", offers, failures, signed, c.offers, c.offers)
			}
			if n := m.Spared() - before; n != c.spared {
				t.Errorf("%d offers were spared, want %d", n, c.spared)
			}
		})
	}
}

// What was signed ahead costs nothing any more.
func TestUpdateChecksGetWhatWasSignedAhead(t *testing.T) {
	m, _, access := openMarket(t)
	m.Spare = func() bool { return true }
	m.Pool = token.NewInstallPool(m.Signer, 10)
	claims := token.InstallClaims{BundleID: "com.example.notes", Item: item, Version: version, Redownload: true}
	if err := m.Pool.Warm(t.Context(), 1, claims); err != nil {
		t.Fatal(err)
	}
	signed := m.Signer.Signed()
	for i, want := range []int{1, 0} {
		q := market.Request{Apps: []market.App{{Item: item, Version: version - 1}}, Platform: catalog.IOS, OS: 26 << 16, Access: access}
		var a market.Answer
		if err := m.Updates(t.Context(), &q, &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Offers) != want || m.Spared() != uint64(i) {
			t.Errorf("check %d has %d offers and %d were spared, want %d and %d", i+1, len(a.Offers), m.Spared(), want, i)
		}
		for _, o := range a.Offers {
			if len(a.Token(o)) == 0 {
				t.Error("the offer has no token")
			}
		}
	}
	if n := m.Signer.Signed() - signed; n != 0 {
		t.Errorf("%d tokens were signed meanwhile, want none", n)
	}
}
