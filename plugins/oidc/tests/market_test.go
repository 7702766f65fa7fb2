//go:build !wasip1

package oidc_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/plugins"
)

// publicURL is what the provider has registered: a proxy's, behind which the
// server of the test is.
const publicURL = "https://market.example.com"

// readme is the plugin as its README configures it.
func readme(t testing.TB) plugin.Spec {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```toml\n")
	example, _, _ = strings.Cut(example, "```")
	c, err := core.Parse(example)
	if err != nil || len(c.Plugin) != 1 {
		t.Fatalf("the README configures %d plugins: %v", len(c.Plugin), err)
	}
	s := c.Plugin[0]
	s.File, s.Wasm = "", plugins.OIDC
	s.StartDeadline = unit.Duration(time.Minute) // -race, and a busy machine
	return s
}

// market is a server whose people sign in at a provider.
type market struct {
	*coretest.Server
	p *idp
}

// start runs one with the README's configuration, but for the provider and what
// change says.
func start(t testing.TB, change func(*plugin.Spec)) *market {
	t.Helper()
	p := newIDP(t, time.Now)
	m := &market{p: p}
	m.Server = serve(t, p.URL, func(s *plugin.Spec) {
		s.Config["client_id"], s.Config["immediate"] = clientID, true
		if change != nil {
			change(s)
		}
	})
	p.now = m.Clock.Now
	return m
}

// serve runs a server whose people sign in at this issuer, with the README's
// configuration but for what the changes say.
func serve(t testing.TB, issuer string, change func(*plugin.Spec), more ...func(*core.Config)) *coretest.Server {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(clientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	return coretest.Empty(t, func(c *core.Config) {
		c.Store.Durability = core.DurabilityProcess // no test cuts the power
		s := readme(t)
		s.Hosts = []string{strings.TrimPrefix(issuer, "http://")}
		s.Config["issuer"] = issuer
		s.Secrets["client_secret"] = plugin.Secret{File: secret}
		change(&s)
		c.Plugin = append([]plugin.Spec{s}, c.Plugin...)
		for _, f := range more {
			f(c)
		}
	})
}

// browser follows no redirect and keeps no cookie.
var browser = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       time.Minute,
}

// answer is what a browser got.
type answer struct {
	status   int
	location *url.URL // nil = nowhere
	body     string
}

func read(t testing.TB, res *http.Response, err error) answer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, body: string(body)}
	if to := res.Header.Get("Location"); to != "" {
		if a.location, err = res.Location(); err != nil {
			t.Fatalf("led to %q: %v", to, err)
		}
	}
	return a
}

func get(t testing.TB, to string) answer {
	t.Helper()
	res, err := browser.Get(to)
	return read(t, res, err)
}

func post(t testing.TB, to string, form url.Values) answer {
	t.Helper()
	res, err := browser.PostForm(to, form)
	return read(t, res, err)
}

// client is an app with a sign-in under way.
type client struct{ state, verifier string }

func newClient() client { return client{rand.Text(), rand.Text() + rand.Text()} }

func (c client) query(hint string) string {
	sum := sha256.Sum256([]byte(c.verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {coretest.NativeClient}, "redirect_uri": {coretest.NativeRedirect}, "state": {c.state},
		"code_challenge": {b64.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if hint != "" {
		q.Set("login_hint", hint)
	}
	return q.Encode()
}

// tokens redeems the code that the app got, and returns the access token.
func (c client) tokens(t testing.TB, s *coretest.Server, code string) string {
	t.Helper()
	a := post(t, s.PublicURL()+"/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {c.verifier},
		"client_id": {coretest.NativeClient}, "redirect_uri": {coretest.NativeRedirect},
	})
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.AccessToken == "" {
		t.Fatalf("the code was answered with %d %s", a.status, a.body)
	}
	return got.AccessToken
}

// begin asks for a sign-in and returns what the provider is asked.
func (m *market) begin(t testing.TB, c client, hint string) url.Values {
	t.Helper()
	return m.away(t, get(t, m.PublicURL()+"/oauth/authorize?"+c.query(hint)))
}

// away reads an answer that leads to the provider.
func (m *market) away(t testing.TB, a answer) url.Values {
	t.Helper()
	if a.location == nil || a.location.Host != m.p.host() || a.location.Path != "/authorize" {
		t.Fatalf("answered %d to %v, want a redirect to the provider: %s\n%s", a.status, a.location, a.body, m.Log)
	}
	return a.location.Query()
}

// back brings the browser back from the provider.
func (m *market) back(t testing.TB, q url.Values) answer {
	t.Helper()
	return get(t, m.PublicURL()+"/oauth/callback/oidc?"+q.Encode())
}

// issued is the query that a good provider sends a browser back with.
func (m *market) issued(asked url.Values, s *spec) url.Values {
	return url.Values{"code": {m.p.grant(asked, s)}, "state": {asked.Get("state")}, "iss": {m.p.URL}}
}

// heading and hidden are parts of a page.
var (
	heading = regexp.MustCompile(`<h1>(.*?)</h1>\s*(?:<p class="hint">.*?</p>\s*)?(?:<p class="message" role="status">(.*?)</p>)?`)
	hidden  = regexp.MustCompile(`name="transaction" value="(.*?)"`)
)

// outcome says in a word what became of a sign-in.
func (a answer) outcome() string {
	switch {
	case a.location != nil && strings.HasPrefix(a.location.String(), coretest.NativeRedirect) && a.location.Query().Get("code") != "":
		return "signed in"
	case a.location != nil && strings.HasPrefix(a.location.String(), coretest.NativeRedirect):
		return a.location.Query().Get("error")
	case a.location != nil:
		return "sent to " + a.location.Host
	case a.status == 200 && heading.MatchString(a.body):
		found := heading.FindStringSubmatch(a.body)
		return found[1] + " | " + found[2]
	}
	return "status " + http.StatusText(a.status)
}

// press presses the button of a page.
func (m *market) press(t testing.TB, a answer, action string) answer {
	t.Helper()
	found := hidden.FindStringSubmatch(a.body)
	if found == nil {
		t.Fatalf("there is no button on the page %d %s", a.status, a.body)
	}
	return post(t, m.PublicURL()+"/oauth/authorize", url.Values{"transaction": {found[1]}, "action": {action}})
}

// account is what the core keeps of one.
type account struct {
	Account     string   `json:"account"`
	DisplayName string   `json:"name"`
	Territory   string   `json:"territory"`
	Grants      []string `json:"grants"`
}

// signedIn returns the accounts that the log says somebody has signed in to.
func signedIn(log string) (accounts []string) {
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, `msg="signed in" account=`); ok {
			name, _, _ := strings.Cut(rest, " client=")
			accounts = append(accounts, name)
		}
	}
	return accounts
}

// pluginLog returns the lines of the plugin and of its failures.
func pluginLog(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, "oidc") && strings.Contains(line, "plugin") {
			b.WriteString(line)
		}
	}
	return b.String()
}
