package oauth

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// TokenRequest is a request to the token endpoint (RFC 6749 §3.2).
type TokenRequest struct {
	Params Params
	// Basic is set when the client sent an Authorization header of that scheme.
	Basic *Basic
	// Visitor says where the request comes from, as Seen is told; nil leaves that to the
	// context. Hardly any refresh writes something down, so it is asked only where
	// something may be, and not after Token has returned.
	Visitor func() Visitor
}

// Basic are credentials from the Authorization header, already form-decoded
// (RFC 6749 §2.3.1).
type Basic struct{ ID, Secret string }

// TokenResponse is the answer of the token endpoint (RFC 6749 §5.1). ExpiresIn
// is a number of seconds that a device must have.
type TokenResponse struct {
	AccessToken     string `json:"access_token"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	RefreshToken    string `json:"refresh_token,omitempty"`
	IssuedTokenType string `json:"issued_token_type,omitempty"` // RFC 8693 §2.2.1
	Scope           string `json:"scope,omitempty"`
}

// TypeAccessToken is the only token type that is exchanged (RFC 8693 §3).
const TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"

// GrantTokenExchange is the grant type of RFC 8693 §2.1.
const GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

// GrantTypes are the grant types, as the metadata lists them.
var GrantTypes = []string{"authorization_code", "refresh_token", GrantTokenExchange}

// grant is what one grant type adds to the pipeline.
type grant interface {
	// verify checks what the client holds and writes nothing. It may name the
	// client, if the request did not.
	verify(ctx context.Context, s *Server, c *tokenCall) error
	// decide asks policy, where the grant leaves something to decide.
	decide(ctx context.Context, s *Server, c *tokenCall) error
	// spend makes the grant's change in the store, exactly once and in one
	// record's Update, and leaves the family that the tokens are of.
	spend(ctx context.Context, s *Server, c *tokenCall) error
}

// tokenCall is one request on its way through the pipeline.
type tokenCall struct {
	params     Params
	visitor    func() Visitor
	client     *Client // nil until somebody names it
	proven     bool    // the client has shown its secret
	familyID   [16]byte
	family     store.Family
	issuedType string
}

// Token answers the token endpoint. Each request takes the same steps in the same
// order, so that no grant can leave one out.
func (s *Server) Token(ctx context.Context, req TokenRequest) (*TokenResponse, error) {
	c := &tokenCall{params: req.Params, visitor: req.Visitor}
	// 1. Which grant?
	g, err := grantFor(req.Params["grant_type"])
	if err != nil {
		return nil, err
	}
	// 2. Who asks? A client that says who it is has to be that one.
	if c.client, c.proven, err = s.authenticate(req); err != nil {
		return nil, err
	}
	// 3. Is what it holds good, for this client and now? A client that the grant
	// names has to have shown its secret too, if it has one.
	if err := g.verify(ctx, s, c); err != nil {
		return nil, err
	}
	if err := c.mayGoOn(c.client); err != nil {
		return nil, err
	}
	// 4. What does policy say?
	if err := g.decide(ctx, s, c); err != nil {
		return nil, err
	}
	// 5. Spend it: the one write, after which the answer stands.
	if err := g.spend(ctx, s, c); err != nil {
		return nil, err
	}
	// 6. Answer with what the family says, and nothing else: the same record
	// always gives the same answer.
	return s.respond(c), nil
}

func grantFor(grantType string) (grant, error) {
	switch grantType {
	case "authorization_code":
		return &codeGrant{}, nil
	case "refresh_token":
		return &refreshGrant{}, nil
	case GrantTokenExchange:
		return &exchangeGrant{}, nil
	case "":
		return nil, Errorf(InvalidRequest, "grant_type is missing")
	}
	return nil, Errorf(UnsupportedGrantType, "grant_type must be authorization_code, refresh_token or %s", GrantTokenExchange)
}

// authenticate finds the client in the request (RFC 6749 §2.3.1). A client with a
// secret shows it, in the Authorization header or in the body; one without has a
// name only, so there a secret is a mistake that is not let pass.
func (s *Server) authenticate(req TokenRequest) (c *Client, proven bool, err error) {
	id, secret, twice := req.Params["client_id"], req.Params["client_secret"], false
	if b := req.Basic; b != nil {
		if id != "" && id != b.ID {
			return nil, false, Errorf(InvalidRequest, "client_id differs between the Authorization header and the body")
		}
		id, twice = b.ID, b.Secret != "" && secret != ""
		secret = cmp.Or(b.Secret, secret)
	}
	if id == "" && secret == "" {
		return nil, false, nil
	}
	c, ok := s.Clients.ByID(id)
	switch {
	case !ok:
		return nil, false, Errorf(InvalidClient, "client_id is no client id, or of a client that may not be used any more")
	case !c.confidential && secret != "":
		return nil, false, Errorf(InvalidClient, "this client has no secret")
	case twice: // RFC 6749 §2.3: one method in each request
		return nil, false, Errorf(InvalidRequest, "the client's secret is in the Authorization header and in the body: send it once")
	case c.confidential && !c.Proves(secret):
		return nil, false, Errorf(InvalidClient, "client_id or client_secret is wrong")
	}
	return c, c.confidential, nil
}

// seen is the context for what may be written down.
func (c *tokenCall) seen(ctx context.Context) context.Context {
	if c.visitor == nil {
		return ctx
	}
	return Seen(ctx, c.visitor())
}

// mayGoOn refuses a client that has a secret and has not shown it.
func (c *tokenCall) mayGoOn(client *Client) error {
	if client != nil && client.confidential && !c.proven {
		return Errorf(InvalidClient, "client_id and client_secret are missing: this client has a secret")
	}
	return nil
}

// record returns the record of an account, and makes one where there is none:
// tokens carry the account's number, and the record its name.
func (s *Server) record(ctx context.Context, account string) (store.Account, error) {
	r, err := s.Store.Account(ctx, store.SubjectID(account))
	if errors.Is(err, store.ErrNotFound) {
		r, err = s.Store.UpdateAccount(ctx, account, func(*store.Account) (bool, error) { return true, nil })
	}
	return r, err
}

// found begins a family for an account and a client.
func (s *Server) found(ctx context.Context, account string, c *Client, now time.Time) (store.Family, error) {
	r, err := s.record(ctx, account)
	if err != nil {
		return store.Family{}, storeError(err)
	}
	subject := store.SubjectID(account)
	return store.Family{
		State: store.Active, KID: s.Ring().Current(), Class: c.class(), Audience: c.audience(),
		RotatedAt: now, Created: now, Subject: subject, Client: c.Key(), Scope: c.scopes, Epoch: r.Epoch,
	}, nil
}

// signedOut says whether the account of a family that was just created was signed
// out everywhere meanwhile, and ends the family if so. The epoch is read once more:
// either it is a newer one, or RevokeAccount will find the family in the list.
func (s *Server) signedOut(ctx context.Context, id [16]byte, f *store.Family) (bool, error) {
	switch r, err := s.Store.Account(ctx, f.Subject); {
	case errors.Is(err, store.ErrNotFound): // nobody removes one
	case err != nil:
		return false, storeError(err)
	case r.Epoch == f.Epoch:
		return false, nil
	}
	return true, s.revoke(ctx, id, "the account was signed out")
}

// familyExpiry is when a family is forgotten: it was idle too long, or is too old.
func (s *Server) familyExpiry(f store.Family, now time.Time) time.Time {
	if f.Audience == AudiencePage { // nobody refreshes it; its code must stay spent for as long as it lives
		return f.Created.Add(s.accessLife(&f) + s.Lives.Code.Std())
	}
	at := now.Add(s.Lives.RefreshIdle.Std())
	if abs := s.Lives.RefreshAbsolute.Std(); abs > 0 && f.Created.Add(abs).Before(at) {
		at = f.Created.Add(abs)
	}
	return at
}

// accessLife is the life of an access token of a family.
func (s *Server) accessLife(f *store.Family) time.Duration {
	switch f.Audience {
	case AudienceMarket:
		return s.Lives.AccessDevice.Std()
	case AudiencePage:
		return PageLife
	}
	return s.Lives.AccessApp.Std()
}

// respond makes both tokens from the family record alone. A repeated request
// finds the same record, so it gets the same tokens, byte for byte.
func (s *Server) respond(c *tokenCall) *TokenResponse {
	f, ring := &c.family, s.Ring()
	issued := f.RotatedAt
	expires := issued.Add(s.accessLife(f))
	if end := s.Lives.RefreshAbsolute.Std(); end > 0 && f.Created.Add(end).Before(expires) {
		expires = f.Created.Add(end) // no token outlives its sign-in
	}
	var flags byte
	if f.Class == ClassApp {
		flags = flagRegistered
	}
	var room [token.AccessLen + token.RefreshLen]byte
	both := ring.AppendAccess(room[:0], &token.Access{
		KID: f.KID, Audience: f.Audience, Flags: flags, IssuedAt: uint32(issued.Unix()), Expires: uint32(expires.Unix()),
		Subject: f.Subject, Family: c.familyID, Client: f.Client, Scope: f.Scope, Epoch: f.Epoch,
	})
	if f.Audience != AudiencePage { // a visitor signs in again
		both = ring.AppendRefresh(both, token.Refresh{KID: f.KID, Family: c.familyID, Generation: f.Generation})
	}
	tokens := string(both)
	return &TokenResponse{
		AccessToken: tokens[:token.AccessLen], TokenType: "Bearer", ExpiresIn: max(0, expires.Unix()-s.Now().Unix()),
		RefreshToken: tokens[token.AccessLen:], IssuedTokenType: c.issuedType, Scope: scopeText(f.Scope),
	}
}

func (s *Server) newFamilyID() (id [16]byte, err error) {
	if _, err = io.ReadFull(s.Rand, id[:]); err != nil {
		return id, Errorf(ServerError, "no token can be issued at the moment").because(err)
	}
	return id, nil
}

// storeError turns a failure of the store into an answer. Where the outcome is
// not known the client may ask again: a refresh and an exchange give the same
// answer twice. A code does not, see codeGrant.spend.
func storeError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	switch {
	case errors.Is(err, store.ErrUnknown), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrStopped),
		errors.Is(err, store.ErrClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Errorf(TemporarilyUnavailable, "try again later").because(err)
	}
	return Errorf(ServerError, "the request could not be carried out").because(err)
}
