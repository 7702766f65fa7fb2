package coretest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
)

// stopGate is a log that holds up whoever writes a line, once: so a test knows
// that a request is under way.
type stopGate struct {
	slog.Handler
	line    string
	once    *sync.Once
	reached chan struct{}
	open    chan struct{}

	mu    sync.Mutex
	lines []string
}

func newStopGate(line string) *stopGate {
	return &stopGate{Handler: slog.DiscardHandler, line: line, once: new(sync.Once), reached: make(chan struct{}), open: make(chan struct{})}
}

func (g *stopGate) Enabled(context.Context, slog.Level) bool { return true }
func (g *stopGate) WithAttrs([]slog.Attr) slog.Handler       { return g }
func (g *stopGate) WithGroup(string) slog.Handler            { return g }

// said are the lines so far.
func (g *stopGate) said() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.lines)
}

func (g *stopGate) Handle(_ context.Context, r slog.Record) error {
	g.mu.Lock()
	g.lines = append(g.lines, r.Message)
	g.mu.Unlock()
	if r.Message == g.line {
		g.once.Do(func() {
			close(g.reached)
			<-g.open
		})
	}
	return nil
}

// stopConfig is a configuration with as little in it as a stop needs.
func stopConfig(dir string) core.Config {
	c := coretest.Config(dir)
	c.Plugin = nil
	return c
}

func stopOpen(t *testing.T, c core.Config) *core.Host {
	t.Helper()
	h, err := core.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return h
}

// stopTokens posts to the token endpoint.
func stopTokens(client *http.Client, base string, form url.Values) (refresh string, err error) {
	res, err := client.PostForm(base+"/oauth/token", form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	var a struct {
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(text, &a); err != nil || res.StatusCode != 200 || a.Refresh == "" {
		return "", errors.New(string(text))
	}
	return a.Refresh, nil
}

// stopRefused waits until an address takes no connection any more.
func stopRefused(t *testing.T, base string) {
	t.Helper()
	_, address, _ := strings.Cut(base, "://")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		conn, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
	}
	t.Errorf("%s still takes connections a minute after the stop", address)
}

func TestStopLetsRequestsFinish(t *testing.T) {
	gate := newStopGate("signed in by token exchange")
	c := stopConfig(t.TempDir())
	c.Log = slog.New(gate)
	h := stopOpen(t, c)
	public, admin := h.PublicURL(), h.AdminURL()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx) }()

	// An idle connection holds nothing up.
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	res, err := client.Get(public + "/.well-known/marketplace-kit")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is kept
	res.Body.Close()

	subject, err := h.OAuth.SubjectToken(t.Context(), coretest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		refresh string
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		other := &http.Client{Transport: &http.Transport{}}
		defer other.CloseIdleConnections()
		refresh, err := stopTokens(other, public, url.Values{
			"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token": {subject}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "client_id": {"device-1"},
		})
		answered <- answer{refresh, err}
	}()
	<-gate.reached
	stop()
	stopRefused(t, public)
	stopRefused(t, admin)
	select {
	case err := <-served:
		t.Fatalf("Serve returned %v while a request was under way", err)
	case a := <-answered:
		t.Fatalf("the request under way was answered %+v before it could be", a)
	default:
	}
	close(gate.open)
	got := <-answered
	if got.err != nil {
		t.Fatalf("the request under way was answered: %v", got.err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v after a stop, want nil", err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}

	// What was answered is there when the same data is opened again, at once.
	again := stopOpen(t, c)
	ctx, stop = context.WithCancel(t.Context())
	go func() { served <- again.Serve(ctx) }()
	if _, err := stopTokens(client, again.PublicURL(), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.refresh}}); err != nil {
		t.Errorf("the refresh token of the last answer, after the restart: %v", err)
	}
	stop()
	if err := errors.Join(<-served, again.Close()); err != nil {
		t.Errorf("the second stop: %v", err)
	}
}

// A request that is never finished can't keep the server from stopping, nor make a
// failure of the stop.
func TestStopCutsOffWhatNeverFinishes(t *testing.T) {
	gate := newStopGate("signed in by token exchange")
	c := stopConfig(t.TempDir())
	c.StopWithin, c.Log = 100*time.Millisecond, slog.New(gate)
	h := stopOpen(t, c)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx) }()
	subject, err := h.OAuth.SubjectToken(t.Context(), coretest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	public, asked := h.PublicURL(), make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = stopTokens(&http.Client{Transport: &http.Transport{}}, public, exchangeForm(subject, "device-1"))
	}()
	<-gate.reached
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v while a request was under way, want nil", err)
	}
	if !slices.Contains(gate.said(), "stopped while requests were under way: they are cut off") {
		t.Errorf("the log says %q, want that a request was cut off", gate.said())
	}
	close(gate.open)
	<-asked
	if err := h.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestStopBeforeServe(t *testing.T) {
	c := stopConfig(t.TempDir())
	h := stopOpen(t, c)
	if err := h.Close(); err != nil {
		t.Errorf("Close without Serve: %v", err)
	}
	h = stopOpen(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(h.Serve(ctx), h.Close()); err != nil {
		t.Errorf("Serve with a context that has ended: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

// stopFreePort is an address that was free just now.
func stopFreePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestFailedOpenLeavesNothingBehind opens a server that can't be, for every
// reason that comes at another point of the start, and then at once the same one
// without the mistake: the ports and the directory have to be free again.
func TestFailedOpenLeavesNothingBehind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, f := range []struct {
		name  string
		wrong func(*testing.T, *core.Config)
		says  []string
	}{
		{"the public address is taken", func(_ *testing.T, c *core.Config) {
			c.Server.Listen = taken.Addr().String()
		}, []string{"server.listen: " + taken.Addr().String() + " is taken by another program"}},
		{"the admin address is taken", func(_ *testing.T, c *core.Config) {
			c.Admin.Listen = taken.Addr().String()
		}, []string{"admin.listen: " + taken.Addr().String() + " is taken by another program"}},
		{"the data directory is a file", func(t *testing.T, c *core.Config) {
			c.Store.Dir = "file"
			if err := os.WriteFile(filepath.Join(c.Dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"store.dir: ", "file"}},
		{"the catalogue file is missing", func(_ *testing.T, c *core.Config) {
			c.Catalog.File = "apps.toml"
		}, []string{"catalog.file: ", "apps.toml"}},
		{"a plugin is no WebAssembly", func(_ *testing.T, c *core.Config) {
			p := plugin.DefaultSpec()
			p.Name, p.Wasm = "text", []byte("this is text")
			c.Plugin = []plugin.Spec{p}
		}, []string{"text"}},
		{"the install key is no key", func(t *testing.T, c *core.Config) {
			c.Market.InstallKey = "key.pem"
			if err := os.WriteFile(filepath.Join(c.Dir, "key.pem"), []byte("this is text"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"market.install_key: ", "key.pem"}},
		{"the admin token is none", func(t *testing.T, c *core.Config) {
			c.Admin.TokenFile = "token"
			if err := os.WriteFile(filepath.Join(c.Dir, "token"), []byte("short"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"admin.token_file: ", "token"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			good := stopConfig(t.TempDir())
			good.Server.Listen, good.Admin.Listen = stopFreePort(t), stopFreePort(t)
			bad := good
			f.wrong(t, &bad)
			h, err := core.Open(t.Context(), bad)
			if err == nil {
				t.Errorf("Open succeeded, want it to refuse")
				_ = h.Close() // the test has failed
				return
			}
			for _, want := range f.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Open says %q, want it to say %q", err, want)
				}
			}
			h, err = core.Open(t.Context(), good)
			if err != nil {
				t.Fatalf("Open without the mistake, right afterwards: %v", err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDataDirectoryHasOneServer(t *testing.T) {
	c := stopConfig(t.TempDir())
	first := stopOpen(t, c)
	second := c
	second.Server.Listen, second.Admin.Listen = stopFreePort(t), stopFreePort(t)
	h, err := core.Open(t.Context(), second)
	if err == nil {
		_ = h.Close() // the test has failed
		t.Fatal("two servers opened one data directory")
	}
	if !errors.Is(err, store.ErrLocked) || !strings.HasPrefix(err.Error(), "store.dir: ") || !strings.Contains(err.Error(), filepath.Join(c.Dir, "data")) {
		t.Errorf("the second Open says %q, want store.dir, the directory, and that it is in use", err)
	}
	for _, address := range []string{second.Server.Listen, second.Admin.Listen} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("after the second Open: %v", err)
			continue
		}
		l.Close()
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	h = stopOpen(t, second)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
