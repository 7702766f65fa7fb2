package oauth

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// code is what an authorization code carries, sealed. It names the family that
// it will become, so nothing is written until it is redeemed: a code is unspent
// as long as its family is absent.
type code struct {
	Family    [16]byte `json:"f"`
	Account   string   `json:"a"`
	ClientID  string   `json:"c"`
	Ended     uint32   `json:"n,omitempty"` // how often the client's sign-ins were ended: a code ends with them
	Redirect  string   `json:"r"`
	Challenge string   `json:"h"`
	Epoch     uint32   `json:"e"` // the account's: one who was signed out everywhere has no codes either
	Issued    int64    `json:"i"` // Unix milliseconds
	Expires   int64    `json:"x"` // unix seconds
}

func (s *Server) mintCode(a *authorization, account store.Account) (string, error) {
	id, err := s.newFamilyID()
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(code{
		Family: id, Account: account.Account, ClientID: a.client.ID, Ended: a.client.epoch, Redirect: a.redirect, Challenge: a.challenge,
		Epoch: account.Epoch, Issued: s.Now().UnixMilli(), Expires: s.Now().Add(s.Lives.Code.Std()).Unix(),
	})
	if err == nil {
		var sealed string
		if sealed, err = s.Ring().Seal(s.Rand, token.PurposeCode, plain); err == nil {
			return sealed, nil
		}
	}
	return "", Errorf(ServerError, "no code can be issued at the moment").because(err)
}

// codeGrant is the grant of RFC 6749 §4.1.3 with RFC 7636 §4.5.
type codeGrant struct {
	code   code
	forged bool // the verifier does not fit
}

func (g *codeGrant) verify(_ context.Context, s *Server, c *tokenCall) error {
	p := c.params
	if p["code"] == "" {
		return Errorf(InvalidRequest, "code is missing")
	}
	if p["code_verifier"] == "" {
		return Errorf(InvalidRequest, "code_verifier is missing")
	}
	plain, err := s.Ring().Open(token.PurposeCode, p["code"])
	if err != nil {
		return Errorf(InvalidGrant, "code is not one of ours").because(err)
	}
	if err := json.Unmarshal(plain, &g.code); err != nil {
		return Errorf(InvalidGrant, "code is not one of ours").because(err)
	}
	if s.Now().Unix() >= g.code.Expires {
		return Errorf(InvalidGrant, "code has expired")
	}
	if s.forgotten(g.code.Issued) {
		return Errorf(InvalidGrant, "code was issued before this server was restored from a backup: sign in again")
	}
	client, ok := s.Clients.ByID(g.code.ClientID)
	switch {
	case !ok, client.epoch != g.code.Ended:
		return Errorf(InvalidGrant, "code was issued to a client that is no more")
	case c.client != nil && c.client.ID != client.ID:
		return Errorf(InvalidGrant, "code was issued to another client")
	case !client.Redirects(g.code.Redirect): // taken from it since, or a device's id was registered
		return Errorf(InvalidGrant, "code was sent to a redirect_uri that is not the client's any more")
	}
	c.client = client // left out, the verifier proves who it is
	// Apple's device may leave redirect_uri out: it has one only.
	switch redirect := p["redirect_uri"]; {
	case redirect == "" && !client.Device:
		return Errorf(InvalidRequest, "redirect_uri is missing")
	case redirect != "" && !sameRedirect(redirect, g.code.Redirect):
		return Errorf(InvalidGrant, "redirect_uri is not the one that the code was sent to")
	}
	g.forged = !verifies(g.code.Challenge, p["code_verifier"])
	return nil
}

func (g *codeGrant) decide(context.Context, *Server, *tokenCall) error { return nil }

// spend creates the family that the code names. Whoever comes second finds it
// there: the code was stolen, and what was issued for it ends (RFC 6749 §4.1.2).
// A wrong verifier burns the code in the same way.
func (g *codeGrant) spend(ctx context.Context, s *Server, c *tokenCall) error {
	now := s.Now()
	ctx = by(c.seen(ctx), c.client.Device, c.client.ID)
	f, err := s.found(ctx, g.code.Account, c.client, now)
	if err != nil {
		return err
	}
	if f.Epoch != g.code.Epoch {
		return Errorf(InvalidGrant, "the account was signed out since the code was issued")
	}
	if g.forged {
		f.State = store.Revoked
	}
	created, _, err := s.Store.CreateFamily(ctx, g.code.Family, f, s.familyExpiry(f, now))
	switch {
	case errors.Is(err, store.ErrUnknown):
		// It may be spent. To ask again would look like a thief, so nobody is told to.
		return Errorf(ServerError, "the code may be spent: sign in again").because(err)
	case err != nil:
		return storeError(err)
	case !created:
		if err := s.revoke(ctx, g.code.Family, "code redeemed twice"); err != nil {
			return err
		}
		return Errorf(InvalidGrant, "code was used before: what was issued for it is revoked")
	case g.forged:
		return Errorf(InvalidGrant, "code_verifier does not fit: the code is spent")
	}
	switch out, err := s.signedOut(ctx, g.code.Family, &f); {
	case err != nil:
		return err
	case out:
		return Errorf(InvalidGrant, "the account was signed out since the code was issued")
	}
	c.familyID, c.family, c.issuedType = g.code.Family, f, TypeAccessToken
	return nil
}

// revoke ends a family, for a reason that is written down. The access tokens go
// first: if the process dies between the two, what is left is a refresh token, and
// using it ends here again, since refreshGrant looks whether they are gone.
func (s *Server) revoke(ctx context.Context, id [16]byte, why string) error {
	now := s.Now()
	f, err := s.Store.RevokeFamily(ctx, id, store.Ending{
		Why: why, Until: s.barred(now), Expires: func(f store.Family) time.Time { return s.familyExpiry(f, now) },
	})
	switch {
	case errors.Is(err, store.ErrNotFound): // it has expired meanwhile
		return nil
	case err != nil:
		return storeError(err)
	}
	s.log().Warn("sign-in revoked", "family", hex.EncodeToString(id[:]), "why", why)
	s.vacate(ctx, id, &f)
	return nil
}

// barred is how long access tokens of a family are refused when it ends: until the
// last of them, which was issued by then, is out of date, and with it the last link
// of an install page.
func (s *Server) barred(issued time.Time) time.Time {
	return issued.Add(max(s.Lives.AccessDevice.Std(), s.Lives.AccessApp.Std(), PageLife+SubjectTokenLife) + time.Minute)
}

// bar refuses the access tokens of a family that has ended.
func (s *Server) bar(ctx context.Context, id [16]byte, issued time.Time) error {
	until := s.barred(issued)
	if !until.After(s.Now()) {
		return nil
	}
	if err := s.Store.Revoke(ctx, id, until); err != nil {
		return storeError(err)
	}
	return nil
}
