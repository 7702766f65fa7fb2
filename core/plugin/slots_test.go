package plugin_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// blocked is a host with one instance, which waits in kv_get until told to go on.
func blocked(t *testing.T) (*plugin.Host, *store) {
	kv := &store{waiting: make(chan struct{}), release: make(chan struct{})}
	s := spec("probe", probe("kv_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100 call kv_get"))
	s.Allow, s.Instances = []string{"kv"}, 1
	s.HostDeadline = 1 << 40 // 18 minutes
	return open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open}), kv
}

func TestBusyInstances(t *testing.T) {
	h, kv := blocked(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := entitle(t, h, 1, abi.Head{})[0]; got.Failed || int32(got.Code) != int32(abi.CodeNotFound) {
			t.Errorf("the first: %+v, want it to be answered", got)
		}
	})
	<-kv.waiting

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	c := h.Acquire()
	c.Entitle.Apps = make([]abi.EntitleApp, 1)
	if got := c.AskEntitle(ctx)[0]; got.Decision != deny || !got.Failed {
		t.Errorf("one that can't wait: %+v, want a denial because it failed", got)
	}
	c.Release()
	wantFailure(t, h, "probe", "entitle", plugin.KindBusy, 1)

	for range 3 { // and some that can
		wg.Go(func() {
			if got := entitle(t, h, 1, abi.Head{})[0]; got.Failed {
				t.Errorf("one that waits: %+v, want it to be answered", got)
			}
		})
	}
	for range 4 {
		kv.release <- struct{}{}
		select {
		case <-kv.waiting:
		case <-t.Context().Done():
		case <-after(&wg):
		}
	}
	wg.Wait()
}

// A queue in which all give up is the longest of all: that they got no instance must not
// hide how long they waited.
func TestThoseThatGiveUpHaveWaited(t *testing.T) {
	h, kv := blocked(t)
	var wg sync.WaitGroup
	wg.Go(func() { entitle(t, h, 1, abi.Head{}) })
	<-kv.waiting

	const asked, patience = 8, 5 * time.Millisecond
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	for range asked {
		wg.Go(func() {
			c := h.Acquire()
			defer c.Release()
			c.Entitle.Apps = make([]abi.EntitleApp, 1)
			if got := c.AskEntitle(ctx)[0]; !got.Failed {
				t.Errorf("one that can't wait: %+v, want that it failed", got)
			}
		})
	}
	for plugin.Waiting(h, abi.HookEntitle) < asked {
		runtime.Gosched()
	}
	<-time.After(patience)
	giveUp()
	for have := uint64(0); have < asked; have, _ = h.Waits() { // while nobody has an answer
		runtime.Gosched()
	}
	n, together := h.Waits()
	if n != asked || together < asked*patience {
		t.Errorf("%d questions waited for %v, want %d that waited for %v at least", n, together, asked, asked*patience)
	}
	kv.release <- struct{}{}
	wg.Wait()
	if hook := h.Plugins()[0].Hooks[0]; hook.Waits != asked || hook.WaitedNS < uint64(asked*patience) {
		t.Errorf("of the hook %d questions waited for %v, want %d", hook.Waits, time.Duration(hook.WaitedNS), asked)
	}

	// Where nobody else may wait, nobody did: a zero would make the queue look short.
	defer plugin.FillQueue(h)()
	wg.Go(func() { entitle(t, h, 1, abi.Head{}) })
	<-kv.waiting
	if got := entitle(t, h, 1, abi.Head{})[0]; !got.Failed {
		t.Errorf("one that may not even wait: %+v, want that it failed", got)
	}
	if again, longer := h.Waits(); again != n || longer != together {
		t.Errorf("%d questions waited for %v, want %d and %v as before", again, longer, n, together)
	}
	wantFailure(t, h, "probe", "entitle", plugin.KindBusy, asked+1)
	kv.release <- struct{}{}
	wg.Wait()
}

func after(wg *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	return done
}

func TestHostTimeHasItsOwnDeadline(t *testing.T) {
	kv := &store{waiting: make(chan struct{}, 9), release: make(chan struct{})}
	s := spec("probe", probe("kv_get", "i32.const 8192 i32.const 3 i32.const 16384 i32.const 100 call kv_get"))
	s.Allow, s.Instances = []string{"kv"}, 1
	s.HostDeadline, s.Deadline = 40_000_000, 1_000_000 // 40 ms and 1 ms
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open})
	got := entitle(t, h, 1, abi.Head{})[0]
	if got.Failed || int32(got.Code) != int32(abi.CodeFailed) {
		t.Errorf("kv_get without an end answers %d (%+v), want %d and the guest to go on", int32(got.Code), got, abi.CodeFailed)
	}
}

func TestManyAskersOfFewInstances(t *testing.T) {
	s := spec("a", constant("entitle", decisions(allow)))
	s.Instances = 1
	h := openSpecs(t, s)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 500 {
				if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != allow {
					t.Errorf("AskEntitle = %+v, want an allowance", got)
					return
				}
			}
		})
	}
	wg.Wait()
	if calls := h.Plugins()[0].Hooks[0].Calls; calls != 32*500 {
		t.Errorf("%d calls are counted, want %d", calls, 32*500)
	}
}

func TestCloseWaitsForQuestions(t *testing.T) {
	h, kv := blocked(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := entitle(t, h, 1, abi.Head{})[0]; got.Failed {
			t.Errorf("a question before Close: %+v, want it to be answered", got)
		}
	})
	<-kv.waiting
	wg.Go(func() { h.Close(context.Background()) })
	kv.release <- struct{}{}
	wg.Wait()
	if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != deny || !got.Failed {
		t.Errorf("a question after Close: %+v, want a failure", got)
	}
	c := h.Acquire()
	defer c.Release()
	if _, _, err := c.AskExchange(t.Context()); !errors.Is(err, plugin.ErrFailed) {
		t.Errorf("AskExchange after Close: %v, want %v", err, plugin.ErrFailed)
	}
}

func TestAFailedRestartIsAFailure(t *testing.T) {
	h := openSpecs(t, policy("a", "entitle", []byte("trap"), ""))
	entitle(t, h, 1, abi.Head{})
	plugin.BreakStart(h)
	if got := entitle(t, h, 1, abi.Head{})[0]; got.Decision != deny || !got.Failed {
		t.Errorf("AskEntitle = %+v, want a denial because it failed", got)
	}
	if have := failuresOf(h, "a", "entitle"); have["trap"] != 1 || have["unavailable"] != 1 {
		t.Errorf("failures = %v, want a trap and an unavailable", have)
	}
}

func TestThrownAwayInstancesAreFreed(t *testing.T) {
	h := openSpecs(t, policy("a", "entitle", []byte("trap"), ""))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 300 { // of more than 1 MiB each
		entitle(t, h, 1, abi.Head{})
	}
	if after := heap(); after > before+32<<20 {
		t.Errorf("the heap grew from %d to %d MiB", before>>20, after>>20)
	}
}
