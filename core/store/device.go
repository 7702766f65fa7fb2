package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The limits of an account's devices. With them and its history an account stays
// below MaxValue.
const (
	MaxDevices = 256
	MaxHeld    = 2048 // pairs of an item and a device that holds it
)

// Held says that a device was given an item.
type Held struct {
	Item   uint64
	Device uint16 // index into the account's Devices
}

// DeviceOf says what a sign-in counts as: the device of a family and its client.
type DeviceOf func(client, family [16]byte) [16]byte

// holders are the places in Held of those who hold the item.
func (a *Account) holders(item uint64) (from, to int) {
	from, _ = slices.BinarySearchFunc(a.Held, item, func(h Held, item uint64) int {
		switch {
		case h.Item < item:
			return -1
		case h.Item > item:
			return 1
		}
		return 0
	})
	for to = from; to < len(a.Held) && a.Held[to].Item == item; to++ {
	}
	return from, to
}

// Holds says whether the device was given the item.
func (a *Account) Holds(device [16]byte, item uint64) bool {
	at, from, to := slices.Index(a.Devices, device), 0, 0
	if at >= 0 {
		from, to = a.holders(item)
	}
	return slices.Contains(a.Held[from:to], Held{item, uint16(at)})
}

// Ahead counts the devices of the account that were given any item, and those that
// were given this one, before the device was. One that wasn't yet comes after all.
// Where the account has no room for it, it is told MaxDevices, so that a limit
// never opens because a list is full.
//
// hot: called for each app of an update check that has candidates; no allocation.
func (a *Account) Ahead(device [16]byte, item uint64) (devices, holders uint32) {
	at := slices.Index(a.Devices, device)
	from, to := a.holders(item)
	place := -1
	if at >= 0 {
		place = slices.Index(a.Held[from:to], Held{item, uint16(at)})
	}
	devices, holders = uint32(len(a.Devices)), uint32(to-from)
	switch {
	case place >= 0:
		return uint32(at), uint32(place)
	case !a.room(at >= 0, item):
		devices, holders = MaxDevices, MaxDevices
	}
	if at >= 0 {
		devices = uint32(at)
	}
	return devices, holders
}

// room says whether one more device, or one that is known, can be given an item.
func (a *Account) room(known bool, item uint64) bool {
	return len(a.Held) < MaxHeld && (known || len(a.Devices) < MaxDevices) && (len(a.History) < MaxHistory || a.HasItem(item))
}

// Crowded says whether the account has no room for another device.
func (a *Account) Crowded() bool { return len(a.Held) >= MaxHeld || len(a.Devices) >= MaxDevices }

// Give notes that the device is given the items, in the history of the account
// too, and says whether that changed anything. What there is no room for is left
// out.
func (a *Account) Give(device [16]byte, items ...uint64) (changed bool) {
	for _, item := range items {
		at := slices.Index(a.Devices, device)
		room := a.room(at >= 0, item)
		changed = a.AddHistory(item) || changed
		if !room || a.Holds(device, item) {
			continue
		}
		if at < 0 {
			at = len(a.Devices)
			a.Devices = append(a.Devices, device)
		}
		_, to := a.holders(item)
		a.Held = slices.Insert(a.Held, to, Held{item, uint16(at)})
		changed = true
	}
	return changed
}

// Free takes devices off the account and says whether that changed anything. Those
// behind them move up. The lists that were there before stay as they are.
func (a *Account) Free(devices ...[16]byte) (changed bool) {
	for _, device := range devices {
		at := slices.Index(a.Devices, device)
		if at < 0 {
			continue
		}
		changed = true
		a.Devices = slices.Delete(slices.Clone(a.Devices), at, at+1)
		left := make([]Held, 0, len(a.Held))
		for _, h := range a.Held {
			switch {
			case int(h.Device) == at:
				continue
			case int(h.Device) > at:
				h.Device--
			}
			left = append(left, h)
		}
		a.Held = left
	}
	return changed
}

// errEnough ends a look at sign-ins.
var errEnough = errors.New("store: enough was seen")

// maxLooked is how many sign-ins Ended looks at.
const maxLooked = 1024

// Ended returns the devices of the account that have no sign-in any more: it was
// ended, or has expired. Of an account with more sign-ins than are looked at, none
// is taken for ended.
func (s *Store) Ended(ctx context.Context, a Account, of DeviceOf) ([][16]byte, error) {
	left := slices.Clone(a.Devices)
	if len(left) == 0 {
		return nil, nil
	}
	looked := 0
	err := s.eachSession(ctx, SubjectID(a.Account), func(x Session) error {
		if looked++; looked > maxLooked {
			left = nil
		} else if x.Family.State == Active && x.Family.Epoch == a.Epoch {
			device := of(x.Family.Client, x.ID)
			left = slices.DeleteFunc(left, func(d [16]byte) bool { return d == device })
		}
		if len(left) == 0 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("look for sign-ins: %w", err)
	}
	return left, nil
}

// Vacate takes the device off the account if it has no sign-in any more.
func (s *Store) Vacate(ctx context.Context, subject, device [16]byte, of DeviceOf) error {
	a, err := s.Account(ctx, subject)
	if errors.Is(err, ErrNotFound) || err == nil && !slices.Contains(a.Devices, device) {
		return nil
	} else if err != nil {
		return err
	}
	a.Devices = [][16]byte{device}
	ended, err := s.Ended(ctx, a, of)
	if err != nil || len(ended) == 0 {
		return err
	}
	_, err = s.UpdateAccount(ctx, a.Account, func(a *Account) (bool, error) { return a.Free(device), nil })
	return err
}

// checkDevices refuses what Give and Free don't make.
func (a *Account) checkDevices() error {
	if len(a.Devices) > MaxDevices || len(a.Held) > MaxHeld {
		return fmt.Errorf("%w: account of %d devices that hold %d items, at most %d and %d", ErrLimit, len(a.Devices), len(a.Held), MaxDevices, MaxHeld)
	}
	var holds [MaxDevices]bool
	for i, h := range a.Held {
		if i > 0 && h.Item < a.Held[i-1].Item || int(h.Device) >= len(a.Devices) || !a.HasItem(h.Item) {
			return fmt.Errorf("store: account with device %d that holds item %d: not in its lists", h.Device, h.Item)
		}
		holds[h.Device] = true
	}
	for i := range a.Devices {
		if !holds[i] {
			return fmt.Errorf("store: account with device %d that holds nothing", i)
		}
	}
	return nil
}

// The held items are packed as their places in the history, each with its devices
// in the order in which it was given to them:
//
//	devices, 16 bytes each; how many items are held; for each of these: how many
//	items of the history are passed over, how many devices, their numbers
func (a *Account) appendDevices(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(a.Devices)))
	for _, d := range a.Devices {
		b = append(b, d[:]...)
	}
	items := 0
	for i, h := range a.Held {
		if i == 0 || h.Item != a.Held[i-1].Item {
			items++
		}
	}
	b = binary.AppendUvarint(b, uint64(items))
	next := 0 // place in the history
	for from := 0; from < len(a.Held); {
		item := a.Held[from].Item
		at, _ := slices.BinarySearch(a.History, item)
		to := from
		for to < len(a.Held) && a.Held[to].Item == item {
			to++
		}
		b = binary.AppendUvarint(b, uint64(at-next))
		b = binary.AppendUvarint(b, uint64(to-from))
		for _, h := range a.Held[from:to] {
			b = binary.AppendUvarint(b, uint64(h.Device))
		}
		from, next = to, at+1
	}
	return b
}

// readDevices reads what appendDevices wrote, into an account that has its history.
func (a *Account) readDevices(r *reader) {
	n := r.count()
	if n == 0 || n > MaxDevices { // without devices the record has the older format
		r.fail()
		return
	}
	a.Devices = make([][16]byte, n)
	for i := range a.Devices {
		a.Devices[i] = r.id()
	}
	next := uint64(0)
	for range r.count() {
		next += r.uvarint()
		devices := r.count()
		if r.err != nil || next >= uint64(len(a.History)) || devices == 0 || devices > MaxHeld-len(a.Held) {
			r.fail()
			return
		}
		var seen [MaxDevices]bool
		for range devices {
			d := r.uvarint()
			if d >= uint64(n) || seen[d] {
				r.fail()
				return
			}
			seen[d] = true
			a.Held = append(a.Held, Held{a.History[next], uint16(d)})
		}
		next++
	}
	if r.err == nil && a.checkDevices() != nil {
		r.fail()
	}
}
