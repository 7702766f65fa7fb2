package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// fault is something that a server must not do, and the check that has to find it.
type fault struct {
	check   string
	only    bool // no other check finds it
	command *Command
	// ask changes a request before the real server sees it, answer what it says. admin
	// answers the operator in its place.
	ask    func(path string, body []byte) []byte
	answer func(path string, request []byte, status int, body []byte) (int, []byte)
	admin  func(method, path string, body []byte) (answer []byte, taken bool)
}

// night is when most devices ask.
func night(scenario string) *Command {
	c := command(scenario, 1500, 14_400)
	c.Duration = 8 * time.Hour
	return c
}

func of(c *Command, change func(*Command)) *Command {
	change(c)
	return c
}

var (
	offered   = regexp.MustCompile(`"appleItemId":"(\d+)","appleVersionId":"(\d+)"[^}]*"installVerificationToken":"([^"]+)"`)
	installed = regexp.MustCompile(`"appleVersionId":"\d+"`)
	element   = regexp.MustCompile(`\{"appleItemId":[^}]*"installVerificationToken":"[^}]*\}`)
	expires   = regexp.MustCompile(`"expires_in":\d+`)
	system    = regexp.MustCompile(`"osVersion":"[^"]*"`)
)

// faults are all that the checks are tried with.
var faults = map[string]*fault{
	"offers what is installed": {check: "newer", command: night("steady"), ask: func(path string, body []byte) []byte {
		return installed.ReplaceAll(body, []byte(`"appleVersionId":"1"`))
	}},
	"offers what doesn't run": {check: "fits", command: night("steady"), ask: func(path string, body []byte) []byte {
		return system.ReplaceAll(body, []byte(`"osVersion":"99.0"`))
	}},
	"offers it to the wrong ones": {check: "newest", command: of(command(nameReleaseDay, 1500, 21_600), func(c *Command) {
		c.Rollout, c.Duration = "50", 12*time.Hour
	}), admin: func(_, path string, body []byte) ([]byte, bool) {
		return bytes.Replace(body, []byte(`"share":5000`), []byte(`"share":5000,"salt":"another"`), 1), false
	}},
	"reuses a nonce": {check: "nonce", command: night("steady"), answer: reusesNonces()},
	"signs with another key": {check: "signature", command: night("steady"), answer: func(_ string, _ []byte, status int, body []byte) (int, []byte) {
		return status, offered.ReplaceAllFunc(body, func(b []byte) []byte {
			if b[len(b)-10] == 'A' {
				b[len(b)-10] = 'B'
			} else {
				b[len(b)-10] = 'A'
			}
			return b
		})
	}},
	"keeps an offer back now and then": {check: "due", command: command("steady", 3000, 14_400), answer: keepsBack()},
	"rolls dice per request": {check: "sticky", command: command("steady", 3000, 14_400), answer: func(path string, _ []byte, status int, body []byte) (int, []byte) {
		if path == pathUpdates && status == 200 && rand.IntN(2) == 0 {
			return 200, []byte(`{"updates":[]}`)
		}
		return status, body
	}},
	"opens a rollout too far": {check: "share", command: of(command(nameReleaseDay, 1500, 43_200), func(c *Command) {
		c.Rollout = "10,20"
	}), admin: func(_, path string, body []byte) ([]byte, bool) {
		return bytes.Replace(body, []byte(`"share":2000`), []byte(`"share":9000`), 1), false
	}},
	"ignores a halt": {check: "halt", command: command("halt", 1500, 5_400), admin: func(method, path string, body []byte) ([]byte, bool) {
		return swallowed(body, strings.HasSuffix(path, "/rollout") && bytes.Contains(body, []byte("halted")))
	}},
	"ignores a takedown": {check: "failures", command: command("takedown", 1500, 10_800), admin: func(method, path string, body []byte) ([]byte, bool) {
		return swallowed(body, strings.HasSuffix(path, "/takedown"))
	}},
	"loses a successor": {check: "refresh", command: of(command("lost-answer", 1000, 86_400), func(c *Command) {
		c.Duration = 3 * aDay
	}), answer: losesSuccessors()},
	"gives tokens that are over": {check: "refresh", only: true, command: of(command("token-expiry", 1000, 28_800), func(c *Command) {
		c.Duration = aDay
	}), answer: func(path string, _ []byte, status int, body []byte) (int, []byte) {
		return status, expires.ReplaceAll(body, []byte(`"expires_in":1`))
	}},
	"mixes two policies": {check: "whole", command: command("policy-swap", 1500, 10_800), answer: func(path string, _ []byte, status int, body []byte) (int, []byte) {
		i := bytes.Index(body, []byte(`},{"appleItemId"`))
		if path != pathUpdates || i < 0 {
			return status, body
		}
		return status, append([]byte(`{"updates":[`), body[i+2:]...)
	}},
	"fails now and then": {check: "answered", command: night("steady"), answer: func(_ string, _ []byte, status int, body []byte) (int, []byte) {
		if rand.IntN(50) == 0 {
			return 500, []byte("{}")
		}
		return status, body
	}},
	"lets anybody in": {check: "codes", command: night("steady"), answer: func(_ string, _ []byte, status int, body []byte) (int, []byte) {
		if status == 403 || status == 401 {
			return 200, []byte(`{"updates":[]}`)
		}
		return status, body
	}},
	"offers what was withdrawn": {check: "status", command: weekend(), admin: func(_, path string, body []byte) ([]byte, bool) {
		return bytes.ReplaceAll(body, []byte(`"withdrawn":true`), []byte(`"withdrawn":false`)), false
	}},
	"offers an app twice": {check: "status", command: night("steady"), answer: func(path string, _ []byte, status int, body []byte) (int, []byte) {
		at := element.FindIndex(body)
		if path != pathUpdates || at == nil {
			return status, body
		}
		another := bytes.Replace(body[at[0]:at[1]], []byte(`"}`), []byte(`"},`), 1)
		return status, append(append(bytes.Clone(body[:at[0]]), another...), body[at[0]:]...)
	}},
	"tells a version by another's number": {check: "described", only: true, command: night("steady"), answer: func(_ string, _ []byte, status int, body []byte) (int, []byte) {
		return status, bytes.Replace(body, []byte(`"shortVersionString":"1.`), []byte(`"shortVersionString":"2.`), 1)
	}},
	"restores another version that fits": {check: "restored", only: true, command: weekend(), ask: func(path string, body []byte) []byte {
		if path == pathRestore {
			return installed.ReplaceAll(body, []byte(`"appleVersionId":"1"`))
		}
		return body
	}},
	"restores what is not open": {check: "restored", command: weekend(), admin: func(_, path string, body []byte) ([]byte, bool) {
		if path == "/api/import" {
			return bytes.ReplaceAll(body, []byte(`"share":5000`), []byte(`"share":10000`)), false
		}
		return body, false
	}},
	"leaves an app out of a restore": {check: "restored", only: true, command: weekend(), answer: leavesOut()},
	"lets who is well wait for the others": {check: "harm", command: of(command("poison", 2000, 3_600), func(c *Command) {
		c.Duration, c.Patience = 4*time.Hour, 1
	}), answer: func(_ string, request []byte, status int, body []byte) (int, []byte) {
		if status == 200 && rand.IntN(20) == 0 {
			time.Sleep(inTime + inTime/10)
		}
		return status, body
	}},
	"sheds much": {check: "shed", command: night("steady"), answer: func(path string, _ []byte, status int, body []byte) (int, []byte) {
		if path == pathUpdates && rand.IntN(10) == 0 {
			return 503, []byte("{}")
		}
		return status, body
	}},
}

// weekend is one of which a night is played.
func weekend() *Command {
	c := command("restore-wave", 1000, 7_200)
	c.Duration = 8 * time.Hour
	return c
}

// leavesOut takes the first app out of one restore in twenty.
func leavesOut() func(string, []byte, int, []byte) (int, []byte) {
	var restores atomic.Uint64
	return func(path string, _ []byte, status int, body []byte) (int, []byte) {
		at := element.FindIndex(body)
		if path != pathRestore || status != 200 || at == nil || restores.Add(1)%20 != 0 {
			return status, body
		}
		rest := bytes.TrimPrefix(body[at[1]:], []byte(","))
		if bytes.HasPrefix(rest, []byte("]")) { // it was the last one
			return status, append([]byte(`{"restores":[`), rest...)
		}
		return status, append(bytes.Clone(body[:at[0]]), rest...)
	}
}

// keepsBack gives one of fifty devices nothing that are to be offered one app.
func keepsBack() func(string, []byte, int, []byte) (int, []byte) {
	var single atomic.Uint64
	return func(path string, _ []byte, status int, body []byte) (int, []byte) {
		if path == pathUpdates && status == 200 && len(offered.FindAllIndex(body, -1)) == 1 && single.Add(1)%50 == 0 {
			return 200, []byte(`{"updates":[]}`)
		}
		return status, body
	}
}

// swallowed tells the operator that something was done which was not.
func swallowed(body []byte, it bool) ([]byte, bool) {
	if it {
		return []byte("{}"), true
	}
	return body, false
}

// reusesNonces gives the first token for a version to everyone.
func reusesNonces() func(string, []byte, int, []byte) (int, []byte) {
	var mu sync.Mutex
	first := map[string][]byte{}
	return func(_ string, _ []byte, status int, body []byte) (int, []byte) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range offered.FindAllSubmatch(bytes.Clone(body), -1) {
			key := string(m[1]) + "/" + string(m[2])
			if first[key] == nil {
				first[key] = m[3]
			}
			body = bytes.Replace(body, m[3], first[key], 1)
		}
		return status, body
	}
}

// losesSuccessors refuses who asks again with the token before.
func losesSuccessors() func(string, []byte, int, []byte) (int, []byte) {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(path string, request []byte, status int, body []byte) (int, []byte) {
		mu.Lock()
		defer mu.Unlock()
		if path != pathToken {
			return status, body
		}
		if seen[string(request)] {
			return 400, []byte(`{"error":"invalid_grant"}`)
		}
		seen[string(request)] = true
		return status, body
	}
}

// front puts the liar before the real listeners.
func (f *fault) front(ctx context.Context, h hello) (hello, error) {
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return h, err
	}
	real := &fasthttp.HostClient{Addr: h.Public, MaxConns: 1024, NoDefaultUserAgentHeader: true}
	s := &fasthttp.Server{MaxRequestBodySize: 128 << 10, Handler: func(r *fasthttp.RequestCtx) {
		path, request := string(r.Path()), bytes.Clone(r.Request.Body())
		if f.ask != nil {
			r.Request.SetBody(f.ask(path, request))
		}
		if err := real.Do(&r.Request, &r.Response); err != nil {
			r.Error(err.Error(), 502)
			return
		}
		if f.answer != nil {
			status, body := f.answer(path, request, r.Response.StatusCode(), bytes.Clone(r.Response.Body()))
			r.Response.SetStatusCode(status)
			r.Response.SetBody(body)
			if status == 503 {
				r.Response.Header.Set("Retry-After", "5")
			}
		}
	}}
	go func() { _ = s.Serve(public) }() // until the process ends
	h.Public = public.Addr().String()

	u, err := url.Parse(h.Admin)
	if err != nil {
		return h, err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return h, err
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	go func() {
		_ = http.Serve(admin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // until the process ends
			body, _ := io.ReadAll(r.Body) // what is missing, the real server misses
			if f.admin != nil {
				answer, taken := f.admin(r.Method, r.URL.Path, body)
				if taken {
					_, _ = w.Write(answer)
					return
				}
				body = answer
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			forward.ServeHTTP(w, r)
		}))
	}()
	h.Admin = "http://" + admin.Addr().String()
	return h, nil
}

// Each fault is found, and named. The simulator is a process of its own here as well:
// its environment is its server's.
func TestFaultsAreFound(t *testing.T) {
	if raced {
		t.Skip("its servers are ten times slower with the race detector: CI runs it without, too")
	}
	for name, f := range faults {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(f.command)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRunsForAnother$", "-test.v")
			cmd.Env = append(os.Environ(), faultVariable+"="+name, commandVariable+"="+string(text))
			out, err := cmd.CombinedOutput()
			if _, exited := err.(*exec.ExitError); err != nil && !exited {
				t.Fatal(err)
			}
			line := regexp.MustCompile(`(?m)^verdict (.*)$`).FindSubmatch(out)
			if line == nil {
				t.Fatalf("the run said nothing:\n%s", out)
			}
			verdict := string(line[1])
			if !strings.Contains(verdict, "does not hold: ") || !regexp.MustCompile(`\b`+f.check+` \(`).MatchString(verdict) {
				t.Fatalf("the verdict is %q, and %s should not hold\n%s", verdict, f.check, out)
			}
			why := regexp.MustCompile(`(?m)^first failure of ` + f.check + `: (.*)$`).FindSubmatch(out)
			if why == nil || bytes.Contains(why[1], []byte("too small")) {
				t.Fatalf("%s does not hold because of %q, and it should because of what it saw\n%s", f.check, why, out)
			}
			if f.only && strings.Contains(verdict, ", ") {
				t.Errorf("the verdict is %q, and nothing but %s should not hold\n%s", verdict, f.check, out)
			}
			t.Logf("%s: %s", f.check, why[1])
		})
	}
}

// There is no check that nobody has seen fail.
func TestEachCheckHasAFault(t *testing.T) {
	found := map[string]bool{}
	for _, f := range faults {
		found[f.check] = true
	}
	for _, c := range newChecks().all() {
		if !found[c.name] {
			t.Errorf("no fault is planted for %s", c.name)
		}
	}
}

const commandVariable = "SOUK_SIM_COMMAND"

// TestRunsForAnother is no test of its own: see TestFaultsAreFound.
func TestRunsForAnother(t *testing.T) {
	text := os.Getenv(commandVariable)
	if text == "" {
		t.Skip("it is run by TestFaultsAreFound")
	}
	c := new(Command)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	err := c.run(t.Context(), os.Stdout)
	fmt.Printf("verdict %v\n", err)
}
