package plugin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Reloaded names the plugins that a Reload changed.
type Reloaded struct {
	Added     []string `json:"added"`
	Changed   []string `json:"changed"`
	Removed   []string `json:"removed"`
	Unchanged []string `json:"unchanged"`
}

// Reload makes the plugins those of a new configuration, in its order. One whose
// keys and file are what is running is left alone; all others are loaded and
// started first and then taken over together, between two requests. After an
// error, one sentence, nothing has changed. A plugin that is asked something else
// from then on, or in earnest after it was a shadow, has nothing to return to, and
// one of several that change doesn't go back by itself: nobody wrote down the old
// one beside the others' new ones.
//
// keys are the trusted keys from then on; all plugins are held to them, also those
// that have not changed.
func (h *Host) Reload(ctx context.Context, specs []Spec, keys []string) (Reloaded, error) {
	r := Reloaded{Added: []string{}, Changed: []string{}, Removed: []string{}, Unchanged: []string{}}
	if err := validateAll(specs); err != nil {
		return r, err
	}
	trusted, err := ParseKeys(keys)
	if err != nil {
		return r, err
	}
	t, err := h.turn(ctx)
	if err != nil {
		return r, err
	}
	defer t.done()
	before := h.loader.keys
	h.loader.keys = trusted
	defer func() {
		if !t.published {
			h.loader.keys = before
		}
	}()
	next, err := h.reload(ctx, specs, &r)
	if err != nil {
		h.discard(next...)
		return r, err
	}
	if err := t.say(ctx, Changeover{What: "reload", Added: r.Added, Changed: r.Changed, Removed: t.missing(next)}); err != nil {
		h.discard(next...)
		return r, err
	}
	now := h.loader.now()
	err = t.change(func(all []*generation) []*generation {
		for _, old := range all {
			if !slices.ContainsFunc(next, func(g *generation) bool { return g.plugin == old.plugin }) {
				r.Removed = append(r.Removed, old.name)
				old.current = nil
				old.succeeds(nil, now)
			}
		}
		alone := len(r.Added)+len(r.Changed)+len(r.Removed) == 1
		for _, g := range next {
			if g.current == g {
				continue
			}
			var previous *generation
			if g.standsFor(g.current) {
				previous = g.current
			}
			g.succeeds(previous, now)
			if !alone {
				g.probation.begin(now, false)
			}
		}
		return next
	})
	if err != nil {
		h.discard(next...)
		return r, err
	}
	for _, g := range next {
		if !slices.Contains(r.Unchanged, g.name) {
			g.logSwapped("plugin reloaded")
		}
	}
	return r, nil
}

// missing names the plugins that are asked now and are not among next.
func (t *turn) missing(next []*generation) (names []string) {
	for _, old := range t.set.Load().all {
		if !slices.ContainsFunc(next, func(g *generation) bool { return g.plugin == old.plugin }) {
			names = append(names, old.name)
		}
	}
	return names
}

// reload loads what changed. After an error next has what was loaded by then.
func (h *Host) reload(ctx context.Context, specs []Spec, r *Reloaded) (next []*generation, err error) {
	for i, s := range specs {
		g, err := h.reloadOne(ctx, s, r)
		if err != nil {
			return next, fmt.Errorf("plugin[%d] %s: %w", i, s.Name, err)
		}
		next = append(next, g)
	}
	return next, nil
}

func (h *Host) reloadOne(ctx context.Context, s Spec, r *Reloaded) (*generation, error) {
	old := h.named(s.Name)
	if old == nil {
		g, err := h.loader.load(ctx, h.newPlugin(s.Name), s)
		if err != nil {
			return nil, err
		}
		h.adopt(g)
		r.Added = append(r.Added, s.Name)
		return g, nil
	}
	same, err := h.same(old, s)
	if err != nil {
		return nil, err
	}
	if same {
		r.Unchanged = append(r.Unchanged, s.Name)
		return old, nil
	}
	g, err := h.successor(ctx, old, s)
	if err != nil {
		return nil, err
	}
	r.Changed = append(r.Changed, s.Name)
	return g, nil
}

// same says whether a Spec, its file and its secrets are what runs.
func (h *Host) same(g *generation, s Spec) (bool, error) {
	wasm, err := h.loader.read(&s)
	if err != nil {
		return false, err
	}
	secrets, err := h.loader.secrets(&s)
	if err != nil {
		return false, err
	}
	voucher, err := h.loader.vouch(&s, wasm)
	if err != nil {
		return false, err
	}
	s.Wasm = nil
	return !g.uploaded && voucher == g.voucher && sha256.Sum256(wasm) == g.hash && s.equal(g.spec) && secrets.equal(g.secrets), nil
}

// equal compares what the operator wrote. An empty list is as good as none.
func (s Spec) equal(other Spec) bool {
	for _, spec := range []*Spec{&s, &other} {
		spec.SHA256 = strings.ToLower(spec.SHA256)
		for _, list := range []*[]string{&spec.Hooks, &spec.Allow, &spec.Hosts} {
			if len(*list) == 0 {
				*list = nil
			}
		}
		if len(spec.Config) == 0 {
			spec.Config = nil
		}
		if len(spec.Secrets) == 0 {
			spec.Secrets = nil
		}
	}
	return reflect.DeepEqual(s, other)
}
