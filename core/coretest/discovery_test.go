package coretest_test

import (
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/market"
)

const (
	kitPath      = "/.well-known/marketplace-kit"
	metadataPath = "/.well-known/oauth-authorization-server"
)

// document reads a document as a device does: 200, plain JSON, no redirect.
func document(t *testing.T, s *coretest.Server, path string) map[string]any {
	t.Helper()
	a := get(t, s.PublicURL()+path)
	if a.status != 200 || a.header.Get("Content-Type") != jsonType {
		t.Fatalf("%s answered %d as %s, want 200 as application/json", path, a.status, a.header.Get("Content-Type"))
	}
	return a.object(t)
}

// complete checks a configuration by the table of Apple, "Installing your app
// from your website": a device that misses one of the keys drops all of it.
func complete(t *testing.T, what string, c map[string]any) {
	t.Helper()
	absolute := func(key string, v any) {
		text, ok := v.(string)
		if u, err := url.Parse(text); !ok || err != nil || u.Scheme == "" || u.Host == "" {
			t.Errorf("%s: %s is %v, want an absolute URL", what, key, v)
		}
	}
	absolute("restore", c["restore"])
	updates, _ := c["updates"].(map[string]any)
	absolute("updates.url", updates["url"])
	if hours, ok := updates["pollingInterval"].(float64); !ok || hours < 24 || hours > 720 {
		t.Errorf("%s: updates.pollingInterval is %v, want 24 to 720 hours as a number", what, updates["pollingInterval"])
	}
	license, _ := c["license"].(map[string]any)
	for _, key := range []string{"dynamicLicenseURL", "signingCertificateURL", "encryptionCertificateURL", "licenseRenewalURL", "licenseResolutionURL"} {
		absolute("license."+key, license[key])
	}
}

// Apple, "Installing your app from your website".
func TestMarketplaceConfigurationIsComplete(t *testing.T) {
	t.Parallel()
	s := shared(t)
	c := document(t, s, kitPath)
	complete(t, kitPath, c)
	if c["restore"] != s.PublicURL()+"/restore" || c["updates"].(map[string]any)["url"] != s.PublicURL()+"/updates" {
		t.Errorf("the configuration names %v and %v, want this server's own endpoints", c["restore"], c["updates"])
	}
	for _, key := range []string{"restores", "oauth", "overridesByAppleItemID"} {
		if v, ok := c[key]; ok {
			t.Errorf("the configuration has %s = %v without being told to", key, v)
		}
	}
}

// RFC 8414 §2 and Apple, "Installing your app from your website": a device never
// refreshes unless refresh_token is listed, and never signs in unless S256 is.
func TestAuthorizationServerMetadata(t *testing.T) {
	t.Parallel()
	s := shared(t)
	want := map[string]any{
		"issuer":                                         s.PublicURL(),
		"authorization_endpoint":                         s.PublicURL() + "/oauth/authorize",
		"token_endpoint":                                 s.PublicURL() + "/oauth/token",
		"response_types_supported":                       []any{"code"},
		"grant_types_supported":                          []any{"authorization_code", "refresh_token", exchangeGrant},
		"code_challenge_methods_supported":               []any{"S256"},
		"token_endpoint_auth_methods_supported":          []any{"none", "client_secret_basic", "client_secret_post"},
		"authorization_response_iss_parameter_supported": true,
	}
	got := document(t, s, metadataPath)
	for key, v := range want {
		if !reflect.DeepEqual(got[key], v) {
			t.Errorf("metadata: %s is %v, want %v", key, got[key], v)
		}
	}
	// A device asks for every scope that is listed.
	if scopes, ok := got["scopes_supported"]; ok {
		t.Errorf("metadata: scopes_supported is %v, want none", scopes)
	}
}

// A device that recovers from a refusal reads both documents again, whatever it
// holds.
func TestDocumentsDoNotAskForAToken(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, path := range []string{kitPath, metadataPath} {
		plain := get(t, s.PublicURL()+path)
		for _, header := range []string{"Bearer nonsense", "Basic eA=="} {
			if a := get(t, s.PublicURL()+path, "Authorization", header); a.status != 200 || string(a.body) != string(plain.body) {
				t.Errorf("GET %s with Authorization %q answered %d, want what everybody gets", path, header, a.status)
			}
		}
		if a := send(t, request(t, http.MethodHead, s.PublicURL()+path, "", "")); a.status != 200 || len(a.body) != 0 {
			t.Errorf("HEAD %s answered %d with %d bytes, want 200 without a body (RFC 9110 §9.3.2)", path, a.status, len(a.body))
		}
	}
}

func TestUndocumentedKeysAreAnnouncedOnRequest(t *testing.T) {
	t.Parallel()
	s := coretest.Empty(t, func(c *core.Config) {
		c.Market.AnnounceRestores, c.Market.AnnounceOAuth = true, true
		c.Limits.Apps = 50
	})
	c := document(t, s, kitPath)
	complete(t, kitPath, c)
	if want := map[string]any{"url": c["restore"], "batchSize": 50.0}; !reflect.DeepEqual(c["restores"], want) {
		t.Errorf("restores is %v, want %v", c["restores"], want)
	}
	if want := document(t, s, metadataPath); !reflect.DeepEqual(c["oauth"], any(want)) {
		t.Errorf("oauth is %v, want the metadata %v", c["oauth"], want)
	}
}

// Apple, "Installing your app from your website": an override takes the place of
// the whole configuration.
func TestOverrideIsACompleteConfiguration(t *testing.T) {
	t.Parallel()
	s := coretest.Empty(t, func(c *core.Config) {
		c.Market.License = "https://license.example.com/license"
		c.Market.Overrides = map[string]market.Discovery{
			coretest.NotesItem: {PollingInterval: 48, Restore: "https://notes.example.com/restore"},
			coretest.SkyItem:   {},
		}
	})
	c := document(t, s, kitPath)
	overrides, _ := c["overridesByAppleItemID"].(map[string]any)
	if len(overrides) != 2 {
		t.Fatalf("overridesByAppleItemID has %d entries, want 2: %v", len(overrides), overrides)
	}
	for id, o := range overrides {
		complete(t, "override of "+id, o.(map[string]any))
	}
	notes := overrides[coretest.NotesItem].(map[string]any)
	if notes["restore"] != "https://notes.example.com/restore" || notes["updates"].(map[string]any)["pollingInterval"] != 48.0 {
		t.Errorf("the override %v lost what it says itself", notes)
	}
	if notes["license"].(map[string]any)["dynamicLicenseURL"] != "https://license.example.com/license" {
		t.Errorf("the override %v does not take the rest from [market]", notes)
	}
	delete(c, "overridesByAppleItemID")
	if !reflect.DeepEqual(overrides[coretest.SkyItem], any(c)) {
		t.Errorf("an empty override is %v, want the market's own configuration %v", overrides[coretest.SkyItem], c)
	}
}

// The valve for load turns while the server runs: the next device that asks is told.
func TestPollingIntervalTurns(t *testing.T) {
	t.Parallel()
	const own = "https://notes.example.com/updates"
	s := coretest.Empty(t, func(c *core.Config) {
		c.Market.PollingInterval = 36
		c.Market.Overrides = map[string]market.Discovery{
			coretest.NotesItem: {PollingInterval: 168},
			coretest.SkyItem:   {Updates: own},
		}
	})
	says := func(what string, want float64) {
		t.Helper()
		c := document(t, s, kitPath)
		complete(t, kitPath, c)
		overrides := c["overridesByAppleItemID"].(map[string]any)
		interval := func(c any) any { return c.(map[string]any)["updates"].(map[string]any)["pollingInterval"] }
		if got := interval(c); got != want {
			t.Errorf("%s devices are told %v hours, want %v", what, got, want)
		}
		if got := interval(overrides[coretest.SkyItem]); got != want {
			t.Errorf("%s an app whose override leaves it out is told %v hours, want %v", what, got, want)
		}
		if got := interval(overrides[coretest.NotesItem]); got != 168.0 {
			t.Errorf("%s an app whose override says 168 hours is told %v", what, got)
		}
		if got := overrides[coretest.SkyItem].(map[string]any)["updates"].(map[string]any)["url"]; got != own {
			t.Errorf("%s the override lost its URL: %v", what, got)
		}
	}
	const at = "/api/polling-interval"
	says("at the start", 36)
	s.Must(t, http.MethodPut, at, map[string]any{"hours": 72})
	says("after the operator has turned it", 72)
	s.Restart(t)
	says("after a restart", 72)
	s.Must(t, http.MethodPut, at, map[string]any{"hours": 48, "until": s.Clock.Now().Add(time.Hour).Format(time.RFC3339)})
	says("for an hour", 48)
	s.Clock.Advance(time.Hour)
	says("when the hour is over", 36)
	s.Must(t, http.MethodPut, at, map[string]any{"hours": 24})
	says("after that", 24)
	s.Must(t, http.MethodDelete, at, nil)
	says("taken back", 36)
}

// Behind a proxy the server has another name than its own address.
func TestPublicURLIsWhatDevicesAreTold(t *testing.T) {
	t.Parallel()
	const public = "https://market.example.com"
	address := freeAddress(t)
	s := coretest.Empty(t, func(c *core.Config) { c.Server.PublicURL, c.Server.Listen = public, address })
	if _, err := s.Catalog.Put(t.Context(), coretest.Catalogue()[3]); err != nil {
		t.Fatal(err)
	}
	at := "http://" + address
	for _, path := range []string{kitPath, metadataPath} {
		a := get(t, at+path)
		for _, word := range slices.Collect(urls(a.object(t))) {
			if u, err := url.Parse(word); err != nil || u.Scheme+"://"+u.Host != public {
				t.Errorf("%s names %s, want everything under %s", path, word, public)
			}
		}
	}
	a := post(t, at+"/restore", jsonType, appsBody("iOS", deviceOS, app{coretest.SkyItem, coretest.SkyVersion}))
	// Apple checks the host of the package against the one that is registered.
	if g := a.apps(t, "restores"); len(g.Restores) != 1 || g.Restores[0].Package != public+"/packages/"+coretest.SkyItem+"/"+coretest.SkyVersion {
		t.Errorf("restore answered %s, want a package under %s", a.body, public)
	}
}

// urls are the texts in a document that are URLs.
func urls(v any) func(func(string) bool) {
	return func(yield func(string) bool) {
		var walk func(any) bool
		walk = func(v any) bool {
			switch v := v.(type) {
			case string:
				if u, err := url.Parse(v); err == nil && u.Host != "" {
					return yield(v)
				}
			case map[string]any:
				for _, e := range v {
					if !walk(e) {
						return false
					}
				}
			}
			return true
		}
		walk(v)
	}
}

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
