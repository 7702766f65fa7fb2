package admin

import (
	"context"
	"log/slog"

	"github.com/souk-market/souk/core/oauth"
)

// listSessions answers GET /api/accounts/{account}/sessions.
func (s *Server) listSessions(ctx context.Context, r *request) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	sessions, err := s.oauth.Sessions(ctx, name)
	if err != nil {
		return err
	}
	return r.write(200, map[string]any{"sessions": sessions})
}

// revokeAccount answers DELETE /api/accounts/{account}/sessions: it is signed out
// everywhere, from the next request on.
func (s *Server) revokeAccount(ctx context.Context, r *request) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	ended, err := s.signOut(ctx, name)
	if err != nil {
		return err
	}
	return r.write(200, map[string]any{"ended": ended})
}

// revokeSession answers DELETE /api/accounts/{account}/sessions/{session}.
func (s *Server) revokeSession(ctx context.Context, r *request) error {
	id := r.parts["session"]
	return s.revokeSome(ctx, r, "session", func(o oauth.Session) bool { return o.ID == id })
}

// revokeClient answers DELETE /api/accounts/{account}/clients/{client}: all
// sign-ins of one device or app.
func (s *Server) revokeClient(ctx context.Context, r *request) error {
	client := r.parts["client"]
	return s.revokeSome(ctx, r, "client", func(o oauth.Session) bool { return o.Client == client })
}

func (s *Server) revokeSome(ctx context.Context, r *request, what string, match func(oauth.Session) bool) error {
	name, err := r.account()
	if err != nil {
		return err
	}
	ended, err := s.oauth.Revoke(ctx, name, match)
	for _, o := range ended {
		s.audit(ctx, nil, "session.revoke", slog.String("account", name), slog.String("session", o.ID), slog.String("client", o.Client))
	}
	switch {
	case err != nil:
		s.audit(ctx, err, "session.revoke", slog.String("account", name), slog.String(what, r.parts[what]))
		return err
	case len(ended) == 0:
		return problemf(404, "%s: the account has no such sign-in", what)
	}
	return r.write(200, map[string]any{"ended": ended})
}

// signOut ends all sign-ins of an account and leaves the line that says so.
func (s *Server) signOut(ctx context.Context, account string) ([]oauth.Session, error) {
	ended, err := s.oauth.RevokeAccount(ctx, account)
	s.audit(ctx, err, "account.sign_out", slog.String("account", account), slog.Int("sessions", len(ended)))
	return ended, err
}
