package oauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// The kinds of clients, as an operator writes them.
const (
	KindNative       = "native"       // an app on somebody's device: it has no secret (RFC 8252 §8.1)
	KindConfidential = "confidential" // a server that keeps a secret
)

// Registered is a client as its operator sees it.
type Registered struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Kind         string     `json:"kind"`
	RedirectURIs []string   `json:"redirect_uris"`
	Market       bool       `json:"market"`
	Scope        string     `json:"scope"`
	Disabled     bool       `json:"disabled"`
	Configured   bool       `json:"configured"` // in config.toml: it is changed there
	Created      *time.Time `json:"created,omitempty"`
	Changed      *time.Time `json:"changed,omitempty"`
	Secret       string     `json:"secret,omitempty"` // once, when it is new
}

// Registration is what an operator says of a new client.
type Registration struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Kind         string   `json:"kind"` // empty = native
	RedirectURIs []string `json:"redirect_uris"`
	Market       bool     `json:"market"`
}

// ClientChange is what becomes of a client; what is nil stays.
type ClientChange struct {
	Name         *string   `json:"name"`
	RedirectURIs *[]string `json:"redirect_uris"`
	Market       *bool     `json:"market"`
	Disabled     *bool     `json:"disabled"`
}

// Registered returns the clients in the order of their ids: those of config.toml,
// and those that were registered. A registered one whose id is in config.toml too
// is the one of config.toml.
func (c *Clients) Registered() []Registered {
	var all []Registered
	for _, one := range c.config {
		if !one.Page {
			all = append(all, Registered{
				ID: one.ID, Name: one.Name, Kind: KindNative, RedirectURIs: one.redirects, Market: one.Market, Scope: ScopeAll, Configured: true,
			})
		}
	}
	for _, one := range c.table.Load().stored {
		if !c.configured(one.ID) {
			all = append(all, registered(one))
		}
	}
	slices.SortFunc(all, func(a, b Registered) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Find returns one of Registered, or ErrNoClient.
func (c *Clients) Find(id string) (Registered, error) {
	for _, one := range c.Registered() {
		if one.ID == id {
			return one, nil
		}
	}
	return Registered{}, ErrNoClient
}

func registered(c store.Client) Registered {
	kind := KindNative
	if c.Kind == store.ConfidentialClient {
		kind = KindConfidential
	}
	return Registered{
		ID: c.ID, Name: c.Name, Kind: kind, RedirectURIs: c.RedirectURIs, Market: c.Market, Scope: scopeText(c.Scope),
		Disabled: c.State == store.ClientDisabled, Created: &c.Created, Changed: &c.Changed,
	}
}

// RegisterClient makes a client. The answer has the secret of a confidential one,
// which is kept as its hash alone.
func (s *Server) RegisterClient(ctx context.Context, r Registration) (Registered, error) {
	kind := store.NativeClient
	switch r.Kind {
	case "", KindNative:
	case KindConfidential:
		kind = store.ConfidentialClient
	default:
		return Registered{}, Errorf(InvalidRequest, "kind: %.20q is no kind: use %s or %s", r.Kind, KindNative, KindConfidential)
	}
	if err := checkClient(r.ID, r.Name, r.RedirectURIs); err != nil {
		return Registered{}, Errorf(InvalidRequest, "%v", err)
	}
	if s.Clients.configured(r.ID) {
		return Registered{}, ErrClientConfigured
	}
	secret, hash, err := s.clientSecret(kind)
	if err != nil {
		return Registered{}, err
	}
	made, err := s.Store.CreateClient(ctx, store.Client{
		ID: r.ID, Kind: kind, Market: r.Market, Scope: scopeAll, Secret: hash, Name: r.Name, RedirectURIs: r.RedirectURIs,
	})
	if errors.Is(err, store.ErrClientExists) {
		return Registered{}, ErrClientTaken
	}
	return s.takeOver(ctx, made, secret, err)
}

// ChangeClient changes a client. Its sign-ins end when it is disabled, and when
// its tokens open the market from now on, or no longer.
func (s *Server) ChangeClient(ctx context.Context, id string, change ClientChange) (before, after Registered, err error) {
	if before, err = s.changeable(id); err != nil {
		return before, before, err
	}
	changed, err := s.Store.UpdateClient(ctx, id, func(c *store.Client) (bool, error) {
		old := *c
		if change.Name != nil {
			c.Name = *change.Name
		}
		if change.RedirectURIs != nil {
			c.RedirectURIs = *change.RedirectURIs
		}
		if change.Market != nil {
			c.Market = *change.Market
		}
		switch {
		case change.Disabled == nil:
		case *change.Disabled:
			c.State = store.ClientDisabled
		default:
			c.State = store.ClientActive
		}
		if err := checkClient(id, c.Name, c.RedirectURIs); err != nil {
			return false, Errorf(InvalidRequest, "%v", err)
		}
		same := c.Name == old.Name && slices.Equal(c.RedirectURIs, old.RedirectURIs) && c.Market == old.Market && c.State == old.State
		return !same, nil
	})
	after, err = s.takeOver(ctx, changed, "", err)
	return before, after, err
}

// RemoveClient ends a client and its sign-ins. Its id may be registered anew.
func (s *Server) RemoveClient(ctx context.Context, id string) (before Registered, err error) {
	if before, err = s.changeable(id); err != nil {
		return before, err
	}
	_, err = s.takeOver(ctx, store.Client{}, "", s.Store.RemoveClient(ctx, id))
	return before, err
}

// RotateSecret gives a confidential client another secret; the one before is worth
// nothing from now on. Its sign-ins go on, with the new one.
func (s *Server) RotateSecret(ctx context.Context, id string) (Registered, error) {
	before, err := s.changeable(id)
	if err != nil {
		return before, err
	}
	if before.Kind != KindConfidential {
		return before, Errorf(InvalidRequest, "client: %q is %s and has no secret", id, before.Kind)
	}
	secret, hash, err := s.clientSecret(store.ConfidentialClient)
	if err != nil {
		return before, err
	}
	changed, err := s.Store.UpdateClient(ctx, id, func(c *store.Client) (bool, error) {
		c.Secret = hash
		return true, nil
	})
	return s.takeOver(ctx, changed, secret, err)
}

// changeable finds a client that the store keeps.
func (s *Server) changeable(id string) (Registered, error) {
	if s.Clients.configured(id) {
		return Registered{}, ErrClientConfigured
	}
	return s.Clients.Find(id)
}

// clientSecret makes a secret: 256 random bits, and what is kept of it.
func (s *Server) clientSecret(kind store.ClientKind) (secret string, hash [32]byte, err error) {
	if kind != store.ConfidentialClient {
		return "", hash, nil
	}
	if secret, err = token.NewOpaque(s.Rand); err != nil {
		return "", hash, Errorf(ServerError, "no secret can be made at the moment").because(err)
	}
	return secret, token.Hash(secret), nil
}

// takeOver lets this process see what was just written, and whoever asks next. A
// write whose outcome is not known may be there, so it looks then too.
func (s *Server) takeOver(ctx context.Context, c store.Client, secret string, err error) (Registered, error) {
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		if errors.Is(err, store.ErrNotFound) {
			err = ErrNoClient
		}
		return Registered{}, err
	}
	if again := s.Clients.reload(ctx); err == nil && again != nil {
		err = fmt.Errorf("%w: %w", store.ErrUnknown, again) // it is stored, and not seen yet
	}
	if err != nil {
		return Registered{}, err
	}
	view := registered(c)
	view.Secret = secret
	return view, nil
}
