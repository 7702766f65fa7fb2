package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jedisct1/go-minisign"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"souk": main})
}

// TestScripts runs the binary as an operator does. Beside the usual commands a
// script has the config.toml of the repository, as shipped.toml, modules of plugins,
// and
//
//	ready FILE                          waits for a ready file, and sets PUBLIC and SOUK_ADMIN
//	signin [!] URL EMAIL PASSWORD       signs in on the page, or is refused there
//	setfrom NAME FILE                   sets a variable to the text of a file
//	clash FILE URL                      writes a config whose admin address is that of the URL
//	cut TO FILE N                       copies the first N bytes of a file, or all but the last -N
//	flip TO FILE N                      copies a file with another byte at N
func TestScripts(t *testing.T) {
	t.Setenv("SOUK_ADMIN_TOKEN", "")
	cache := compiled(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			shipped, err := os.ReadFile("../../config.toml")
			another := append(slices.Clone(plugins.Rollout), 0, 2, 1, 'x') // with a section that means nothing
			key, signature := signed(t, another)
			return errors.Join(err,
				os.WriteFile(filepath.Join(env.WorkDir, "trusted.toml"), []byte(fmt.Sprintf(trusted, key)), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "another.sig"), signature, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "shipped.toml"), shipped, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "accounts.wasm"), plugins.Accounts, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "rollout.wasm"), plugins.Rollout, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "another.wasm"), another, 0o600),
				copyFile("../../sdk/examples/c/guest.wasm", filepath.Join(env.WorkDir, "newest.wasm")),
				copyFile("../../plugins/quota/quota.wasm", filepath.Join(env.WorkDir, "quota.wasm")),
				copyFile("../../plugins/quota/cases.toml", filepath.Join(env.WorkDir, "quota.toml")),
				os.Symlink(cache, filepath.Join(env.WorkDir, "cache")))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready, "signin": signIn, "setfrom": setFrom, "clash": clash, "cut": cut, "flip": flip},
	})
}

// trusted is a configuration with a key.
const trusted = `[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
min_free = "0"
[plugins]
trusted_keys = [%q]
[[plugin]]
name = "rollout"
file = "builtin:rollout"
allow = ["log"]
`

// signed makes a key and signs a module with it.
func signed(t *testing.T, module []byte) (key string, signature []byte) {
	t.Helper()
	private := minisign.PrivateKey{SignatureAlgorithm: [2]byte{'E', 'd'}, KeyId: [8]byte{9}}
	copy(private.SecretKey[:], ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	public := private.PublicKey()
	s, err := private.Sign(module, minisign.SignOptions{Hashed: true})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(slices.Concat(public.SignatureAlgorithm[:], public.KeyId[:], public.PublicKey[:])), s.Encode()
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// compiled is a cache with what the scripts run, which takes most of the time here
// where it is compiled.
func compiled(t *testing.T) (cache string) {
	c := core.DefaultConfig()
	if c.Plugins.Cache = coretest.Cache(); c.Plugins.Cache == "" {
		c.Plugins.Cache = t.TempDir()
	}
	spec := plugin.DefaultSpec()
	spec.Name, spec.Wasm, spec.Hooks, spec.Allow = "accounts", plugins.Accounts, []string{"sign_in"}, []string{"kv", "password", "log"}
	c.Plugin = []plugin.Spec{spec}
	if _, problems := core.Check(t.Context(), c); problems != nil {
		t.Fatal(problems)
	}
	return c.Plugins.Cache
}

// bound is how long anything in a script may take.
const bound = 3 * time.Minute

func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready FILE")
	}
	end := time.Now().Add(bound)
	for {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil {
			var at struct{ Public, Admin string }
			ts.Check(json.Unmarshal(text, &at))
			ts.Setenv("PUBLIC", at.Public)
			ts.Setenv("SOUK_ADMIN", at.Admin)
			return
		}
		if !os.IsNotExist(err) || time.Now().After(end) {
			ts.Fatalf("the server is not ready: %v", err)
		}
		time.Sleep(5 * time.Millisecond) // between looks, not instead of them
	}
}

func setFrom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setfrom NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func cut(ts *testscript.TestScript, neg bool, args []string) {
	whole, n, to := damaged(ts, neg, args)
	if n < 0 {
		n += len(whole)
	}
	ts.Check(os.WriteFile(to, whole[:n], 0o600))
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	whole, n, to := damaged(ts, neg, args)
	whole[n] ^= 1
	ts.Check(os.WriteFile(to, whole, 0o600))
}

// damaged reads the file that is about to be copied wrongly.
func damaged(ts *testscript.TestScript, neg bool, args []string) (whole []byte, n int, to string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut|flip TO FILE N")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	return []byte(ts.ReadFile(args[1])), n, ts.MkAbs(args[0])
}

func clash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: clash FILE URL")
	}
	_, address, _ := strings.Cut(args[1], "://")
	text := "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"" + address + "\"\n[store]\ndir = \"other\"\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

var (
	transaction = regexp.MustCompile(`name="transaction"[^>]* value="([^"]*)"`)
	fieldNames  = regexp.MustCompile(`name="(field_[a-z]+)"`)
)

// signIn does what a person does in front of the sign-in page.
func signIn(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: signin URL EMAIL PASSWORD")
	}
	c := &http.Client{
		Timeout:       bound,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	authorize := args[0] + "/oauth/authorize"
	page := read(ts, c, authorize+"?"+url.Values{
		"client_id": {"device-1"}, "response_type": {"code"}, "redirect_uri": {"app-distribution-oauth://"}, "scope": {"all"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}, "state": {"s"},
	}.Encode())
	sealed := transaction.FindStringSubmatch(page)
	if sealed == nil || len(fieldNames.FindAllString(page, -1)) != 2 {
		ts.Fatalf("the sign-in page has no form with two fields: %s", page)
	}
	res, err := c.PostForm(authorize, url.Values{
		"transaction": {html.UnescapeString(sealed[1])}, "field_email": {args[1]}, "field_password": {args[2]},
	})
	ts.Check(err)
	ts.Check(res.Body.Close())
	if in := strings.Contains(res.Header.Get("Location"), "code="); in == neg {
		ts.Fatalf("sign-in of %s: status %d, signed in = %v", args[1], res.StatusCode, in)
	}
}

func read(ts *testscript.TestScript, c *http.Client, from string) string {
	res, err := c.Get(from)
	ts.Check(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ts.Check(err)
	return string(text)
}
