package token_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/token"
)

// poolClock is a time that a test moves.
type poolClock struct{ ms atomic.Int64 }

func (c *poolClock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *poolClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func newPool(t testing.TB, most int) (*token.InstallPool, *poolClock) {
	c := &poolClock{}
	c.ms.Store(1623085200_000)
	s := installSigner(t)
	s.Now = c.now
	p := token.NewInstallPool(s, most)
	p.Idle = func() bool { return true }
	return p, c
}

// claimsOf reads what a token says.
func claimsOf(t testing.TB, jws []byte) (claims struct {
	Bid, Iid, Vid, Dtype, Nonce string
	Iat                         int64
}) {
	t.Helper()
	parts := strings.Split(string(jws), ".")
	if len(parts) != 3 {
		t.Fatalf("token %q has %d parts, want 3", jws, len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatalf("token %s: %v", jws, err)
	}
	return claims
}

func offer(t testing.TB, p *token.InstallPool, c token.InstallClaims, times int) (last []byte) {
	t.Helper()
	for range times {
		tok, err := p.Append(nil, c, p.Signer.Now())
		if err != nil {
			t.Fatal(err)
		}
		last = tok
	}
	return last
}

func warm(t testing.TB, p *token.InstallPool, n int, claims ...token.InstallClaims) {
	t.Helper()
	if err := p.Warm(t.Context(), n, claims...); err != nil {
		t.Fatal(err)
	}
}

func item(n uint64) token.InstallClaims {
	return token.InstallClaims{BundleID: "com.example.app", Item: n, Version: n * 10, Redownload: true}
}

// Takers, a filler, sweeps and drops at the same time: no token is given out twice, and
// each signature is accounted for.
func TestPoolGivesEachTokenOnce(t *testing.T) {
	const takers, each, most = 8, 400, 300
	p, clock := newPool(t, most)
	var off atomic.Bool
	p.Offer = func(c token.InstallClaims) bool { return c.Item != 2 || !off.Load() }
	kinds := []token.InstallClaims{item(1), item(2), item(3), {BundleID: "com.example.app", Item: 1, Version: 10}}
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			p.Forecast()
			p.FillUp()
			if s := p.Stats(); s.Ready > most || s.Bytes > most*(token.MaxToken+1) {
				t.Errorf("the pool has %d tokens in %d bytes, want %d tokens at most", s.Ready, s.Bytes, most)
			}
			clock.advance(700 * time.Millisecond)
		}
	})
	others.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			off.Store(i%2 == 0)
			p.Sweep()
			if i%64 == 0 {
				clock.advance(token.DefaultInstallLife / 2)
			}
			_ = p.Warm(ctx, 20, kinds[i%len(kinds)]) // no room, or not offered: as it comes
		}
	})
	got := make([][][]byte, takers)
	var wg sync.WaitGroup
	for i := range takers {
		wg.Go(func() {
			for n := range each {
				tok, err := p.Append(nil, kinds[(i+n)%len(kinds)], p.Signer.Now())
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = append(got[i], tok)
			}
		})
	}
	wg.Wait()
	stop()
	others.Wait()
	seen := map[string]bool{}
	for i := range got {
		for n, tok := range got[i] {
			c := claimsOf(t, tok)
			if seen[c.Nonce] {
				t.Fatalf("nonce %s was given out twice", c.Nonce)
			}
			seen[c.Nonce] = true
			want := map[bool]string{true: "redownload", false: "download"}[kinds[(i+n)%len(kinds)].Redownload]
			if c.Dtype != want {
				t.Fatalf("dtype %s, want %s", c.Dtype, want)
			}
			if n%50 == 0 && !verifyES256(&p.Signer.Key.PublicKey, string(tok)) {
				t.Fatalf("signature of %s does not verify", tok)
			}
		}
	}
	s := p.Stats()
	if s.Served == 0 || s.Inline == 0 || s.Dropped == 0 {
		t.Errorf("%+v: the test has to see tokens served, signed inline and dropped", s)
	}
	if s.Served+s.Inline != takers*each {
		t.Errorf("%d served and %d inline, want %d together", s.Served, s.Inline, takers*each)
	}
	if signed := p.Signer.Signed(); signed != s.Served+s.Inline+s.Dropped+uint64(s.Ready) {
		t.Errorf("%d signatures, want those of %+v", signed, s)
	}
}

func TestPoolDropsAtHalfOfTheLife(t *testing.T) {
	p, clock := newPool(t, 100)
	warm(t, p, 10, item(1))
	signed := p.Signer.Signed()
	clock.advance(token.DefaultInstallLife/2 - time.Millisecond)
	before := clock.now().Unix() - int64(token.DefaultInstallLife/2/time.Second) + 1
	if c := claimsOf(t, offer(t, p, item(1), 1)); c.Iat != before || p.Signer.Signed() != signed {
		t.Errorf("just before half of its life a token of %d was given out after %d signatures, want that of %d", c.Iat, p.Signer.Signed()-signed, before)
	}
	clock.advance(time.Millisecond)
	if c := claimsOf(t, offer(t, p, item(1), 1)); c.Iat != clock.now().Unix() {
		t.Errorf("at half of its life a token of %d was given out, want a new one", c.Iat)
	}
	if s := p.Stats(); s.Dropped != 9 || s.Ready != 0 || s.Bytes != 0 {
		t.Errorf("%+v, want 9 dropped and none kept", s)
	}
	// Nobody has to ask for that: a sweep is enough, and so is a clock that was put back.
	warm(t, p, 10, item(1))
	clock.advance(token.DefaultInstallLife)
	p.Sweep()
	if s := p.Stats(); s.Dropped != 19 || s.Ready != 0 || s.Bytes != 0 {
		t.Errorf("after a sweep: %+v, want 19 dropped", s)
	}
	warm(t, p, 10, item(1))
	clock.advance(-time.Minute)
	if c := claimsOf(t, offer(t, p, item(1), 1)); c.Iat != clock.now().Unix() {
		t.Errorf("a token of %d was given out at %d: it isn't valid yet", c.Iat, clock.now().Unix())
	}
}

func TestPoolIsBounded(t *testing.T) {
	p, _ := newPool(t, 100)
	warm(t, p, 60, item(1))
	err := p.Warm(t.Context(), 60, item(2))
	if err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("Warm beyond the bound: %v, want an error that names it", err)
	}
	if s := p.Stats(); s.Ready != 100 || s.Bytes < 100*300 || s.Bytes > 100*(token.MaxToken+1) {
		t.Errorf("%+v, want 100 tokens and their bytes", s)
	}
	// A token that is longer than any should be is signed when it is asked for.
	p, _ = newPool(t, 100)
	p.Signer.KeyID = strings.Repeat("k", token.MaxToken)
	if err := p.Warm(t.Context(), 1, item(1)); err == nil {
		t.Error("Warm with tokens that are too long: no error")
	}
	offer(t, p, item(1), 20)
	p.Forecast()
	p.FillUp()
	if s := p.Stats(); s.Ready != 0 || s.Bytes != 0 || s.Inline != 20 {
		t.Errorf("%+v, want none kept of tokens that are too long", s)
	}
	// None may be kept at all.
	p, _ = newPool(t, 0)
	offer(t, p, item(1), 3)
	p.Expect(item(1), 10)
	p.Forecast()
	p.FillUp()
	if s := p.Stats(); s != (token.PoolStats{}) || p.Signer.Signed() != 3 {
		t.Errorf("a pool of none: %+v and %d signatures, want 3", s, p.Signer.Signed())
	}
	// Nor are more kinds counted than there is room for.
	p, _ = newPool(t, 100)
	for round := range uint64(8) {
		for i := range uint64(token.MaxSupplies / 4) {
			p.Expect(item(1+round*token.MaxSupplies+i), 1)
		}
		if n := len(p.Forecast()); n > token.MaxSupplies {
			t.Fatalf("%d kinds are counted, want %d at most", n, token.MaxSupplies)
		}
	}
	p.Expect(item(1_000_000), 50)
	if want := p.Forecast(); want[item(1_000_000)] != 50 {
		t.Errorf("%d tokens are wanted of what is expected, want 50: many others are in its place", want[item(1_000_000)])
	}
}

func TestPoolKeepsNothingThatIsNotOffered(t *testing.T) {
	p, clock := newPool(t, 1000)
	var halted atomic.Bool
	p.Offer = func(c token.InstallClaims) bool { return c.Item != 1 || !halted.Load() }
	warm(t, p, 100, item(1), item(2))
	halted.Store(true)
	p.Sweep()
	if s := p.Stats(); s.Ready != 100 || s.Dropped != 100 {
		t.Errorf("after the halt: %+v, want 100 dropped and 100 kept", s)
	}
	if err := p.Warm(t.Context(), 1, item(1)); err == nil {
		t.Error("Warm of what is not offered: no error")
	}
	p.Expect(item(1), 100)
	for range 3 { // requests of before the halt that end after it
		offer(t, p, item(1), 1000)
		clock.advance(time.Second)
		p.Forecast()
		p.FillUp()
	}
	if s := p.Stats(); s.Ready != 100 || s.Inline != 3000 {
		t.Errorf("asked for again: %+v, want none of what is halted", s)
	}
	halted.Store(false)
	p.Forecast()
	p.FillUp()
	if s := p.Stats(); s.Ready <= 100 {
		t.Errorf("resumed: %+v, want tokens again", s)
	}
}

// A halt that comes while a batch is being signed empties that one too.
func TestPoolDropsWhatIsBeingSigned(t *testing.T) {
	p, _ := newPool(t, 1000)
	var halted atomic.Bool
	p.Offer = func(token.InstallClaims) bool { return !halted.Load() }
	p.Signer.Rand = readerFunc(func(b []byte) (int, error) {
		halted.Store(true)
		p.Sweep()
		return len(b), nil
	})
	if err := p.Warm(t.Context(), 3, item(1)); err == nil {
		t.Error("Warm during a halt: no error")
	}
	if s := p.Stats(); s.Ready != 0 || s.Bytes != 0 || s.Dropped != 3 {
		t.Errorf("%+v, want all 3 dropped", s)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// What was signed before randomness ran out, or before a panic, is given out once; no
// room is lost.
func TestPoolAfterAnError(t *testing.T) {
	p, _ := newPool(t, 10)
	left := 4
	var panics bool
	broken := errors.New("no randomness")
	p.Signer.Rand = readerFunc(func(b []byte) (int, error) {
		if panics {
			panic("a mistake")
		}
		if left--; left < 0 {
			return 0, broken
		}
		b[0] = byte(left)
		return len(b), nil
	})
	if err := p.Warm(t.Context(), 10, item(1)); !errors.Is(err, broken) {
		t.Fatalf("Warm = %v, want the reader's error", err)
	}
	if s := p.Stats(); s.Ready != 4 {
		t.Fatalf("%+v, want the 4 that were signed", s)
	}
	func() {
		defer func() { _ = recover() }()
		panics = true
		_ = p.Warm(t.Context(), 10, item(1))
		t.Error("Warm with a reader that panics returned")
	}()
	panics = false
	seen := map[string]bool{}
	for range 4 {
		seen[claimsOf(t, offer(t, p, item(1), 1)).Nonce] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d nonces in 4 tokens", len(seen))
	}
	got, err := p.Append([]byte("x"), item(1), p.Signer.Now())
	if !errors.Is(err, broken) || string(got) != "x" {
		t.Errorf("Append = %q, %v, want x and the reader's error", got, err)
	}
	left = 1000
	warm(t, p, 10, item(1))
}

func TestPoolForecast(t *testing.T) {
	p, clock := newPool(t, 2000)
	hot, warmish, cold := item(1), item(2), item(3)
	var want map[token.InstallClaims]int
	minutes := func(n int, hots, warms int) {
		for second := range n * 60 {
			offer(t, p, hot, hots)
			if warms > 0 && second%10 == 0 {
				offer(t, p, warmish, warms)
			}
			clock.advance(time.Second)
			want = p.Forecast()
			p.FillUp()
		}
	}
	offer(t, p, cold, 1)
	minutes(3, 10, 1)
	if n := want[hot]; n < 1000 || n > 1200 {
		t.Errorf("at 10 offers a second %d tokens are wanted, want about 1200: those of two minutes", n)
	}
	if n := want[warmish]; n < 8 || n > 16 {
		t.Errorf("at an offer in ten seconds %d tokens are wanted, want about 12", n)
	}
	if n := want[cold]; n != 0 {
		t.Errorf("of what nobody asks for %d tokens are wanted, want none", n)
	}
	before := p.Signer.Signed()
	inline := p.Stats().Inline
	minutes(1, 10, 1)
	if n := p.Stats().Inline - inline; n != 0 {
		t.Errorf("%d offers at the rate that was foreseen were signed inline", n)
	}
	// At a steady rate nothing is signed for nobody: one signature an offer.
	if n := p.Signer.Signed() - before; n < 500 || n > 800 {
		t.Errorf("%d signatures for 606 offers", n)
	}
	// More than there may be: all get the same part.
	minutes(1, 40, 0)
	if sum := want[hot] + want[warmish]; sum > 2000 || want[hot] < 1500 {
		t.Errorf("%d and %d tokens are wanted, want up to 2000", want[hot], want[warmish])
	}
	// What cools down makes room for what comes.
	for range 20 {
		offer(t, p, item(4), 100)
		clock.advance(time.Second)
		want = p.Forecast()
		p.FillUp()
	}
	if s := p.Stats(); s.Ready > 2000 || want[item(4)] < 500 || want[item(4)] < want[hot]/4 {
		t.Errorf("the new top app is to have %d tokens beside %d of the one before: %+v", want[item(4)], want[hot], s)
	}
	inline = p.Stats().Inline
	offer(t, p, item(4), 400)
	if n := p.Stats().Inline - inline; n > 100 {
		t.Errorf("%d of 400 offers of the new top app were signed inline", n)
	}
	// And in the end nothing is left to do.
	clock.advance(time.Hour)
	for range 30 {
		p.Forecast()
		clock.advance(time.Minute)
	}
	if s, n := p.Stats(), len(p.Forecast()); s.Ready != 0 || s.Bytes != 0 || n != 0 {
		t.Errorf("after hours without offers: %+v and %d kinds, want nothing", s, n)
	}
	if pause := p.Step(time.Now().Add(time.Hour)); pause != token.Asleep {
		t.Errorf("with nothing to do the filler rests for %v, want until it is woken", pause)
	}
}

func TestPoolExpects(t *testing.T) {
	p, clock := newPool(t, 1000)
	p.Expect(item(1), 200)
	p.Forecast()
	p.FillUp()
	if s := p.Stats(); s.Ready < 190 || s.Ready > 200 {
		t.Errorf("%+v, want about 200 tokens of what was expected", s)
	}
	for range 10 {
		clock.advance(time.Minute)
		p.Forecast()
		p.FillUp()
	}
	if want := p.Forecast()[item(1)]; want != 0 {
		t.Errorf("after ten minutes without an offer %d tokens are wanted, want none", want)
	}
}

// What is expected fades from when it was said, however long nothing was asked for before;
// and so the offers that wake a pool are those of a second and not of all that time.
func TestPoolWakes(t *testing.T) {
	p, clock := newPool(t, 1000)
	p.Forecast()
	clock.advance(time.Hour)
	p.Expect(item(1), 200)
	if want := p.Forecast()[item(1)]; want < 190 {
		t.Errorf("an hour after the last look %d tokens of 200 that are expected are wanted", want)
	}
	p, clock = newPool(t, 1000)
	p.Forecast()
	clock.advance(3 * time.Hour)
	for range 500 {
		if _, err := p.Append(nil, item(1), p.Signer.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if want := p.Forecast()[item(1)]; want < 500 {
		t.Errorf("after 500 offers in the second that woke the pool %d tokens are wanted", want)
	}
}

// A filler that finds no core idle signs nothing, and looks more and more seldom.
func TestPoolYields(t *testing.T) {
	p, _ := newPool(t, 1000)
	idle := false
	p.Idle = func() bool { return idle }
	p.Expect(item(1), 200)
	now := time.Now()
	var pauses time.Duration
	for range 100 {
		pause := p.Step(now)
		if pause < time.Millisecond {
			t.Fatalf("the filler rests for %v", pause)
		}
		pauses += pause
	}
	if p.Signer.Signed() != 0 || pauses < 2*time.Second {
		t.Errorf("100 steps without a core took %v and signed %d tokens, want 2 s or more and none", pauses, p.Signer.Signed())
	}
	idle = true
	if pause := p.Step(now); p.Signer.Signed() == 0 || p.Signer.Signed() > 16 || pause < time.Millisecond {
		t.Errorf("one step signed %d tokens and rests for %v, want a few and a millisecond", p.Signer.Signed(), pause)
	}
}

func TestPoolFills(t *testing.T) {
	p, _ := newPool(t, 1000)
	filled := make(chan struct{})
	var once sync.Once
	p.Idle = func() bool { // asked before each batch
		if p.Stats().Ready >= 80 {
			once.Do(func() { close(filled) })
		}
		return true
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Fill(ctx)
	}()
	p.Expect(item(1), 100)
	select {
	case <-filled:
	case <-t.Context().Done():
	}
	stop()
	<-done
	signed := p.Signer.Signed()
	offer(t, p, item(1), 80)
	if p.Signer.Signed() != signed {
		t.Error("offers were signed inline although the pool had tokens")
	}
}

// The runtime says whether a core is idle: with more goroutines that compute than cores
// none is.
func TestPoolSeesBusyCores(t *testing.T) {
	var over atomic.Bool
	var busy sync.WaitGroup
	started := make(chan struct{})
	for range 4 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			started <- struct{}{}
			for !over.Load() {
			}
		})
	}
	for range 4 * runtime.GOMAXPROCS(0) {
		<-started
	}
	if token.CoresIdle() {
		t.Error("with four computing goroutines a core, one is said to be idle")
	}
	over.Store(true)
	busy.Wait()
}

func TestPoolTakesWithoutAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p, _ := newPool(t, 2000)
	warm(t, p, 1500, item(1))
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(1000, func() {
		var err error
		if buf, err = p.Append(buf[:0], item(1), p.Signer.Now()); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a token, want none", n)
	}
	if s := p.Stats(); s.Inline != 0 {
		t.Errorf("%+v: all should have come from the pool", s)
	}
}

// One batch is given out over and over, which nothing but a test can do.
// Claims that differ in one thing only are kinds of their own, however many there are.
func TestPoolKeepsKindsApart(t *testing.T) {
	const each = 60
	p, c := newPool(t, 8*each)
	var kinds []token.InstallClaims
	for n := uint64(1); n <= each; n++ {
		k := token.InstallClaims{BundleID: "com.example.app", Item: n, Version: 1}
		newer, again, bundle := k, k, k
		newer.Version, again.Redownload, bundle.BundleID = 2, true, "com.example.other"
		kinds = append(kinds, k, newer, again, bundle)
	}
	if _, ok := p.AppendReady(nil, kinds[0], c.now()); ok {
		t.Error("an empty pool has a token")
	}
	warm(t, p, 1, kinds...)
	for _, k := range kinds {
		tok, ok := p.AppendReady(nil, k, c.now())
		if !ok {
			t.Fatalf("there is no token of %+v", k)
		}
		want := "download"
		if k.Redownload {
			want = "redownload"
		}
		if got := claimsOf(t, tok); got.Bid != k.BundleID || got.Iid != fmt.Sprint(k.Item) || got.Vid != fmt.Sprint(k.Version) || got.Dtype != want {
			t.Errorf("of %+v there is a token of %+v", k, got)
		}
		if _, ok := p.AppendReady(nil, k, c.now()); ok {
			t.Fatalf("there are two tokens of %+v, want one", k)
		}
	}
	if s := p.Stats(); s.Served != uint64(len(kinds)) {
		t.Errorf("%d tokens were given out, want %d", s.Served, len(kinds))
	}
}

// When the seconds of the clock get another digit, so do tokens.
func TestPoolKeepsLongerTokensApart(t *testing.T) {
	const n = 20
	p, c := newPool(t, 100)
	c.ms.Store(9_999_999_990_000)
	p.Signer.Now = func() time.Time { return time.UnixMilli(c.ms.Add(1000)) }
	warm(t, p, n, item(1))
	lengths := map[int]int{}
	for range n {
		tok, ok := p.AppendReady(nil, item(1), p.Signer.Now())
		if !ok {
			t.Fatalf("after %v tokens there is none, want %d", lengths, n)
		}
		if got := claimsOf(t, tok); got.Iid != "1" || got.Iat < 9_999_999_990 {
			t.Errorf("a token says %+v", got)
		}
		lengths[len(tok)]++
	}
	if len(lengths) < 2 {
		t.Errorf("tokens are all of one length (%v), so this shows nothing", lengths)
	}
}

// BenchmarkInstallPool takes tokens of one kind, and of so many kinds that their memory is
// not at hand, as on a day on which many apps came out.
func BenchmarkInstallPool(b *testing.B) {
	const each = 64
	for _, kinds := range []uint64{1, 64} {
		b.Run(fmt.Sprint("kinds=", kinds), func(b *testing.B) {
			p, _ := newPool(b, int(each*kinds))
			var all []token.InstallClaims
			for n := range kinds {
				all = append(all, item(n+1))
			}
			warm(b, p, each, all...)
			now := p.Signer.Now()
			var buf []byte
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				if i%(each*kinds) == 0 {
					for _, c := range all {
						p.Rewind(c)
					}
				}
				var err error
				if buf, err = p.Append(buf[:0], all[i%kinds], now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
