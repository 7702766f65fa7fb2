package server

import (
	"net"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/oauth"
)

// Two readers of one body: the quick one, and encoding/json, which has the last
// word.
var (
	ScanApps   = scanApps
	DecodeApps = decodeApps
	ParseApps  = parseApps
)

// LazyConn and LazyListener set deadlines late.
func LazyConn(c net.Conn) net.Conn             { return &lazyConn{Conn: c} }
func LazyListener(l net.Listener) net.Listener { return lazy{l} }

// ReadForm reads parameters as the handlers do.
func ReadForm(body []byte) (oauth.Params, error) {
	var args fasthttp.Args
	args.ParseBytes(body)
	s := Server{limits: DefaultLimits()}
	return s.params(&args)
}

// BasicCredentials reads an Authorization header.
var BasicCredentials = basicCredentials

// RedirectSource is the CSP source of a redirect URI.
var RedirectSource = redirectSource

// AppendFailures writes an answer of nothing but failures.
func AppendFailures(apps []market.App) []byte {
	return appendAnswer(nil, "restores", &market.Answer{Failures: apps}, nil)
}
