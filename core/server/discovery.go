package server

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
)

// documents are the two that a device begins with, written once.
type documents struct {
	marketplaceKit, authorizationServer []byte
}

func newDocuments(o *oauth.Server, m *market.Market, batch int) (d documents, err error) {
	if d.authorizationServer, err = json.Marshal(o.Metadata()); err != nil {
		return d, fmt.Errorf("write the OAuth metadata: %w", err)
	}
	if d.marketplaceKit, err = json.Marshal(m.Config.Configuration(o.Issuer, batch, o.Metadata())); err != nil {
		return d, fmt.Errorf("write the marketplace configuration: %w", err)
	}
	return d, nil
}

// marketplaceKit answers GET /.well-known/marketplace-kit.
func (s *Server) marketplaceKit(_ context.Context, r *fasthttp.RequestCtx) error {
	writeDocument(r, s.documents.marketplaceKit)
	return nil
}

// authorizationServer answers GET /.well-known/oauth-authorization-server
// (RFC 8414 §3).
func (s *Server) authorizationServer(_ context.Context, r *fasthttp.RequestCtx) error {
	writeDocument(r, s.documents.authorizationServer)
	return nil
}

// writeDocument answers with a document of our own: the plain media type, since
// a device asks for no other, and no cache, since it keeps none.
func writeDocument(r *fasthttp.RequestCtx, body []byte) {
	writeBody(r, body)
	r.Response.Header.SetContentType(jsonType)
}
