package oauth

import (
	"errors"
	"time"

	"github.com/souk-market/souk/core/token"
)

// ErrRevoked means that the token's sign-in was ended, or its client was.
var ErrRevoked = errors.New("oauth: token is revoked")

// ErrAudience means that the token is for another API.
var ErrAudience = errors.New("oauth: token is for another API")

// Bearer checks an access token for an audience: one MAC and one look into a set
// in memory.
//
// hot: called for every update check; no allocation.
func (s *Server) Bearer(t []byte, audience byte) (token.Access, error) {
	return s.BearerAt(t, audience, s.Now())
}

// BearerAt is Bearer for who has looked at the clock already.
func (s *Server) BearerAt(t []byte, audience byte, now time.Time) (token.Access, error) {
	a, err := s.Ring().VerifyAccess(t, now)
	switch {
	case err != nil:
		return a, err
	case a.Audience != audience:
		return a, ErrAudience
	case s.Store.RevocationSet().Contains(a.Family), s.ended(&a), a.Flags&flagRegistered != 0 && s.Clients.byKey(a.Client) == nil:
		return a, ErrRevoked
	}
	return a, nil
}
