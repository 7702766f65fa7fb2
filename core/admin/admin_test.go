package admin_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

const secret = "an-admin-token-for-tests-0123456789"

// bench is an admin listener over a real store.
type bench struct {
	*testing.T
	url     string
	server  *admin.Server
	store   *store.Store
	catalog *catalog.Catalog
	people  *store.KV
	clients *oauth.Clients
	log     *logBuffer
	ready   error
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t *testing.T, changes ...func(*admin.Options)) *bench {
	t.Helper()
	b := &bench{T: t, log: &logBuffer{}}
	ctx := t.Context()
	engine, err := badger.Open(badger.Options{Dir: t.TempDir()})
	b.must(err)
	b.store, err = store.Open(ctx, engine, store.Config{})
	b.must(err)
	t.Cleanup(func() { _ = b.store.Close() })
	b.catalog, err = catalog.Open(ctx, b.store, catalog.Options{PublicURL: "https://market.example.com"})
	b.must(err)
	t.Cleanup(b.catalog.Close)
	b.people, err = b.store.PluginKV("accounts", store.KVQuota{})
	b.must(err)
	plugins, err := plugin.Open(ctx, plugin.Options{})
	b.must(err)
	clients, err := oauth.NewClients("https://market.example.com", []oauth.ClientConfig{{ID: "com.example.market", RedirectURIs: []string{"com.example.market:/back"}, Market: true}})
	b.must(err)
	b.must(clients.Open(ctx, b.store, nil))
	t.Cleanup(clients.Close)
	b.clients = clients
	o := admin.Options{
		Config: admin.DefaultConfig(), Token: secret, Store: b.store, Catalog: b.catalog, Plugins: plugins, People: b.people,
		OAuth: &oauth.Server{Config: oauth.DefaultConfig(), Clients: clients, Store: b.store, Now: time.Now, Rand: rand.Reader},
		Ready: func(context.Context) error { return b.ready },
		Log:   slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&o)
	}
	server, err := admin.New(o)
	b.must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		http.DefaultClient.CloseIdleConnections()
		if err := server.Close(stop); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	b.url, b.server = "http://"+l.Addr().String(), server
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// get decodes a value of the body by its keys.
func (a answer) get(keys ...string) any {
	var v any
	_ = json.Unmarshal([]byte(a.body), &v)
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// text writes a value of the body as JSON.
func (a answer) text(keys ...string) string {
	t, _ := json.Marshal(a.get(keys...))
	return string(t)
}

// send asks with whatever headers are given as pairs; the token is not added.
func (b *bench) send(method, path, body string, headers ...string) answer {
	b.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	b.must(err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := http.DefaultClient.Do(req)
	b.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	b.must(err)
	return answer{res.StatusCode, res.Header, string(text)}
}

// ask sends JSON with the token and wants this status.
func (b *bench) ask(status int, method, path, body string, headers ...string) answer {
	b.Helper()
	headers = append([]string{"Authorization", "Bearer " + secret, "Content-Type", "application/json"}, headers...)
	a := b.send(method, path, body, headers...)
	if a.status != status {
		b.Fatalf("%s %s %s answered %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}

// refused sends JSON and wants a refusal whose sentence has these words.
func (b *bench) refused(status int, method, path, body, words string, headers ...string) {
	b.Helper()
	a := b.ask(status, method, path, body, headers...)
	if sentence, _ := a.get("error").(string); !strings.Contains(sentence, words) {
		b.Errorf("%s %s %s: error is %q, want one that says %q", method, path, body, sentence, words)
	}
}

func (b *bench) same(what string, got, want any) {
	b.Helper()
	if got != want {
		b.Errorf("%s = %v, want %v", what, got, want)
	}
}
