package store

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// cacheID is like the id of an account: a hash.
func cacheID(n int) [16]byte { return SubjectID(fmt.Sprint(n)) }

// putAccount does what CachedAccount does where nothing is known.
func putAccount(t testing.TB, c *accountCache, subject [16]byte) *cachedAccount {
	t.Helper()
	known, lease := c.get(&subject)
	if known != nil {
		t.Fatalf("%x is known already", subject)
	}
	e := &cachedAccount{subject: subject}
	c.put(e, lease)
	return e
}

func TestCacheKeepsNothingReadBeforeADrop(t *testing.T) {
	c := newAccountCache(cacheShards)
	id := cacheID(1)
	a := &cachedAccount{subject: id}
	_, lease := c.get(&id)
	c.drop(id) // a write that the reader did not see
	c.put(a, lease)
	if known, _ := c.get(&id); known != nil {
		t.Error("what was read before the drop came back after it")
	}
	_, lease = c.get(&id)
	c.put(a, lease)
	if known, _ := c.get(&id); known != a {
		t.Errorf("get = %v, want what was put", known)
	}
	other := cacheID(2)
	_, lease = c.get(&other)
	c.clear()
	c.put(&cachedAccount{subject: other}, lease)
	for n := range 3 {
		id := cacheID(n)
		if known, _ := c.get(&id); known != nil {
			t.Errorf("%d is known after everything was cleared", n)
		}
	}
}

// checkCache looks whether each entry can be found, once, and counts them.
func checkCache(t *testing.T, c *accountCache, each int) (held int) {
	t.Helper()
	for i := range c.shards {
		s := &c.shards[i]
		table, found := s.table.Load(), 0
		if table == nil {
			table = &cacheTable{}
		}
		for at := range table.places {
			e := table.places[at].entry.Load()
			if e == nil {
				continue
			}
			found++
			of, hash := c.of(&e.subject)
			if of != s || table.places[at].hash.Load() != hash {
				t.Fatalf("the entry of %x is in the wrong shard or under another's hash", e.subject)
			}
			if seen, place := table.find(&e.subject, hash); seen != e || place != at {
				t.Fatalf("the entry of %x at %d of %d is looked for at %d", e.subject, at, len(table.places), place)
			}
		}
		if found != s.held || found > each || found*4 > len(table.places)*3 {
			t.Fatalf("a shard of %d places has %d entries and counts %d, want at most %d", len(table.places), found, s.held, each)
		}
		held += found
	}
	return held
}

// TestPrefetchChangesNothing has accounts fetched that are known and that are not: neither is
// kept any longer for it, and nothing is put.
func TestPrefetchChangesNothing(t *testing.T) {
	c := newAccountCache(cacheShards)
	known, unknown := cacheID(1), cacheID(2)
	c.prefetch(&known) // while there is no table
	e := putAccount(t, c, known)
	e.used.Store(false)
	for range 3 {
		c.prefetch(&known)
		c.prefetch(&unknown)
	}
	if e.used.Load() {
		t.Error("an account counts as asked for after it was fetched")
	}
	if found, _ := c.get(&unknown); found != nil {
		t.Error("an account is known after it was fetched")
	}
	if held := checkCache(t, c, 1); held != 1 {
		t.Errorf("%d accounts are held, want 1", held)
	}
}

func TestCacheIsBounded(t *testing.T) {
	for _, each := range []int{1, 2, 4, 6, 7, 50} {
		size := each * cacheShards
		c := newAccountCache(size)
		for n := range 20 * size {
			putAccount(t, c, cacheID(n))
			if n%7 == 0 {
				c.drop(cacheID(n - n%3))
			}
			if n%size == 0 {
				checkCache(t, c, each)
			}
		}
		if held := checkCache(t, c, each); held < size/2 {
			t.Errorf("%d entries are held, want about %d", held, size)
		}
	}
}

func TestCacheKeepsWhatIsAskedFor(t *testing.T) {
	c := newAccountCache(4 * cacheShards)
	popular := cacheID(0)
	putAccount(t, c, popular)
	s, _ := c.of(&popular)
	for n, others := 1, 0; others < 100; n++ {
		if known, _ := c.get(&popular); known == nil {
			t.Fatalf("what is asked for all the time was let go after %d others", others)
		}
		id := cacheID(n)
		if of, _ := c.of(&id); of == s {
			putAccount(t, c, id)
			others++
		}
	}
}

// TestCacheUnderWriters has accounts in a shard that is too small for them, whose epochs
// only rise: whoever asks gets the account that was asked for, and none that is older
// than what was written when it began.
func TestCacheUnderWriters(t *testing.T) {
	const accounts, each, rounds = 24, 16, 20000
	c := newAccountCache(each * cacheShards)
	type record struct {
		id             [16]byte
		mu             sync.Mutex    // held to write
		epoch, dropped atomic.Uint32 // what a read finds; what was dropped from the cache since
	}
	var records []*record
	first := cacheID(0)
	shard, _ := c.of(&first)
	for n := 0; len(records) < accounts; n++ {
		id := cacheID(n)
		if s, _ := c.of(&id); s == shard {
			records = append(records, &record{id: id})
		}
	}
	var all sync.WaitGroup
	for who := range 4 {
		all.Go(func() {
			lots := rand.New(rand.NewPCG(1, uint64(who)))
			for range rounds {
				r := records[lots.IntN(accounts)]
				if lots.IntN(8) == 0 {
					r.mu.Lock()
					epoch := r.epoch.Add(1)
					c.drop(r.id)
					r.dropped.Store(epoch)
					r.mu.Unlock()
					continue
				}
				least := r.dropped.Load()
				c.prefetch(&r.id)
				e, lease := c.get(&r.id)
				if e == nil {
					e = &cachedAccount{subject: r.id, account: Account{Epoch: r.epoch.Load()}}
					c.put(e, lease)
				}
				if e.subject != r.id || e.account.Epoch < least {
					t.Errorf("asked for %x of epoch %d or later, got %x of %d", r.id, least, e.subject, e.account.Epoch)
				}
			}
		})
	}
	all.Wait()
	checkCache(t, c, each)
	kept := 0
	for _, r := range records {
		e, _ := c.get(&r.id)
		if e == nil {
			continue
		}
		if kept++; e.account.Epoch != r.epoch.Load() {
			t.Errorf("%x is kept as of epoch %d, want %d", r.id, e.account.Epoch, r.epoch.Load())
		}
	}
	if kept == 0 {
		t.Error("nothing is kept at the end")
	}
}

func TestCacheEntriesAreWholeLines(t *testing.T) {
	if size := unsafe.Sizeof(cachedAccount{}); unsafe.Sizeof(uintptr(0)) == 8 && size%64 != 0 {
		t.Errorf("an entry has %d bytes, want a multiple of 64", size)
	}
	if size := unsafe.Sizeof(cacheShard{}); unsafe.Sizeof(uintptr(0)) == 8 && size%64 != 0 {
		t.Errorf("a shard has %d bytes, want a multiple of 64", size)
	}
}

// TestCacheEntryKeepsItsTexts has texts that fit into an entry, and that don't.
func TestCacheEntryKeepsItsTexts(t *testing.T) {
	long := strings.Repeat("n", 250)
	for _, c := range []struct {
		name, territory string
		inside          bool // in the first line
	}{
		{"", "", true},
		{"alice@example.com", "", true},
		{"somebody-with-a-longer-name@example.com", "DEU", true},
		{long[:43], "", true},
		{long[:44], "DEU", false},
		{long, long, false},
	} {
		read := Account{Account: c.name, Territory: c.territory, Epoch: 7, Grants: []string{"beta"}}
		e := newCachedAccount(cacheID(1), read, false)
		if got := e.account; !reflect.DeepEqual(got, read) || e.subject != cacheID(1) || e.absent {
			t.Errorf("the entry of %+v has %+v", read, got)
		}
		from, at := uintptr(unsafe.Pointer(e)), uintptr(unsafe.Pointer(unsafe.StringData(e.account.Account)))
		if inside := c.name == "" || from <= at && at+uintptr(len(c.name)) <= from+64; inside != c.inside {
			t.Errorf("a name of %d bytes is in the first line: %t, want %t", len(c.name), inside, c.inside)
		}
	}
	if at := unsafe.Offsetof(cachedAccount{}.account); unsafe.Sizeof(uintptr(0)) == 8 && at != 64 {
		t.Errorf("the account is at %d, want the second line", at)
	}
}

// BenchmarkCachedAccount asks for accounts in no order, so many that their memory is not
// at hand, and looks at what an update check needs of them.
func BenchmarkCachedAccount(b *testing.B) {
	const accounts = 1 << 16
	s := newStore(nil, Config{Accounts: 2 * accounts})
	ids := make([][16]byte, accounts)
	for n := range ids {
		ids[n] = cacheID(n)
		_, lease := s.cache.get(&ids[n])
		s.cache.put(newCachedAccount(ids[n], Account{Account: fmt.Sprint(n), Grants: []string{"beta"}}, false), lease)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := rand.Uint32()
		for pb.Next() {
			n = n*1664525 + 1013904223
			a, err := s.CachedAccount(b.Context(), ids[n>>16])
			if err != nil || a.Epoch != 0 || len(a.Grants) != 1 || a.Territory != "" {
				b.Errorf("CachedAccount = %+v, %v", a, err)
				return
			}
		}
	})
}
