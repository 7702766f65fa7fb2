package plugin_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

const (
	determinismSeed = "SOUK_DETERMINISM_SEED" // instead of 1
	replayers       = 8
	freshFuel       = 200_000 // of a call, where instances are worn out
	hardWork        = 6       // sign-ins that cost a whole argon2id
)

// Decisions are reproducible: the same module, configuration, question and host
// answers give the same verdict, whatever the instance was asked before, and
// from a fresh instance also the same fuel.
func TestDecisionsAreReproducible(t *testing.T) {
	seed, calls, sample, note := uint64(1), 10_000, 44, ""
	if s := os.Getenv(determinismSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", determinismSeed, err)
		}
	}
	if raceDetector {
		calls, sample, note = 2_000, 12, "; the race detector: fewer calls, and fresh instances of 2 plugins only"
	}
	r := newAsker(seed)
	questions := make([]asked, calls)
	for i := range questions {
		questions[i] = r.question()
	}

	// 1. Recorded in order, by hosts that have deadlines.
	markets := [...]market{shippedMarket(), testMarket(t)}
	var first, other [len(markets)]*plugin.Host
	for i, m := range markets {
		first[i], other[i] = m.open(t, false, m.specs...), m.open(t, true, m.specs...)
	}
	recorded, hooks, kinds := make([]answer, calls), map[string]int{}, map[string]int{}
	for i := range questions {
		q := &questions[i]
		recorded[i] = q.ask(first[q.market])
		hooks[q.hook.String()]++
		kinds[recorded[i].kind]++
	}
	for _, kind := range []string{"allow", "deny", "pass", "offer", "hold", "page", "done", "refused", "failed"} {
		if kinds[kind] == 0 {
			t.Errorf("no answer is %q: the questions are too few, or all alike", kind)
		}
	}

	// 2. Replayed in another order, by many, with other instances.
	replayed, order := make([]answer, calls), r.Perm(calls)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range replayers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(calls); n = next.Add(1) {
				i := order[n-1]
				replayed[i] = questions[i].ask(other[questions[i].market])
			}
		})
	}
	wg.Wait()
	verdicts := differences(t, "replayed by another host", questions, recorded, replayed)

	// 3. A sample of them asked of instances that nobody asked before, of two
	// hosts and in two orders, plugin by plugin.
	samples, freshVerdicts, fuels := 0, 0, 0
	for i, m := range markets {
		for j, p := range first[i].Plugins() {
			if raceDetector && j > 0 {
				continue
			}
			some := sampled(questions, i, p.Hooks, sample)
			a, b := newFresh(t, m, m.specs[j]), newFresh(t, m, m.specs[j])
			order := r.Perm(len(some))
			backward := slices.Clone(order)
			slices.Reverse(backward)
			wg.Go(func() { a.ask(t, some, order) })
			wg.Go(func() { b.ask(t, some, backward) })
			wg.Wait()
			samples += len(some)
			freshVerdicts += differences(t, "asked of another fresh instance", some, a.first, b.first)
			freshVerdicts += differences(t, "asked of the same instance again", some, a.first, a.again)
			for k := range some {
				if have, want := b.first[k].fuel, a.first[k].fuel; have != want {
					fuels++
					t.Errorf("%s: a fresh instance of %s uses %d units of fuel, another one %d", &some[k], p.Name, want, have)
				}
			}
		}
	}
	t.Logf("%s=%d: %d calls recorded, %v, answers %v; replayed by %d goroutines with instances %v: %d verdicts differ; "+
		"%d questions to 2 fresh instances each: %d verdicts and %d fuels differ%s", determinismSeed, seed,
		calls, hooks, kinds, replayers, instances(other[:]), verdicts, samples, freshVerdicts, fuels, note)
}

// differences counts the answers that are not alike and reports the first.
func differences(t *testing.T, how string, questions []asked, want, have []answer) (n int) {
	t.Helper()
	for i := range want {
		if have[i].text == want[i].text {
			continue
		}
		if n++; n <= 5 {
			t.Errorf("%s: %s it is answered %q, want %q as at first", &questions[i], how, have[i].text, want[i].text)
		}
	}
	return n
}

// instances counts those of each plugin.
func instances(hosts []*plugin.Host) map[string]int {
	n := map[string]int{}
	for _, h := range hosts {
		for _, p := range h.Plugins() {
			n[p.Name] = p.Instances
		}
	}
	return n
}

// sampled returns the first n questions of each hook of a plugin.
func sampled(all []asked, market int, hooks []plugin.HookInfo, n int) (some []asked) {
	for _, h := range hooks {
		left := n
		for i := range all {
			if q := &all[i]; q.market == market && q.hook.String() == h.Hook && left > 0 {
				some = append(some, *q)
				left--
			}
		}
	}
	return some
}

// fresh is a host with one plugin and one instance.
type fresh struct {
	host  *plugin.Host
	first []answer // of a fresh instance
	again []answer // of the same instance, to the same question
}

func newFresh(t *testing.T, m market, s plugin.Spec) *fresh {
	t.Helper()
	s.Instances, s.Fuel = 1, freshFuel
	return &fresh{host: m.open(t, true, s)}
}

func (f *fresh) ask(t *testing.T, questions []asked, order []int) {
	f.first, f.again = make([]answer, len(questions)), make([]answer, len(questions))
	for _, i := range order {
		f.wearOut(t, questions[i].hook)
		f.first[i] = questions[i].ask(f.host)
		f.again[i] = questions[i].ask(f.host)
	}
}

// wearOut asks more than there is fuel for: the host throws the instance away,
// and the next question starts another.
func (f *fresh) wearOut(t *testing.T, hook abi.Hook) {
	const much = 5_000
	c := f.host.Acquire()
	switch hook {
	case abi.HookEntitle:
		c.Entitle.Apps = append(c.Entitle.Apps, make([]abi.EntitleApp, much)...)
		c.AskEntitle(context.Background())
	case abi.HookSelectVersion:
		c.SelectVersion.Apps = append(c.SelectVersion.Apps, make([]abi.SelectVersionApp, much)...)
		c.AskSelectVersion(context.Background())
	case abi.HookSignIn:
		c.SignIn.Fields = append(c.SignIn.Fields, make([]abi.SubmittedField, much)...)
		c.AskSignIn(context.Background(), "")
	}
	c.Release()
	if n := plugin.Started(f.host, hook); n != 0 {
		t.Errorf("%s: after a %s question that is too large there are %d instances for others, want none", f.host.Plugins()[0].Name, hook, n)
	}
}

// market is the plugins of one host.
type market struct {
	specs []plugin.Spec
	cache string // of compiled code; "" = that of the other tests
}

func (m market) open(t *testing.T, timeless bool, specs ...plugin.Spec) *plugin.Host {
	t.Helper()
	return open(t, plugin.Options{Specs: specs, Dir: "../../plugins", Cache: m.cache, KV: people, Timeless: timeless})
}

// shippedMarket is the modules that are shipped, each with a hook of its own.
// Their compiled code outlives the tests, as in package coretest.
func shippedMarket() market {
	allowlist, rollout, accounts := patient("allowlist"), patient("rollout"), patient("accounts")
	allowlist.Config = map[string]any{
		"default": "abstain",
		"free":    []int{1000001, 1000002},
		"items": map[string]any{
			"1000003": map[string]any{"any_grant": []string{"sub:plus", "абонемент"}, "reason": "Abo nötig 🎟"},
			"1000004": map[string]any{"accounts": []string{"bob@example.com", "åsa+ü@example.com"}},
			"1000005": map[string]any{"deny": true, "reason": "販売終了"},
			"1000006": map[string]any{"any_grant": []string{"sub:pro", "role:tester"}, "accounts": []string{"李@example.com"}},
		},
	}
	rollout.Config = map[string]any{"critical": "always"}
	accounts.Config = map[string]any{"message": "Grüß Gott.", "help": "help@example.com ☎"}
	accounts.Allow = []string{"kv", "password", "log"}
	return market{specs: []plugin.Spec{allowlist, rollout, accounts}, cache: coretest.Cache()}
}

// testMarket is the guests of these tests; the first of them fails at times.
func testMarket(t *testing.T) market {
	t.Helper()
	full, plain := patient("full"), patient("plain")
	full.Wasm, full.Allow, full.Hosts = goGuest(t, fullGuest), everything, []string{"id.example.com"}
	plain.Wasm, plain.Config = goGuest(t, plainGuest), map[string]any{"grant": "абонемент"}
	return market{specs: []plugin.Spec{full, plain}}
}

// patient is a plugin whose deadlines no busy machine misses.
func patient(name string) plugin.Spec {
	s := spec(name, nil)
	s.File = name + "/" + name + ".wasm"
	s.Deadline, s.HostDeadline, s.StartDeadline = unit.Duration(time.Minute), unit.Duration(time.Minute), unit.Duration(time.Minute)
	return s
}

const (
	knownPassword = "wönderland"
	// quickHash is of it, and takes microseconds to verify.
	quickHash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$18E48LkK3JSSF7h7YiRz3Q"
)

// accountNames are those that sign in; none is an action of guest full.
var accountNames = []string{"alice@example.com", "bob@example.com", "åsa+ü@example.com", "李@example.com", "ωμέγα@example.com", "🦊@example.com"}

// people opens the kv of a plugin, the same each time.
func people(name string) (plugin.KV, error) {
	kv := &store{values: map[string][]byte{"key": []byte("gespeichert ✓")}}
	for i, account := range accountNames {
		record := quickHash
		if name == "accounts" {
			record = fmt.Sprintf(`{"email":%q,"name":"Nº %d","password":%q,"disabled":%v}`, account, i, quickHash, i == 1)
		}
		kv.values["person/"+account] = []byte(record)
	}
	return kv, nil
}

// asked is one question to the plugins of a market.
type asked struct {
	market        int
	hook          abi.Hook
	entitle       abi.EntitleRequest
	selectVersion abi.SelectVersionRequest
	signIn        abi.SignInRequest
}

// String returns the question as Go writes it.
func (q *asked) String() string {
	switch q.hook {
	case abi.HookEntitle:
		return fmt.Sprintf("%#v", q.entitle)
	case abi.HookSelectVersion:
		return fmt.Sprintf("%#v", q.selectVersion)
	}
	return fmt.Sprintf("%#v", q.signIn)
}

// answer is what came back.
type answer struct {
	text string // every field of it
	kind string // of its first item
	fuel uint64
}

// ask asks with a Call that others used before. Its lists are the Call's own:
// Release clears them.
func (q *asked) ask(h *plugin.Host) (a answer) {
	ctx := context.Background()
	c := h.Acquire()
	defer c.Release()
	switch q.hook {
	case abi.HookEntitle:
		apps := append(c.Entitle.Apps, q.entitle.Apps...)
		c.Entitle = q.entitle
		c.Entitle.Apps = apps
		list := c.AskEntitle(ctx)
		a.text, a.kind = fmt.Sprintf("%+v", list), [...]string{"allow", "deny", "pass"}[list[0].Decision]
		if list[0].Failed {
			a.kind = "failed"
		}
	case abi.HookSelectVersion:
		apps := append(c.SelectVersion.Apps, q.selectVersion.Apps...)
		c.SelectVersion = q.selectVersion
		c.SelectVersion.Apps = apps
		list := c.AskSelectVersion(ctx)
		a.text, a.kind = fmt.Sprintf("%+v", list), "offer"
		if list[0].Choice < 0 {
			a.kind = "hold"
		}
	case abi.HookSignIn:
		fields := append(c.SignIn.Fields, q.signIn.Fields...)
		c.SignIn = q.signIn
		c.SignIn.Fields = fields
		got, name, err := c.AskSignIn(ctx, "")
		if err != nil {
			return answer{text: fmt.Sprintf("%s: %v", name, err), kind: "failed", fuel: c.Fuel()}
		}
		a.text = fmt.Sprintf("%s: %+v", name, *got)
		a.kind = [...]string{"pass", "page", "done", "refused", "redirect"}[got.Outcome]
	}
	a.fuel = c.Fuel()
	return a
}

// asker makes questions up.
type asker struct {
	*rand.Rand
	hard int // sign-ins so far that cost a whole argon2id
}

func newAsker(seed uint64) *asker { return &asker{Rand: rand.New(rand.NewPCG(seed, 0))} }

func oneOf[T any](r *asker, list ...T) T { return list[r.IntN(len(list))] }

// once is true in one of n cases.
func (r *asker) once(n int) bool { return r.IntN(n) == 0 }

// text is up to n letters of several alphabets.
func (r *asker) text(n int) string {
	letters := make([]rune, r.IntN(n+1))
	for i := range letters {
		letters[i] = oneOf(r, []rune("abcXYZ 019-_äßéЖя本語ไทयक́🚫👩‍🚀\u202e")...)
	}
	return string(letters)
}

func (r *asker) question() asked {
	q := asked{market: r.IntN(2), hook: abi.HookEntitle}
	switch n := r.IntN(100); {
	case n < 4:
		q.hook = abi.HookSignIn
		q.signIn = r.signIn(q.market == 0)
	case n < 52:
		q.hook = abi.HookSelectVersion
		q.selectVersion = r.selectVersion()
	default:
		q.entitle = r.entitle(q.market == 0)
	}
	return q
}

func (r *asker) head() abi.Head {
	h := abi.Head{
		NowMS:   1_750_000_000_000 + r.Uint64N(100_000_000_000),
		Purpose: oneOf(r, abi.PurposeUpdate, abi.PurposeUpdate, abi.PurposeRestore, abi.PurposeLicense, abi.PurposeInstallToken, abi.PurposeOAuthApp),
		Seed:    r.Uint64(), Client: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()),
		Platform: oneOf(r, abi.PlatformIOS, abi.PlatformIPadOS), OS: r.system(),
		Territory: oneOf(r, "", "AUT", "JPN", "BRA", "IND"), BucketKey: r.text(20), Organization: oneOf(r, "", "", r.text(10)),
	}
	if !r.once(4) {
		h.Account = oneOf(r, accountNames...)
		if r.once(2) {
			h.Account = r.text(30)
		}
		h.BucketKey = h.Account
	}
	for range r.IntN(4) {
		h.Grants = append(h.Grants, oneOf(r, "sub:plus", "sub:pro", "абонемент", "абонемент", "role:tester", r.text(15)))
	}
	return h
}

// system is a version of a device's, at times unknown.
func (r *asker) system() uint32 {
	if r.once(20) {
		return 0
	}
	return abi.OS(uint8(16+r.IntN(4)), uint8(r.IntN(8)), uint8(r.IntN(3)))
}

func (r *asker) item() uint64 { return 1000001 + r.Uint64N(8) }

// entitle asks about apps; for guest full the account says what to do.
func (r *asker) entitle(shipped bool) abi.EntitleRequest {
	q := abi.EntitleRequest{Head: r.head()}
	switch {
	case shipped:
	case r.once(50):
		q.Account = oneOf(r, "panic", "exit", "error")
	case !r.once(4):
		q.Account = oneOf(r, "random", "time", "bucket", "kv:get", "file", "log", "alloc", "abstain", "hash", "kv:put", "kv:add", "kv:swap", "kv:delete")
		if strings.HasPrefix(q.Account, "kv:") { // no writes: what they leave behind is part of the next question
			q.Purpose = oneOf(r, abi.PurposeUpdate, abi.PurposeRestore)
		}
	}
	for range 1 + r.IntN(8) {
		q.Apps = append(q.Apps, abi.EntitleApp{
			Item: r.item(), Version: r.Uint64N(100), Devices: r.Uint32N(20), DevicesItem: r.Uint32N(5), BundleID: "com.example." + r.text(12),
		})
	}
	return q
}

func (r *asker) selectVersion() abi.SelectVersionRequest {
	q := abi.SelectVersionRequest{Head: r.head()}
	for range 1 + r.IntN(8) {
		app := abi.SelectVersionApp{
			Item: r.item(), Installed: r.Uint64N(100), BundleID: "com.example." + r.text(12), Channel: oneOf(r, "", "", "beta", "бета"),
		}
		for i := range r.IntN(7) {
			app.Candidates = append(app.Candidates, r.candidate(uint64(100-15*i)))
		}
		q.Apps = append(q.Apps, app)
	}
	return q
}

func (r *asker) candidate(version uint64) abi.Candidate {
	return abi.Candidate{
		Version: version, ReleasedMS: 1_700_000_000_000 + r.Uint64N(100_000_000_000), MinOS: r.system(),
		Flags:   abi.CandidateFlags(r.Uint32N(32) & r.Uint32N(32)),
		Rollout: oneOf(r, 0, 1, r.Uint32N(abi.Buckets), r.Uint32N(abi.Buckets), abi.Buckets),
		Salt:    r.text(10), Short: fmt.Sprint(version, ".", r.text(3)), Build: r.text(6), Channel: oneOf(r, "", "", "", "beta", "бета"),
	}
}

// signIn is one step. Of those whose password is looked up nearly all are
// people with a hash that is quick to verify.
func (r *asker) signIn(shipped bool) abi.SignInRequest {
	q := abi.SignInRequest{
		Head: r.head(), Attempts: r.Uint32N(6), ClientName: r.text(20), Locale: oneOf(r, "de-AT", "ja-JP", "pt-BR"),
		Address: fmt.Sprintf("192.0.2.%d", r.IntN(256)), State: r.text(20),
		Method: oneOf(r, abi.SignInShow, abi.SignInSubmit, abi.SignInSubmit),
	}
	q.Purpose = abi.PurposeSignIn
	email, password := oneOf(r, accountNames...), oneOf(r, knownPassword, knownPassword, r.text(20))
	if shipped { // guest full has no such steps, and makes nothing of spellings
		q.Method = oneOf(r, q.Method, q.Method, q.Method, abi.SignInCancel, abi.SignInCallback)
		q.LoginHint = oneOf(r, "", "", "", email, strings.ReplaceAll(email, "+", " "), r.text(20))
		email = oneOf(r, email, strings.ToUpper(email), " "+email+" ", "")
	} else {
		q.LoginHint = oneOf(r, "", r.text(20), "leak", "panic")
	}
	if r.once(10) && r.hard < hardWork {
		email = "stranger@example.com"
		r.hard++
	}
	q.Fields = []abi.SubmittedField{{Name: "email", Value: email}, {Name: "password", Value: password}}
	return q
}
