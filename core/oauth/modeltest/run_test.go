package modeltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

// bench is where histories happen, one after the other: its engine in memory is shared
// by many, each with keys of its own.
type bench struct {
	plugins  *plugin.Host
	attempts *oauth.Attempts // of all histories: they are not looked at here, and tables of a MiB
	memory   *badger.Engine
	now      atomic.Pointer[atomic.Int64] // the clock of the present history
	used     int
	dir      string
}

// fresh is after how many histories the engine in memory is replaced: nothing is ever
// given back in it.
const fresh = 500

func (b *bench) clock() time.Time {
	if now := b.now.Load(); now != nil {
		return time.UnixMilli(now.Load()).UTC()
	}
	return time.UnixMilli(0)
}

func (b *bench) engine(s *script) (store.Engine, error) {
	if s.disk {
		return badger.Open(badger.Options{Dir: filepath.Join(b.dir, "life-0"), Now: b.clock})
	}
	if b.memory != nil && b.used >= fresh {
		if err := b.close(); err != nil {
			return nil, err
		}
	}
	if b.memory == nil {
		e, err := badger.Open(badger.Options{InMemory: true, Now: b.clock})
		if err != nil {
			return nil, err
		}
		b.memory, b.used = e, 0
	}
	b.used++
	return b.memory, nil
}

func (b *bench) close() error {
	if b.memory == nil {
		return nil
	}
	err := b.memory.Close()
	b.memory = nil
	return err
}

// began numbers histories, for the keys of the shared engine.
var began atomic.Int64

// run lets a history happen.
func (b *bench) run(s *script, p *plant) (w *world, err error) {
	if p == nil {
		p = &plant{}
	}
	p.begin()
	seed := [32]byte{}
	for i := range 8 {
		seed[i] = byte(s.seed >> (8 * i))
	}
	w = &world{
		script: s, plugins: b.plugins, attempts: b.attempts, plant: p, space: fmt.Sprintf("%d/", began.Add(1)),
		rng: rand.New(rand.NewPCG(s.seed, 2)), random: &random{rng: rand.NewChaCha8(seed)},
		oldest: 1, texts: map[string]int{}, born: map[string]*life{}, pairs: map[string]pair{}, tally: tally{},
	}
	w.newest.Store(1)
	w.now.Store(2_000_000_000_000 + int64(s.seed%1000))
	b.now.Store(&w.now)
	engine, err := b.engine(s)
	if err != nil {
		return nil, err
	}
	chances := chance{rng: rand.New(rand.NewPCG(s.seed, 3)), faults: s.faults}
	var stage stage
	if s.racing {
		stage = &crowd{w: w, gate: &atOnce{chance: chances}, slots: make(chan struct{}, s.callers)}
	} else {
		stage = &turns{w: w, gate: &inTurn{chance: chances, parked: make(chan *parked), queue: s.seed%2 == 0, tick: w.tick}}
	}
	if err := w.open(engine, stage.gates()); err != nil {
		return nil, err
	}
	err = b.play(w, stage)
	if s.disk {
		engine = w.life.engine
		if e := engine.Close(); err == nil {
			err = e
		}
		if e := os.RemoveAll(b.dir); err == nil {
			err = e
		}
	}
	return w, err
}

// stage is how calls run: in turn or at once.
type stage interface {
	gates() gate
	start(o *op)
	wait()         // for all that are under way
	kill()         // the process dies: all that are under way come to no end
	quiet(on bool) // no more faults
}

// play goes through the script.
func (b *bench) play(w *world, stage stage) error {
	lives := 0
	for _, st := range w.script.steps {
		switch {
		case st.do == deedCrash:
			lives++
			if err := b.crash(w, stage, lives); err != nil {
				return err
			}
			if st.how%2 == 0 { // or the process dies before it comes to that
				w.mu.Lock()
				o := w.finishSignOuts()
				w.mu.Unlock()
				stage.start(o)
			}
		case st.do == deedWait && st.move > within, st.do == deedRetire, st.do == deedPause:
			stage.wait()
			fallthrough
		default:
			w.mu.Lock()
			o := w.take(st)
			w.mu.Unlock()
			if o != nil {
				stage.start(o)
			}
		}
	}
	stage.wait()
	stage.quiet(true)
	// At the end everybody uses what they hold, before and after one more crash.
	for range 2 {
		if err := w.noted(); err != nil {
			return err
		}
		run := func(o *op) {
			stage.start(o)
			stage.wait()
		}
		for _, f := range w.signIns {
			for i, text := range f.access {
				if i+2 >= len(f.access) {
					run(w.bearer(f, text))
				}
			}
		}
		for _, p := range w.parties {
			if !p.thief && !p.out {
				run(w.refresh(p, p.refresh, false, false))
			}
		}
		lives++
		if err := b.crash(w, stage, lives); err != nil {
			return err
		}
	}
	w.mu.Lock()
	o := w.finishSignOuts()
	w.mu.Unlock()
	stage.start(o)
	stage.wait()
	if err := w.finished(o); err != nil {
		return err
	}
	w.forks(func(o *op) { stage.start(o); stage.wait() }, func(ms int64) {
		w.mu.Lock()
		w.move(time.Duration(ms) * time.Millisecond)
		w.mu.Unlock()
	})
	w.invariants()
	return nil
}

// crash ends the process wherever it is, and starts it again over what the engine has.
func (b *bench) crash(w *world, stage stage, number int) error {
	stage.kill()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally["crashes"]++
	engine := w.life.engine
	if w.script.disk {
		w.tally["crashes on disk"]++
		from, to := filepath.Join(b.dir, fmt.Sprint("life-", number-1)), filepath.Join(b.dir, fmt.Sprint("life-", number))
		if err := copyFiles(to, from); err != nil {
			return err
		}
		next, err := badger.Open(badger.Options{Dir: to, Now: b.clock})
		if err != nil {
			return fmt.Errorf("open the files as a crash has left them: %w", err)
		}
		if err := engine.Close(); err != nil { // the one that died: its files are of no use
			return err
		}
		if err := os.RemoveAll(from); err != nil {
			return err
		}
		engine = next
	}
	o := w.begin(&op{call: call{kind: kindCrash}, what: "the process dies and starts again"})
	if err := w.open(engine, stage.gates()); err != nil {
		return err
	}
	w.complete(o, answer{}, nil)
	o.answer = answer{outcome: done}
	return nil
}

// take makes what a line of the script says of what there is. Called with mu held.
func (w *world) take(st step) *op {
	pick := func(n int) int { return int(st.pick % uint32(n)) }
	var fit []*family
	families := func(ok func(*family) bool) *family {
		fit = fit[:0]
		for _, f := range w.signIns {
			if ok(f) {
				fit = append(fit, f)
			}
		}
		if len(fit) == 0 {
			return nil
		}
		return fit[pick(len(fit))]
	}
	parties := func(ok func(*party) bool) *party {
		var fit []*party
		for _, p := range w.parties {
			if ok(p) {
				fit = append(fit, p)
			}
		}
		if len(fit) == 0 {
			return nil
		}
		return fit[pick(len(fit))]
	}
	switch st.do {
	case deedSignIn:
		if len(w.signIns) < 6 {
			return w.signIn(st.how)
		}
	case deedRedeem:
		if f := families(func(f *family) bool { return f.code != "" && !f.tried }); f != nil {
			return w.redeem(f, false, false, st.lose)
		}
	case deedSecond:
		if f := families(func(f *family) bool { return f.code != "" && f.tried }); f != nil {
			return w.redeem(f, st.how%8 == 0, st.how%8 == 1, false)
		}
	case deedForge:
		if f := families(func(f *family) bool { return f.code != "" }); f != nil {
			return w.redeem(f, st.how%2 == 0, st.how%2 == 1, false)
		}
	case deedIssue:
		if len(w.subjects) < 4 {
			return w.issue()
		}
	case deedExchange:
		if len(w.subjects) > 0 && len(w.signIns) < 6 {
			client := 1
			if st.how%4 == 0 {
				client = 2
			}
			return w.exchange(w.subjects[len(w.subjects)-1-pick(min(2, len(w.subjects)))], client, st.lose)
		}
	case deedRefresh:
		// While a device waits for an answer it may ask again, for the same.
		if p := parties(func(p *party) bool { return !p.thief && !p.out && (p.asking == 0 || p.sending == p.refresh) }); p != nil {
			return w.refresh(p, p.refresh, false, st.lose)
		}
	case deedStranger:
		if p := parties(func(p *party) bool { return p.asking == 0 }); p != nil {
			return w.refresh(&party{number: p.number, family: p.family, thief: true}, p.refresh, true, true)
		}
	case deedCopy:
		if p := parties(func(p *party) bool { return !p.thief }); p != nil && len(w.parties) < 12 {
			text := p.refresh
			if n := len(p.before); n > 0 && st.how%3 == 0 {
				text = p.before[int(st.how/3)%n]
			}
			thief := w.holder(p.family, text)
			thief.thief = true
			w.say("thief %d has copied generation %d of sign-in %d from party %d", thief.number, w.pairs[text].generation, p.family.number, p.number)
		}
	case deedSteal:
		if p := parties(func(p *party) bool { return p.thief && !p.out }); p != nil {
			p.family.tainted = true
			return w.refresh(p, p.refresh, false, st.lose)
		}
	case deedReturn:
		if p := parties(func(p *party) bool { return p.out }); p != nil {
			p.family.tainted = true
			return w.refresh(p, p.refresh, false, false)
		}
	case deedBearer:
		if f := families(func(f *family) bool { return len(f.access) > 0 }); f != nil {
			n := len(f.access)
			if at := n - 1 - int(st.how%3); at >= 0 {
				n = at
			} else {
				n = 0
			}
			return w.bearer(f, f.access[n])
		}
	case deedRevoke:
		if f := families(func(f *family) bool { return f.named }); f != nil {
			return w.revoke(f)
		}
	case deedSignOut:
		return w.signOut()
	case deedWait:
		w.move(st.move)
	case deedKey:
		if int(w.newest.Load()) < keysAtMost {
			kid := byte(w.newest.Add(1))
			for _, o := range w.running {
				o.call.kids = append(o.call.kids, kid)
			}
			w.say("key %d is the current one", kid)
			w.tally["new key"]++
		}
	case deedRetire:
		if w.oldest < int(w.newest.Load()) {
			w.say("key %d is retired", w.oldest)
			w.oldest++
			w.tally["retired key"]++
		}
	}
	return nil
}

// do runs an op to its end.
func (w *world) do(ctx context.Context, o *op) {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, opKey{}, o))
	defer cancel()
	a, err := o.run(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complete(o, a, err)
}

// turns lets one caller move at a time.
type turns struct {
	w       *world
	gate    *inTurn
	waiting []*parked
}

func (t *turns) gates() gate { return t.gate }

func (t *turns) quiet(on bool) { t.gate.chance.faults = 0 }

// start begins a call, after others have moved a little.
func (t *turns) start(o *op) {
	for len(t.waiting) >= t.w.script.callers || len(t.waiting) > 0 && t.w.rng.IntN(3) > 0 {
		t.next()
	}
	go func() {
		t.w.do(context.Background(), o)
		t.gate.parked <- &parked{ended: true}
	}()
	t.settle()
}

// settle waits until the one that moves has come to a call to the engine, or its end.
func (t *turns) settle() {
	if p := <-t.gate.parked; !p.ended {
		t.waiting = append(t.waiting, p)
	}
}

// next moves one of those that wait. Now and then a write that was kept happens.
func (t *turns) next() {
	if n := len(t.gate.kept); n > 0 && t.w.rng.IntN(8) == 0 {
		t.gate.release(t.gate.kept[t.w.rng.IntN(n)].key)
	}
	i := t.w.rng.IntN(len(t.waiting))
	p := t.waiting[i]
	t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
	fate := fateRun
	if !p.after {
		fate = t.gate.chance.draw(p.ctx, p.write)
	}
	p.go_ <- fate
	t.settle()
}

func (t *turns) wait() {
	for len(t.waiting) > 0 {
		t.next()
	}
	for len(t.gate.kept) > 0 {
		t.gate.release(t.gate.kept[0].key)
	}
}

// kill lets each call that waits happen or not, and nobody hear of it.
func (t *turns) kill() {
	for _, k := range t.gate.kept {
		if t.w.rng.IntN(2) == 0 {
			k.do()
		}
		k.op.landed(t.w.tick())
	}
	t.gate.kept = nil
	t.w.life.port.dead.Store(true)
	for len(t.waiting) > 0 {
		i := t.w.rng.IntN(len(t.waiting))
		p := t.waiting[i]
		t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
		fate := fateDead
		if !p.after && t.w.rng.IntN(2) == 0 {
			fate = fateDying
		}
		p.go_ <- fate
		t.settle()
	}
}

// crowd lets callers run freely.
type crowd struct {
	w     *world
	gate  *atOnce
	slots chan struct{}
	under sync.WaitGroup
	mu    sync.Mutex
	open  []*op // what they wrote may still be in the engine's queue
}

func (c *crowd) gates() gate { return c.gate }

func (c *crowd) quiet(on bool) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.chance.faults, c.gate.patient = 0, true
}

// start lets a call run. Some callers lose their patience while the engine works for
// them, which is how an outcome comes to be unknown. A write of an account is finished
// by a goroutine of its own then, which nobody can wait for, so these are patient.
func (c *crowd) start(o *op) {
	c.slots <- struct{}{}
	patience := time.Duration(0)
	switch o.call.kind {
	case kindRedeem, kindRefresh, kindExchange, kindRevoke:
		if c.gate.draws(5) == 0 {
			patience = time.Duration(1+c.gate.draws(300)) * time.Microsecond
		}
	}
	c.under.Go(func() {
		ctx := context.Background()
		if patience > 0 {
			var stop context.CancelFunc
			ctx, stop = context.WithTimeout(ctx, patience)
			defer stop()
		}
		c.w.do(ctx, o)
		if o.answer.outcome == unknown {
			c.mu.Lock()
			c.open = append(c.open, o)
			c.mu.Unlock()
		}
		<-c.slots
	})
}

// wait is for the engine's queue too: once a write has its answer, those before it have
// happened or never will.
func (c *crowd) wait() {
	c.under.Wait()
	_, err := c.w.life.engine.Update(context.Background(), store.Key{Table: 'M', Part: c.w.space + "queue"}, func(*store.Item) (*store.Write, error) {
		return &store.Write{}, nil
	})
	if err != nil {
		c.w.fault("wait for the engine: %v", err)
	}
	for _, o := range c.open {
		o.landed(c.w.tick())
	}
	c.open = nil
}

func (c *crowd) kill() {
	c.w.life.port.dead.Store(true)
	c.wait()
}
