package oauth_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// stopwatch is a time that stands until it is moved on.
type stopwatch struct{ at atomic.Int64 }

func (s *stopwatch) now() time.Time          { return time.Unix(1_900_000_000, s.at.Load()) }
func (s *stopwatch) advance(d time.Duration) { s.at.Add(int64(d)) }

// counted are Attempts of a test.
type counted struct {
	*oauth.Attempts
	t *testing.T
}

func attempts(t *testing.T, account, address int) (counted, *stopwatch) {
	t.Helper()
	clock := new(stopwatch)
	return attemptsOver(t, openMemory(t, clock.now), clock, account, address), clock
}

// attemptsOver are those of a node, or of one more run of it, over a store.
func attemptsOver(t *testing.T, s *store.Store, clock *stopwatch, account, address int) counted {
	c := oauth.DefaultConfig() // a window of 15 minutes
	c.AttemptsAccount, c.AttemptsAddress = account, address
	return counted{oauth.NewAttempts(c, s, clock.now), t}
}

func openMemory(t *testing.T, now func() time.Time) *store.Store {
	t.Helper()
	e, err := badger.Open(badger.Options{InMemory: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), e, store.Config{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (c counted) Take(account, address string) (failed int, wait time.Duration, ok bool) {
	c.t.Helper()
	failed, wait, err := c.Attempts.Take(c.t.Context(), account, address)
	if err != nil {
		c.t.Errorf("Take = %v", err)
	}
	return failed, wait, wait == 0
}

func (c counted) Failed(account string) {
	c.t.Helper()
	if err := c.Attempts.Failed(c.t.Context(), account); err != nil {
		c.t.Errorf("Failed = %v", err)
	}
}

func (c counted) Forget(account, address string) {
	c.t.Helper()
	if err := c.Attempts.Forget(c.t.Context(), account, address); err != nil {
		c.t.Errorf("Forget = %v", err)
	}
}

// fails is an attempt that is made and fails, if one may be made.
func (c counted) fails(account string) bool {
	c.t.Helper()
	_, _, ok := c.Take(account, "192.0.2.1")
	if ok {
		c.Failed(account)
	}
	return ok
}

// What was answered counts after a crash and on every node, and is forgotten in
// its time.
func TestFailedAttemptsAreKept(t *testing.T) {
	clock := new(stopwatch)
	s := openMemory(t, clock.now)
	run := func() counted { return attemptsOver(t, s, clock, 3, 100) }
	one, two := run(), run()
	for i, node := range []counted{one, two, one} {
		if !node.fails("Alice") {
			t.Fatalf("attempt %d was refused", i+1)
		}
	}
	for name, node := range map[string]counted{"the first node": one, "the second node": two, "a node that starts now": run()} {
		failed, wait, ok := node.Take("alice", "192.0.2.9")
		if ok || failed != 3 || wait > 5*time.Minute {
			t.Errorf("%s: a fourth attempt = %d, %v, %v, want it refused for a third of the window", name, failed, wait, ok)
		}
	}
	if _, _, ok := two.Take("bob", "192.0.2.9"); !ok {
		t.Error("attempts at alice count for bob")
	}
	clock.advance(5*time.Minute + time.Second)
	later := run()
	if failed, _, ok := later.Take("alice", "192.0.2.9"); !ok || failed != 2 {
		t.Errorf("after a third of the window Take = %d, %v, want the third attempt", failed, ok)
	}
	later.Forget("alice", "192.0.2.9")
	if failed, _, ok := run().Take("alice", "192.0.2.9"); !ok || failed != 0 {
		t.Errorf("after a success Take = %d, %v, want the first attempt", failed, ok)
	}
	one.fails("carol")
	clock.advance(time.Hour)
	if until, err := s.Attempts(t.Context(), store.SubjectID("carol")); err != nil || !until.IsZero() {
		t.Errorf("an hour later attempts at carol count until %v, %v, want no record", until, err)
	}
}

// Who signs in at once, and who is refused, writes nothing: so writes are bounded
// by what the limits let through.
func TestRefusedAttemptsWriteNothing(t *testing.T) {
	clock := new(stopwatch)
	e, err := badger.Open(badger.Options{InMemory: true, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), e, store.Config{Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := attemptsOver(t, s, clock, 3, 50)
	before := e.Stats().Batches
	a.Take("alice", "192.0.2.1")
	a.Forget("alice", "192.0.2.1")
	if n := e.Stats().Batches - before; n != 0 {
		t.Errorf("a sign-in at the first attempt made %d writes, want none", n)
	}
	for range 40 {
		a.fails("alice")
	}
	if n := e.Stats().Batches - before; n != 3 {
		t.Errorf("of 40 attempts at one account %d were written, want the 3 that were let through", n)
	}
	before = e.Stats().Batches
	for i := range 500 {
		a.fails(fmt.Sprint("account-", i))
	}
	if n := e.Stats().Batches - before; n > 50 {
		t.Errorf("of 500 attempts at as many accounts from one address %d were written, want at most 50", n)
	}
}

// A failure that can't be stored is an error, and so is a count that can't be read:
// nobody guesses while the store is away.
func TestAttemptsNeedTheStore(t *testing.T) {
	clock := new(stopwatch)
	s := openMemory(t, clock.now)
	a := attemptsOver(t, s, clock, 3, 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var refused *oauth.Error
	if _, _, err := a.Attempts.Take(t.Context(), "alice", "192.0.2.1"); !errors.As(err, &refused) || refused.Code != oauth.TemporarilyUnavailable {
		t.Errorf("Take without a store = %v, want temporarily_unavailable", err)
	}
	for range 200 { // none of them was made, so none counts for the address
		_, wait, err := a.Attempts.Take(t.Context(), "alice", "192.0.2.1")
		if err == nil || wait > 0 {
			t.Fatalf("Take without a store, again = %v, %v", wait, err)
		}
	}
	if err := a.Attempts.Failed(t.Context(), "alice"); !errors.As(err, &refused) || refused.Code != oauth.TemporarilyUnavailable {
		t.Errorf("Failed without a store = %v, want temporarily_unavailable", err)
	}
}

func TestAttemptsOfAnAccount(t *testing.T) {
	a, clock := attempts(t, 3, 100)
	take := func(what, account string, wantFailed int, want bool) {
		t.Helper()
		failed, wait, ok := a.Take(account, "192.0.2.1")
		if ok != want || failed != wantFailed || ok != (wait == 0) {
			t.Errorf("%s: Take = %d, %v, %v, want %d and %v", what, failed, wait, ok, wantFailed, want)
		}
	}
	take("first", "alice", 0, true)
	take("second", "alice", 1, true)
	take("third, in capitals", "ALICE", 2, true)
	take("fourth", "alice", 3, false)
	take("fifth: one that is refused is not counted", "alice", 3, false)
	take("another account", "bob", 0, true)
	take("no account", "", 0, true)
	clock.advance(4 * time.Minute)
	take("before a third of the window", "alice", 3, false)
	clock.advance(time.Minute + time.Second)
	take("after a third of the window", "alice", 2, true)
	take("one more", "alice", 3, false)
	clock.advance(15 * time.Minute)
	take("after the window", "alice", 0, true)
	a.Forget("alice", "192.0.2.1")
	take("after a success", "alice", 0, true)
}

func TestWaitIsWhenTheNextAttemptIsTaken(t *testing.T) {
	a, clock := attempts(t, 3, 100)
	for range 3 {
		a.Take("alice", "192.0.2.1")
	}
	clock.advance(time.Minute)
	_, wait, ok := a.Take("alice", "192.0.2.1")
	if ok || wait < 3*time.Minute || wait > 5*time.Minute {
		t.Fatalf("a fourth attempt after a minute: Take = %v, %v, want a wait of about four minutes", wait, ok)
	}
	clock.advance(wait - 2*time.Second)
	if _, _, ok := a.Take("alice", "192.0.2.1"); ok {
		t.Error("two seconds before the wait is over an attempt was taken")
	}
	clock.advance(4 * time.Second)
	if _, _, ok := a.Take("alice", "192.0.2.1"); !ok {
		t.Error("after the wait no attempt was taken")
	}
}

// Of IPv6 one person has a whole /64.
func TestAttemptsOfAnAddress(t *testing.T) {
	for _, test := range []struct {
		name, first, second string
		same                bool
	}{
		{"IPv4", "192.0.2.1", "192.0.2.1", true},
		{"IPv4, the neighbour", "192.0.2.1", "192.0.2.2", false},
		{"IPv6 of one network", "2001:db8::1", "2001:db8::ffff:1", true},
		{"IPv6 of one network, spelt differently", "2001:DB8:0:0::1", "2001:db8::2", true},
		{"IPv6 of two networks", "2001:db8::1", "2001:db8:0:1::1", false},
		{"IPv6 with a zone", "fe80::1%eth0", "fe80::2%eth1", true},
		{"IPv4 in IPv6's clothes", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"no address", "", "", true},
	} {
		a, _ := attempts(t, 100, 1)
		a.Take("alice", test.first)
		if _, _, ok := a.Take("bob", test.second); ok == test.same {
			t.Errorf("%s: after an attempt from %s one from %s was taken = %v", test.name, test.first, test.second, ok)
		}
		a.Forget("alice", test.first)
		if _, _, ok := a.Take("carol", test.first); !ok {
			t.Errorf("%s: after a success no attempt from %s was taken", test.name, test.first)
		}
	}
}

// What is refused at the address costs the account nothing: or else anybody could
// lock somebody else out for free.
func TestRefusedAddressCostsTheAccountNothing(t *testing.T) {
	a, _ := attempts(t, 2, 1)
	a.Take("mallory", "192.0.2.66")
	for range 10 {
		if _, _, ok := a.Take("alice", "192.0.2.66"); ok {
			t.Fatal("an address above its limit was let through")
		}
	}
	if failed, _, ok := a.Take("alice", "192.0.2.1"); !ok || failed != 0 {
		t.Errorf("after that alice's own attempt is number %d and taken = %v, want the first and taken", failed+1, ok)
	}
}

func TestAttemptsAtTheSameMoment(t *testing.T) {
	a, _ := attempts(t, 5, 1000)
	var taken atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			<-start
			if _, _, ok := a.Take("alice", "192.0.2.1"); ok {
				taken.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	// Some may give way to each other, but none too many gets through.
	if n := taken.Load(); n < 1 || n > 5 {
		t.Errorf("of 64 attempts at the same moment %d were taken, want at most 5", n)
	}
}

// The table has a fixed size: whoever tries very many accounts can neither fill
// the memory nor make the server forget the account in question.
func TestManyAccountsMakeNothingForgotten(t *testing.T) {
	a, clock := attempts(t, 3, 1_000_000)
	for range 3 {
		a.Take("alice", "192.0.2.1")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range oauth.AttemptCells {
		a.Take(fmt.Sprint("nobody-", i), fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d accounts made the memory grow by %d bytes, want a table of fixed size", oauth.AttemptCells, grown)
	}
	if _, _, ok := a.Take("alice", "192.0.2.1"); ok {
		t.Error("after many other accounts a fourth attempt at alice was taken")
	}
	runtime.KeepAlive(a)
	clock.advance(3 * time.Hour) // cells that several share take longer to empty
	refused := 0
	for i := range 1000 {
		if _, _, ok := a.Take(fmt.Sprint("somebody-", i), "192.0.2.1"); !ok {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("long afterwards %d of 1000 accounts were refused, want none", refused)
	}
}
