package server

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
)

// documents are the two that a device begins with, written once; the first again
// where devices are to ask more or less often.
type documents struct {
	authorizationServer []byte

	market   *market.Market
	issuer   string
	batch    int
	metadata any
	kit      atomic.Pointer[kit]
}

// kit is the document for one polling interval.
type kit struct {
	hours int
	body  []byte
}

func newDocuments(o *oauth.Server, m *market.Market, batch int) (*documents, error) {
	d := &documents{market: m, issuer: o.Issuer, batch: batch, metadata: o.Metadata()}
	var err error
	if d.authorizationServer, err = json.Marshal(d.metadata); err != nil {
		return nil, fmt.Errorf("write the OAuth metadata: %w", err)
	}
	_, err = d.marketplaceKit()
	return d, err
}

func (d *documents) marketplaceKit() ([]byte, error) {
	hours := d.market.PollingInterval()
	if k := d.kit.Load(); k != nil && k.hours == hours {
		return k.body, nil
	}
	body, err := json.Marshal(d.market.Config.Configuration(d.issuer, hours, d.batch, d.metadata))
	if err != nil {
		return nil, fmt.Errorf("write the marketplace configuration: %w", err)
	}
	d.kit.Store(&kit{hours, body})
	return body, nil
}

// marketplaceKit answers GET /.well-known/marketplace-kit.
func (s *Server) marketplaceKit(_ context.Context, r *fasthttp.RequestCtx) error {
	body, err := s.documents.marketplaceKit()
	if err != nil {
		return err
	}
	writeDocument(r, body)
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
