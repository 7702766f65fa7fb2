package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func device(n int) [16]byte { return [16]byte{byte(n >> 8), byte(n), 15: 1} }

func TestDevicesAreCountedInTheirOrder(t *testing.T) {
	s, _, _ := openStore(t)
	const notes, sky, plus = 1000002, 1000004, 1000003
	read := func() store.Account {
		t.Helper()
		a, err := s.Account(ctx, store.SubjectID(alice))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	update := func(f func(*store.Account) bool) {
		t.Helper()
		if _, err := s.UpdateAccount(ctx, alice, func(a *store.Account) (bool, error) { return f(a), nil }); err != nil {
			t.Fatal(err)
		}
	}
	counts := func(when string, want string) {
		t.Helper()
		a := read()
		got := ""
		for n := 1; n <= 4; n++ {
			for _, item := range []uint64{notes, sky} {
				devices, holders := a.Ahead(device(n), item)
				got += fmt.Sprintf("%d:%d ", devices, holders)
			}
		}
		if got = strings.TrimSpace(got); got != want {
			t.Errorf("%s: four devices are told %s of two items, want %s", when, got, want)
		}
	}
	update(func(a *store.Account) bool { a.Territory = "AUT"; return true })
	counts("at first", "0:0 0:0 0:0 0:0 0:0 0:0 0:0 0:0")
	for _, g := range []struct {
		device int
		item   uint64
	}{{1, notes}, {2, sky}, {3, notes}, {2, notes}, {1, sky}} {
		update(func(a *store.Account) bool { return a.Give(device(g.device), g.item) })
	}
	// Notes: 1, 3, 2. Sky: 2, 1. The account: 1, 2, 3.
	counts("all three have something", "0:0 0:1 1:2 1:0 2:1 2:2 3:3 3:2")
	if a := read(); !a.Holds(device(3), notes) || a.Holds(device(3), sky) || a.Holds(device(4), notes) || !slices.Equal(a.History, []uint64{notes, sky}) {
		t.Errorf("the account is %+v: it does not know who holds what", a)
	}
	update(func(a *store.Account) bool {
		if a.Give(device(1), notes, sky) {
			t.Error("to give once more what a device holds is a change")
		}
		return a.Free(device(1), device(9))
	})
	counts("the first is gone", "2:2 2:1 0:1 0:0 1:0 1:1 2:2 2:1")
	update(func(a *store.Account) bool { return a.Give(device(1), plus, notes) })
	counts("and back", "2:2 2:1 0:1 0:0 1:0 1:1 3:3 3:1")
	update(func(a *store.Account) bool { return a.Free(a.Devices...) })
	counts("nobody is left", "0:0 0:0 0:0 0:0 0:0 0:0 0:0 0:0")
	if a := read(); len(a.History) != 3 || a.Territory != "AUT" || a.Devices != nil || a.Free(device(1)) {
		t.Errorf("the account is %+v, want it with its history and without devices", a)
	}
}

// A device that there is no room for is told so many that no limit passes it; its
// account has the item in its history all the same.
func TestDevicesAreBounded(t *testing.T) {
	for _, test := range []struct {
		name    string
		fill    func(*store.Account)
		unknown string // what an unknown device is told
		known   string // what the first is told of an item that it doesn't hold
		grows   bool   // a known device is given it
	}{
		{"devices", func(a *store.Account) {
			for n := range store.MaxDevices {
				a.Give(device(n), 7)
			}
		}, "256:256", "0:0", true},
		{"items", func(a *store.Account) {
			for item := range uint64(store.MaxHeld) {
				a.Give(device(0), item+1000)
			}
		}, "256:256", "0:256", false},
		{"history", func(a *store.Account) {
			a.Give(device(0), 1)
			for item := range uint64(store.MaxHistory) {
				a.AddHistory(item + 1000)
			}
		}, "256:256", "0:256", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var a store.Account
			test.fill(&a)
			told := func(n int) string {
				devices, holders := a.Ahead(device(n), 5)
				return fmt.Sprint(devices, ":", holders)
			}
			if got := told(999); got != test.unknown {
				t.Errorf("an unknown device is told %s, want %s", got, test.unknown)
			}
			if got := told(0); got != test.known {
				t.Errorf("a known device is told %s, want %s", got, test.known)
			}
			if !a.Crowded() && test.name != "history" {
				t.Error("the account is not crowded")
			}
			before := len(a.Devices)
			if a.Give(device(999), 5); len(a.Devices) != before || a.Holds(device(999), 5) || a.HasItem(5) == (test.name == "history") {
				t.Errorf("an account without room was given a device: %d, want %d and the item in its history", len(a.Devices), before)
			}
			if a.Give(device(0), 5); a.Holds(device(0), 5) != test.grows {
				t.Errorf("a known device holds the item: %v, want %v", a.Holds(device(0), 5), test.grows)
			}
		})
	}
}

// The fullest account that there can be with ids as Apple's are.
func TestTheFullestAccountFits(t *testing.T) {
	s, e, _ := openStore(t)
	text := strings.Repeat("x", 255)
	_, err := s.UpdateAccount(ctx, text, change(func(a *store.Account) {
		a.DisplayName, a.Territory = text, text
		for i := range 256 {
			a.Grants = append(a.Grants, fmt.Sprintf("%0128d", i))
		}
		for i := range uint64(store.MaxHistory) {
			a.History = append(a.History, i*(1<<34/store.MaxHistory))
		}
		for i := range store.MaxHeld {
			a.Give(device(i%store.MaxDevices), a.History[2*i])
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	it, err := e.Get(ctx, store.Key{Table: 'U', Part: string(subject(text))})
	if err != nil || len(it.Value) > 62<<10 {
		t.Errorf("the record has %d bytes of %d, %v: too close to the limit", len(it.Value), store.MaxValue, err)
	}
	if a, err := s.Account(ctx, store.SubjectID(text)); err != nil || len(a.Devices) != store.MaxDevices || len(a.Held) != store.MaxHeld {
		t.Errorf("it has %d devices that hold %d items, %v, want %d and %d", len(a.Devices), len(a.Held), err, store.MaxDevices, store.MaxHeld)
	}
}

func TestUpdateAccountRefusesWrongDevices(t *testing.T) {
	s, _, _ := openStore(t)
	for name, f := range map[string]func(*store.Account){
		"one that holds nothing":           func(a *store.Account) { a.Devices = [][16]byte{device(1)} },
		"an item that is not in history":   func(a *store.Account) { a.Devices, a.Held = [][16]byte{device(1)}, []store.Held{{Item: 7}} },
		"an item of a device that is none": func(a *store.Account) { a.Give(device(1), 7); a.Held = append(a.Held, store.Held{Item: 7, Device: 1}) },
		"items in no order":                func(a *store.Account) { a.Give(device(1), 7, 8); slices.Reverse(a.Held) },
		"too many": func(a *store.Account) {
			for n := range 255 {
				a.Give(device(n), 7)
			}
			a.Devices = append(a.Devices, device(255), device(256))
		},
	} {
		if _, err := s.UpdateAccount(ctx, alice, change(f)); err == nil {
			t.Errorf("UpdateAccount with %s succeeded", name)
		}
	}
}

// of is a rule for devices: the clients from 100 on are registered.
func of(client, family [16]byte) [16]byte {
	if client[0] >= 100 {
		return family
	}
	return client
}

func TestEndedDevices(t *testing.T) {
	s, _, c := openStore(t)
	signIn := func(id, client byte, life time.Duration, change func(*store.Family)) {
		t.Helper()
		f := aFamily()
		f.Subject, f.Client, f.Epoch = store.SubjectID(alice), [16]byte{client}, 0
		if change != nil {
			change(&f)
		}
		if _, _, err := s.CreateFamily(ctx, [16]byte{id}, f, c.now().Add(life)); err != nil {
			t.Fatal(err)
		}
	}
	revoke := func(id byte) {
		t.Helper()
		_, err := s.UpdateFamily(ctx, [16]byte{id}, func(f store.Family) (store.Family, time.Time, bool, error) {
			f.State = store.Revoked
			return f, time.Time{}, true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	signIn(1, 10, time.Hour, nil)
	signIn(2, 10, 3*time.Hour, nil) // the same device once more
	signIn(3, 11, 3*time.Hour, nil)
	signIn(4, 100, 3*time.Hour, nil) // an app on two devices
	signIn(5, 100, time.Hour, nil)
	signIn(6, 12, 3*time.Hour, func(f *store.Family) { f.Epoch = 7 })
	devices := [][16]byte{{10}, {11}, {4}, {5}, {12}, {13}}
	if _, err := s.UpdateAccount(ctx, alice, change(func(a *store.Account) {
		for _, d := range devices {
			a.Give(d, 7)
		}
	})); err != nil {
		t.Fatal(err)
	}
	ended := func(when string, want ...byte) {
		t.Helper()
		a, err := s.Account(ctx, store.SubjectID(alice))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Ended(ctx, a, of)
		var first []byte
		for _, d := range got {
			first = append(first, d[0])
		}
		if err != nil || !slices.Equal(first, want) {
			t.Errorf("%s: ended are %v, %v, want %v", when, first, err, want)
		}
	}
	ended("at first", 12, 13) // of another epoch, and without a sign-in
	revoke(3)
	ended("one is revoked", 11, 12, 13)
	c.advance(2 * time.Hour)
	ended("two have expired", 11, 5, 12, 13)
	for _, v := range []struct {
		device byte
		left   int
	}{{10, 6}, {13, 5}, {5, 4}, {5, 4}, {4, 4}, {99, 4}} {
		if err := s.Vacate(ctx, store.SubjectID(alice), [16]byte{v.device}, of); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Account(ctx, store.SubjectID(alice)); err != nil || len(a.Devices) != v.left {
			t.Errorf("after Vacate of %d there are %d devices, %v, want %d", v.device, len(a.Devices), err, v.left)
		}
	}
	if err := s.Vacate(ctx, store.SubjectID("nobody"), [16]byte{1}, of); err != nil {
		t.Errorf("Vacate of nobody's device = %v", err)
	}
}

// Of an account with very many sign-ins no device is taken for ended.
func TestEndedLooksAtSoMany(t *testing.T) {
	s, _, c := openStore(t)
	f := aFamily()
	f.Subject, f.Epoch = store.SubjectID(alice), 0
	a := store.Account{Account: alice, Devices: [][16]byte{{200}}}
	create := func(from, to int) {
		together(16, func(w int) {
			for n := from + w; n < to; n += 16 {
				if _, _, err := s.CreateFamily(ctx, [16]byte{byte(n >> 8), byte(n), 1}, f, c.now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	create(0, 1024)
	if ended, err := s.Ended(ctx, a, of); err != nil || len(ended) != 1 {
		t.Errorf("with 1024 sign-ins of others, Ended = %v, %v, want the device", ended, err)
	}
	create(1024, 1025)
	if ended, err := s.Ended(ctx, a, of); err != nil || len(ended) != 0 {
		t.Errorf("with 1025 sign-ins of others, Ended = %v, %v, want none", ended, err)
	}
}

func BenchmarkAhead(b *testing.B) {
	var a store.Account
	for n := range 20 {
		for item := range uint64(50) {
			a.Give(device(n), 1000000+item)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Ahead(device(19), 1000025)
	}
}
