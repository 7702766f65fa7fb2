package coretest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

// What is explained is what a device then gets: over random catalogues, people and
// requests, with each kind of policy that there is.
func TestExplanationsAreWhatDevicesGet(t *testing.T) {
	t.Parallel()
	for i, test := range []struct {
		name     string
		policies []plugin.Spec
	}{
		{"no plugin", nil},
		{"the shipped ones", shipped()},
		{"one that fails, before them", append([]plugin.Spec{fails("abstain")}, shipped()...)},
		{"one that fails, alone", []plugin.Spec{fails("deny")}},
		{"one that says anything", []plugin.Spec{anything()}},
		{"and the shipped ones", append([]plugin.Spec{anything()}, shipped()...)},
		{"behind the shipped ones", append(shipped(), anything())},
	} {
		r := &random{rand.New(rand.NewPCG(1, uint64(i)))}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r.run(t, test.policies)
		})
	}
}

// shipped are the shipped policies, each with something to say.
func shipped() []plugin.Spec {
	all := []plugin.Spec{policySpec("region", plugins.Region), policySpec("quota", plugins.Quota)}
	all[0].Config = map[string]any{"unknown_territory": "deny", "exempt_grants": []string{"role:tester"}, "rules": []map[string]any{
		{"items": []string{itemOf(1), itemOf(2)}, "deny_territories": []string{"USA"}, "only_new": true},
		{"items": []string{"com.example.app3"}, "allow_territories": []string{"AUT"}},
		{"versions": []string{versionOf(4, 2), versionOf(4, 3), versionOf(5, 1)}, "max_os": "18"},
		{"versions": []string{versionOf(6, 1), versionOf(6, 2), versionOf(6, 3), versionOf(6, 4)}, "platforms": []string{"ios"}},
	}}
	all[1].Config = map[string]any{"per_item": 1, "per_account": 2}
	more := coretest.Plugins()[1:]
	more[0].Config = map[string]any{"default": "allow", "items": map[string]any{itemOf(7): map[string]any{"any_grant": []string{"role:tester", coretest.PlusGrant}}}}
	return append(all, more...)
}

// anything is a plugin that answers for three apps and fails otherwise.
func anything() plugin.Spec {
	e := abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: abi.Allow}, {Decision: abi.DecisionPass}, {Decision: abi.Allow, Code: 7}}}
	v := abi.SelectVersionVerdict{Items: []abi.VersionChoice{{Choice: abi.Unavailable}, {Choice: abi.Hold}, {Choice: 0}}}
	s := policySpec("anything", handmade{entitle: e.Append(nil), selects: v.Append(nil)}.wasm())
	s.OnError, s.Breaker = "abstain", 0
	return s
}

// fails is a plugin that has never the number of answers that it should have.
func fails(onError string) plugin.Spec {
	s := policySpec("fails", says(abi.Deny, abi.Unavailable, 99).wasm())
	s.OnError = onError
	if onError == "deny" {
		s.Hooks = []string{"select_version"}
	}
	return s
}

const randomApps = 8

func itemOf(n int) string             { return strconv.Itoa(1000000 + n) }
func versionOf(n, version int) string { return strconv.Itoa(2000000 + 10*n + version) }

type random struct{ *rand.Rand }

func (r *random) one(of ...string) string { return of[r.IntN(len(of))] }

func (r *random) chance(percent int) bool { return r.IntN(100) < percent }

// catalogue has apps 1 to randomApps, each with up to four versions.
func (r *random) catalogue() []catalog.Item {
	var items []catalog.Item
	for n := 1; n <= randomApps; n++ {
		it := catalog.Item{ID: uint64(1000000 + n), BundleID: fmt.Sprint("com.example.app", n), Name: fmt.Sprint("App ", n), SignIn: catalog.SignInRequired}
		if r.chance(40) {
			it.SignIn = catalog.SignInNone
		}
		if it.Removed = r.chance(10); it.Removed {
			it.Reason = "court order"
		}
		for version := range 1 + r.IntN(4) {
			v := catalog.Version{
				ID: uint64(2000000 + 10*n + version + 1), Short: fmt.Sprint(version+1, ".0"), Build: "7",
				MinOS: map[string]string{"ios": r.one("17.4", "17.4", "18.0", "26.1")}, Channel: r.one("", "", "", "beta"),
				Critical: r.chance(20), Withdrawn: r.chance(15),
				Rollout: catalog.Rollout{Share: []int{0, catalog.FullShare, catalog.FullShare, r.IntN(catalog.FullShare)}[r.IntN(4)], Halted: r.chance(20)},
			}
			it.Versions = append(it.Versions, v)
		}
		items = append(items, it)
	}
	return items
}

func (r *random) run(t *testing.T, policies []plugin.Spec) {
	s := coretest.Empty(t, func(c *core.Config) {
		quick(c)
		c.Server.Proxies, c.Server.TerritoryHeader = []string{"127.0.0.0/8"}, "X-Territory"
		c.Plugin = append(coretest.Plugins()[:1], policies...)
	})
	for _, it := range r.catalogue() {
		if _, err := s.Catalog.Put(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	var people []person
	for _, account := range []string{"a@example.com", "b@example.com", "c@example.com"} {
		s.Grant(t, account, r.one(coretest.PlusGrant, "role:tester", "channel:beta"))
		s.Must(t, http.MethodPut, "/api/accounts/"+url.PathEscape(account)+"/territory", map[string]string{"territory": r.one("", "AUT", "USA")})
		for range 3 {
			id := newClientID()
			people = append(people, person{account, (&oauth.Client{ID: id, Device: true}).Policy(), signedIn(t, s, account, id).access})
		}
		people = append(people, person{account, coretest.NativeClient, ""})
	}
	people = append(people, person{}) // nobody
	results := map[string]int{}
	for range 100 {
		r.compare(t, s, people[r.IntN(len(people))], results)
	}
	t.Logf("results of apps: %v", results)
	for _, result := range []string{market.ResultOffered, market.ResultNothing, market.ResultSignIn, market.ResultUnknown} {
		if results[result] == 0 {
			t.Errorf("no app was %s: the requests try too little", result)
		}
	}
}

// person is somebody with a device. Without an access token each request is of a
// sign-in of its own; without an account it is nobody's.
type person struct{ account, client, access string }

// compare explains a random request, and then makes it.
func (r *random) compare(t *testing.T, s *coretest.Server, who person, results map[string]int) {
	t.Helper()
	purpose, os, territory := r.one("update", "restore", "install-token"), r.one("17.4", "18.1", "26.1"), r.one("", "AUT", "USA")
	platform := r.one("iOS", "iPadOS")
	var apps []app
	var asked []map[string]string
	for _, n := range r.Perm(randomApps + 1)[:1+r.IntN(5)] { // the last is nobody's
		a := app{itemOf(n + 1), r.one("1", versionOf(n+1, 1), versionOf(n+1, 2), "2999999")}
		apps = append(apps, a)
		asked = append(asked, map[string]string{"item": a.Item, "installed": a.Version})
	}
	body := map[string]any{"purpose": purpose, "platform": strings.ToLower(platform), "os": os, "territory": territory, "apps": asked}
	if who.account != "" {
		body["account"], body["client"] = who.account, who.client
	} else {
		body["client"] = "ignored"
	}
	before := ""
	if who.account != "" {
		before = holding(t, s, who.account)
	}
	x := explain(t, s, body)
	if who.account != "" && before != holding(t, s, who.account) {
		t.Errorf("an explanation changed what the devices of %s hold", who.account)
	}
	if x.Client != who.client {
		t.Errorf("the explanation is for the client %q, want %q", x.Client, who.client)
	}

	access := who.access
	if who.account != "" && access == "" {
		access = signedIn(t, s, who.account, who.client).access
	}
	var header []string
	if access != "" {
		header = append(header, "Authorization", "Bearer "+access)
	}
	if territory != "" {
		header = append(header, "X-Territory", territory)
	}
	path := map[string]string{"update": "/updates", "restore": "/restore", "install-token": "/install-token"}[purpose]
	list := map[string]string{"update": "updates", "restore": "restores", "install-token": "installs"}[purpose]
	a := post(t, s.PublicURL()+path, jsonType, appsBody(platform, os, apps...), header...)
	if a.status == 401 {
		needs := func(e market.ExplainedApp) bool {
			return e.Result == market.ResultSignIn || e.Result == market.ResultUnknown
		}
		if who.account != "" || !slices.ContainsFunc(x.Apps, needs) {
			t.Errorf("%v of %+v: a device is told to sign in, and it is explained as %+v", body, who, x.Apps)
		}
		results[market.ResultSignIn]++
		return
	}
	got, failed := map[string]string{}, map[string]bool{}
	given := a.apps(t, list)
	for _, o := range given.offers() {
		got[o.Item] = o.Version
	}
	for _, f := range given.Failures {
		failed[f.Item] = true
	}
	want, fails := map[string]string{}, map[string]bool{}
	for _, e := range x.Apps {
		results[e.Result]++
		item := strconv.FormatUint(e.Item, 10)
		gone := e.Result == market.ResultUnknown || slices.ContainsFunc(e.Versions, func(v market.ExplainedVersion) bool {
			return strings.HasPrefix(v.Why, "the app was taken down")
		})
		switch {
		case e.Result == market.ResultOffered:
			want[item] = strconv.FormatUint(e.Version, 10)
		case gone, purpose != "update":
			fails[item] = true
		}
		candidate := func(v market.ExplainedVersion) bool { return v.Why == "" }
		if open := slices.ContainsFunc(e.Versions, candidate); open == (e.Result == market.ResultNothing || e.Result == market.ResultUnknown) {
			t.Errorf("%v: app %s is %s with the versions %+v", body, item, e.Result, e.Versions)
		}
		if e.Result == market.ResultHeld && purpose != "update" {
			t.Errorf("%v: app %s is held, which is for updates", body, item)
		}
	}
	if !maps.Equal(got, want) || !maps.Equal(failed, fails) {
		t.Errorf("%v of %+v: a device got %v and the failures %v, and explained were %v and %v: %+v", body, who, got, failed, want, fails, x.Apps)
	}
}
