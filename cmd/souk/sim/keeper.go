package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// keeper remembers the refresh tokens of devices: about 150 bytes each, for those that
// ask in the time of the run. This is what no hash can stand in for, and why scenarios
// with refreshes have a million devices, and not a hundred million.
type keeper struct {
	devices map[uint64]*kept
	signed  atomic.Uint64 // devices that were signed out
	lost    atomic.Uint64 // answers
	later   atomic.Uint64 // that were asked for again with the token before
}

// kept is one device. A device does one thing at a time.
type kept struct {
	mu      sync.Mutex
	refresh []byte // nil = it was signed out
	lost    bool   // the last answer was
	times   uint64 // that it has refreshed
}

func (k *keeper) fill(devices []uint64, refresh []string) {
	k.devices = make(map[uint64]*kept, len(devices))
	for i, d := range devices {
		k.devices[d] = &kept{refresh: []byte(refresh[i])}
	}
}

// tokens are what a refresh gives.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Type    string `json:"token_type"`
	Expires *int64 `json:"expires_in"`
}

// renew refreshes the tokens of a device, and leaves the access token in w.token. With
// lose the answer gets lost on its way.
func (w *worker) renew(d *kept, due time.Duration, lose bool) bool {
	r, c := w.r, w.r.checks.refresh
	w.body = append(append(w.body[:0], "grant_type=refresh_token&refresh_token="...), d.refresh...)
	w.out = appendPost(w.out[:0], r.host, pathToken, formType, nil, w.body)
	if lose {
		if w.drop() {
			d.lost = true
			r.keeper.lost.Add(1)
		}
		return false
	}
	rp, ok := w.exchange(due, func(status int) string {
		if status == 200 {
			return classRefresh
		}
		return w.refused(status)
	})
	if !ok {
		return false
	}
	if rp.status != 200 {
		c.hold(false, func() string {
			return fmt.Sprintf("device %d was signed out: its %d. refresh was answered %d: %.200s (the answer before was lost: %v)",
				w.device.Index, d.times+1, rp.status, w.response.Body(), d.lost)
		})
		d.refresh = nil
		r.keeper.signed.Add(1)
		return false
	}
	t, err := readTokens(w.response.Body())
	good := err == nil && t.Refresh != "" && !bytes.Equal(d.refresh, []byte(t.Refresh))
	c.hold(good, func() string {
		return fmt.Sprintf("device %d: a refresh was answered without two new tokens (%v)", w.device.Index, err)
	})
	if !good {
		return false
	}
	life := time.Duration(*t.Expires) * time.Second
	if r.exact && !d.lost { // a token that is given once more to who asks late may be nearly over
		took := r.clock.simulated(rp.answered - rp.sent) // of the life, too
		c.hold(life >= accessLife-took-time.Second, func() string {
			return fmt.Sprintf("device %d: a refresh has given a token that is good for %v", w.device.Index, life)
		})
	}
	if d.lost {
		r.keeper.later.Add(1)
		d.lost = false
	}
	d.times++
	d.refresh = append(d.refresh[:0], t.Refresh...)
	w.token, w.expires = append(w.token[:0], t.Access...), w.r.clock.Now().Add(min(max(0, life), accessLife))
	return true
}

// drop sends what is in w.out and closes the connection when the answer begins: the
// server has done what it was asked, and nobody gets to know. Without an answer, nothing
// gets lost.
func (w *worker) drop() (lost bool) {
	w.r.tally.again()
	err := w.line.send(w.out)
	if err == nil {
		_, err = w.line.in.Peek(1)
	}
	w.line.close()
	w.free = w.r.clock.since()
	w.r.checks.answered.hold(err == nil, func() string {
		return fmt.Sprintf("device %d: its refresh got no answer that could get lost: %v", w.device.Index, err)
	})
	return err == nil
}

// readTokens reads the answer of the token endpoint as a device does.
func readTokens(body []byte) (t tokens, err error) {
	if err = json.Unmarshal(body, &t); err == nil && (t.Access == "" || t.Type == "" || t.Expires == nil) {
		err = errors.New("the answer lacks a key that a device needs")
	}
	return t, err
}
