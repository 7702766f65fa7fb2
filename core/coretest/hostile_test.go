package coretest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
)

// hostileHarms is what the guest in testdata/guests/hostile can do, and the
// kinds of failure that it may count as.
var hostileHarms = []struct {
	name  string
	kinds []plugin.Kind
}{
	{"spins", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}},
	{"recurses", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline, plugin.KindTrap}},
	{"grows", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline, plugin.KindTrap}},
	{"writes-outside", []plugin.Kind{plugin.KindTrap}},
	{"copies", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}},
	{"fills", []plugin.Kind{plugin.KindFuel, plugin.KindDeadline}},
	{"miscounts", []plugin.Kind{plugin.KindNonsense}},
	{"chooses-wrong", []plugin.Kind{plugin.KindNonsense}},
	{"points-outside", []plugin.Kind{plugin.KindNonsense}},
	{"is-not-text", []plugin.Kind{plugin.KindNonsense}},
	{"talks", []plugin.Kind{plugin.KindNonsense}},
}

// The hostile guest stands twice in front of the shipped plugins; the name is
// also what tells which apps it harms.
const (
	hostileStrict  = "strict"  // all hooks, on_error = "deny"
	hostileLenient = "lenient" // select_version, on_error = "abstain"
)

const hostileOld, hostileNew = 1, 2 // a version id is item*10 + this

// hostilePlaces are where apps are harmed, each with an app for each harm.
var hostilePlaces = []string{"strict.select_version", "strict.entitle", "lenient.select_version"}

// hostileItem is the item that is harmed in some place and way.
func hostileItem(place string, harm int) uint64 {
	return 3_000_000 + uint64(100*slices.Index(hostilePlaces, place)+harm)
}

func hostileStart(t *testing.T) *coretest.Server {
	wasm := buildGuest(t, "hostile")
	s := coretest.Start(t, func(c *core.Config) {
		var all []plugin.Spec
		for _, p := range []struct {
			name, onError string
			hooks         []string
		}{
			{hostileLenient, "abstain", []string{"select_version"}},
			{hostileStrict, "deny", []string{"entitle", "select_version", "sign_in"}},
		} {
			spec := plugin.DefaultSpec()
			spec.Name, spec.Wasm, spec.Hooks, spec.OnError = p.name, wasm, p.hooks, p.onError
			spec.Config = map[string]any{"as": p.name}
			// As for the shipped plugins: fuel is what ends it, on a slow machine too.
			spec.Deadline *= 50
			spec.StartDeadline *= 30
			spec.HostDeadline *= 10
			spec.Breaker = 0 // each harm is to be seen
			all = append(all, spec)
		}
		c.Plugin = append(all, c.Plugin...)
		c.Store.Durability = core.DurabilityProcess // the store is not what is tested here
	})
	var items []catalog.Item
	for _, place := range hostilePlaces {
		for i, harm := range hostileHarms {
			id := hostileItem(place, i)
			version := func(n uint64) catalog.Version {
				return catalog.Version{
					ID: id*10 + n, Short: fmt.Sprint(n, ".0"), Build: "7", MinOS: map[string]string{"ios": "17.4"},
					Rollout: catalog.Rollout{Share: catalog.FullShare},
				}
			}
			items = append(items, catalog.Item{
				ID: id, BundleID: "com.example." + strings.ReplaceAll(place, "_", "-") + "." + harm.name, Name: harm.name, SignIn: catalog.SignInRequired,
				Versions: []catalog.Version{version(hostileNew), version(hostileOld)},
			})
		}
	}
	if _, err := s.Catalog.Import(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return s
}

// hostileDevice is a client that posts requests for one app at a time.
type hostileDevice struct {
	http        *http.Client
	base, token string
}

// hostileSignIn signs a device in with the token of an install link.
func hostileSignIn(t *testing.T, s *coretest.Server, account string) *hostileDevice {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	d := &hostileDevice{http: &http.Client{Transport: transport}, base: s.PublicURL()}
	res, err := d.http.PostForm(d.base+"/oauth/token", url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {s.SubjectToken(t, account)}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"client_id": {"device of " + account},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("the token exchange answered %d without a token: %v", res.StatusCode, err)
	}
	d.token = answer.Token
	return d
}

// hostileAnswer is a list of versions by item, and the items that failed.
type hostileAnswer struct {
	versions map[string]string
	failures []string
}

func (a hostileAnswer) String() string { return fmt.Sprintf("%v, failures %v", a.versions, a.failures) }

// ask posts to /updates or /restore and returns what was offered.
func (d *hostileDevice) ask(path, item, version string) (hostileAnswer, error) {
	type app struct {
		Item    string `json:"appleItemId"`
		Version string `json:"appleVersionId"`
	}
	a := hostileAnswer{versions: map[string]string{}}
	text, err := json.Marshal(map[string]any{"apps": []app{{item, version}}, "platform": "iOS", "osVersion": "26.1"})
	if err != nil {
		return a, err
	}
	req, err := http.NewRequest(http.MethodPost, d.base+path, bytes.NewReader(text))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+d.token)
	res, err := d.http.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return a, err
	}
	var r struct {
		Updates, Restores []app
		Failures          []app
	}
	if err := json.Unmarshal(body, &r); err != nil || res.StatusCode != 200 {
		return a, fmt.Errorf("POST %s answered %d: %s", path, res.StatusCode, body)
	}
	for _, o := range append(r.Updates, r.Restores...) {
		a.versions[o.Item] = o.Version
	}
	for _, f := range r.Failures {
		a.failures = append(a.failures, f.Item)
	}
	return a, nil
}

// wants reports an answer that is not the expected one: version "" = no offer.
func (d *hostileDevice) wants(path, item, installed, version string, failures int) error {
	a, err := d.ask(path, item, installed)
	if err != nil {
		return err
	}
	if a.versions[item] != version || len(a.failures) != failures {
		return fmt.Errorf("POST %s for app %s with version %s answered %v; want version %q and %d failures", path, item, installed, a, version, failures)
	}
	return nil
}

// TestHostileGuestsHarmNobodyElse lets policy misbehave in every way for some
// apps and people, while others use the same server.
func TestHostileGuestsHarmNobodyElse(t *testing.T) {
	s := hostileStart(t)
	victim := hostileSignIn(t, s, coretest.Bob)

	// Others: update checks that need no guest, and such that the good plugin
	// answers, behind the hostile one.
	const others = 8
	progress, done := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for i := range others {
		d := hostileSignIn(t, s, fmt.Sprintf("other-%d@example.com", i))
		wg.Go(func() {
			for {
				for _, err := range []error{
					d.wants("/updates", coretest.NotesItem, coretest.NotesNew, "", 0),
					d.wants("/updates", coretest.NotesItem, coretest.NotesOld, coretest.NotesNew, 0),
				} {
					if err != nil {
						t.Errorf("a client beside the hostile guest: %v", err)
					}
				}
				select {
				case <-done:
					return
				case progress <- struct{}{}:
				default: // nobody waits for it
				}
			}
		})
	}
	defer wg.Wait()
	defer close(done)

	for i, harm := range hostileHarms {
		t.Run(harm.name, func(t *testing.T) {
			s.Clock.Advance(2 * time.Second) // the log takes ten failures of a plugin a second
			for _, q := range []struct {
				rule, path, place string
				want              uint64 // of the versions; 0 = none
				failures          int
			}{
				{"an update whose choice failed is held", "/updates", "strict.select_version", 0, 0},
				{"a restore whose choice failed gives the requested version", "/restore", "strict.select_version", hostileOld, 0},
				{"a failure that abstains leaves the choice to the next plugin", "/updates", "lenient.select_version", hostileNew, 0},
				{"an update whose entitlement failed is not offered", "/updates", "strict.entitle", 0, 0},
				{"a restore whose entitlement failed is refused", "/restore", "strict.entitle", 0, 1},
			} {
				item, want := hostileItem(q.place, i), ""
				if q.want > 0 {
					want = fmt.Sprint(item*10 + q.want)
				}
				before := s.Log.String()
				if err := victim.wants(q.path, fmt.Sprint(item), fmt.Sprint(item*10+hostileOld), want, q.failures); err != nil {
					t.Errorf("%s: %v", q.rule, err)
				}
				name, hook, _ := strings.Cut(q.place, ".")
				hostileLogged(t, s.Log.String()[len(before):], name, hook, harm.kinds)
			}
			before := s.Log.String()
			hostileRefusedAtTheDoor(t, s, victim.http, harm.name)
			hostileLogged(t, s.Log.String()[len(before):], hostileStrict, "sign_in", harm.kinds)

			runtime.GC() // returns: no guest holds it up
			for range others {
				<-progress
			}
			if err := victim.wants("/updates", coretest.NotesItem, coretest.NotesOld, coretest.NotesNew, 0); err != nil {
				t.Errorf("afterwards, the same device for another app: %v", err)
			}
		})
	}
	for _, p := range s.Plugins.Plugins() {
		for _, h := range p.Hooks {
			var failed uint64
			for _, n := range h.Failures {
				failed += n
			}
			want := map[string]uint64{
				"strict.select_version": 2, "strict.entitle": 2, "strict.sign_in": 1, "lenient.select_version": 1,
			}[p.Name+"."+h.Hook] * uint64(len(hostileHarms))
			if failed != want {
				t.Errorf("plugin %s failed %d times at %s (%v), want %d", p.Name, failed, h.Hook, h.Failures, want)
			}
		}
	}
}

// hostileRefusedAtTheDoor opens the sign-in page as somebody whom the plugin
// harms.
func hostileRefusedAtTheDoor(t *testing.T, s *coretest.Server, client *http.Client, harm string) {
	t.Helper()
	res, err := client.Get(s.PublicURL() + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {"a device"}, "redirect_uri": {"app-distribution-oauth://"}, "state": {"s"},
		"code_challenge": {strings.Repeat("c", 43)}, "code_challenge_method": {"S256"}, "login_hint": {hostileStrict + ".sign_in." + harm},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the sign-in page answered %d with Retry-After %q, want 503 and a time:\n%s", res.StatusCode, res.Header.Get("Retry-After"), page)
	}
}

// hostileLogged looks for the one failure in what was logged.
func hostileLogged(t *testing.T, logged, name, hook string, kinds []plugin.Kind) {
	t.Helper()
	for line := range strings.Lines(logged) {
		if !strings.Contains(line, `msg="plugin failed" plugin=`+name+" hook="+hook+" ") {
			continue
		}
		for _, k := range kinds {
			if strings.Contains(line, " kind="+k.String()+" reason=") && !strings.Contains(line, `reason=""`) {
				return
			}
		}
		t.Errorf("the failure of %s at %s was logged as\n\t%s\twant one of %v with its reason", name, hook, line, kinds)
		return
	}
	t.Errorf("the failure of %s at %s was not logged; the log has\n%s", name, hook, logged)
}
