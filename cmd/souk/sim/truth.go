package sim

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

// truth is what the operator has told the server, so that an answer can be held
// against it. The apps are fixed; each has a history.
type truth struct{ items map[uint64]*history }

// history is one app's states, in their order. It is read at each answer.
type history struct {
	states atomic.Pointer[[]*state]
	mu     sync.Mutex // of who adds one
}

// state is what the operator wants of an app from some time on. Between begun, when
// the server was asked, and done, when it had answered, both this state and the one
// before are right.
type state struct {
	begun    time.Duration
	done     atomic.Int64 // a time.Duration; math.MaxInt64 = not yet
	item     catalog.Item
	versions []version // newest first
}

// version is what has to be known of one to say who is offered it.
type version struct {
	id        uint64
	minOS     uint32 // 0 = no device runs it
	share     uint32 // basis points
	salt      string
	halted    bool
	withdrawn bool

	pack, build, short string // an empty pack is one of the server itself
}

func newState(it catalog.Item, begun time.Duration) *state {
	s := &state{begun: begun, item: it}
	s.done.Store(math.MaxInt64)
	for _, v := range it.Versions {
		min, _ := catalog.ParseOS(v.MinOS["ios"])
		salt := v.Rollout.Salt
		if salt == "" {
			salt = digits(it.ID) + "/" + digits(v.ID)
		}
		s.versions = append(s.versions, version{
			id: v.ID, minOS: min, share: uint32(v.Rollout.Share), salt: salt, halted: v.Rollout.Halted, withdrawn: v.Withdrawn,
			pack: v.Package, build: v.Build, short: v.Short,
		})
	}
	slices.SortFunc(s.versions, func(a, b version) int {
		if a.id > b.id {
			return -1
		}
		return 1
	})
	return s
}

func newTruth(items []catalog.Item) *truth {
	t := &truth{items: make(map[uint64]*history, len(items))}
	for _, it := range items {
		s := newState(it, 0)
		s.done.Store(0)
		h := new(history)
		h.states.Store(&[]*state{s})
		t.items[it.ID] = h
	}
	return t
}

// now is the app as the operator last wanted it.
func (t *truth) now(item uint64) catalog.Item {
	states := *t.items[item].states.Load()
	it := states[len(states)-1].item
	it.Versions = slices.Clone(it.Versions)
	return it
}

// change notes that the server is about to be told something of an app; done has to be
// called with its answer.
func (t *truth) change(it catalog.Item, begun time.Duration) *state {
	h := t.items[it.ID]
	h.mu.Lock()
	defer h.mu.Unlock()
	s := newState(it, begun)
	states := append(slices.Clone(*h.states.Load()), s)
	h.states.Store(&states)
	return s
}

// settle is how long after the answer to a change a request may still be answered by
// what was before: a change is seen by the next request on every node within a second.
const settle = time.Second

// during returns the states of an app of which each is right for an answer to a
// request that was sent and answered at these times; none if there is no such app.
//
// hot: called for each app of each answer.
func (t *truth) during(item uint64, sent, answered time.Duration) []*state {
	h := t.items[item]
	if h == nil {
		return nil
	}
	states := *h.states.Load()
	if len(states) == 1 {
		return states
	}
	from, to := 0, 0
	for i, s := range states {
		if d := s.done.Load(); d != math.MaxInt64 && time.Duration(d)+settle <= sent {
			from = i
		}
		if s.begun <= answered {
			to = i
		}
	}
	return states[from : max(from, to)+1]
}

// version finds one of the state; nil = it is not there.
func (s *state) version(id uint64) *version {
	for i := range s.versions {
		if s.versions[i].id == id {
			return &s.versions[i]
		}
	}
	return nil
}

// published says whether a version may be offered to anybody at all.
func (s *state) published(id uint64) bool {
	v := s.version(id)
	return v != nil && !s.item.Removed && !v.withdrawn && !v.halted
}

// describes says whether an offer has the package and the numbers of its version.
func (s *state) describes(o *offer) bool {
	v := s.version(o.version)
	if v == nil {
		return false
	}
	if v.pack == "" {
		if !bytes.HasSuffix(o.pack, []byte("/packages/"+digits(o.item)+"/"+digits(o.version))) {
			return false
		}
	} else if string(o.pack) != v.pack {
		return false
	}
	return o.build == nil || string(o.build) == v.build && string(o.short) == v.short
}

// open says whether a version's rollout is open to an account.
func (v *version) open(account string) bool {
	return v.share >= catalog.FullShare || account != "" && bucket(account, v.salt) < v.share
}

// bucket is where an account stands in a rollout, in basis points. It is that of
// plugins, written once more: what is offered must not be told by the code that offers.
func bucket(account, salt string) uint32 {
	var space [128]byte
	sum := sha256.Sum256(append(append(append(space[:0], salt...), 0), account...))
	return uint32(binary.BigEndian.Uint64(sum[:8]) % catalog.FullShare)
}

// expected is the version that a device is to be offered for an app, 0 = none: the
// newest that it can run, that is newer than what it has and open to it. It is the
// policy of the plugin rollout, written once more.
func (s *state) expected(d *population.Device, installed uint64) uint64 {
	if s.item.Removed || installed == 0 {
		return 0
	}
	for i := range s.versions {
		v := &s.versions[i]
		if v.id <= installed {
			break
		}
		if !v.withdrawn && !v.halted && v.minOS != 0 && v.minOS <= d.OS && v.open(d.Account) {
			return v.id
		}
	}
	return 0
}

// restored is the version that a device is to get back of an app, 0 = none: the one that
// it asks for, which alone may be halted, else the newest that is open to the account,
// else the newest; all of them versions that it can run. bare is what the core gives when
// the plugin rollout doesn't say: it knows no rollouts there. "" is an account of nobody.
func (s *state) restored(d *population.Device, account string, requested uint64) (version, bare uint64) {
	if s.item.Removed {
		return 0, 0
	}
	for i := range s.versions {
		v := &s.versions[i]
		switch {
		case v.withdrawn || v.minOS == 0 || v.minOS > d.OS:
		case v.id == requested:
			return requested, requested
		case !v.halted:
			bare = cmp.Or(bare, v.id)
			if version == 0 && v.open(account) {
				version = v.id
			}
		}
	}
	return cmp.Or(version, bare), bare
}
