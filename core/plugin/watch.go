package plugin

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// watch looks at questions about apps beside the requests that ask them: it asks
// the shadows, and hands decisions to who records them. A request leaves a copy of
// its question and of what was answered, and goes on; one worker takes them one by
// one. What comes too fast is not looked at, and counted.
type watch struct {
	host        *Host
	shadowShare uint32
	recorder    Recorder // nil = none
	recordShare uint32
	jobs        chan *job
	size        atomic.Int64 // bytes of jobs
	missed      atomic.Uint64
	recording   recording

	mu      sync.RWMutex // closed, against those that leave something
	closed  bool
	started bool
	ctx     context.Context // of dry questions
	cancel  context.CancelFunc
	done    chan struct{}
}

// What waits for the worker at most.
const (
	maxJobs     = 256
	maxJobBytes = 8 << 20
)

// watchSalt draws the devices that are watched. It is the same for all that
// watches, so that a device is looked at wholly or not at all.
const watchSalt = "souk/watch"

// watching is what a question is looked at for.
type watching uint8

const (
	watchShadows watching = 1 << iota
	watchRecords
)

// asked is what one plugin said to a request.
type asked struct {
	g        *generation
	from, to int // the verdict among the answers; empty = none
	failure  *Failure
	fuel     uint64
	tape     *tape
}

// job is one question that was asked.
type job struct {
	set     *set // pinned
	stripe  uint32
	size    int64 // bytes of what it holds
	what    watching
	at      time.Time
	request []byte
	answers []byte
	asks    []asked
}

func newWatch(h *Host, o Options) *watch {
	w := &watch{host: h, shadowShare: o.ShadowShare, jobs: make(chan *job, maxJobs), done: make(chan struct{})}
	w.recorder, w.recordShare = o.Record, o.RecordShare
	for _, share := range []*uint32{&w.shadowShare, &w.recordShare} {
		if *share == 0 {
			*share = abi.Buckets
		}
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// start runs the worker, once.
func (w *watch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started || w.closed {
		return
	}
	w.started = true
	go func() {
		defer close(w.done)
		for j := range w.jobs {
			w.look(j)
		}
	}()
}

// close lets the worker end what it has, without asking anybody any more.
func (w *watch) close() {
	w.mu.Lock()
	started, closed := w.started, w.closed
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	if closed {
		<-w.done
		return
	}
	close(w.jobs) // nobody leaves anything: it is closed
	if !started {
		close(w.done)
	}
	<-w.done
}

// wants says what a question is to be looked at for.
func (w *watch) wants(s *set, hook abi.Hook, head *abi.Head) (what watching) {
	at := uint32(head.Seed % abi.Buckets) // nobody in particular: any request is as good
	if head.BucketKey != "" {
		at = abi.Bucket(head.BucketKey, watchSalt)
	}
	if len(s.shadows[hook]) > 0 && at < w.shadowShare {
		what |= watchShadows
	}
	if w.recorder != nil && s.has(hook) && at < w.recordShare {
		what |= watchRecords
	}
	return what
}

// leave hands over what a Call was answered. It never waits.
func (w *watch) leave(c *Call) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return
	}
	if w.size.Load() > maxJobBytes {
		w.miss(c.watching)
		return
	}
	j := &job{set: c.set, stripe: c.stripe, what: c.watching, at: w.host.loader.now()}
	j.request, j.asks = append(j.request, c.request...), append(j.asks, c.asks...)
	if len(c.asks) > 0 {
		base := c.asks[0].from
		j.answers = append(j.answers, c.answers[base:]...)
		for i := range j.asks {
			j.asks[i].from -= base
			j.asks[i].to -= base
			if tape := j.asks[i].tape; tape != nil {
				j.size += int64(tape.size)
			}
		}
	}
	j.size += int64(len(j.request) + len(j.answers))
	// The Call holds on to its set, so this can't be too late.
	w.host.hold(j.set, j.stripe)
	w.size.Add(j.size)
	select {
	case w.jobs <- j:
	default:
		w.miss(j.what)
		w.letGo(j)
	}
}

// miss counts a question that is not looked at.
func (w *watch) miss(what watching) {
	if what&watchShadows != 0 {
		w.missed.Add(1)
	}
	if what&watchRecords != 0 {
		w.recording.missed.Add(1)
	}
}

func (w *watch) letGo(j *job) {
	w.size.Add(-j.size)
	w.host.letGo(j.set, j.stripe)
}

// look looks at one question.
func (w *watch) look(j *job) {
	defer w.letGo(j)
	defer func() {
		if r := recover(); r != nil { // a mistake of ours must not end the process
			w.host.loader.log.Error("plugin: watch a question", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	q, err := ReadInquiry(j.request)
	if err != nil {
		w.host.loader.log.Log(w.ctx, slog.LevelWarn, "plugin: a question can't be watched", "error", err)
		return
	}
	l := &looked{watch: w, job: j, Inquiry: q, verdicts: map[*generation]Verdict{}}
	for i := range j.asks {
		l.verdicts[j.asks[i].g] = l.verdict(&j.asks[i])
	}
	if j.what&watchRecords != 0 {
		l.record()
	}
	switch {
	case j.what&watchShadows == 0:
	case !l.current():
		w.miss(watchShadows)
	default:
		live := q.Resolve(l.chain(j.set.chains[q.Hook]), len(j.set.chains[q.Hook]) > 0, w.host.rules)
		for _, s := range j.set.shadows[q.Hook] {
			l.shadow(s, live)
		}
	}
}

// looked is a question that is being looked at.
type looked struct {
	*watch
	*job
	*Inquiry
	verdicts map[*generation]Verdict // of the request, and those that were asked since
}

// current says whether the plugins that answered are still those that are asked.
// Those that were replaced are not asked any more: they are to be freed soon.
func (l *looked) current() bool { return l.ctx.Err() == nil && l.host.set.Load() == l.set }

// verdict reads what a plugin said to the request.
func (l *looked) verdict(a *asked) Verdict {
	v := Verdict{Plugin: a.g.name, OnError: a.g.spec.OnError, Failure: a.failure, Fuel: a.fuel, tape: a.tape}
	if a.to > a.from {
		// It was read before, and found good.
		v.read(l.Inquiry, l.answers[a.from:a.to], a.g)
	}
	return v
}

// chain is what the plugins of a chain answered, as far as that can change
// anything. What the request didn't come to asking is asked now, dry.
func (l *looked) chain(chain []*generation) (list []Verdict) {
	r := l.resolution()
	for _, g := range chain {
		v := l.of(g)
		list = append(list, v)
		if !r.meet(&v) {
			break
		}
	}
	return list
}

func (l *looked) of(g *generation) Verdict {
	v, ok := l.verdicts[g]
	if !ok {
		a := &aside{}
		if l.what&watchRecords != 0 {
			a.tape = &tape{secrets: g.secrets}
		}
		switch {
		case g.kv != nil && a.tape != nil:
			a.kv = taped{newView(g.kv), a.tape}
		case g.kv != nil:
			a.kv = newView(g.kv)
		}
		v = g.askDry(l.ctx, l.Inquiry, a)
		l.verdicts[g] = v
	}
	return v
}
