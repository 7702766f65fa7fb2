//go:build !wasip1

package abi_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

// TestPackedMessages holds what is written from packed candidates against what is written
// from the records themselves.
func TestPackedMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var w abi.SelectVersionWriter
	for range 300 {
		var q abi.SelectVersionRequest
		randomize(r, reflect.ValueOf(&q).Elem())
		before := []byte("before")[:r.IntN(7)]
		want := q.Append(bytes.Clone(before))

		w.Begin(bytes.Clone(before), &q, len(q.Apps))
		for i := range q.Apps {
			a := &q.Apps[i]
			w.App(a.Item, a.Installed, a.BundleID, a.Channel, len(a.Candidates))
			for _, c := range a.Candidates {
				minOS, flags := c.MinOS, c.Flags
				c.MinOS, c.Flags = r.Uint32(), abi.CandidateFlags(r.Uint32()) // of who was asked about before
				w.Candidate(c.Pack(), minOS, flags)
			}
		}
		if got := w.Finish(); !bytes.Equal(got, want) {
			t.Fatalf("from packed candidates\n%x, want\n%x", got, want)
		}
		for i := range q.Apps {
			if len(w.Candidates) != len(q.Apps) || w.Candidates[i] != len(q.Apps[i].Candidates) {
				t.Fatalf("%v candidates were counted of %v", w.Candidates, q.Apps)
			}
		}
	}
}

// TestPackedMessagesAnnounced holds that what was announced and is not written is empty,
// and not what lay there before.
func TestPackedMessagesAnnounced(t *testing.T) {
	dirty := bytes.Repeat([]byte{0xaa}, 4<<10)
	c := abi.Candidate{Version: 7, Salt: "salt", Short: "7.0"}
	app := abi.SelectVersionApp{Item: 1, BundleID: "com.example.app", Candidates: []abi.Candidate{c, {}, {}}}
	want := (&abi.SelectVersionRequest{Apps: []abi.SelectVersionApp{app, {Item: 2, Candidates: make([]abi.Candidate, 1)}, {}}}).Append(nil)

	var w abi.SelectVersionWriter
	w.Begin(dirty[:0], &abi.SelectVersionRequest{Apps: []abi.SelectVersionApp{{Item: 3}}}, 3)
	w.App(app.Item, 0, app.BundleID, "", 3)
	w.Candidate(c.Pack(), 0, 0)
	w.App(2, 0, "", "", 1)
	if got := w.Finish(); !bytes.Equal(got, want) {
		t.Errorf("what is announced is written as\n%x, want\n%x", got, want)
	}
}
