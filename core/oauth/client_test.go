package oauth_test

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/oauth"
)

func clients(t *testing.T, redirects ...string) (*oauth.Clients, *oauth.Client) {
	t.Helper()
	all, err := oauth.NewClients("https://market.example.com", []oauth.ClientConfig{{ID: "app", RedirectURIs: redirects}})
	if err != nil {
		t.Fatal(err)
	}
	c, ok := all.ByID("app")
	if !ok || c.Device {
		t.Fatal("the registered client is not found")
	}
	return all, c
}

// RFC 9700 §2.1: exact; RFC 8252 §7.3: any port for a loopback address.
func TestRedirects(t *testing.T) {
	for _, test := range []struct {
		name, registered, uri string
		want                  bool
	}{
		{"the same", "com.example.app:/back", "com.example.app:/back", true},
		{"the same with a query", "https://app.example.com/back?x=1", "https://app.example.com/back?x=1", true},
		{"another query", "https://app.example.com/back?x=1", "https://app.example.com/back?x=2", false},
		{"no query", "https://app.example.com/back?x=1", "https://app.example.com/back", false},
		{"default port added", "https://app.example.com/back", "https://app.example.com:443/back", false},
		{"host in capitals", "https://app.example.com/back", "https://APP.example.com/back", false},
		{"host with a dot behind", "https://app.example.com/back", "https://app.example.com./back", false},
		{"host with something in front", "https://app.example.com/back", "https://evil.app.example.com/back", false},
		{"path goes on", "https://app.example.com/back", "https://app.example.com/back/x", false},
		{"path climbs", "https://app.example.com/back", "https://app.example.com/x/../back", false},
		{"path climbs with a parameter", "https://app.example.com/back", "https://app.example.com/..;/back", false},
		{"escaped", "https://app.example.com/back", "https://app.example.com/%62ack", false},
		{"https has no free port", "https://app.example.com:8443/back", "https://app.example.com:8444/back", false},
		{"empty", "com.example.app:/back", "", false},

		{"loopback, registered with a port", "http://127.0.0.1:7777/back", "http://127.0.0.1:1/back", true},
		{"loopback, registered without a port", "http://127.0.0.1/back", "http://127.0.0.1:65535/back", true},
		{"loopback, asked for without a port", "http://127.0.0.1:7777/back", "http://127.0.0.1/back", true},
		{"loopback without a path", "http://127.0.0.1", "http://127.0.0.1:8080", true},
		{"loopback with a slash added", "http://127.0.0.1", "http://127.0.0.1:8080/", false},
		{"loopback of IPv6", "http://[::1]/back", "http://[::1]:9999/back", true},
		{"loopback of the other family", "http://127.0.0.1/back", "http://[::1]:9999/back", false},
		{"loopback with a query", "http://127.0.0.1/back?x=1", "http://127.0.0.1:8080/back?x=1", true},
		{"loopback with another query", "http://127.0.0.1/back?x=1", "http://127.0.0.1:8080/back?x=2", false},
		{"loopback with a query and no path", "http://127.0.0.1/back", "http://127.0.0.1:8080?/back", false},
		{"loopback with a user", "http://127.0.0.1/back", "http://127.0.0.1:1@evil.example/back", false},
		{"loopback with a longer host", "http://127.0.0.1/back", "http://127.0.0.10/back", false},
		{"loopback with a host behind it", "http://127.0.0.1/back", "http://127.0.0.1.evil.example/back", false},
		{"loopback, registered with no digits", "http://127.0.0.1:/back", "http://127.0.0.1:8080", false},
		{"loopback, registered with a port too long", "http://127.0.0.1:123456/back", "http://127.0.0.1", false},
		{"loopback with no digits", "http://127.0.0.1/back", "http://127.0.0.1:/back", false},
		{"loopback with a port too long", "http://127.0.0.1/back", "http://127.0.0.1:123456/back", false},
		{"loopback with a port in other digits", "http://127.0.0.1/back", "http://127.0.0.1:٧/back", false},
		{"loopback in hexadecimal", "http://127.0.0.1/back", "http://0x7f000001/back", false},
		{"loopback by name", "http://127.0.0.1/back", "http://localhost/back", false},
		{"loopback in IPv6's clothes", "http://127.0.0.1/back", "http://[::ffff:127.0.0.1]/back", false},
		{"loopback over TLS", "http://127.0.0.1/back", "https://127.0.0.1/back", false},
	} {
		if _, c := clients(t, test.registered); c.Redirects(test.uri) != test.want {
			t.Errorf("%s: %s registered, Redirects(%q) = %v, want %v", test.name, test.registered, test.uri, !test.want, test.want)
		}
	}
}

// loopbackURI takes a loopback address apart: what stands before the port, and
// behind it.
var loopbackURI = regexp.MustCompile(`^(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?((?:/.*)?)$`)

// FuzzRedirects asks for an answer at any URI, of a client that has registered
// another, and looks at where the answer goes.
func FuzzRedirects(f *testing.F) {
	for _, pair := range [][2]string{
		{"com.example.app:/back", "com.example.app:/back"}, {"com.example.app:back", "com.example.app:back"}, {"com.example.app://host/back?x=1&y", "com.example.app://host/back?x=1&y"},
		{"https://app.example.com/back?", "https://app.example.com/back?"}, {"https://app.example.com/back", "https://app.example.com:443/back"},
		{"https://app.example.com/back?state=ours", "https://app.example.com/back?state=ours"}, {"https://app.example.com/back?%63ode=1", "https://app.example.com/back?%63ode=1"},
		{"http://127.0.0.1:7777/back", "http://127.0.0.1:1/back"}, {"http://127.0.0.1/back?x=1", "http://127.0.0.1/back?x=1"}, {"http://[::1]", "http://[::1]:65535"},
		{"http://127.0.0.1:/back", "http://127.0.0.1:8080"}, {"http://127.0.0.1:123456/back", "http://127.0.0.1"}, {"http://127.0.0.1", "http://127.0.0.1:1@evil.example/back"},
		{"http://127.0.0.2/back", "http://127.0.0.2:1/back"}, {"app-distribution-oauth://", "app-distribution-oauth:"},
	} {
		f.Add(pair[0], pair[1], "a state+&=%é\x00\xff")
	}
	f.Fuzz(func(t *testing.T, registered, uri, state string) {
		all, err := oauth.NewClients("https://market.example.com", []oauth.ClientConfig{{ID: "app", RedirectURIs: []string{registered}}})
		if (err == nil) != (oauth.CheckRedirect(registered) == nil) {
			t.Errorf("checkRedirect(%q) = %v, NewClients: %v", registered, oauth.CheckRedirect(registered), err)
		}
		if err != nil {
			return
		}
		client, _ := all.ByID("app")
		if !client.Redirects(registered) {
			t.Errorf("%q is registered and does not redirect", registered)
		}
		for _, to := range []string{registered, uri} {
			if !client.Redirects(to) {
				continue
			}
			want, have := loopbackURI.FindStringSubmatch(registered), loopbackURI.FindStringSubmatch(to)
			if to != registered && (want == nil || have == nil || !slices.Equal(want[1:], have[1:])) {
				t.Errorf("%q registered, Redirects(%q) = true", registered, to)
			}
			answered(t, all, to, state)
		}
	})
}

// answered checks the URL of an answer, the refusal of a request without a
// response_type: it is the redirect URI with the parameters, each once
// (RFC 6749 §3.1).
func answered(t *testing.T, all *oauth.Clients, to, state string) {
	t.Helper()
	s := oauth.Server{Issuer: "https://market.example.com", Clients: all}
	_, err := s.Authorize(t.Context(), oauth.Params{"client_id": "app", "redirect_uri": to, "state": state}, oauth.Visitor{})
	var refused *oauth.Error
	if !errors.As(err, &refused) || refused.Code != oauth.InvalidRequest {
		t.Fatalf("a request for %q without a response_type: %v, want invalid_request", to, err)
	}
	u, err := url.Parse(refused.Redirect)
	if err != nil || !strings.HasPrefix(refused.Redirect, to) {
		t.Fatalf("%q is answered at %q, %v", to, refused.Redirect, err)
	}
	want := map[string][]string{"error": {"invalid_request"}, "iss": {s.Issuer}, "code": nil, "state": {state}}
	if state == "" || len(state) > 2048 {
		want["state"] = nil
	}
	q := u.Query()
	for name, values := range want {
		if !slices.Equal(q[name], values) {
			t.Errorf("%q is answered at %q: %s is %q, want %q", to, refused.Redirect, name, q[name], values)
		}
	}
}

func TestDeviceRedirect(t *testing.T) {
	all, registered := clients(t, "com.example.app:/back")
	device, ok := all.ByID("D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5")
	if !ok || !device.Device {
		t.Fatal("a client_id that nobody registered is no device's")
	}
	for uri, want := range map[string]bool{
		"app-distribution-oauth://": true, "app-distribution-oauth:": true, "app-distribution-oauth:/": false, "app-distribution-oauth": false,
		"app-distribution-oauth:///": false, "app-distribution-oauth://x": false, "App-Distribution-OAuth://": false, "com.example.app:/back": false, "": false,
	} {
		if device.Redirects(uri) != want {
			t.Errorf("Redirects(%q) of a device = %v, want %v", uri, !want, want)
		}
		if uri != "com.example.app:/back" && registered.Redirects(uri) {
			t.Errorf("Redirects(%q) of a registered client = true, want false", uri)
		}
	}
	for _, id := range []string{"", "a\nb", "é", "\x00", "\x7f", strings.Repeat("x", 256)} {
		if _, ok := all.ByID(id); ok {
			t.Errorf("ByID(%q) found a client, want none", id)
		}
	}
}

// The install page of each app is a redirect URI, and nothing beside them.
func TestPageRedirect(t *testing.T) {
	all, _ := clients(t, "com.example.app:/back")
	page, ok := all.ByID(oauth.PageClient)
	if !ok || page.Device || !page.Page {
		t.Fatal("the install page is not a client")
	}
	const base = "https://market.example.com/install/"
	for uri, want := range map[string]bool{
		base + "1000002": true, base + "1": true, base: false, base + "1/": false, base + "1?x": false, base + "1#x": false, base + "x1": false, base + "1x": false,
		base + "%31": false, base + "1/../../evil": false, base + "+1": false, base + "٧": false, "https://market.example.com/install": false,
		"http://market.example.com/install/1": false, "https://market.example.com.evil.example/install/1": false,
		"https://market.example.com@evil.example/install/1": false, "/install/1": false, "": false, oauth.DeviceRedirect: false,
	} {
		if page.Redirects(uri) != want {
			t.Errorf("Redirects(%q) of the install page = %v, want %v", uri, !want, want)
		}
	}
	if got := all.Policy(page.Key()); got != oauth.PageClient {
		t.Errorf("to policy the install page is %q, want %q", got, oauth.PageClient)
	}
}

// RFC 8252 §7: what a native app may register.
func TestCheckRedirect(t *testing.T) {
	for uri, want := range map[string]string{ // a part of the complaint; empty = good
		"com.example.app:/back":               "",
		"com.example.app:/":                   "",
		"com.example.app://host/back?x=1":     "",
		"https://app.example.com/back":        "",
		"https://app.example.com:8443/back":   "",
		"http://127.0.0.1/back":               "",
		"http://127.0.0.1:7777/back":          "",
		"http://[::1]/back":                   "",
		"":                                    "no absolute URI",
		"/back":                               "no absolute URI",
		"app.example.com/back":                "no absolute URI",
		"://x":                                "no absolute URI",
		"https://app.example.com/back#":       "fragment",
		"https://app.example.com/back#x":      "fragment",
		"https://app.example.com/b?x=1&state": "parameter of the answer",
		"https://app.example.com/?%63ode=1":   "parameter of the answer",
		"com.example.app:/back?iss=x":         "parameter of the answer",
		"https://user@app.example.com/back":   "user name",
		"https://user:pw@app.example.com/":    "user name",
		"https:///back":                       "without a public host",
		"https:back":                          "without a public host",
		"https://localhost/back":              "without a public host",
		"https://127.0.0.1/back":              "without a public host",
		"https://[::1]/back":                  "without a public host",
		"http://app.example.com/back":         "plain http",
		"http://localhost/back":               "plain http",
		"http://127.0.0.1.example.com/":       "plain http",
		"http://10.0.0.1/back":                "plain http",
		"myapp:/back":                         "reversed domain name",
		"javascript:alert(1)":                 "reversed domain name",
		"data:text/html,x":                    "reversed domain name",
		"app-distribution-oauth://":           "belongs to devices",
		"app-distribution-oauth:":             "belongs to devices",
		"app-distribution-oauth://x":          "belongs to devices",
		"com.example.app:/back back":          "characters that no URI has",
		"com.example.app:/<back>":             "characters that no URI has",
		"com.example.app:/é":                  "characters that no URI has",
		`com.example.app:/\back`:              "characters that no URI has",
		"com.example.app:/*{}":                "characters that no URI has",
		"com.example.app:/" + long:            "too long",
		"https://app.example.com\x00.evil/":   "no absolute URI",
		"https://app.example.com/back\r\nX: ": "no absolute URI",
	} {
		err := oauth.CheckRedirect(uri)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("checkRedirect(%.60q) = %v, want a complaint about %q", uri, err, want)
		}
	}
}

var long = strings.Repeat("x", 1024)

func TestNewClientsNamesTheKey(t *testing.T) {
	good := []string{"com.example.app:/back"}
	for _, test := range []struct {
		name    string
		configs []oauth.ClientConfig
		want    string
	}{
		{"no id", []oauth.ClientConfig{{RedirectURIs: good}}, "oauth.client[0].id"},
		{"an id that is not ASCII", []oauth.ClientConfig{{ID: "é", RedirectURIs: good}}, "oauth.client[0].id"},
		{"an id twice", []oauth.ClientConfig{{ID: "a", RedirectURIs: good}, {ID: "a", RedirectURIs: good}}, "oauth.client[1].id"},
		{"the install page's id", []oauth.ClientConfig{{ID: oauth.PageClient, RedirectURIs: good}}, "oauth.client[0].id"},
		{"no redirect", []oauth.ClientConfig{{ID: "a"}}, "oauth.client[0].redirect_uris"},
		{"eleven redirects", []oauth.ClientConfig{{ID: "a", RedirectURIs: make([]string, 11)}}, "oauth.client[0].redirect_uris"},
		{"a bad redirect", []oauth.ClientConfig{{ID: "a", RedirectURIs: append(good, "x")}}, "oauth.client[0].redirect_uris[1]"},
	} {
		if _, err := oauth.NewClients("", test.configs); err == nil || !strings.HasPrefix(err.Error(), test.want+":") {
			t.Errorf("%s: %v, want an error about %s", test.name, err, test.want)
		}
	}
}
