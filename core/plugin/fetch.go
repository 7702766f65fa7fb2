package plugin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/souk-market/souk/sdk/abi"
)

// Bounds of http_fetch beside those of the contract; its time is the host's
// deadline of the call.
const (
	maxRedirects    = 3
	maxFetchHeaders = 64
	maxFetchHead    = 64 << 10 // bytes of a response's headers
	dialTimeout     = 5 * time.Second
	idleTimeout     = 30 * time.Second // of a connection that may be used again
)

var fetchMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// ruleError is why a request, or a redirect, was not sent.
type ruleError string

func (e ruleError) Error() string { return string(e) }

func against(format string, args ...any) error { return ruleError(fmt.Sprintf(format, args...)) }

// fetcher asks other servers for one generation. Which address is really asked
// is known only when its connection is made, so that is where it is checked: a
// name that was checked before may resolve to another address a moment later.
type fetcher struct {
	hosts     []string
	transport *http.Transport
	client    *http.Client
	resolver  *net.Resolver         // nil = the system's
	public    func(netip.Addr) bool // whether a guest may reach the address
}

func newFetcher(hosts []string) *fetcher {
	f := &fetcher{hosts: hosts, public: publicAddress}
	f.transport = &http.Transport{
		Proxy:                  nil, // of the environment: it would connect instead of us, and unchecked
		DialContext:            f.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: maxFetchHead,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true, // so that the bytes that are read are the bytes that were sent
	}
	f.client = &http.Client{Transport: f.transport, CheckRedirect: f.redirect} // without a jar: no cookies
	return f
}

func (f *fetcher) close() { f.transport.CloseIdleConnections() }

// dial connects to the host and port of a URL.
func (f *fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{
		Timeout: dialTimeout, Resolver: f.resolver,
		Control: func(_, address string, _ syscall.RawConn) error { return f.reach(host, address) },
	}
	return d.DialContext(ctx, network, address)
}

// reach checks the address that a host's name was resolved to.
func (f *fetcher) reach(host, address string) error {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return against("%s has the address %q, which is none", host, address)
	case thisMachine(host) && !at.Addr().Unmap().IsLoopback():
		return against("%s has the address %s, which is not this machine", host, at.Addr())
	case !thisMachine(host) && !f.public(at.Addr()):
		return against("%s has the address %s, which is not public", host, at.Addr())
	}
	return nil
}

// allowed checks the URL of a request, or of a redirect.
func (f *fetcher) allowed(u *url.URL) error {
	host := strings.ToLower(u.Hostname())
	if host == "" || u.Opaque != "" || u.User != nil {
		return against("the URL has no host, or a user")
	}
	port := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	switch {
	case port == "":
		return against("the URL is neither https nor http")
	case u.Scheme == "http" && !thisMachine(host):
		return against("the URL of %s is plain http: only https is possible", host)
	}
	name := host
	if strings.Contains(host, ":") {
		name = "[" + host + "]"
	}
	if p := u.Port(); p != "" && p != port {
		if !slices.Contains(f.hosts, name+":"+p) {
			return against("host %s:%s is not on its list of hosts", name, p)
		}
	} else if !slices.Contains(f.hosts, name) && !slices.Contains(f.hosts, name+":"+port) {
		return against("host %s is not on its list of hosts", name)
	}
	return nil
}

// redirect checks each hop like a first request, and lets nothing of the guest's
// go along to another host than the guest had in mind.
func (f *fetcher) redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return against("more than %d redirects", maxRedirects)
	}
	if err := f.allowed(r.URL); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	r.Header.Del("Referer") // it would carry the query
	first := via[0].URL
	if r.URL.Scheme == first.Scheme && strings.EqualFold(r.URL.Host, first.Host) {
		return nil
	}
	switch {
	case thisMachine(r.URL.Hostname()) && !thisMachine(first.Hostname()):
		return against("redirect from %s to this machine", first.Host)
	case r.Body != nil && r.Body != http.NoBody:
		return against("redirect of a body from %s to %s", first.Host, r.URL.Host)
	}
	maps.DeleteFunc(r.Header, func(name string, _ []string) bool {
		return name != "Accept" && name != "Accept-Language" && name != "User-Agent"
	})
	return nil
}

// request makes an HTTP request of a guest's record, or says which rule it
// breaks.
func (f *fetcher) request(ctx context.Context, q *abi.FetchRequest) (*http.Request, error) {
	if !slices.Contains(fetchMethods, q.Method) {
		return nil, against("method %q is none of %s", cut(q.Method), list(fetchMethods))
	}
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, against("the URL is none")
	}
	if err := f.allowed(u); err != nil {
		return nil, err
	}
	var body io.Reader
	if q.Body != "" {
		body = strings.NewReader(q.Body)
	}
	r, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return nil, against("the URL is none")
	}
	if len(q.Headers) > maxFetchHeaders {
		return nil, against("%d headers: at most %d are possible", len(q.Headers), maxFetchHeaders)
	}
	r.Header.Set("User-Agent", "souk")
	for i, h := range q.Headers {
		name := http.CanonicalHeaderKey(h.Name)
		switch {
		case !validHeaderName(h.Name):
			return nil, against("header %d has no name", i)
		case ownHeader(name):
			return nil, against("header %s is the host's own", name)
		case strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }):
			return nil, against("header %s has a control character", name)
		case name == "User-Agent":
			r.Header.Set(name, h.Value)
		default:
			r.Header.Add(name, h.Value)
		}
	}
	return r, nil
}

// ownHeader says whether a header belongs to the connection, or to the host.
func ownHeader(name string) bool {
	switch name {
	case "Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length",
		"Accept-Encoding", "Expect", "Http2-Settings":
		return true
	}
	return strings.HasPrefix(name, "Proxy-")
}

func validHeaderName(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// fetch sends the request and reads all of the response.
func (f *fetcher) fetch(ctx context.Context, q *abi.FetchRequest) (*abi.FetchResponse, error) {
	r, err := f.request(ctx, q)
	if err != nil {
		return nil, err
	}
	answer, err := f.client.Do(r)
	if err != nil {
		// Its text would begin with the URL, query and all.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, abi.MaxFetchResponse+1))
	if err == nil {
		err = ctx.Err() // a server that sees us leave may end its body as if it were whole
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the response: %w", err)
	case len(body) > abi.MaxFetchResponse:
		return nil, errFetchLong
	case !utf8.Valid(body):
		return nil, errors.New("the response is not UTF-8")
	}
	a := &abi.FetchResponse{Status: uint32(answer.StatusCode), Body: string(body)}
	for _, name := range slices.Sorted(maps.Keys(answer.Header)) {
		for _, value := range answer.Header[name] {
			a.Headers = append(a.Headers, abi.FetchHeader{
				Name: strings.ToValidUTF8(strings.ToLower(name), "?"), Value: strings.ToValidUTF8(value, "?"),
			})
		}
	}
	return a, nil
}

var errFetchLong = fmt.Errorf("the response is longer than %d bytes", abi.MaxFetchResponse)

// http_fetch(request, rlen, out, cap) -> length
func hostFetch(in *instance, stack []uint64) {
	in.charge(priceFetch)
	b, ok := in.bytes(stack[0], stack[1])
	if !ok || len(b) > abi.MaxFetchRequest || !in.space(stack[2], stack[3]) || !in.asked.personal() || in.fetcher == nil {
		stack[0] = code(abi.CodeRefused)
		return
	}
	in.charge(uint64(len(b)) / priceByte)
	// A copy: the request may outlive the call, in a connection that was given up.
	var q abi.FetchRequest
	if err := q.Read(bytes.Clone(b)); err != nil {
		stack[0] = code(abi.CodeRefused)
		return
	}
	var answer []byte
	err := in.outside(func(ctx context.Context) error {
		a, err := in.fetcher.fetch(ctx, &q)
		if err != nil {
			return err
		}
		if answer = a.Append(nil); len(answer) > abi.MaxFetchResponse {
			return errFetchLong
		}
		return nil
	})
	if err != nil {
		in.charge(priceLine)
		in.log.line(slog.LevelWarn, in.asked.name(), in.redact("http_fetch: "+err.Error()))
		stack[0] = code(abi.CodeFailed)
		if _, rule := errors.AsType[ruleError](err); rule {
			stack[0] = code(abi.CodeRefused)
		}
		return
	}
	in.charge(uint64(len(answer)) / priceByte)
	stack[0] = in.fill(stack[2], stack[3], answer)
}
