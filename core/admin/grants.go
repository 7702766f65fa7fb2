package admin

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/souk-market/souk/core/store"
)

// The limits of grants; those of an account are the store's.
const (
	maxGrants = 256
	maxGrant  = 128 // bytes
	maxBulk   = 1000
)

// putGrants answers PUT /api/accounts/{account}/grants: the whole list, or what
// to add to it and to remove from it.
func (s *Server) putGrants(ctx context.Context, r *request) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	var body struct {
		Grants *[]string `json:"grants"`
		Add    []string  `json:"add"`
		Remove []string  `json:"remove"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	var change func(old []string) []string
	switch {
	case body.Grants != nil && (body.Add != nil || body.Remove != nil):
		return problemf(400, "grants: is the whole list, so add and remove can't stand beside it")
	case body.Grants != nil:
		change = func([]string) []string { return *body.Grants }
	case body.Add != nil || body.Remove != nil:
		change = func(old []string) []string { return added(old, body.Add, body.Remove) }
	default:
		return problemf(400, "grants: is missing: give the whole list, or add and remove")
	}
	for _, list := range []struct {
		key    string
		grants []string
	}{{"grants", deref(body.Grants)}, {"add", body.Add}, {"remove", body.Remove}} {
		if err := checkGrants(list.key, list.grants); err != nil {
			return err
		}
	}
	_, after, err := s.setGrants(ctx, name, change)
	if err != nil {
		return err
	}
	return r.write(200, viewAccount(after))
}

func deref(list *[]string) []string {
	if list == nil {
		return nil
	}
	return *list
}

// setGrants changes the grants of an account and leaves the line that says so.
// The store drops the account from its cache before it returns, so the next
// request sees the new ones.
func (s *Server) setGrants(ctx context.Context, name string, change func(old []string) []string) (changed bool, after store.Account, err error) {
	before, after, err := s.changeAccount(ctx, name, func(a *store.Account) error {
		a.Grants = change(a.Grants)
		slices.Sort(a.Grants)
		a.Grants = slices.Compact(a.Grants)
		if n := len(a.Grants); n > maxGrants {
			return problemf(400, "grants: there would be %d of them, at most %d", n, maxGrants)
		}
		return nil
	})
	now := after.Grants
	if err != nil {
		now = change(slices.Clone(before.Grants)) // what was wanted, should it have happened
	}
	s.audit(ctx, err, "account.grants", slog.String("account", name), slog.Any("old", before.Grants), slog.Any("new", now))
	return !slices.Equal(before.Grants, after.Grants), after, err
}

// added is old with some more and without some.
func added(old, add, remove []string) []string {
	old = append(slices.Clone(old), add...)
	return slices.DeleteFunc(old, func(grant string) bool { return slices.Contains(remove, grant) })
}

// checkGrants refuses what is no grant: policies compare them as they stand.
func checkGrants(key string, grants []string) error {
	if len(grants) > maxGrants {
		return problemf(400, "%s: names %d grants, at most %d", key, len(grants), maxGrants)
	}
	for i, grant := range grants {
		if grant == "" || len(grant) > maxGrant || strings.ContainsFunc(grant, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
			return problemf(400, "%s[%d]: %.40q is no grant: write 1 to %d bytes without spaces, like \"sub:plus\"", key, i, grant, maxGrant)
		}
	}
	return nil
}

// bulkDone says what became of each account of a bulk change.
type bulkDone struct {
	Changed   int               `json:"changed"`
	Unchanged int               `json:"unchanged"`
	Failed    map[string]string `json:"failed"` // the reason, by account
}

// atOnce is how many accounts of a bulk change are written at a time: each waits
// for the disk, and the store lets many wait together.
const atOnce = 64

// bulkGrants answers POST /api/grants: the whole list for each of many accounts.
// One that fails does not hold up the others.
func (s *Server) bulkGrants(ctx context.Context, r *request) error {
	var body struct {
		Accounts map[string][]string `json:"accounts"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	switch n := len(body.Accounts); {
	case n == 0:
		return problemf(400, "accounts: is missing: write an object of accounts and their grants")
	case n > maxBulk:
		return problemf(400, "accounts: names %d accounts, at most %d in one request", n, maxBulk)
	}
	done := bulkDone{Failed: map[string]string{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for name, grants := range body.Accounts {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			changed, err := s.replaceGrants(ctx, name, grants)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				done.Failed[name] = s.reason(name, err)
			case changed:
				done.Changed++
			default:
				done.Unchanged++
			}
		})
	}
	wg.Wait()
	return r.write(200, done)
}

func (s *Server) replaceGrants(ctx context.Context, name string, grants []string) (changed bool, err error) {
	if err := checkAccount(name); err != nil {
		return false, err
	}
	if err := checkGrants("grants", grants); err != nil {
		return false, err
	}
	changed, _, err = s.setGrants(ctx, name, func([]string) []string { return slices.Clone(grants) })
	return changed, err
}

// reason is what the operator reads of a failure in a bulk change; the log gets
// the cause.
func (s *Server) reason(name string, err error) string {
	p := explain(err)
	if p.status >= 500 {
		s.log.Error("grants not changed", "account", name, "error", err)
	}
	return p.sentence
}
