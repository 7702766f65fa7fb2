package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

const (
	notes uint64 = 1000002
	sky   uint64 = 1000004
)

func license(id uint64, item uint64, dev int, life time.Duration) store.License {
	return store.License{ID: id, Item: item, Device: device(dev), Expires: start.Add(life)}
}

func mustIssue(t *testing.T, s *store.Store, subject [16]byte, l store.License, most int) store.License {
	t.Helper()
	got, err := s.IssueLicense(ctx, subject, l, most)
	if err != nil || got.Device != l.Device || got.Item != l.Item {
		t.Fatalf("IssueLicense(%d) = %+v, %v", l.ID, got, err)
	}
	return got
}

const week = 7 * 24 * time.Hour

func TestALicenceIsIssuedOncePerDevice(t *testing.T) {
	s, _, c := openStore(t)
	alice, bob := store.SubjectID("alice"), store.SubjectID("bob")
	first := mustIssue(t, s, alice, license(11, notes, 1, week), 2)
	c.advance(time.Minute)
	if again := mustIssue(t, s, alice, license(12, notes, 1, 2*week), 2); again != first {
		t.Errorf("asked again the licence is %+v, want the same %+v", again, first)
	}
	mustIssue(t, s, alice, license(13, notes, 2, week), 2)
	_, err := s.IssueLicense(ctx, alice, license(14, notes, 3, week), 2)
	wantIs(t, "a third device", err, store.ErrLicenseLimit)
	mustIssue(t, s, alice, license(15, sky, 3, week), 2)
	mustIssue(t, s, bob, license(16, notes, 1, week), 1)
	_, err = s.IssueLicense(ctx, bob, license(11, sky, 1, week), 1)
	wantIs(t, "an id that is another's", err, store.ErrLicenseID)
	if again := mustIssue(t, s, alice, license(17, notes, 1, week), 1); again != first {
		t.Errorf("under a lower limit a device with a licence is given %+v, want its own", again)
	}
	all, err := s.Licenses(ctx, alice)
	if err != nil || len(all) != 3 || all[0] != first || all[1].ID != 13 || all[2].Item != sky {
		t.Errorf("Licenses = %+v, %v, want the three of alice", all, err)
	}
	if subject, l, err := s.License(ctx, 11); err != nil || subject != alice || l != first {
		t.Errorf("License(11) = %x, %+v, %v, want alice's first", subject, l, err)
	}
	for _, id := range []uint64{12, 14, 99} { // never issued, though one was offered
		_, _, err := s.License(ctx, id)
		wantIs(t, fmt.Sprintf("License(%d)", id), err, store.ErrNotFound)
	}
	if got := holdersOf(t, s, notes); !reflect.DeepEqual(got, map[[16]byte]int{alice: 2, bob: 1}) {
		t.Errorf("ItemLicenses = %v, want two of alice and one of bob", got)
	}
	for _, expires := range []time.Time{{}, c.now(), c.now().AddDate(100, 0, 0)} {
		l := license(20, notes, 9, 0)
		l.Expires = expires
		if _, err := s.IssueLicense(ctx, alice, l, 9); err == nil {
			t.Errorf("a licence until %v was issued", expires)
		}
	}
	if _, err := s.IssueLicense(ctx, alice, license(0, notes, 9, week), 9); err == nil {
		t.Error("a licence without an id was issued")
	}
}

func holdersOf(t *testing.T, s *store.Store, item uint64) map[[16]byte]int {
	t.Helper()
	got := map[[16]byte]int{}
	if err := s.ItemLicenses(ctx, item, func(subject [16]byte, l store.License) error {
		if l.Item != item {
			t.Errorf("ItemLicenses(%d) hands out %+v", item, l)
		}
		if got[subject]++; l.Revoked {
			got[subject] += 100
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLicencesAreRenewed(t *testing.T) {
	s, e, c := openStore(t)
	alice := store.SubjectID("alice")
	mustIssue(t, s, alice, license(1, notes, 1, week), 1)
	_, err := s.RenewLicense(ctx, 99, start.Add(week), 1)
	wantIs(t, "RenewLicense of none", err, store.ErrNotFound)
	c.advance(6 * 24 * time.Hour)
	renewed, err := s.RenewLicense(ctx, 1, start.Add(2*week), 1)
	if err != nil || !renewed.Expires.Equal(start.Add(2*week)) || !renewed.Issued.Before(renewed.Renewed) {
		t.Fatalf("RenewLicense = %+v, %v, want it until two weeks", renewed, err)
	}
	key := store.Key{Table: 'L', Part: string(alice[:]), Sub: "\x00\x00\x00\x00\x00\x0fBB"}
	before, err := e.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, expires := range []time.Time{start.Add(2 * week), start.Add(week + time.Hour)} {
		if again, err := s.RenewLicense(ctx, 1, expires, 1); err != nil || again != renewed {
			t.Errorf("RenewLicense until %v = %+v, %v, want it as it is", expires, again, err)
		}
	}
	if after, _ := e.Get(ctx, key); after.Version != before.Version {
		t.Error("a renewal that changes nothing was written")
	}
	// An expired one frees its place, and takes it again while it is free.
	c.advance(2 * week)
	renewed, err = s.RenewLicense(ctx, 1, c.now().Add(week), 1)
	if err != nil {
		t.Fatalf("RenewLicense of an expired one = %v", err)
	}
	c.advance(week)
	l := license(2, notes, 2, 0)
	l.Expires = c.now().Add(week)
	mustIssue(t, s, alice, l, 1)
	_, err = s.RenewLicense(ctx, 1, c.now().Add(week), 1)
	wantIs(t, "RenewLicense of an expired one whose place is taken", err, store.ErrLicenseLimit)
	// The number lives on with its licence, however often that is renewed.
	for range 60 {
		c.advance(6 * 24 * time.Hour)
		if _, err := s.RenewLicense(ctx, 2, c.now().Add(week), 1); err != nil {
			t.Fatalf("after %v RenewLicense = %v", c.now().Sub(start), err)
		}
	}
	// Nothing is kept for good.
	c.advance(210 * 24 * time.Hour)
	if n := holdersOf(t, s, notes); len(n) != 0 {
		t.Errorf("long afterwards there are licences of %v", n)
	}
	left := 0
	if err := e.Dump(ctx, func(it store.Item) error {
		if it.Key.Table != 'M' {
			left++
		}
		return nil
	}); err != nil || left != 0 {
		t.Errorf("long afterwards %d records are left, %v, want none", left, err)
	}
}

func TestLicencesAreRevoked(t *testing.T) {
	s, _, _ := openStore(t)
	alice, bob := store.SubjectID("alice"), store.SubjectID("bob")
	for i, l := range []struct {
		subject [16]byte
		item    uint64
		dev     int
	}{{alice, notes, 1}, {alice, notes, 2}, {alice, sky, 1}, {bob, notes, 3}, {bob, sky, 3}} {
		mustIssue(t, s, l.subject, license(uint64(i+1), l.item, l.dev, week), 2)
	}
	revoked := func(what string, want ...uint64) {
		t.Helper()
		var got []uint64
		for id := uint64(1); id <= 5; id++ {
			if _, l, err := s.License(ctx, id); err != nil || l.Revoked {
				got = append(got, id)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: revoked are %v, want %v", what, got, want)
		}
		for _, id := range got {
			_, err := s.RenewLicense(ctx, id, start.Add(2*week), 0)
			wantIs(t, what+": RenewLicense", err, store.ErrLicenseRevoked)
		}
	}
	for range 2 {
		if err := s.RevokeLicense(ctx, 2); err != nil {
			t.Errorf("RevokeLicense = %v", err)
		}
	}
	wantIs(t, "RevokeLicense of none", s.RevokeLicense(ctx, 99), store.ErrNotFound)
	revoked("one", 2)
	// A revoked one frees its place; its device may be given another, with another id.
	_, err := s.IssueLicense(ctx, alice, license(2, notes, 2, week), 2)
	wantIs(t, "IssueLicense with the id of a revoked one", err, store.ErrLicenseID)
	mustIssue(t, s, alice, license(6, notes, 3, week), 2)
	_, err = s.IssueLicense(ctx, alice, license(7, notes, 2, week), 2)
	wantIs(t, "IssueLicense of a device whose place is taken", err, store.ErrLicenseLimit)
	if n, err := s.RevokeLicenses(ctx, alice, func(l store.License) bool { return l.Item == notes }); err != nil || n != 2 {
		t.Errorf("RevokeLicenses of an item = %d, %v, want 2", n, err)
	}
	revoked("those of an account for an item", 1, 2)
	mustIssue(t, s, alice, license(8, notes, 2, week), 2)
	if _, _, err := s.License(ctx, 2); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("License(2), whose device has another = %v, want ErrNotFound", err)
	}
	if n, err := s.RevokeItem(ctx, notes); err != nil || n != 2 {
		t.Errorf("RevokeItem = %d, %v, want 2: one of alice, one of bob", n, err)
	}
	if n, err := s.RevokeItem(ctx, notes); err != nil || n != 0 {
		t.Errorf("RevokeItem again = %d, %v, want 0", n, err)
	}
	if n, err := s.RevokeLicenses(ctx, bob, nil); err != nil || n != 1 {
		t.Errorf("RevokeLicenses of bob = %d, %v, want the 1 that was left", n, err)
	}
	if l, err := s.Licenses(ctx, alice); err != nil || len(l) != 4 || l[3].Item != sky || l[3].Revoked {
		t.Errorf("Licenses of alice = %+v, %v, want the one for another item as it was", l, err)
	}
}

// A full record makes room of what is no longer good, and of nothing else.
func TestLicencesAreBounded(t *testing.T) {
	s, _, _ := openStore(t)
	alice := store.SubjectID("alice")
	for n := range store.MaxLicenses {
		mustIssue(t, s, alice, license(uint64(n+1), notes, n, week), 0)
	}
	for _, most := range []int{0, 1 << 20, store.MaxLicenses} {
		_, err := s.IssueLicense(ctx, alice, license(1000, notes, 999, week), most)
		wantIs(t, "one more", err, store.ErrLicenseLimit)
	}
	for _, id := range []uint64{7, 8} {
		if err := s.RevokeLicense(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	mustIssue(t, s, alice, license(1000, notes, 999, week), 0)
	mustIssue(t, s, alice, license(1001, notes, 998, week), 0)
	_, err := s.IssueLicense(ctx, alice, license(1002, notes, 997, week), 0)
	wantIs(t, "one more again", err, store.ErrLicenseLimit)
	all, err := s.Licenses(ctx, alice)
	if err != nil || len(all) != store.MaxLicenses {
		t.Errorf("Licenses = %d, %v, want %d", len(all), err, store.MaxLicenses)
	}
}

// Many devices, each of which asks several times at once, and somebody who revokes
// meanwhile: no device has two licences, no more than the limit are good at any
// moment, and what was revoked stays so.
func TestLicenceRaces(t *testing.T) {
	s, _, _ := openStore(t)
	alice := store.SubjectID("alice")
	const devices, asks, most = 12, 4, 3
	var next atomic.Uint64
	var mu sync.Mutex
	answers := map[[16]byte]map[uint64]bool{} // device → ids that it was given
	var refused atomic.Int64
	together(devices*asks, func(i int) {
		l, err := s.IssueLicense(ctx, alice, license(next.Add(1), notes, i%devices, week), most)
		switch {
		case errors.Is(err, store.ErrLicenseLimit):
			refused.Add(1)
		case err != nil || l.Device != device(i%devices):
			t.Errorf("IssueLicense = %+v, %v", l, err)
		default:
			mu.Lock()
			if answers[l.Device] == nil {
				answers[l.Device] = map[uint64]bool{}
			}
			answers[l.Device][l.ID] = true
			mu.Unlock()
		}
	})
	for dev, ids := range answers {
		if len(ids) != 1 {
			t.Errorf("device %x was given the licences %v, want one", dev[:2], ids)
		}
	}
	if len(answers) != most || refused.Load() != (devices-most)*asks {
		t.Errorf("%d devices have a licence and %d requests were refused, want %d and %d", len(answers), refused.Load(), most, (devices-most)*asks)
	}

	var revoked sync.Map
	together(16, func(i int) {
		for n := range 20 {
			if i%4 == 0 {
				all, err := s.Licenses(ctx, alice)
				if err != nil || len(all) == 0 {
					t.Errorf("Licenses = %v, %v", all, err)
					return
				}
				l := all[n%len(all)]
				switch err := s.RevokeLicense(ctx, l.ID); {
				case err == nil:
					revoked.Store(l.ID, true)
				case !errors.Is(err, store.ErrNotFound): // replaced meanwhile
					t.Errorf("RevokeLicense = %v", err)
				}
				continue
			}
			l, err := s.IssueLicense(ctx, alice, license(next.Add(1), notes, i, week), most)
			if err == nil {
				_, err = s.RenewLicense(ctx, l.ID, start.Add(week+time.Duration(n)*time.Hour), most)
			}
			if err != nil && !errors.Is(err, store.ErrLicenseLimit) && !errors.Is(err, store.ErrLicenseRevoked) && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a licence: %v", err)
			}
			all, err := s.Licenses(ctx, alice)
			good := 0
			for _, l := range all {
				if l.Good(start) {
					good++
				}
			}
			if err != nil || good > most {
				t.Errorf("%d licences are good at the same moment, %v, want at most %d", good, err, most)
			}
		}
	})
	revoked.Range(func(id, _ any) bool {
		if _, l, err := s.License(ctx, id.(uint64)); !errors.Is(err, store.ErrNotFound) && (err != nil || !l.Revoked) {
			t.Errorf("licence %d was revoked and is %+v, %v", id, l, err)
		}
		return true
	})
}

// starved is an engine that takes so many more writes.
type starved struct {
	store.Engine
	left int
}

var errDied = errors.New("the process died")

func (e *starved) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	if e.left--; e.left < 0 {
		return store.Item{}, errDied
	}
	return e.Engine.Update(ctx, k, f)
}

func (e *starved) Apply(ctx context.Context, ops ...store.Op) error {
	if e.left--; e.left < 0 {
		return errDied
	}
	return e.Engine.Apply(ctx, ops...)
}

// Whatever a crash leaves of a licence that was being issued is nothing that
// matters: nobody was told of it, and the device asks again.
func TestACrashWhileALicenceIsIssued(t *testing.T) {
	for writes := range 3 {
		c := newClock()
		e := &starved{openEngine(t, c), writes}
		alice := store.SubjectID("alice")
		if _, err := store.New(e, c.now).IssueLicense(ctx, alice, license(1, notes, 1, week), 1); !errors.Is(err, errDied) {
			t.Fatalf("with %d writes IssueLicense = %v, want it cut short", writes, err)
		}
		s := store.New(e.Engine, c.now)
		if all, err := s.Licenses(ctx, alice); err != nil || len(all) != 0 {
			t.Errorf("after %d writes Licenses = %v, %v, want none", writes, all, err)
		}
		if got := holdersOf(t, s, notes); len(got) != 0 {
			t.Errorf("after %d writes ItemLicenses = %v, want none", writes, got)
		}
		_, _, err := s.License(ctx, 1)
		wantIs(t, fmt.Sprintf("after %d writes License", writes), err, store.ErrNotFound)
		_, err = s.RenewLicense(ctx, 1, start.Add(week), 1)
		wantIs(t, fmt.Sprintf("after %d writes RenewLicense", writes), err, store.ErrNotFound)
		c.advance(2 * time.Hour)
		if holdersOf(t, s, notes); writes == 2 { // long enough for the entry to be taken out, which must not hurt
			if _, err := e.Engine.Get(ctx, store.Key{Table: 'H', Part: "\x00\x00\x00\x00\x00\x0fBB" + string(alice[0]/4), Sub: string(alice[:])}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the entry of a licence that never came = %v, want it taken out", err)
			}
		}
		l := mustIssue(t, s, alice, license(uint64(1+writes%2), notes, 1, week), 1) // the same id, or another
		if got := holdersOf(t, s, notes); got[alice] != 1 {
			t.Errorf("after %d writes and once more ItemLicenses = %v, want the one of alice", writes, got)
		}
		if _, found, err := s.License(ctx, l.ID); err != nil || found != l {
			t.Errorf("after %d writes and once more License = %+v, %v", writes, found, err)
		}
	}
}
