package market_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/examples"
)

// BenchmarkUpdates is the check of a device with five apps out of 20 000, of which every
// fourth has a version that nobody is offered. Each iteration is another of 4096 devices:
// what a check needs is in memory, but in no cache.
func BenchmarkUpdates(b *testing.B) {
	const items, devices, apps = 20_000, 4096, 5
	m, _, access := openMarket(b)
	all := make([]catalog.Item, items)
	for i := range all {
		all[i] = catalog.Item{ID: uint64(i + 1), BundleID: fmt.Sprintf("com.example.app%d", i), SignIn: catalog.SignInRequired, ShareURL: "https://example.com/app"}
		for n := uint64(3); n > 0; n-- {
			share := catalog.FullShare
			if n == 3 && i%4 == 3 {
				share = 0
			}
			all[i].Versions = append(all[i].Versions, catalog.Version{
				ID: uint64(i+1)*10 + n, Short: fmt.Sprintf("%d.0", n), Build: fmt.Sprint(100 + n), Package: "https://example.com/manifest.json",
				MinOS: map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: share},
			})
		}
	}
	if _, err := m.Catalog.Import(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	none, inC, inGo := m.Plugins, openGuest(b, "c"), openGuest(b, "go")

	checks := map[bool][]market.Request{}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range devices {
		name := fmt.Sprintf("account-%d@example.com", i)
		if _, err := m.Store.UpdateAccount(b.Context(), name, func(a *store.Account) (bool, error) { a.DisplayName = "Somebody"; return true, nil }); err != nil {
			b.Fatal(err)
		}
		for _, held := range []bool{false, true} {
			q := market.Request{Platform: catalog.IOS, OS: 26 << 16, Access: &token.Access{
				Subject: store.SubjectID(name), Client: access.Client, Family: [16]byte{byte(i), byte(i >> 8)},
			}}
			for range apps {
				id := uint64(r.IntN(items/4)*4 + 1)
				app := market.App{Item: id, Version: id*10 + 3}
				if held {
					app.Item += 3
					app.Version = app.Item*10 + 2
				}
				q.Apps = append(q.Apps, app)
			}
			checks[held] = append(checks[held], q)
		}
	}
	for _, c := range []struct {
		name    string
		held    bool
		plugins *plugin.Host
	}{{"nothing newer", false, inC}, {"held, without plugins", true, none}, {"held by a plugin in C", true, inC}, {"held by a plugin in Go", true, inGo}} {
		b.Run(c.name, func(b *testing.B) {
			m.Plugins = c.plugins
			var a market.Answer
			ask := func(i int) {
				a.Reset()
				if err := m.Updates(b.Context(), &checks[c.held][i*1021%devices], &a); err != nil || len(a.Offers)+len(a.Failures) > 0 {
					b.Fatalf("%d offers, %d failures, %v: want none", len(a.Offers), len(a.Failures), err)
				}
			}
			for i := range devices { // its account is in memory then
				ask(i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				ask(i)
			}
		})
	}
}

// openGuest is a host with the policy that the SDKs show, in one language.
func openGuest(b *testing.B, language string) *plugin.Host {
	b.Helper()
	s := plugin.DefaultSpec()
	s.Name = language
	for _, e := range examples.All() {
		if e.Language == language {
			s.Wasm = e.Wasm
		}
	}
	h, err := plugin.Open(b.Context(), plugin.Options{Specs: []plugin.Spec{s}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.Close(context.WithoutCancel(b.Context())) })
	return h
}
