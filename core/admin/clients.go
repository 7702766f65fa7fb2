package admin

import (
	"context"
	"log/slog"

	"github.com/souk-market/souk/core/oauth"
)

// clientPage is a page of the listing. Next is the after of the following one.
type clientPage struct {
	Clients []oauth.Registered `json:"clients"`
	Next    string             `json:"next,omitempty"`
}

// listClients answers GET /api/clients, in the order of the ids: those of
// config.toml too.
func (s *Server) listClients(_ context.Context, r *request) error {
	after, limit, err := r.page()
	if err != nil {
		return err
	}
	page := clientPage{Clients: []oauth.Registered{}}
	for _, c := range s.oauth.Clients.Registered() {
		switch {
		case c.ID <= after:
			continue
		case len(page.Clients) == limit:
			page.Next = page.Clients[limit-1].ID
			return r.write(200, page)
		}
		page.Clients = append(page.Clients, c)
	}
	return r.write(200, page)
}

// client answers GET /api/clients/{client}.
func (s *Server) client(_ context.Context, r *request) error {
	c, err := s.oauth.Clients.Find(r.parts["client"])
	if err != nil {
		return err
	}
	return r.write(200, c)
}

// registerClient answers POST /api/clients. The secret of a confidential client is
// in this answer and in no other.
func (s *Server) registerClient(ctx context.Context, r *request) error {
	var body oauth.Registration
	if err := r.read(&body); err != nil {
		return err
	}
	c, err := s.oauth.RegisterClient(ctx, body)
	s.audit(ctx, err, "client.register", slog.String("client", body.ID), clientAttr("new", c))
	if err != nil {
		return err
	}
	return r.write(201, c)
}

// changeClient answers PUT /api/clients/{client}: what is missing stays.
func (s *Server) changeClient(ctx context.Context, r *request) error {
	var change oauth.ClientChange
	if err := r.read(&change); err != nil {
		return err
	}
	before, after, err := s.oauth.ChangeClient(ctx, r.parts["client"], change)
	s.audit(ctx, err, "client.change", slog.String("client", r.parts["client"]), clientAttr("old", before), clientAttr("new", after))
	if err != nil {
		return err
	}
	return r.write(200, after)
}

// removeClient answers DELETE /api/clients/{client}.
func (s *Server) removeClient(ctx context.Context, r *request) error {
	before, err := s.oauth.RemoveClient(ctx, r.parts["client"])
	s.audit(ctx, err, "client.remove", slog.String("client", r.parts["client"]), clientAttr("old", before))
	if err != nil {
		return err
	}
	return r.done()
}

// rotateSecret answers POST /api/clients/{client}/secret: the secret before is
// worth nothing from now on.
func (s *Server) rotateSecret(ctx context.Context, r *request) error {
	c, err := s.oauth.RotateSecret(ctx, r.parts["client"])
	s.audit(ctx, err, "client.rotate_secret", slog.String("client", r.parts["client"]))
	if err != nil {
		return err
	}
	return r.write(200, c)
}

func clientAttr(key string, c oauth.Registered) slog.Attr {
	if c.ID == "" {
		return slog.String(key, "")
	}
	return slog.Group(key, slog.String("name", c.Name), slog.String("kind", c.Kind), slog.Any("redirect_uris", c.RedirectURIs),
		slog.Bool("market", c.Market), slog.Bool("disabled", c.Disabled))
}
