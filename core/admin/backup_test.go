package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/admin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/core/store/badger"
)

// fill stores some 20 MB, more than the buffers of a connection hold.
func (b *bench) fill() {
	b.Helper()
	kv, err := b.store.PluginKV("full", store.KVQuota{})
	b.must(err)
	value := bytes.Repeat([]byte{7}, 60<<10)
	for i := range 350 {
		b.must(kv.Put(b.Context(), []byte(fmt.Sprint(i)), value, 0))
	}
}

// begin begins a backup.
func (b *bench) begin(body string) *http.Response {
	b.Helper()
	req, err := http.NewRequest("POST", b.url+"/api/backup", strings.NewReader(body))
	b.must(err)
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	b.must(err)
	if res.StatusCode != 200 {
		text, _ := io.ReadAll(res.Body)
		b.Fatalf("the backup was answered %d %s", res.StatusCode, text)
	}
	return res
}

// read reads a file to its end.
func (b *bench) read(body io.Reader) (h backup.Header, ref backup.Ref, records int) {
	b.Helper()
	r, err := backup.NewReader(body)
	b.must(err)
	for {
		switch _, _, err := r.Next(); {
		case errors.Is(err, io.EOF):
			return r.Header(), r.Ref(), records
		default:
			b.must(err)
			records++
		}
	}
}

func TestABackupIsAFileAndTheNextBuildsOnIt(t *testing.T) {
	b := newBench(t)
	b.fill()
	res := b.begin("{}")
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "application/octet-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the headers are %v", res.Header)
	}
	h, ref, records := b.read(res.Body)
	if h.Since != nil || !h.Base || records < 350 {
		t.Errorf("the backup is %+v with %d records", h, records)
	}
	text, err := json.Marshal(map[string]any{"since": ref, "since_begun": h.Begun})
	b.must(err)
	next := b.begin(string(text))
	defer next.Body.Close()
	again, _, records := b.read(next.Body)
	if again.Since == nil || *again.Since != ref || !again.SinceBegun.Equal(h.Begun) || records != 0 {
		t.Errorf("the next backup is %+v with %d records, want none that builds on %+v", again, records, ref)
	}
	if log := b.log.String(); strings.Count(log, "action=backup") != 2 || !strings.Contains(log, "since="+ref.ID.String()) {
		t.Errorf("the log does not say who took the backups:\n%s", log)
	}
}

// What can't be written is no reason to be without a backup; a log that is closed is none
// of a server that runs.
func TestABackupIsWrittenDownUnlessNothingCanBe(t *testing.T) {
	var broken atomic.Bool
	log, err := audit.Open(audit.Options{Dir: t.TempDir(), Sync: func(f *os.File) error {
		if broken.Load() {
			return errors.New("the disk is broken")
		}
		return f.Sync()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	engine, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), engine, store.Config{Audit: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := newBench(t, func(o *admin.Options) { o.Store = s })

	take := func(body string) (backup.Header, backup.Ref) {
		res := b.begin(body)
		defer res.Body.Close()
		h, ref, _ := b.read(res.Body)
		return h, ref
	}
	full, ref := take("{}")
	text, err := json.Marshal(map[string]any{"since": ref, "since_begun": full.Begun})
	b.must(err)
	next, _ := take(string(text))
	var written []map[string]string
	for e, err := range audit.Read(log.Dir()) {
		b.must(err)
		written = append(written, e.Detail)
	}
	want := []map[string]string{{"backup": full.ID.String()}, {"backup": next.ID.String(), "since": full.ID.String()}}
	if !slices.EqualFunc(written, want, maps.Equal) {
		t.Errorf("the audit log has %v, want %v", written, want)
	}

	broken.Store(true)
	for range 2 { // the sync that fails, and then the log that has stopped
		h, _ := take("{}")
		if line := "a backup is taken that the audit log has no entry of\" backup=" + h.ID.String(); !strings.Contains(b.log.String(), line) {
			t.Errorf("the log does not say %s:\n%s", line, b.log)
		}
	}
	b.must(log.Close())
	b.refused(503, "POST", "/api/backup", "{}", "the server is stopping")
}

// closes closes the store, for which each look at it has to end first.
func (b *bench) closes(what string) {
	b.Helper()
	closed := make(chan error, 1)
	go func() { closed <- b.store.Close() }()
	select {
	case err := <-closed:
		b.must(err)
	case <-time.After(20 * time.Second): // a connection would be given up after 30
		b.Fatalf("%s holds the store up", what)
	}
}

func TestAClientThatGoesLetsTheStoreGo(t *testing.T) {
	b := newBench(t)
	b.fill()
	res := b.begin("{}")
	_, err := io.ReadFull(res.Body, make([]byte, 1000))
	b.must(errors.Join(err, res.Body.Close()))
	b.closes("a client that has gone")
}

func TestAClientThatReadsNothingDoesNotHoldUpAStop(t *testing.T) {
	b := newBench(t)
	b.fill()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	b.must(err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /api/backup HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", secret)
	b.must(err)
	if _, err := io.ReadFull(conn, make([]byte, 15)); err != nil { // it has begun
		t.Fatal(err)
	}
	stop, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.server.Close(stop); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close = %v, want that the request was cut off", err)
	}
	b.closes("a client that reads nothing")
}
