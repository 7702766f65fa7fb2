package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strconv"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
)

// account is an account as the operator sees it.
type account struct {
	Account   string   `json:"account"`
	Name      string   `json:"name"`
	Territory string   `json:"territory"`
	Grants    []string `json:"grants"`
	Items     int      `json:"items"`             // apps that were given to it so far
	History   []string `json:"history,omitempty"` // which; not in listings
	Devices   []device `json:"devices,omitempty"` // that have some of them, in the order in which policy counts them; not in listings
}

// device is a device of an account. It is the client of its sign-ins, in a
// registered app the sign-in itself.
type device struct {
	Device string   `json:"device"` // 32 hexadecimal digits
	Items  []string `json:"items"`  // that were given to it
}

func viewAccount(a store.Account) account {
	return account{
		Account: a.Account, Name: a.DisplayName, Territory: a.Territory,
		Grants: append([]string{}, a.Grants...), Items: len(a.History),
	}
}

// devicesOf are the devices of an account.
func devicesOf(a *store.Account) []device {
	devices := make([]device, len(a.Devices))
	for i, id := range a.Devices {
		devices[i].Device = hex.EncodeToString(id[:])
	}
	for _, h := range a.Held {
		d := &devices[h.Device]
		d.Items = append(d.Items, strconv.FormatUint(h.Item, 10))
	}
	return devices
}

// accountPage is a page of the listing. Next is the after of the following one.
type accountPage struct {
	Accounts []account `json:"accounts"`
	Next     string    `json:"next,omitempty"`
}

// listAccounts answers GET /api/accounts, in an order that looks like none but is
// always the same.
func (s *Server) listAccounts(ctx context.Context, r *request) error {
	after, limit, err := r.page()
	if err != nil {
		return err
	}
	found, err := s.store.Accounts(ctx, after, limit+1) // one more tells whether there are more
	if err != nil {
		return err
	}
	page := accountPage{Accounts: []account{}}
	for i, a := range found {
		if i == limit {
			page.Next = found[i-1].Account
			break
		}
		page.Accounts = append(page.Accounts, viewAccount(a))
	}
	return r.write(200, page)
}

// account answers GET /api/accounts/{account}.
func (s *Server) account(ctx context.Context, r *request) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	a, err := s.store.Account(ctx, store.SubjectID(name))
	if errors.Is(err, store.ErrNotFound) {
		return problemf(404, "account: there is no %q: one appears with its first sign-in or its first grant", name)
	} else if err != nil {
		return err
	}
	view := viewAccount(a)
	view.History, view.Devices = all(a.History), devicesOf(&a)
	return r.write(200, view)
}

// putTerritory answers PUT /api/accounts/{account}/territory.
func (s *Server) putTerritory(ctx context.Context, r *request) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	var body struct {
		Territory *string `json:"territory"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if body.Territory == nil {
		return problemf(400, "territory: is missing: write it like \"AUT\", or \"\" for none")
	}
	if err := checkTerritory(*body.Territory); err != nil {
		return err
	}
	before, after, err := s.changeAccount(ctx, name, func(a *store.Account) error {
		a.Territory = *body.Territory
		return nil
	})
	s.audit(ctx, err, "account.territory", slog.String("account", name),
		slog.String("old", before.Territory), slog.String("new", *body.Territory))
	if err != nil {
		return err
	}
	return r.write(200, viewAccount(after))
}

// checkTerritory refuses what is no code of ISO 3166-1 alpha-3.
func checkTerritory(t string) error {
	if t == "" {
		return nil
	}
	ok := len(t) == 3
	for _, c := range []byte(t) {
		ok = ok && 'A' <= c && c <= 'Z'
	}
	if !ok {
		return problemf(400, "territory: %.20q is no territory: write three capital letters, like \"AUT\"", t)
	}
	return nil
}

// mintSubjectToken answers POST /api/accounts/{account}/subject-token: a token for
// an install link on the operator's own pages.
func (s *Server) mintSubjectToken(ctx context.Context, r *request) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	t, err := s.oauth.SubjectToken(ctx, name)
	s.audit(ctx, err, "account.subject_token", slog.String("account", name))
	if err != nil {
		return err
	}
	return r.write(200, struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"` // seconds
	}{t, int(oauth.SubjectTokenLife.Seconds())})
}

// errMoved says that an account is no longer what a change was made from.
var errMoved = errors.New("admin: account changed meanwhile")

// changeAccount lets f change an account and returns it as it was and as it is.
// An account without a record is created. The store's own function only compares
// and swaps, so that what is called old is exactly what was replaced.
func (s *Server) changeAccount(ctx context.Context, name string, f func(*store.Account) error) (before, after store.Account, err error) {
	for {
		old, err := s.store.Account(ctx, store.SubjectID(name))
		if errors.Is(err, store.ErrNotFound) {
			old = store.Account{Account: name}
		} else if err != nil {
			return old, old, err
		}
		next := old
		next.Grants = slices.Clone(old.Grants)
		if err := f(&next); err != nil {
			return old, old, err
		}
		now, err := s.store.UpdateAccount(ctx, name, func(a *store.Account) (bool, error) {
			if a.Territory != old.Territory || !slices.Equal(a.Grants, old.Grants) {
				return false, errMoved
			}
			a.Territory, a.Grants = next.Territory, next.Grants
			return a.Territory != old.Territory || !slices.Equal(a.Grants, old.Grants), nil
		})
		if !errors.Is(err, errMoved) {
			return old, now, err
		}
	}
}
