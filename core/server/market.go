package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/token"
)

// appsExchange is the space of one request and its answer, used again and again.
type appsExchange struct {
	request market.Request
	answer  market.Answer
	access  token.Access
	body    []byte

	// Of the short way.
	whole   []byte               // an answer, head and body
	unusual *fasthttp.RequestCtx // for one that fasthttp writes; nil = there was none yet
}

var appsExchanges = sync.Pool{New: func() any { return new(appsExchange) }}

// release gives the space back. Nothing in it may still be read: the texts alias
// the request's body, and the body of the answer was exchanged for another.
func (x *appsExchange) release() {
	x.request.Access = nil
	x.answer.Reset()
	appsExchanges.Put(x)
}

// updates answers POST /updates.
func (s *Server) updates(ctx context.Context, r *fasthttp.RequestCtx) error {
	return s.apps(ctx, r, s.market.Updates, "updates", (*catalog.Release).AppendUpdate)
}

// restore answers POST /restore.
func (s *Server) restore(ctx context.Context, r *fasthttp.RequestCtx) error {
	return s.apps(ctx, r, s.market.Restore, "restores", (*catalog.Release).AppendRestore)
}

// installToken answers POST /install-token: the marketplace app asks for what it
// is about to install.
func (s *Server) installToken(ctx context.Context, r *fasthttp.RequestCtx) error {
	return s.apps(ctx, r, s.market.InstallTokens, "installs", (*catalog.Release).AppendRestore)
}

// apps is what the three have in common: parse, ask, write.
func (s *Server) apps(ctx context.Context, r *fasthttp.RequestCtx,
	ask func(context.Context, *market.Request, *market.Answer) error, list string, appendOffer func(*catalog.Release, []byte, []byte) []byte,
) error {
	x := appsExchanges.Get().(*appsExchange)
	defer x.release()
	var own []byte
	if len(s.tokenHeader) > 0 {
		own = r.Request.Header.PeekCanonical(s.tokenHeader)
	}
	x.request.Territory = s.territoryOf(r)
	if err := s.askApps(ctx, x, r.Request.Body(), own, r.Request.Header.PeekCanonical(authorization), r.Time(), ask); err != nil {
		return err
	}
	x.body = appendAnswer(x.body[:0], list, &x.answer, appendOffer)
	x.body = writeBuffer(r, x.body)
	return nil
}

// askApps reads a request into the exchange, which has its territory, and asks for the
// answer. The token may be in the operator's own header or in Authorization; now is when
// the request came.
func (s *Server) askApps(ctx context.Context, x *appsExchange, body, own, header []byte, now time.Time,
	ask func(context.Context, *market.Request, *market.Answer) error,
) error {
	if x.request.Now = now; s.now != nil {
		x.request.Now = s.now()
	}
	// The token's signature is computed while memory is fetched.
	wrong := parseApps(body, s.limits.Apps, &x.request)
	if wrong == nil {
		s.market.Prefetch(&x.request)
	}
	if err := s.bearer(x, own, header); err != nil {
		return err
	}
	if wrong != nil {
		return wrong
	}
	x.request.Once()
	if x.request.Access == nil && s.market.NeedsSignIn(x.request.Apps) {
		return &problem{status: 401, sentence: "sign in first", challenge: "Bearer"}
	}
	if err := ask(ctx, &x.request, &x.answer); err != nil {
		if errors.Is(err, market.ErrNoAccount) {
			return invalidToken(err)
		}
		return &problem{status: 503, sentence: "try again later", retry: true, cause: err}
	}
	return nil
}

var (
	authorization = []byte("Authorization")
	bearerScheme  = []byte("Bearer ")
)

// bearer reads the access token: from the header that the operator chose for the
// marketplace app's extension if it is there, else from Authorization. A missing
// token is no error here; one that is there has to be good.
func (s *Server) bearer(x *appsExchange, own, header []byte) error {
	t := own
	if len(t) == 0 {
		if len(header) == 0 {
			return nil
		}
		if !bytes.HasPrefix(header, bearerScheme) && // as nearly everybody writes it
			(len(header) < len(bearerScheme) || !bytes.EqualFold(header[:len(bearerScheme)], bearerScheme)) { // RFC 9110 §11.1
			return invalidToken(errors.New("the Authorization header is of another scheme"))
		}
		t = bytes.TrimSpace(header[len(bearerScheme):])
	}
	var err error
	if x.access, err = s.oauth.BearerAt(t, oauth.AudienceMarket, x.request.Now); err != nil {
		return invalidToken(err)
	}
	x.request.Access = &x.access
	return nil
}

// invalidToken is 403 and not the 401 of RFC 6750 §3.1: so Apple asks it of these
// endpoints, where 401 means that there was no token.
func invalidToken(cause error) *problem {
	return &problem{status: 403, sentence: "the access token is not valid", challenge: `Bearer error="invalid_token"`, cause: cause}
}

// appendAnswer writes the answer. A list that is empty is there all the same: a
// device takes nothing without it.
func appendAnswer(b []byte, list string, a *market.Answer, appendOffer func(*catalog.Release, []byte, []byte) []byte) []byte {
	b = append(b, `{"`...)
	b = append(b, list...)
	b = append(b, `":[`...)
	for i, o := range a.Offers {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendOffer(o.Release, b, a.Token(o))
	}
	b = append(b, ']')
	if len(a.Failures) > 0 {
		b = append(b, `,"failures":[`...)
		for i := range a.Failures {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendFailure(b, &a.Failures[i])
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendFailure names an app in the device's own words.
func appendFailure(b []byte, app *market.App) []byte {
	b = append(b, `{"appleItemId":`...)
	b = appendString(b, app.ItemText)
	b = append(b, `,"appleVersionId":`...)
	b = appendString(b, app.VersionText)
	return append(b, `,"failure":{"code":404,"description":"App unavailable."}}`...)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
