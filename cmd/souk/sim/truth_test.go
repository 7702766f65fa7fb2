package sim

import (
	"testing"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

func anApp(versions ...catalog.Version) catalog.Item {
	return catalog.Item{ID: 7, BundleID: "com.example.seven", Versions: versions}
}

func aVersion(id uint64, os string, share int) catalog.Version {
	return catalog.Version{ID: id, MinOS: map[string]string{"ios": os}, Rollout: catalog.Rollout{Share: share}}
}

func TestExpected(t *testing.T) {
	d := &population.Device{Account: "p1@example.com", OS: 17<<16 | 4<<8}
	halted, withdrawn := aVersion(4, "17.0", 10_000), aVersion(4, "17.0", 10_000)
	halted.Rollout.Halted, withdrawn.Withdrawn = true, true
	removed := anApp(aVersion(2, "17.0", 10_000))
	removed.Removed = true
	for _, test := range []struct {
		name      string
		item      catalog.Item
		installed uint64
		want      uint64
	}{
		{"the newest", anApp(aVersion(2, "17.0", 10_000), aVersion(3, "17.4", 10_000)), 1, 3},
		{"that fits", anApp(aVersion(2, "17.0", 10_000), aVersion(3, "18.0", 10_000)), 1, 2},
		{"that is open", anApp(aVersion(2, "17.0", 10_000), aVersion(3, "17.0", 0)), 1, 2},
		{"nothing newer", anApp(aVersion(2, "17.0", 10_000)), 2, 0},
		{"never an older one", anApp(aVersion(2, "17.0", 10_000), aVersion(3, "17.0", 0)), 2, 0},
		{"not installed", anApp(aVersion(2, "17.0", 10_000)), 0, 0},
		{"halted", anApp(aVersion(2, "17.0", 10_000), halted), 1, 2},
		{"withdrawn", anApp(aVersion(2, "17.0", 10_000), withdrawn), 1, 2},
		{"taken down", removed, 1, 0},
	} {
		if got := newState(test.item, 0).expected(d, test.installed); got != test.want {
			t.Errorf("%s: expected = %d, want %d", test.name, got, test.want)
		}
	}
}

// While the operator is being answered, and a second longer, what was before is right
// too; what comes is right as soon as it was asked for.
func TestDuring(t *testing.T) {
	tr := newTruth([]catalog.Item{anApp(aVersion(2, "17.0", 0))})
	before := (*tr.items[7].states.Load())[0]
	after := tr.change(anApp(aVersion(2, "17.0", 10_000)), 10*time.Second)
	is := func(name string, sent, answered time.Duration, want ...*state) {
		t.Helper()
		got := tr.during(7, sent, answered)
		if len(got) != len(want) {
			t.Fatalf("%s: %d states, want %d", name, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: another state than it should be", name)
			}
		}
	}
	is("before it", 8*time.Second, 9*time.Second, before)
	is("answered while it is under way", 8*time.Second, 11*time.Second, before, after)
	is("long under way", 100*time.Second, 101*time.Second, before, after)
	after.done.Store(int64(12 * time.Second))
	is("sent before the answer", 11*time.Second, 13*time.Second, before, after)
	is("sent soon after the answer", 12*time.Second+settle/2, 20*time.Second, before, after)
	is("sent later", 12*time.Second+settle, 20*time.Second, after)
	if got := tr.during(8, 0, 0); got != nil {
		t.Errorf("an app that is not there has %d states", len(got))
	}
}

// A rollout that is open to a tenth is open to one, and two of them are to a hundredth:
// who is early once isn't always. The first number was had from another program.
func TestBucket(t *testing.T) {
	if got := bucket("p1@example.com", "7/2"); got != 6568 {
		t.Errorf("bucket = %d, want 6568", got)
	}
	const people, tenth = 100_000, 1000
	one, both := 0, 0
	for i := range people {
		account := "p" + digits(uint64(i)) + "@example.com"
		if bucket(account, "7/2") < tenth {
			one++
			if bucket(account, "7/3") < tenth {
				both++
			}
		}
	}
	if one < 9700 || one > 10_300 || both < 900 || both > 1100 {
		t.Errorf("of %d people %d are in a tenth, and %d in another too", people, one, both)
	}
}

func TestWithin(t *testing.T) {
	for _, test := range []struct {
		count, n uint64
		p        float64
		want     bool
	}{
		{1000, 10_000, 0.1, true},
		{1098, 10_000, 0.1, true}, // 3.29 σ are 98.7
		{1100, 10_000, 0.1, false},
		{902, 10_000, 0.1, true},
		{900, 10_000, 0.1, false},
		{0, 3, 0.1, true},
		{0, 0, 0.1, true},
	} {
		if got := within(test.count, test.n, test.p, 1); got != test.want {
			t.Errorf("within(%d of %d, %g) = %v", test.count, test.n, test.p, got)
		}
	}
}

// A nonce that comes twice is found among all that are kept, also when they are thinned
// out in between.
func TestNonces(t *testing.T) {
	s := newNonces()
	s.most = 1000
	nonce := func(i int) (n [16]byte) {
		h := uint64(i+1) * 0x9e3779b97f4a7c15
		for k := range n {
			h ^= h >> 29
			h *= 0xbf58476d1ce4e5b9
			n[k] = byte(h >> 56)
		}
		return n
	}
	looked := 0
	for i := range 10_000 {
		l, fresh := s.add(nonce(i))
		if !fresh {
			t.Fatalf("nonce %d is said to be there already", i)
		}
		if l {
			looked++
		}
	}
	if s.part < 8 || len(s.seen) > 1000 || looked < 1000 {
		t.Errorf("of 10000 one in %d is kept, %d in all; %d were looked at", s.part, len(s.seen), looked)
	}
	again, kept := 0, 0
	for i := range 10_000 {
		if l, fresh := s.add(nonce(i)); l {
			kept++
			if !fresh {
				again++
			}
		}
	}
	if kept == 0 || again != kept {
		t.Errorf("of %d that are kept %d were found again", kept, again)
	}
}

func TestShares(t *testing.T) {
	got, err := shares("1,2, 5%,12.5,100")
	if err != nil || len(got) != 5 || got[0] != 100 || got[3] != 1250 || got[4] != 10_000 {
		t.Errorf("shares = %v, %v", got, err)
	}
	for _, text := range []string{"0", "10,10", "20,10", "101", "x", "10,,20"} {
		if _, err := shares(text); err == nil {
			t.Errorf("shares(%q) is no error", text)
		}
	}
}

// A restore gives the version that a device had, halted or not, if there still is one for
// it, else the newest that is open to it, else the newest.
func TestRestored(t *testing.T) {
	const account = "p1@example.com"                             // bucket 6568 of 7/2
	d := &population.Device{Account: account, OS: 17<<16 | 4<<8} // 17.4
	halted, withdrawn, partly := aVersion(3, "17.0", 10_000), aVersion(3, "17.0", 10_000), aVersion(2, "17.0", 6_500)
	halted.Rollout.Halted, withdrawn.Withdrawn = true, true
	removed := anApp(aVersion(2, "17.0", 10_000))
	removed.Removed = true
	for _, test := range []struct {
		name          string
		item          catalog.Item
		had           uint64
		version, bare uint64
	}{
		{"what it had", anApp(aVersion(1, "17.0", 10_000), aVersion(2, "17.0", 10_000)), 1, 1, 1},
		{"what it had, halted", anApp(aVersion(2, "17.0", 10_000), halted), 3, 3, 3},
		{"another's is halted", anApp(aVersion(2, "17.0", 10_000), halted), 1, 2, 2},
		{"what it had, open to others", anApp(aVersion(1, "17.0", 10_000), partly), 2, 2, 2},
		{"withdrawn", anApp(aVersion(1, "17.0", 10_000), aVersion(2, "17.0", 10_000), withdrawn), 3, 2, 2},
		{"withdrawn, and the next open to others", anApp(aVersion(1, "17.0", 10_000), partly, withdrawn), 3, 1, 2},
		{"withdrawn, and nothing is open", anApp(partly, withdrawn), 3, 2, 2},
		{"of a newer system", anApp(aVersion(2, "17.0", 10_000), aVersion(3, "18.0", 10_000)), 3, 2, 2},
		{"nothing runs", anApp(aVersion(3, "18.0", 10_000)), 3, 0, 0},
		{"taken down", removed, 2, 0, 0},
	} {
		if version, bare := newState(test.item, 0).restored(d, d.Account, test.had); version != test.version || bare != test.bare {
			t.Errorf("%s: restored = %d, %d, want %d, %d", test.name, version, bare, test.version, test.bare)
		}
	}
}
