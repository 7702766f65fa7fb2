package oauth

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// SubjectTokenLife is how long a subject token can be exchanged: it travels in a
// link, from a page to the device that shows it.
const SubjectTokenLife = 10 * time.Minute

// SubjectToken issues a token for an install link, which a device exchanges for
// its own (RFC 8693). It works once for one device: whoever comes first binds it.
// It is for a website that knows its visitors itself; see LinkToken for ours.
func (s *Server) SubjectToken(ctx context.Context, account string) (string, error) {
	if !ValidAccount(account) {
		return "", Errorf(InvalidRequest, "account is empty, longer than %d bytes or not text", maxAccount)
	}
	t, err := token.NewOpaque(s.Rand)
	if err != nil {
		return "", Errorf(ServerError, "no token can be issued at the moment").because(err)
	}
	r, err := s.record(ctx, account) // also of one who never signed in, so that a sign-out reaches the token
	if err != nil {
		return "", storeError(err)
	}
	if err := s.Store.PutSubjectToken(ctx, token.Hash(t), store.SubjectToken{Account: account, Epoch: r.Epoch}, s.Now().Add(SubjectTokenLife)); err != nil {
		return "", storeError(err)
	}
	return t, nil
}

// exchangeGrant is the grant of RFC 8693 §2.1. The subject token is ours, or
// policy says whose it is. Each is bound to the first client that shows it.
type exchangeGrant struct {
	hash    [32]byte
	account string
	foreign bool       // policy said whose it is
	link    *linkToken // of an install page; nil = of another
}

func (g *exchangeGrant) verify(ctx context.Context, s *Server, c *tokenCall) error {
	p := c.params
	switch {
	case c.client == nil:
		return Errorf(InvalidRequest, "client_id is missing")
	case c.client.Page:
		return Errorf(UnauthorizedClient, "this client exchanges no tokens")
	case p["subject_token"] == "":
		return Errorf(InvalidRequest, "subject_token is missing")
	case p["subject_token_type"] != TypeAccessToken:
		return Errorf(InvalidRequest, "subject_token_type must be %s", TypeAccessToken)
	case p["actor_token"] != "":
		return Errorf(InvalidRequest, "actor_token is not supported")
	}
	// A device calls it by the name of the response's parameter.
	for _, name := range [...]string{"requested_token_type", "issued_token_type"} {
		if v := p[name]; v != "" && v != TypeAccessToken {
			return Errorf(InvalidRequest, "%s must be %s", name, TypeAccessToken)
		}
	}
	if _, err := parseScope(p["scope"]); err != nil {
		return err
	}
	g.hash = token.Hash(p["subject_token"])
	var err error
	g.link, err = s.openLink(p["subject_token"])
	return err
}

// decide asks policy about a token that this server neither issued nor saw
// before. RFC 8693 §2.2.2 wants invalid_request for a bad one.
func (g *exchangeGrant) decide(ctx context.Context, s *Server, c *tokenCall) error {
	if g.link != nil {
		g.account = g.link.Account
		return nil
	}
	switch t, err := s.Store.SubjectToken(ctx, g.hash); {
	case err == nil:
		g.account = t.Account
		return nil
	case !errors.Is(err, store.ErrNotFound):
		return storeError(err)
	}
	call := s.Plugins.Acquire()
	defer call.Release()
	if from := s.strangersFrom(); call.Has(abi.HookExchange) && s.Now().Before(from) {
		return Errorf(TemporarilyUnavailable, "this server was restored from a backup: tokens of others are exchanged from %s on", from.Format(time.RFC3339))
	}
	if _, err := io.ReadFull(s.Rand, call.Random[:]); err != nil {
		return Errorf(ServerError, "the token can't be exchanged at the moment").because(err)
	}
	call.Exchange = abi.ExchangeRequest{
		Head:         abi.Head{NowMS: uint64(s.Now().UnixMilli()), Purpose: abi.PurposeExchange, Seed: s.seed(), Client: c.client.Policy()},
		SubjectToken: c.params["subject_token"], SubjectTokenType: c.params["subject_token_type"],
	}
	answer, name, err := call.AskExchange(c.seen(ctx))
	switch {
	case errors.Is(err, plugin.ErrAbstained):
		return Errorf(InvalidRequest, "subject_token is not known, or has expired")
	case err != nil:
		return Errorf(TemporarilyUnavailable, "try again later").because(err)
	case answer.Outcome != abi.ExchangeAccepted:
		return Errorf(InvalidRequest, "subject_token was refused").because(errors.New("plugin " + name + ": " + strings.Clone(answer.Reason)))
	}
	g.account, g.foreign = strings.Clone(answer.Account), true
	if !ValidAccount(g.account) {
		return Errorf(ServerError, "the token can't be exchanged at the moment").
			because(errors.New("plugin " + name + " named an account that is empty, too long or not text"))
	}
	return nil
}

// spend binds the token to the client and creates a family of its own: a device
// that lost the answer asks again and gets another.
func (g *exchangeGrant) spend(ctx context.Context, s *Server, c *tokenCall) error {
	ctx = by(c.seen(ctx), c.client.Device, c.client.ID)
	var err error
	if c.family, err = s.found(ctx, g.account, c.client, s.Now()); err != nil {
		return err
	}
	bound, err := g.bind(ctx, s, c.client.ID, c.family.Epoch)
	switch {
	case errors.Is(err, store.ErrBound):
		return Errorf(InvalidRequest, "subject_token was used by another client")
	case errors.Is(err, store.ErrNotFound):
		return Errorf(InvalidRequest, "subject_token is not known, or has expired")
	case err != nil:
		return storeError(err)
	case bound.Epoch != c.family.Epoch:
		return Errorf(InvalidRequest, "the account was signed out since subject_token was issued")
	}
	if c.familyID, err = s.newFamilyID(); err != nil {
		return err
	}
	switch created, _, err := s.Store.CreateFamily(ctx, c.familyID, c.family, s.familyExpiry(c.family, c.family.Created)); {
	case err != nil:
		return storeError(err)
	case !created: // 128 random bits twice: the source of randomness is broken
		return Errorf(ServerError, "no token can be issued at the moment").because(errors.New("the new family's id is taken"))
	}
	switch out, err := s.signedOut(ctx, c.familyID, &c.family); {
	case err != nil:
		return err
	case out:
		return Errorf(InvalidRequest, "the account was signed out since subject_token was issued")
	}
	if g.link != nil {
		if err := s.taken(ctx, g.link, c.familyID, s.Clients.Device(c.family.Client, c.familyID)); err != nil {
			return err
		}
	}
	c.issuedType = TypeAccessToken
	s.log().Info("signed in by token exchange", "account", bound.Account, "client", c.client.ID)
	return nil
}

func (g *exchangeGrant) bind(ctx context.Context, s *Server, client string, epoch uint32) (store.SubjectToken, error) {
	switch {
	case g.link != nil:
		t := store.SubjectToken{Account: g.account, Client: client, Epoch: g.link.Epoch}
		return s.Store.ClaimSubjectToken(ctx, g.hash, t, time.Unix(g.link.Expires, 0))
	case g.foreign:
		t := store.SubjectToken{Account: g.account, Client: client, Foreign: true, Epoch: epoch}
		return s.Store.ClaimSubjectToken(ctx, g.hash, t, s.Now().Add(SubjectTokenLife))
	}
	return s.Store.BindSubjectToken(ctx, g.hash, client)
}
