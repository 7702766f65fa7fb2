package plugin_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// spec is a plugin with the defaults, and without a breaker: most tests want to
// see each failure.
func spec(name string, wasm []byte) plugin.Spec {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm, s.Breaker = name, wasm, 0
	return s
}

// everything is each group of host functions.
var everything = []string{"log", "kv", "password", "crypto", "secret", "http", "metric"}

// open opens a host that is closed with the test.
func open(t testing.TB, o plugin.Options) *plugin.Host {
	t.Helper()
	if o.Cache == "" {
		o.Cache = scratch + "/cache"
	}
	h, err := plugin.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { h.Close(context.Background()) })
	return h
}

func openSpecs(t testing.TB, specs ...plugin.Spec) *plugin.Host {
	t.Helper()
	return open(t, plugin.Options{Specs: specs})
}

// entitle asks about n apps.
func entitle(t testing.TB, h *plugin.Host, n int, head abi.Head) []plugin.Entitlement {
	t.Helper()
	c := h.Acquire()
	defer c.Release()
	c.Entitle.Head = head
	c.Entitle.Apps = append(c.Entitle.Apps, make([]abi.EntitleApp, n)...)
	answers := append([]plugin.Entitlement{}, c.AskEntitle(t.Context())...)
	for i := range answers {
		answers[i].Reason = strings.Clone(answers[i].Reason)
	}
	return answers
}

// selectVersion asks about apps with so many candidates.
func selectVersion(t testing.TB, h *plugin.Host, candidates ...int) []plugin.Selection {
	t.Helper()
	c := h.Acquire()
	defer c.Release()
	for _, n := range candidates {
		c.SelectVersion.Apps = append(c.SelectVersion.Apps, abi.SelectVersionApp{Candidates: make([]abi.Candidate, n)})
	}
	answers := append([]plugin.Selection{}, c.AskSelectVersion(t.Context())...)
	for i := range answers {
		answers[i].Reason = strings.Clone(answers[i].Reason)
	}
	return answers
}

// decisions is a verdict of entitle.
func decisions(ds ...abi.Decision) []byte {
	var v abi.EntitleVerdict
	for _, d := range ds {
		v.Items = append(v.Items, abi.EntitleDecision{Decision: d, Code: 7, Reason: "because"})
	}
	return v.Append(nil)
}

// choices is a verdict of select_version.
func choices(cs ...abi.Choice) []byte {
	var v abi.SelectVersionVerdict
	for _, c := range cs {
		v.Items = append(v.Items, abi.VersionChoice{Choice: c, Code: 7, Reason: "because"})
	}
	return v.Append(nil)
}

// constant is a guest that always gives the same verdict to a hook.
func constant(hook string, verdict []byte) []byte {
	g := newGuest()
	return g.hook(hook, g.put(1024, verdict)).wasm()
}

// failuresOf returns the counted failures of a plugin's hook.
func failuresOf(h *plugin.Host, name, hook string) map[string]uint64 {
	for _, p := range h.Plugins() {
		for _, i := range p.Hooks {
			if p.Name == name && i.Hook == hook {
				return i.Failures
			}
		}
	}
	return nil
}

// wantFailure checks that a plugin's only failures are n of a kind.
func wantFailure(t testing.TB, h *plugin.Host, name, hook string, kind plugin.Kind, n uint64) {
	t.Helper()
	if have, want := failuresOf(h, name, hook), map[string]uint64{kind.String(): n}; !maps.Equal(have, want) {
		t.Errorf("failures of %s %s = %v, want %v", name, hook, have, want)
	}
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

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// store is a KV in memory.
type store struct {
	mu      sync.Mutex
	values  map[string][]byte
	fail    error
	waiting chan struct{} // if set, Get says that it began …
	release chan struct{} // … and waits for this
}

func (s *store) open(string) (plugin.KV, error) { return s, nil }

func (s *store) Get(ctx context.Context, key []byte) ([]byte, error) {
	if s.waiting != nil {
		s.waiting <- struct{}{}
		select {
		case <-s.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[string(key)]; ok && s.fail == nil {
		return bytes.Clone(v), nil
	}
	if s.fail != nil {
		return nil, s.fail
	}
	return nil, plugin.ErrKVNotFound
}

func (s *store) put(key, val []byte) error {
	if s.fail != nil {
		return s.fail
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	s.values[string(key)] = val
	return nil
}

func (s *store) Put(_ context.Context, key, val []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(key, val)
}

func (s *store) Delete(_ context.Context, key []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, string(key))
	return s.fail
}

func (s *store) Swap(_ context.Context, key, old, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.values[string(key)]; ok != (old != nil) || !bytes.Equal(have, old) {
		return plugin.ErrKVConflict
	}
	return s.put(key, val)
}

func (s *store) Add(_ context.Context, key []byte, delta int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b [8]byte
	copy(b[:], s.values[string(key)])
	sum := int64(binary.LittleEndian.Uint64(b[:])) + delta
	binary.LittleEndian.PutUint64(b[:], uint64(sum))
	return sum, s.put(key, b[:])
}
