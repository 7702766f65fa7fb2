package oauth

import (
	"time"

	"github.com/souk-market/souk/core/token"
)

// forgotten says whether what was issued at a moment (in Unix milliseconds) may have
// been used without this server knowing: the store was made anew from a backup since,
// and what happened in between is lost. What does not say when it was issued is 0.
func (s *Server) forgotten(issued int64) bool { return issued <= s.Store.Recovery().At.UnixMilli() }

// strangersFrom is when tokens of others are exchanged again after a recovery. Who
// binds one is remembered for so long; a recovery forgets it, so until then nobody
// else may come.
func (s *Server) strangersFrom() time.Time { return s.Store.Recovery().At.Add(SubjectTokenLife) }

// ended says whether the operator has ended all access tokens of that time.
//
// hot: called for every update check; no allocation.
func (s *Server) ended(a *token.Access) bool {
	return int64(a.IssuedAt) <= s.Store.Recovery().Ended.Unix()
}
