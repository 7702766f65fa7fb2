package plugin

import (
	"crypto/x509"
	"net"
	"net/netip"
	"runtime"

	"github.com/souk-market/souk/sdk/abi"
)

// WASINames returns the functions of WASI that there are.
func WASINames() []string {
	var names []string
	for _, f := range wasi {
		names = append(names, f.name)
	}
	return names
}

// WASIParams returns the parameters of one, a letter each.
func WASIParams(name string) string {
	return hostFunctions[importName{wasiModule, name}].params
}

// BreakStart makes every later start of an instance fail.
func BreakStart(h *Host) {
	for _, g := range h.set.Load().all {
		g.spec.StartFuel = 0
	}
}

// Started counts the instances of the first plugin that may be asked a question.
func Started(h *Host, hook abi.Hook) int { return h.set.Load().all[0].running()[laneOf(hook)] }

// Waiting counts the questions that wait for an instance of the first plugin.
func Waiting(h *Host, hook abi.Hook) int {
	return int(h.set.Load().all[0].lanes[laneOf(hook)].waiting.Load())
}

// Inspect says what load makes of a module before anything of it is rewritten.
var Inspect = inspect

// ReadVerdict reads what a guest answers to a question about apps with so many
// candidates each.
func ReadVerdict(hook abi.Hook, b []byte, s *Spec, candidates []int) (record any, wrong string) {
	switch hook {
	case abi.HookEntitle:
		a := entitleAnswer{apps: len(candidates)}
		wrong = a.read(b, s)
		return a.EntitleVerdict, wrong
	case abi.HookSelectVersion:
		a := selectAnswer{candidates: candidates}
		wrong = a.read(b, s)
		return a.SelectVersionVerdict, wrong
	case abi.HookSignIn:
		var a signInAnswer
		wrong = a.read(b, s)
		return a.SignInVerdict, wrong
	default:
		var a exchangeAnswer
		wrong = a.read(b, s)
		return a.ExchangeVerdict, wrong
	}
}

// ParseHash reads a hash as password_verify does.
func ParseHash(hash string) (memory, passes uint32, threads uint8, salt, key []byte, err error) {
	p, salt, key, err := parseHash(hash)
	return p.memory, p.passes, p.threads, salt, key, err
}

// Redact takes a secret out of a text.
func Redact(secret, text string) string {
	s := &secrets{}
	s.hide(secret)
	return s.redact(text)
}

// Network is what http_fetch meets in a test instead of the real one.
type Network struct {
	Roots    *x509.CertPool
	Resolver *net.Resolver
	Public   func(netip.Addr) bool
}

// SetNetwork puts what is set in a Network in the place of the real one.
func SetNetwork(h *Host, n Network) {
	for _, g := range h.set.Load().all {
		f := g.fetcher
		f.transport.TLSClientConfig.RootCAs = n.Roots
		f.resolver = n.Resolver
		if n.Public != nil {
			f.public = n.Public
		}
	}
}

// PublicAddress says whether a guest may reach an address.
var PublicAddress = publicAddress

// Living counts the generations of a plugin that are not closed.
func Living(h *Host, name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.set.Load().all {
		if g.name == name {
			return len(g.living)
		}
	}
	return 0
}

// Settle waits until all that was replaced is drained.
func Settle(h *Host) { h.work.Wait() }

// FillQueue has as many wait for an instance of the first plugin as may, until the
// function that it returns is called.
func FillQueue(h *Host) (empty func()) {
	s := h.set.Load().all[0].lanes[fastLane]
	s.waiting.Add(maxWaiting)
	return func() { s.waiting.Add(-maxWaiting) }
}

// Buckets are those of a histogram.
const Buckets = buckets

// BucketOf and BucketEnd are how it counts.
var BucketOf, BucketEnd = bucketOf, bucketEnd

// Looked waits until all that was left for the worker is looked at.
func Looked(h *Host) {
	for h.watch.size.Load() > 0 {
		runtime.Gosched()
	}
}

// Held counts those that hold on to the set of now.
func Held(h *Host) (n int64) {
	s := h.set.Load()
	for i := range s.pins {
		n += s.pins[i].n.Load()
	}
	return n
}

// MaxJobs and MaxJobBytes are how much waits to be looked at.
const (
	MaxJobs     = maxJobs
	MaxJobBytes = maxJobBytes
)

// LeftOf says what still knows of a question of the Call: the Call itself, or an instance
// that is asked nothing any more.
func LeftOf(c *Call) (left []string) {
	if q := &c.question; q.secrets != nil || q.random != [32]byte{} || q.aside != nil {
		left = append(left, "the call")
	}
	for _, g := range c.set.all {
		g.each(func(_ *slots, s *slot) {
			if s.in != nil && s.in.asked != nothing {
				left = append(left, "an instance of "+g.name)
			}
		})
	}
	return left
}
