//go:build !wasip1

package oidc_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
)

// provider is a real OpenID provider, in a process of its own: see
// provider/provider.js.
type provider struct {
	issuer string
	in     io.WriteCloser
	out    *bufio.Scanner
	errors *bytes.Buffer
}

// startProvider starts one that sends people back to this URI.
func startProvider(t *testing.T, redirectURI string) *provider {
	t.Helper()
	missing := t.Skip
	if os.Getenv("SOUK_CI") != "" {
		missing = t.Fatal
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("there is no node")
	}
	if _, err := os.Stat("provider/node_modules/oidc-provider"); err != nil {
		missing("there is no provider: run npm ci in plugins/oidc/tests/provider")
	}
	client, err := json.Marshal(object{
		"client_id": clientID, "client_secret": clientSecret, "redirect_uris": []string{redirectURI},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "provider.js", string(client))
	cmd.Dir = "provider"
	p := &provider{errors: new(bytes.Buffer)}
	cmd.Stderr = p.errors
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close() // it ends by itself
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("the provider: %v\n%s", err, p.errors)
		}
	})
	p.out = bufio.NewScanner(out)
	p.issuer = p.says(t)["issuer"]
	return p
}

// says reads a line of the provider's.
func (p *provider) says(t *testing.T) map[string]string {
	t.Helper()
	var said map[string]string
	if !p.out.Scan() {
		t.Fatalf("the provider says nothing: %v\n%s", p.out.Err(), p.errors)
	}
	if err := json.Unmarshal(p.out.Bytes(), &said); err != nil {
		t.Fatalf("the provider says %s: %v", p.out.Bytes(), err)
	}
	return said
}

// keys lets the provider sign with a new key.
func (p *provider) keys(t *testing.T, alg string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, "keys", alg); err != nil {
		t.Fatal(err)
	}
	if said := p.says(t); said["keys"] != alg {
		t.Fatalf("the provider says %v, want keys for %s", said, alg)
	}
}

// person is somebody with a browser that keeps cookies.
type person struct {
	*http.Client
	name  string
	pages []string // that the provider has shown
}

func newPerson(t *testing.T, name string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{name: name, Client: &http.Client{
		Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Hostname() != "localhost" {
				return http.ErrUseLastResponse // back at the market
			}
			return nil
		},
	}}
}

var (
	form  = regexp.MustCompile(`<form[^>]* action="(.*?)"`)
	abort = regexp.MustCompile(`href="([^"]*/abort)"`)
	kind  = regexp.MustCompile(`name="prompt" value="(.*?)"`)
)

// signIn goes through the pages of the provider, or cancels on the first, and
// returns the parameters of the callback.
func (h *person) signIn(t *testing.T, at string, cancel bool) url.Values {
	t.Helper()
	res, err := h.Get(at)
	for range 5 {
		a := read(t, res, err)
		if a.location != nil {
			if a.location.Scheme+"://"+a.location.Host+a.location.Path != publicURL+"/oauth/callback/oidc" {
				t.Fatalf("the provider led to %v", a.location)
			}
			return a.location.Query()
		}
		action, prompt := form.FindStringSubmatch(a.body), kind.FindStringSubmatch(a.body)
		if action == nil || prompt == nil {
			t.Fatalf("%s: the provider shows %d %s", at, a.status, a.body)
		}
		h.pages = append(h.pages, prompt[1])
		at = html.UnescapeString(action[1])
		values := url.Values{"prompt": {prompt[1]}}
		if prompt[1] == "login" {
			values["login"], values["password"] = []string{h.name}, []string{"any"}
		}
		if cancel {
			link := abort.FindStringSubmatch(a.body)
			if link == nil {
				t.Fatalf("there is no way to cancel on %s", a.body)
			}
			res, err = h.Get(html.UnescapeString(link[1]))
			continue
		}
		res, err = h.PostForm(at, values)
	}
	t.Fatal("the provider shows page after page")
	return nil
}

// TestRealProvider signs people in at a provider that others wrote.
func TestRealProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t, publicURL+"/oauth/callback/oidc")
	s := serve(t, p.issuer, func(s *plugin.Spec) {
		s.Config["client_id"], s.Config["userinfo"] = clientID, true
		s.Config["grants"], s.Config["grants_claim"], s.Config["grants_prefix"] = []string{"member"}, "groups", "group:"
	})
	m := &market{Server: s}
	prefix := strings.TrimPrefix(p.issuer, "http://") + "#"
	way := func(h *person, cancel bool) (client, answer) {
		t.Helper()
		c := newClient()
		a := m.press(t, get(t, m.PublicURL()+"/oauth/authorize?"+c.query("")), "continue")
		if a.location == nil || a.location.Host != strings.TrimPrefix(p.issuer, "http://") {
			t.Fatalf("led to %v, want the provider: %s\n%s", a.location, a.body, m.Log)
		}
		return c, m.back(t, h.signIn(t, a.location.String(), cancel))
	}
	check := func(h *person) {
		t.Helper()
		before := len(signedIn(m.Log.String()))
		c, a := way(h, false)
		if a.outcome() != "signed in" || a.location.Query().Get("state") != c.state {
			t.Fatalf("%s: %s, want to be signed in\n%s", h.name, a.outcome(), pluginLog(m.Log.String()))
		}
		if got := signedIn(m.Log.String())[before:]; !slices.Equal(got, []string{prefix + h.name}) {
			t.Errorf("signed in as %q, want %s", got, prefix+h.name)
		}
		c.tokens(t, m.Server, a.location.Query().Get("code"))
	}

	carol := newPerson(t, "carol")
	check(carol)
	if want := []string{"login", "consent"}; !slices.Equal(carol.pages, want) {
		t.Errorf("the provider showed %q, want %q", carol.pages, want)
	}
	want := account{Account: prefix + "carol", DisplayName: "carol of the provider", Grants: []string{"group:staff", "member"}}
	if got := m.account(t, prefix+"carol"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the account is %v, want %v", got, want)
	}

	// A second time, also with another browser, it is the same account.
	check(carol)
	check(newPerson(t, "carol"))
	check(newPerson(t, "dave"))

	if _, a := way(newPerson(t, "carol"), true); a.outcome() != "access_denied" {
		t.Errorf("a cancel at the provider: %s, want access_denied", a.outcome())
	}

	// The provider changes its key, and even the kind of it.
	p.keys(t, "ES256")
	if _, a := way(newPerson(t, "carol"), false); !strings.HasPrefix(a.outcome(), again) {
		t.Errorf("a moment after the last look at the keys: %s, want the page again", a.outcome())
	}
	m.Clock.Advance(31 * time.Second)
	check(newPerson(t, "carol"))
	if n := m.failures(); n > 0 {
		t.Errorf("%d failures: %s", n, m.Plugins.Plugins()[0].LastFailure)
	}
	if log := m.Log.String(); strings.Contains(log, clientSecret) {
		t.Error("the log has the client's secret")
	}
}
