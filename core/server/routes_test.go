package server

import (
	"bufio"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// However the target of a request is written (RFC 9112 §3.2), it is the same route.
func TestFindsTheRouteOfEachForm(t *testing.T) {
	for _, test := range []struct {
		line   string
		route  string // empty = none
		status int    // then
	}{
		{"POST /updates HTTP/1.1", "/updates", 0},
		{"POST /updates?again=1 HTTP/1.1", "/updates", 0},
		{"POST //updates HTTP/1.1", "/updates", 0},
		{"POST /x/../updates HTTP/1.1", "/updates", 0},
		{"POST /%75pdates HTTP/1.1", "/updates", 0},
		{"POST http://market.example.com/updates HTTP/1.1", "/updates", 0},
		{"POST /updates HTTP/1.0", "/updates", 0},
		{"GET /updates HTTP/1.1", "", 405},
		{"HEAD /updates HTTP/1.1", "", 405},
		{"PUT /updates HTTP/1.1", "", 405},
		{"POST /updates/ HTTP/1.1", "", 404},
		{"POST /Updates HTTP/1.1", "", 404},
		{"POST /updatesx HTTP/1.1", "", 404},
		{"POST / HTTP/1.1", "", 404},
		{"HEAD /.well-known/marketplace-kit HTTP/1.1", "/.well-known/marketplace-kit", 0},
		{"GET /install/1000001 HTTP/1.1", "/install/{appleItemId}", 0},
		{"POST /install/1000001/ HTTP/1.1", "", 404},
	} {
		var r fasthttp.RequestCtx
		request := test.line + "\r\nHost: market.example.com\r\nContent-Length: 0\r\n\r\n"
		if err := r.Request.Read(bufio.NewReader(strings.NewReader(request))); err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		rt, missing := find(&r)
		switch {
		case test.route != "":
			if missing != nil || rt.path != test.route {
				t.Errorf("%s: the route is %+v, %v, want %s", test.line, rt, missing, test.route)
			}
		case missing == nil || missing.status != test.status:
			t.Errorf("%s: the route is %+v, %v, want %d", test.line, rt, missing, test.status)
		}
	}
}
