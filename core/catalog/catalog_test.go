package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

var loopback = catalog.Rules{LoopbackHTTP: true}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	engine, err := badger.Open(badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(context.Background(), engine, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openOn(t testing.TB, s *store.Store) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(context.Background(), s, catalog.Options{PublicURL: "http://127.0.0.1:8080/", Rules: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func openCatalog(t testing.TB) (*catalog.Catalog, *store.Store) {
	t.Helper()
	s := openStore(t)
	return openOn(t, s), s
}

func put(t testing.TB, c *catalog.Catalog, items ...catalog.Item) {
	t.Helper()
	for _, it := range items {
		if _, err := c.Put(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
}

// await returns the first snapshot that is good, following the catalogue.
func await(t testing.TB, c *catalog.Catalog, good func(*catalog.Snapshot) bool) *catalog.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s := c.Snapshot()
		if good(s) {
			return s
		}
		select {
		case <-s.Replaced():
		case <-ctx.Done():
			t.Fatal("the catalogue never got there")
		}
	}
}

func ids(s *catalog.Snapshot) []uint64 {
	list := []uint64{}
	for e := range s.All() {
		list = append(list, e.ID)
	}
	return list
}

func TestWritesAreReadAtOnce(t *testing.T) {
	c, s := openCatalog(t)
	ctx := t.Context()
	empty := c.Snapshot()
	put(t, c, item(7, version(10, "17"), version(20, "17.4")))

	e := c.Snapshot().Item(7)
	if e == nil || e.BundleID != "com.example.app7" || !e.SignIn || len(e.Versions) != 2 || e.Versions[0].ID != 20 {
		t.Fatalf("after Put, Item(7) = %+v", e)
	}
	if empty.Item(7) != nil || empty.Len() != 0 || c.Snapshot().Generation() != empty.Generation()+1 {
		t.Error("Put changed a snapshot that was taken before")
	}
	select {
	case <-empty.Replaced():
	default:
		t.Error("the old snapshot does not say that it was replaced")
	}

	share, stop, salt := 2500, true, "autumn"
	got, err := c.SetRollout(ctx, 7, 20, &share, &stop, &salt)
	want := catalog.Rollout{Share: 2500, Halted: true, Salt: "autumn"}
	if err != nil || got.Versions[0].Rollout != want {
		t.Errorf("SetRollout = %+v, %v, want %+v", got.Versions, err, want)
	}
	if r := c.Snapshot().Item(7).Version(20); r.Share != 2500 || !r.Halted || r.Salt != "autumn" {
		t.Errorf("after SetRollout, Version(20) = %+v", r)
	}
	stop = false
	if got, err = c.SetRollout(ctx, 7, 20, nil, &stop, nil); err != nil || got.Versions[0].Rollout != (catalog.Rollout{Share: 2500, Salt: "autumn"}) {
		t.Errorf("SetRollout of halted alone = %+v, %v", got.Versions, err)
	}
	if _, err := c.Withdraw(ctx, 7, 10, true); err != nil || !c.Snapshot().Item(7).Version(10).Withdrawn {
		t.Errorf("Withdraw: %v", err)
	}
	if _, err := c.Withdraw(ctx, 7, 10, false); err != nil || c.Snapshot().Item(7).Version(10).Withdrawn {
		t.Errorf("Withdraw back: %v", err)
	}
	if _, err := c.Takedown(ctx, 7, "court order"); err != nil {
		t.Fatal(err)
	}
	if e := c.Snapshot().Item(7); !e.Removed || e.Reason != "court order" {
		t.Errorf("after Takedown, Item(7) = %+v", e)
	}
	if _, err := c.Reinstate(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if e := c.Snapshot().Item(7); e.Removed || e.Reason != "" {
		t.Errorf("after Reinstate, Item(7) = %+v", e)
	}

	// What was stored is what a restart finds.
	again := openOn(t, s)
	if !reflect.DeepEqual(again.Snapshot().Item(7).Item(), c.Snapshot().Item(7).Item()) {
		t.Errorf("a restart finds %+v, want %+v", again.Snapshot().Item(7).Item(), c.Snapshot().Item(7).Item())
	}
	if again.Snapshot().Fingerprint() != c.Snapshot().Fingerprint() {
		t.Error("the same catalogue has two fingerprints")
	}

	if err := c.Remove(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if s := c.Snapshot(); s.Item(7) != nil || s.Len() != 0 || s.Fingerprint() != empty.Fingerprint() {
		t.Error("Remove left something behind")
	}
}

func TestWriteErrors(t *testing.T) {
	c, _ := openCatalog(t)
	ctx := t.Context()
	put(t, c, item(7, version(10, "17")))
	before := c.Snapshot()
	boom := errors.New("boom")
	nothing := func(*catalog.Item) error { return nil }
	tooMuch := catalog.FullShare + 1

	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"update of no item", second(c.Update(ctx, 8, nothing)), catalog.ErrNotFound},
		{"takedown of no item", second(c.Takedown(ctx, 8, "")), catalog.ErrNotFound},
		{"remove of no item", c.Remove(ctx, 8), catalog.ErrNotFound},
		{"rollout of no version", second(c.SetRollout(ctx, 7, 11, nil, nil, nil)), catalog.ErrNoVersion},
		{"withdraw of no version", second(c.Withdraw(ctx, 7, 11, true)), catalog.ErrNoVersion},
		{"the caller's own error", second(c.Update(ctx, 7, func(*catalog.Item) error { return boom })), boom},
		{"a share out of range", second(c.SetRollout(ctx, 7, 10, &tooMuch, nil, nil)), catalog.Invalid{}},
		{"an invalid item", second(c.Put(ctx, catalog.Item{ID: 9})), catalog.Invalid{}},
		{"an item without an id", second(c.Put(ctx, catalog.Item{})), catalog.Invalid{}},
	} {
		if _, invalid := c.want.(catalog.Invalid); invalid {
			if _, ok := errors.AsType[catalog.Invalid](c.err); !ok {
				t.Errorf("%s: %v, want Invalid", c.name, c.err)
			}
		} else if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	if c.Snapshot() != before {
		t.Error("a refused write made a new snapshot")
	}
	if _, err := c.Update(ctx, 7, nothing); err != nil || c.Snapshot() != before {
		t.Errorf("an update that changes nothing made a new snapshot (%v)", err)
	}
	if _, err := c.Update(ctx, 7, func(it *catalog.Item) error { it.ID = 99; it.Name = "n"; return nil }); err != nil || c.Snapshot().Item(99) != nil || c.Snapshot().Item(7).Name != "n" {
		t.Errorf("an update moved an item to another id (%v)", err)
	}
	if err := c.Remove(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(ctx, 7, nothing); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("update of a removed item: %v, want ErrNotFound", err)
	}
	if err := c.Remove(ctx, 7); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("remove of a removed item: %v, want ErrNotFound", err)
	}
}

func second(_ catalog.Item, err error) error { return err }

func TestItemIsACopy(t *testing.T) {
	c, _ := openCatalog(t)
	mine := item(7, version(10, "17"))
	put(t, c, mine)
	mine.Versions[0].MinOS["ios"] = "99"
	got := c.Snapshot().Item(7).Item()
	got.Versions[0].MinOS["ios"] = "98"
	got.Versions[0].Short = "changed"
	if again := c.Snapshot().Item(7).Item(); again.Versions[0].MinOS["ios"] != "17" || again.Versions[0].Short != "1.10" {
		t.Errorf("the snapshot was changed through a copy: %+v", again)
	}
}

func TestOrderAndPages(t *testing.T) {
	c, _ := openCatalog(t)
	if got := ids(c.Snapshot()); len(got) != 0 {
		t.Errorf("All() of an empty catalogue = %v", got)
	}
	const last = 1<<64 - 1
	put(t, c, item(500), item(3), item(last), item(40), item(4))
	if got, want := ids(c.Snapshot()), []uint64{3, 4, 40, 500, last}; !slices.Equal(got, want) {
		t.Errorf("All() = %v, want %v", got, want)
	}
	for after, want := range map[uint64]uint64{0: 3, 3: 4, 4: 40, 5: 40, 499: 500, 500: last} {
		for e := range c.Snapshot().After(after) {
			if e.ID != want {
				t.Errorf("After(%d) begins with %d, want %d", after, e.ID, want)
			}
			break
		}
	}
	for e := range c.Snapshot().After(last) {
		t.Errorf("After(the last id) yields %d", e.ID)
	}
	if err := c.Remove(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	if got, want := ids(c.Snapshot()), []uint64{3, 4, 500, last}; !slices.Equal(got, want) || c.Snapshot().Len() != 4 {
		t.Errorf("after Remove, All() = %v, want %v", got, want)
	}
}

func TestOnlyTheChangedItemIsReadAgain(t *testing.T) {
	c, s := openCatalog(t)
	put(t, c, item(1, version(1, "17")), item(2, version(1, "17")))
	other := openOn(t, s)
	mine, theirs := c.Snapshot().Item(1), other.Snapshot().Item(1)
	put(t, c, item(2, version(1, "17"), version(2, "17")))
	seen := await(t, other, func(s *catalog.Snapshot) bool { return len(s.Item(2).Versions) == 2 })
	if c.Snapshot().Item(1) != mine || seen.Item(1) != theirs {
		t.Error("a change of item 2 made a new entry for item 1")
	}
	if seen.Fingerprint() != c.Snapshot().Fingerprint() {
		t.Error("two nodes with the same catalogue have two fingerprints")
	}
}

func TestAnotherNodeFollows(t *testing.T) {
	s := openStore(t)
	here, there := openOn(t, s), openOn(t, s)
	put(t, here, item(1, version(1, "17")), item(2))
	await(t, there, func(s *catalog.Snapshot) bool { return s.Len() == 2 })
	if err := there.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	seen := await(t, here, func(s *catalog.Snapshot) bool { return s.Item(1) == nil })
	if got := ids(seen); !slices.Equal(got, []uint64{2}) {
		t.Errorf("All() = %v after item 1 was removed elsewhere", got)
	}
	if _, err := there.Takedown(t.Context(), 2, "why"); err != nil {
		t.Fatal(err)
	}
	await(t, here, func(s *catalog.Snapshot) bool { return s.Item(2).Removed })
}

// Two nodes change one item while readers look on: no change is lost, a writer finds its
// own change in the next snapshot, and no reader sees an item go back in time.
func TestConcurrentChanges(t *testing.T) {
	s := openStore(t)
	nodes := []*catalog.Catalog{openOn(t, s), openOn(t, s)}
	put(t, nodes[0], item(1, version(1, "17", func(v *catalog.Version) { v.Rollout.Share = 0 })))
	await(t, nodes[1], func(s *catalog.Snapshot) bool { return s.Item(1) != nil })
	const each = 50
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for n, c := range nodes {
		for range 2 {
			writers.Go(func() {
				for range each {
					var mine int
					_, err := c.Update(context.Background(), 1, func(it *catalog.Item) error {
						it.Versions[0].Rollout.Share++
						mine = it.Versions[0].Rollout.Share
						return nil
					})
					if err != nil {
						t.Errorf("node %d: %v", n, err)
						return
					}
					if got := int(c.Snapshot().Item(1).Version(1).Share); got < mine {
						t.Errorf("node %d wrote %d and reads %d", n, mine, got)
					}
				}
			})
		}
		readers.Go(func() {
			last, generation := uint32(0), uint64(0)
			for {
				s := c.Snapshot()
				share := s.Item(1).Version(1).Share
				if share < last || s.Generation() < generation {
					t.Errorf("node %d went back from %d to %d", n, last, share)
				}
				last, generation = share, s.Generation()
				select {
				case <-stop:
					return
				case <-s.Replaced():
				}
			}
		})
	}
	writers.Wait()
	for _, c := range nodes {
		await(t, c, func(s *catalog.Snapshot) bool { return s.Item(1).Version(1).Share == 4*each })
	}
	close(stop)
	readers.Wait()
}

func TestUnreadableRecords(t *testing.T) {
	c, s := openCatalog(t)
	ctx := t.Context()
	put(t, c, item(1, version(1, "17")), item(2))
	for _, bad := range []string{
		`not json`, `{"item":{"id":"2"}}`,
		`{"item":{"id":"1","versions":[{"id":"1","min_os":{"ios":"x"}}]}}`,
	} {
		if err := s.PutCatalogItem(ctx, 1, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		put(t, c, item(2, version(1, "17")), item(3)) // other items go on
		if e := c.Snapshot().Item(1); e == nil || len(e.Versions) != 1 {
			t.Errorf("%s: item 1 lost its last good state: %+v", bad, e)
		}
		if _, err := c.Import(ctx, nil); err == nil || !strings.Contains(err.Error(), "item 1") {
			t.Errorf("%s: Import = %v, want an error that names item 1", bad, err)
		}
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "item 1") {
			t.Errorf("%s: Err() = %v, want an error that names item 1", bad, err)
		}
		if _, err := catalog.Open(ctx, s, catalog.Options{PublicURL: "https://example.com"}); err == nil || !strings.Contains(err.Error(), "item 1") {
			t.Errorf("%s: Open = %v, want an error that names item 1", bad, err)
		}
	}
	// A record of a newer program may say more than this one knows.
	newer := `{"item":{"id":"1","bundle_id":"a.b","colour":"red","versions":[]},"later":1}`
	if err := s.PutCatalogItem(ctx, 1, []byte(newer)); err != nil {
		t.Fatal(err)
	}
	await(t, c, func(s *catalog.Snapshot) bool { return s.Item(1).BundleID == "a.b" })
	if err := c.Err(); err != nil {
		t.Errorf("Err() = %v once all can be read again", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	s := openStore(t)
	for _, u := range []string{"", "example.com", "/x", "http://example.com", "https://example.com/?q", "https://example.com#f", "https://a b"} {
		if c, err := catalog.Open(t.Context(), s, catalog.Options{PublicURL: u}); err == nil {
			c.Close()
			t.Errorf("Open with the public URL %q: no error", u)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := catalog.Open(ctx, s, catalog.Options{PublicURL: "https://example.com"}); err == nil {
		c.Close()
		t.Error("Open with an ended context: no error")
	}
}

func TestClose(t *testing.T) {
	s := openStore(t)
	c := openOn(t, s)
	put(t, c, item(1))
	c.Close()
	c.Close()
	if c.Snapshot().Item(1) == nil {
		t.Error("the last snapshot is gone after Close")
	}
}

func TestAnswers(t *testing.T) {
	c, _ := openCatalog(t)
	odd := item(10737747186, version(2000004563, "17.4", func(v *catalog.Version) {
		v.Short, v.Build, v.Package = `1.0 "β" & <x>`, `1\2`, "https://example.com/PATH?"[:24]
	}), version(1, "17"))
	odd.ShareURL = "https://example.com/app?a=1&b=2"
	plain := item(2, version(3, "17", func(v *catalog.Version) { v.Short, v.Build = "1.0.14", "1" }))
	put(t, c, odd, plain)
	s := c.Snapshot()
	tok := []byte("head.claims.sig")
	for _, a := range []struct{ name, got, want string }{
		{"restore", string(s.Item(10737747186).Version(2000004563).AppendRestore([]byte("x"), tok)),
			`x{"appleItemId":"10737747186","appleVersionId":"2000004563","alternativeDistributionPackage":"https://example.com/PATH","installVerificationToken":"head.claims.sig","appShareURL":"https://example.com/app?a=1&b=2"}`},
		{"update", string(s.Item(10737747186).Version(2000004563).AppendUpdate(nil, tok)),
			`{"appleItemId":"10737747186","appleVersionId":"2000004563","alternativeDistributionPackage":"https://example.com/PATH","bundleVersion":"1\\2","shortVersionString":"1.0 \"β\" & <x>","installVerificationToken":"head.claims.sig","appShareURL":"https://example.com/app?a=1&b=2"}`},
		{"update with the package on this server, no share URL", string(s.Item(2).Version(3).AppendUpdate(nil, tok)),
			`{"appleItemId":"2","appleVersionId":"3","alternativeDistributionPackage":"http://127.0.0.1:8080/packages/2/3","bundleVersion":"1","shortVersionString":"1.0.14","installVerificationToken":"head.claims.sig"}`},
	} {
		if a.got != a.want {
			t.Errorf("%s is\n%s, want\n%s", a.name, a.got, a.want)
		}
		if !json.Valid([]byte(strings.TrimPrefix(a.got, "x"))) {
			t.Errorf("%s is no JSON: %s", a.name, a.got)
		}
	}
	r := s.Item(2).Version(3)
	if r.Package != "http://127.0.0.1:8080/packages/2/3" || r.Salt != "2/3" || r.ReleasedMS != 0 {
		t.Errorf("defaults of a version: %+v", r)
	}
	if s.Item(2).Version(4) != nil || s.Item(2).Version(0) != nil {
		t.Error("Version of an id that the item does not have: not nil")
	}
	if _, ok := r.MinOS(catalog.Platform(9)); ok {
		t.Error("MinOS of a platform that is none: ok")
	}
}

func manyItems(n int) []catalog.Item {
	items := make([]catalog.Item, n)
	for i := range items {
		items[i] = item(uint64(1_000_001+i), version(10, "17"), version(20, "17.2"), version(30, "17.4"))
	}
	return items
}

func BenchmarkUpdateCheck(b *testing.B) {
	const n = 20_000
	c, _ := openCatalog(b)
	if _, err := c.Import(b.Context(), manyItems(n)); err != nil {
		b.Fatal(err)
	}
	os, _ := catalog.ParseOS("18")
	for _, installed := range []uint64{30, 10} {
		b.Run(fmt.Sprintf("5of%d/installed%d", n, installed), func(b *testing.B) {
			var list []catalog.Candidate
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				s := c.Snapshot()
				list = list[:0]
				for range 5 {
					i = (i + 7919) % n
					if e, maybe := s.Outdated(1_000_001+i, installed); maybe {
						list = e.AppendUpdates(list, installed, catalog.IOS, os)
					}
				}
			}
		})
	}
}

func BenchmarkAppendUpdate(b *testing.B) {
	c, _ := openCatalog(b)
	put(b, c, item(1, version(10, "17")))
	r := c.Snapshot().Item(1).Version(10)
	tok := make([]byte, 476)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendUpdate(buf[:0], tok)
	}
}

// The cost of one change in a large catalogue, durable write included.
func BenchmarkSetRollout(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, _ := openCatalog(b)
			if _, err := c.Import(b.Context(), manyItems(n)); err != nil {
				b.Fatal(err)
			}
			c.Close() // so that the reload after each change is not counted as well
			share := 0
			b.ReportAllocs()
			for b.Loop() {
				share = (share + 1) % catalog.FullShare
				if _, err := c.SetRollout(b.Context(), 1_000_500, 30, &share, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	s := openStore(b)
	if _, err := openOn(b, s).Import(b.Context(), manyItems(20_000)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := catalog.Open(b.Context(), s, catalog.Options{PublicURL: "https://example.com"})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
