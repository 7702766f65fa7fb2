//go:build !wasip1

package conformance_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/conformance/go/policy"
	souk "github.com/souk-market/souk/sdk/go"
)

var languages = []string{"go", "rust", "assemblyscript", "c", "javascript"}

// each runs a test on every guest.
func each(t *testing.T, f func(t *testing.T, wasm []byte)) {
	for _, language := range languages {
		t.Run(language, func(t *testing.T) { f(t, module(t, language)) })
	}
}

func module(t testing.TB, dir string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join(filepath.FromSlash(dir), "guest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// open starts a guest in the real host, and empties the store of both.
func open(t testing.TB, wasm []byte, log *journal, set func(*plugin.Spec)) *plugin.Host {
	t.Helper()
	souk.Reset()
	s := plugin.DefaultSpec()
	s.Name, s.Wasm, s.Instances = "guest", wasm, 1
	s.Allow, s.Hosts = everything, []string{"id.example.com"}
	if set != nil {
		set(&s)
	}
	o := plugin.Options{Specs: []plugin.Spec{s}, Cache: cache, KV: func(string) (plugin.KV, error) { return &cases.KV{}, nil }}
	if log != nil {
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	h, err := plugin.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(context.Background()) })
	return h
}

// everything is each group of host functions.
var everything = []string{"log", "kv", "password", "crypto", "secret", "http", "metric"}

var cache = coretest.Cache()

// head is a head with a value in every field.
func head() abi.Head {
	return abi.Head{
		NowMS: 1_790_000_000_123, Purpose: abi.PurposeLicense, Seed: 0xFEDC_BA98_7654_3210, Account: "alice",
		Client: "key", Platform: abi.PlatformIPadOS, OS: abi.OS(26, 1, 2), Territory: "AUT", BucketKey: "alice",
		Organization: "Bücher", Grants: []string{"role:tester", "sub:plus"},
	}
}

// entitle asks the host, and the policy natively.
func entitle(t testing.TB, h *plugin.Host, r abi.EntitleRequest) (got plugin.Entitlement, want abi.EntitleDecision) {
	t.Helper()
	c := h.Acquire()
	defer c.Release()
	c.Entitle = r
	got = c.AskEntitle(t.Context())[0]
	got.Reason = strings.Clone(got.Reason)
	var v abi.EntitleVerdict
	if err := policy.Entitle(&r, &v); err == nil && len(v.Items) > 0 {
		want = v.Items[0]
	}
	return got, want
}

// TestHostFunctions calls every host function through the real host, and the
// policy natively with the functions that work in memory.
func TestHostFunctions(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		var log journal
		h := open(t, wasm, &log, nil)
		for i, step := range []struct {
			do, key, old, value, reason string
			devices                     uint32
		}{
			{do: "bucket"},
			{do: "kv_get", reason: "-1 "},
			{do: "kv_put", value: "a value: größe", reason: "0"},
			{do: "kv_get", reason: "0 a value: größe"},
			{do: "kv_add", reason: "-3 0"}, // it is no counter
			{do: "kv_swap", old: "", value: "x", reason: "-4"},
			{do: "kv_swap", old: "other", value: "x", reason: "-4"},
			{do: "kv_swap", old: "a value: größe", value: "x", reason: "0"},
			{do: "kv_get", reason: "0 x"},
			{do: "kv_delete", reason: "0"},
			{do: "kv_delete", reason: "0"},
			{do: "kv_get", reason: "-1 "},
			{do: "kv_swap", value: "", reason: "0"},
			{do: "kv_get", reason: "0 "},
			{do: "kv_add", key: "counter", reason: "0 -7"},
			{do: "kv_add", key: "counter", reason: "0 -14"},
			{do: "kv_get", key: strings.Repeat("k", 257), reason: "-3 "},
			{do: "kv_put", key: strings.Repeat("k", 257), reason: "-3"},
			{do: "hmac", key: "Jefe", value: "what do ya want for nothing?", reason: "0 5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"}, // RFC 4231
			{do: "equal", key: "größe", value: "größe", reason: "1"},
			{do: "equal", key: "größe", value: "größer", reason: "0"},
			{do: "metric", key: "asked", devices: 3, reason: "0"},
			{do: "metric", key: "asked", devices: 4, reason: "0"},
			{do: "metric", key: "asked", devices: 1 << 31, reason: "-3"}, // it only grows
			{do: "metric", key: "Asked", devices: 1, reason: "-3"},
		} {
			r := abi.EntitleRequest{Head: head(), Apps: []abi.EntitleApp{{Devices: step.devices}}}
			r.Account, r.Territory, r.Organization = step.do, step.old, step.value
			if step.key != "" {
				r.Client = step.key
			}
			got, want := entitle(t, h, r)
			if step.reason != "" && got.Reason != step.reason || got.Reason != want.Reason || got.Code != want.Code || got.Failed {
				t.Errorf("step %d, %s: %+v, the policy says %+v, want %q", i, step.do, got, want, step.reason)
			}
		}
		if have := h.Plugins()[0].Metrics; len(have) != 1 || have["asked"] != 7 {
			t.Errorf("the counters are %v, want 7 asked", have)
		}
		r := abi.EntitleRequest{Head: head(), Apps: make([]abi.EntitleApp, 1)}
		// Passwords, secrets and servers are for sign-ins and exchanges: see below.
		for do, want := range map[string]string{"hash": "-3 ", "verify": "-3", "secret": "-3 ", "fetch": "-3 "} {
			r.Account = do
			if got, _ := entitle(t, h, r); got.Reason != want {
				t.Errorf("%s in entitle: %+v, want it refused", do, got)
			}
		}
		r.Account, r.Organization = "log", "a line with ö"
		entitle(t, h, r)
		if s := log.String(); !strings.Contains(s, "a line with ö") || !strings.Contains(s, "level=WARN") {
			t.Errorf("the log is\n%s", s)
		}
		// A device that checks for updates must not make anything of the store.
		r.Account, r.Purpose = "kv_put", abi.PurposeUpdate
		if got, _ := entitle(t, h, r); got.Reason != "-3" {
			t.Errorf("kv_put for an update: %+v, want it refused", got)
		}
	})
}

// TestEveryHostFunction gives all commands of the guests to each, and looks which
// host functions they call: none of the contract may be missing.
func TestEveryHostFunction(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		g := start(t, wasm)
		for _, do := range []string{
			"bucket", "config", "log", "kv_put", "kv_get", "kv_swap", "kv_add", "kv_delete", "hash", "verify",
			"hmac", "equal", "metric", "secret", "fetch",
		} {
			r := abi.EntitleRequest{Head: head(), Apps: make([]abi.EntitleApp, 2)}
			r.Account = do
			g.compare(t, do, "Entitle", r.Append(nil))
		}
		for _, f := range abi.Imports {
			if !g.called[f.Name] {
				t.Errorf("no command of the guest calls %s: every guest has to have one, and this suite to give it", f.Name)
			}
		}
	})
}

// reply is what the server of TestSecretsAndServers says, and what the policy is
// told natively.
func reply(method, accept, souk, body string) (status int, headers [][2]string, text string) {
	return 202, [][2]string{{"X-Accept", accept}, {"X-Method", method}, {"X-Souk", souk}}, "you said: " + body
}

// TestSecretsAndServers calls the host functions that are for sign-ins and
// exchanges only, with a secret in a file and a server on this machine.
func TestSecretsAndServers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
			return
		case "/binary":
			w.Write([]byte{0xff})
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the server reads the body: %v", err)
		}
		status, headers, text := reply(r.Method, r.Header.Get("Accept"), r.Header.Get("X-Souk"), string(b))
		for _, h := range headers {
			w.Header().Set(h[0], h[1])
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	defer server.Close()
	native := func(q *abi.FetchRequest, a *abi.FetchResponse) error {
		switch q.URL {
		case server.URL + "/none":
			a.Status = http.StatusNoContent
		case server.URL + "/binary":
			return souk.ErrFailed
		case server.URL + "/":
			var accept, sent string
			for _, h := range q.Headers {
				switch h.Name {
				case "accept":
					accept = h.Value
				case "x-souk":
					sent = h.Value
				}
			}
			status, headers, text := reply(q.Method, accept, sent, q.Body)
			a.Status, a.Body = uint32(status), text
			for _, h := range headers {
				a.Headers = append(a.Headers, abi.FetchHeader{Name: strings.ToLower(h[0]), Value: h[1]})
			}
		default:
			return souk.ErrRefused
		}
		return nil
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("wonderland, größer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, wasm []byte) {
		h := open(t, wasm, nil, func(s *plugin.Spec) {
			s.Hosts = append(s.Hosts, strings.TrimPrefix(server.URL, "http://"))
			s.Secrets = plugin.Secrets{"key": {File: file}}
		})
		souk.SetSecret("key", "wonderland, größer")
		souk.HandleFetch(native)
		for _, step := range []struct{ token, of, reason string }{
			{"secret", "key", "0 "},
			{"secret", "other", "-1 "},
			{"fetch", server.URL + "/", "0 202 x-accept text/plain x-method POST x-souk ß you said: key"},
			{"fetch", server.URL + "/none", "0 204 "},
			{"fetch", server.URL + "/binary", "-5 "},
			{"fetch", "https://elsewhere.example.com/", "-3 "},
			{"fetch", "http://id.example.com/", "-3 "},
		} {
			r := abi.ExchangeRequest{Head: head(), SubjectToken: step.token, SubjectTokenType: step.of}
			var want abi.ExchangeVerdict
			if err := policy.Exchange(&r, &want); err != nil {
				t.Fatal(err)
			}
			c := h.Acquire()
			c.Exchange = r
			got, _, err := c.AskExchange(t.Context())
			if err != nil || *got != want.Items[0] || !strings.HasPrefix(got.Reason, step.reason) {
				t.Errorf("%s %s: %+v, %v, want %+v and %q", step.token, step.of, got, err, want.Items[0], step.reason)
			}
			c.Release()
		}
	})
}

func TestAbstentionsAndErrors(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		h := open(t, wasm, nil, nil)
		ask := func(account string) (plugin.Entitlement, plugin.Selection) {
			c := h.Acquire()
			defer c.Release()
			c.Entitle.Account, c.Entitle.Apps = account, make([]abi.EntitleApp, 2)
			c.SelectVersion.Account, c.SelectVersion.Apps = account, make([]abi.SelectVersionApp, 2)
			return c.AskEntitle(t.Context())[1], c.AskSelectVersion(t.Context())[1]
		}
		if e, s := ask("abstain"); e.Decision != abi.DecisionPass || e.Failed || s.Choice != abi.ChoicePass || s.Failed {
			t.Errorf("an abstention: %+v, %+v", e, s)
		}
		if e, s := ask("error"); e.Decision != abi.Deny || !e.Failed || s.Choice != abi.Hold || !s.Failed {
			t.Errorf("an error: %+v, %+v", e, s)
		}
		c := h.Acquire()
		defer c.Release()
		c.SignIn = abi.SignInRequest{LoginHint: "error"}
		_, _, err := c.AskSignIn(t.Context(), "")
		c.Exchange = abi.ExchangeRequest{SubjectToken: "error"}
		_, _, err2 := c.AskExchange(t.Context())
		if err == nil || err2 == nil {
			t.Errorf("errors of sign_in and exchange: %v, %v", err, err2)
		}
		for _, i := range h.Plugins()[0].Hooks {
			if i.Failures[plugin.KindErrorCode.String()] != 1 || len(i.Failures) != 1 {
				t.Errorf("failures of %s: %v, want one error code", i.Hook, i.Failures)
			}
		}
		if e, s := ask("alice"); e.Failed || s.Failed {
			t.Errorf("after an error: %+v, %+v", e, s)
		}
	})
}

func TestSignIn(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		h := open(t, wasm, nil, nil)
		typed := func(password string) []abi.SubmittedField {
			return []abi.SubmittedField{{Name: "password", Value: password}, {Name: "other"}, {Name: "email", Value: "alice@example.com"}}
		}
		for _, step := range []struct {
			name    string
			request abi.SignInRequest
		}{
			{"the page", abi.SignInRequest{Method: abi.SignInShow, Attempts: 4, LoginHint: "alice", ClientName: "Käse", Locale: "de-AT", Address: "2001:db8::1", State: "!"}},
			{"nobody is known", abi.SignInRequest{Method: abi.SignInSubmit, Fields: typed("wonderland")}},
			{"someone registers", abi.SignInRequest{Method: abi.SignInSubmit, LoginHint: "register", Fields: typed("wonderland")}},
			{"a wrong password", abi.SignInRequest{Method: abi.SignInSubmit, Fields: typed("Wonderland")}},
			{"the right password", abi.SignInRequest{Method: abi.SignInSubmit, Fields: typed("wonderland")}},
			{"cancelled", abi.SignInRequest{Method: abi.SignInCancel, State: "abc"}},
			{"an abstention", abi.SignInRequest{Method: abi.SignInCallback}},
			{"a step that nobody knows yet", abi.SignInRequest{Method: 99}},
		} {
			step.request.Head = head()
			var want abi.SignInVerdict
			if err := policy.SignIn(&step.request, &want); err != nil {
				t.Fatal(err)
			}
			c := h.Acquire()
			c.SignIn = step.request
			got, _, err := c.AskSignIn(t.Context(), "")
			switch {
			case len(want.Items) == 0:
				if err != plugin.ErrAbstained {
					t.Errorf("%s: %+v, %v, want an abstention", step.name, got, err)
				}
			case err != nil:
				t.Errorf("%s: %v", step.name, err)
			case text(*got) != text(want.Items[0]):
				t.Errorf("%s: %+v, want %+v", step.name, *got, want.Items[0])
			}
			c.Release()
		}
	})
}

// text says what is in a record; an empty list is none.
func text(v any) string { return fmt.Sprintf("%+v", v) }

func TestExchange(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		h := open(t, wasm, nil, nil)
		for _, token := range []string{"mine", "bad", "unknown"} {
			r := abi.ExchangeRequest{Head: head(), SubjectToken: token, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt"}
			var want abi.ExchangeVerdict
			if err := policy.Exchange(&r, &want); err != nil {
				t.Fatal(err)
			}
			c := h.Acquire()
			c.Exchange = r
			got, _, err := c.AskExchange(t.Context())
			if len(want.Items) == 0 {
				if err != plugin.ErrAbstained {
					t.Errorf("%s: %+v, %v, want an abstention", token, got, err)
				}
			} else if err != nil || *got != want.Items[0] {
				t.Errorf("%s: %+v, %v, want %+v", token, got, err, want.Items[0])
			}
			c.Release()
		}
	})
}

func TestConfigure(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		h := open(t, wasm, nil, func(s *plugin.Spec) { s.Config = map[string]any{"title": "größe"} })
		r := abi.EntitleRequest{Head: head(), Apps: make([]abi.EntitleApp, 1)}
		for range 3 { // it outlives the message that it came with
			if got, _ := entitle(t, h, abi.EntitleRequest{Apps: make([]abi.EntitleApp, 9)}); got.Failed {
				t.Error("a question fails")
			}
			r.Account = "config"
			if got, _ := entitle(t, h, r); got.Reason != `{"title":"größe"}` {
				t.Errorf("the guest's configuration is %q", got.Reason)
			}
		}
		s := plugin.DefaultSpec()
		s.Name, s.Wasm, s.Allow, s.Hosts = "guest", wasm, everything, []string{"id.example.com"}
		s.Config = map[string]any{"refuse": true}
		_, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}, Cache: cache, KV: func(string) (plugin.KV, error) { return &cases.KV{}, nil }})
		if err == nil || !strings.HasSuffix(err.Error(), "config: told to refuse") {
			t.Errorf("a configuration that is refused: %v", err)
		}
	})
}

// TestExamples asks the same small policy in six languages, one of which is none:
// README.md shows them.
func TestExamples(t *testing.T) {
	// Fuel of one question about five apps with three candidates each: the same
	// number on every machine.
	limits := map[string]uint64{"go": 3_500, "rust": 5_000, "assemblyscript": 18_000, "c": 5_000, "wat": 2_000, "javascript": 110_000}
	for language, limit := range limits {
		t.Run(language, func(t *testing.T) {
			h := open(t, module(t, "../examples/"+language), nil, func(s *plugin.Spec) { s.Allow = nil })
			var fuel uint64
			for i := range 30 {
				c := h.Acquire()
				c.SelectVersion.Head = head()
				c.SelectVersion.BucketKey = fmt.Sprintf("device-%d", i)
				for range 5 {
					c.SelectVersion.Apps = append(c.SelectVersion.Apps, abi.SelectVersionApp{Item: 1_000_001, BundleID: "com.example.notes", Candidates: []abi.Candidate{
						{Version: 3, Rollout: 1000, Salt: "1000001/3", Short: "3.0", Build: "300"}, {Version: 2, Rollout: uint32(i) * 100, Salt: "1000001/2"}, {Version: 1, Rollout: 5000},
					}})
				}
				for _, got := range c.AskSelectVersion(t.Context()) {
					want := plugin.Selection{Choice: abi.Hold, Plugin: "guest", Reason: "not open yet"}
					for j, x := range c.SelectVersion.Apps[0].Candidates {
						if abi.Bucket(c.SelectVersion.BucketKey, x.Salt) < x.Rollout {
							want.Choice, want.Reason = abi.Choice(j), "open"
							break
						}
					}
					if got != want {
						t.Errorf("device %d: %+v, want %+v", i, got, want)
					}
				}
				fuel = max(fuel, c.Fuel())
				c.Release()
			}
			if t.Logf("fuel %d", fuel); fuel > limit {
				t.Errorf("a question costs %d fuel, the limit is %d", fuel, limit)
			}
		})
	}
}

// TestExamplesHold asks the examples what most devices ask while a rollout has not
// begun, and says what that may take: the later questions of an instance, as its first
// one makes space. Nobody is in a share of 0, so no guest asks its host.
func TestExamplesHold(t *testing.T) {
	limits := map[string]uint64{"go": 800, "rust": 2_300, "assemblyscript": 16_000, "c": 1_300, "javascript": 54_000}
	r := abi.SelectVersionRequest{Head: head()}
	for i := range uint64(5) {
		r.Apps = append(r.Apps, abi.SelectVersionApp{Item: 1_000_001 + i, Installed: 100, BundleID: fmt.Sprintf("com.example.app%d", i), Candidates: []abi.Candidate{
			{Version: 110, ReleasedMS: 1_789_999_000_000, MinOS: abi.OS(18, 0, 0), Salt: fmt.Sprintf("%d/110", 1_000_001+i), Short: "2.1.0", Build: "210"},
		}})
	}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			wasm := module(t, "../examples/"+language)
			h := open(t, wasm, nil, func(s *plugin.Spec) { s.Allow = nil })
			var fuel uint64
			for i := range 30 {
				c := h.Acquire()
				c.SelectVersion.Head, c.SelectVersion.Apps = r.Head, append(c.SelectVersion.Apps, r.Apps...)
				for _, got := range c.AskSelectVersion(t.Context()) {
					if want := (plugin.Selection{Choice: abi.Hold, Plugin: "guest", Reason: "not open yet"}); got != want {
						t.Errorf("%+v, want %+v", got, want)
					}
				}
				if i > 0 {
					fuel = max(fuel, c.Fuel())
				}
				c.Release()
			}
			if t.Logf("fuel %d", fuel); fuel > limits[language] {
				t.Errorf("a question costs %d fuel, the limit is %d", fuel, limits[language])
			}
			g := start(t, wasm)
			g.ask(t, "select_version", r.Append(nil))
			if g.called["bucket"] {
				t.Error("the guest asks for a bucket, which a share of 0 doesn't need")
			}
		})
	}
}

// TestLargeQuestions asks for more space than the first buffer has.
func TestLargeQuestions(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		h := open(t, wasm, nil, func(s *plugin.Spec) { s.Fuel = 100_000_000; s.Deadline = 20 * s.Deadline })
		for _, n := range []int{10, 5_000, 40_000, 10, 6_000} {
			r := abi.EntitleRequest{Head: head(), Apps: make([]abi.EntitleApp, 1)}
			r.Account, r.Grants = "bucket", append(make([]string, n), "sub:plus")
			if got, want := entitle(t, h, r); got.Failed || got.Code != want.Code || got.Decision != abi.Allow {
				t.Errorf("%d grants: %+v, want %+v", n, got, want)
			}
		}
	})
}

// vectors are the golden vectors of the requests, and of what is fetched.
func vectors(t *testing.T) (list []struct{ Name, Record, Wrong, Hex string }) {
	t.Helper()
	b, err := os.ReadFile("../abi/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct{ Name, Record, Wrong, Hex string }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Vectors {
		hook, ok := strings.CutSuffix(v.Record, "Request")
		if ok && hook != "Fetch" || v.Record == "FetchResponse" { // a FetchRequest is the guest's question
			list = append(list, v)
		}
	}
	return list
}

// TestVectors asks the questions of the golden vectors as they are: also those of
// a host that knows more than the guest, or less, and what is no question at all.
func TestVectors(t *testing.T) {
	list := vectors(t)
	each(t, func(t *testing.T, wasm []byte) {
		g := start(t, wasm)
		for _, v := range list {
			msg, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			if hook, ok := strings.CutSuffix(v.Record, "Request"); ok {
				g.compare(t, v.Name, hook, msg)
				continue
			}
			g.fetches(t, v.Name, msg)
			for n := range len(msg) { // damaged: of another size than it says
				g.fetches(t, fmt.Sprintf("%s, %d bytes", v.Name, n), msg[:n])
			}
		}
	})
}

// fetches has the guest ask a server whose answer comes in these bytes.
func (g *guest) fetches(t *testing.T, name string, msg []byte) {
	t.Helper()
	souk.HandleFetch(func(_ *abi.FetchRequest, a *abi.FetchResponse) error {
		if a.Read(msg) != nil {
			return souk.ErrFailed
		}
		return nil
	})
	g.answer = append([]byte{}, msg...)
	r := abi.ExchangeRequest{Head: head(), SubjectToken: "fetch", SubjectTokenType: "https://id.example.com/"}
	g.compare(t, name, "Exchange", r.Append(nil))
}

// TestRandomQuestions asks questions with values, flags and steps that no version
// of the contract has named.
func TestRandomQuestions(t *testing.T) {
	each(t, func(t *testing.T, wasm []byte) {
		g := start(t, wasm)
		r := rand.New(rand.NewPCG(3, 4))
		for i := range 100 {
			for hook, m := range map[string]interface{ Append([]byte) []byte }{
				"Entitle": &abi.EntitleRequest{}, "SelectVersion": &abi.SelectVersionRequest{},
				"SignIn": &abi.SignInRequest{}, "Exchange": &abi.ExchangeRequest{},
			} {
				randomize(r, reflect.ValueOf(m).Elem())
				msg := m.Append(nil)
				g.compare(t, fmt.Sprintf("question %d of %s", i, hook), hook, msg)
				if grown := grow(msg); i%2 == 0 {
					g.compare(t, fmt.Sprintf("question %d of %s with a longer fixed part", i, hook), hook, grown)
				}
				g.compare(t, fmt.Sprintf("question %d of %s with a shorter fixed part", i, hook), hook, shrink(r, msg))
				binary.LittleEndian.PutUint32(msg[r.IntN(len(msg)/4)*4:], r.Uint32()) // damaged, perhaps
				g.compare(t, fmt.Sprintf("question %d of %s, damaged", i, hook), hook, msg)
			}
		}
	})
}

// TestViewsInAGuest asks a guest that answers with views (Each of the Go SDK), which is
// built without the checks that a host has, the same kind of questions, and messages that
// are none. What it makes of a damaged text is its own affair, as long as it lives.
func TestViewsInAGuest(t *testing.T) {
	choose := func(q *abi.SelectVersionView, app abi.SelectVersionAppView) abi.VersionChoice {
		for i := range app.Candidates() {
			if souk.OpenTo(q, app.Candidate(i)) {
				return abi.VersionChoice{Choice: abi.Choice(i), Reason: "open"}
			}
		}
		return abi.VersionChoice{Choice: abi.Hold, Reason: "not open yet"}
	}
	g := start(t, module(t, "../examples/go"))
	same, refused := 0, 0
	ask := func(msg []byte) {
		t.Helper()
		got, code := g.ask(t, "select_version", msg)
		var r abi.SelectVersionRequest
		var v abi.SelectVersionView
		if err := r.Read(msg); err == nil {
			want, err := r.Each(choose)
			var verdict abi.SelectVersionVerdict
			if err = errors.Join(err, verdict.Read(got)); err != nil || code != 0 || !slices.Equal(verdict.Items, want) {
				t.Errorf("the guest answers code %d and\n%+v, the policy %+v, %v\nthe question is %x", code, verdict.Items, want, err, msg)
			}
			same++
		} else if err := v.Open(msg); err != nil && !strings.HasSuffix(err.Error(), "is not UTF-8") {
			if code == 0 {
				t.Errorf("the guest answers %x, and the question is none (%v): %x", got, err, msg)
			}
			refused++
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		var m abi.SelectVersionRequest
		randomize(r, reflect.ValueOf(&m).Elem())
		for i := range m.Apps {
			for k := range m.Apps[i].Candidates {
				m.Apps[i].Candidates[k].Rollout %= abi.Buckets + 2
			}
		}
		msg := m.Append(nil)
		ask(msg)
		ask(grow(msg))
		ask(shrink(r, msg))
		for range 10 {
			binary.LittleEndian.PutUint32(msg[r.IntN(len(msg)/4)*4:], r.Uint32()>>r.IntN(32))
			ask(msg[:len(msg)-r.IntN(2)])
		}
	}
	for _, v := range vectors(t) {
		msg, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		ask(msg)
	}
	if same == 0 || refused == 0 {
		t.Errorf("%d questions were answered and %d refused: want some of both", same, refused)
	}
}

// grow says of the lists and texts behind the fixed part that they belong to it:
// to a guest they are fields that it doesn't know.
func grow(msg []byte) []byte {
	b := bytes.Clone(msg)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(b)))
	return b
}

// shrink says of the last fields of the fixed part that they are none: the message
// of a host that doesn't know them yet.
func shrink(r *rand.Rand, msg []byte) []byte {
	b := bytes.Clone(msg)
	fixed := binary.LittleEndian.Uint32(b[16:])
	binary.LittleEndian.PutUint32(b[16:], fixed-4*r.Uint32N((fixed-24)/4+1))
	return b
}

func randomize(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()) >> (r.IntN(2) * v.Type().Bits() / 2))
	case reflect.String:
		var b []byte
		for range r.IntN(6) {
			b = utf8.AppendRune(b, []rune("aZ 0\x00äß本🚫")[r.IntN(9)])
		}
		v.SetString(string(b))
	case reflect.Slice:
		n := r.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			randomize(r, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			randomize(r, v.Field(i))
		}
	}
}

// asked answers a message natively: the verdict, nil = an abstention.
func asked(hook string, msg []byte) ([]byte, error) {
	var v interface{ Append([]byte) []byte }
	var items int
	var err error
	switch hook {
	case "Entitle":
		var r abi.EntitleRequest
		var a abi.EntitleVerdict
		if err = r.Read(msg); err == nil {
			err = policy.Entitle(&r, &a)
		}
		v, items = &a, len(a.Items)
	case "SelectVersion":
		var r abi.SelectVersionRequest
		var a abi.SelectVersionVerdict
		if err = r.Read(msg); err == nil {
			err = policy.SelectVersion(&r, &a)
		}
		v, items = &a, len(a.Items)
	case "SignIn":
		var r abi.SignInRequest
		var a abi.SignInVerdict
		if err = r.Read(msg); err == nil {
			err = policy.SignIn(&r, &a)
		}
		v, items = &a, len(a.Items)
	default:
		var r abi.ExchangeRequest
		var a abi.ExchangeVerdict
		if err = r.Read(msg); err == nil {
			err = policy.Exchange(&r, &a)
		}
		v, items = &a, len(a.Items)
	}
	if err != nil || items == 0 {
		return nil, err
	}
	return v.Append(nil), nil
}

// journal collects a log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}
