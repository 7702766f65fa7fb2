package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// guard says why a request may not come in, nil if it may. What a browser could
// be lured into comes first: a page that was refused for its Host learns nothing
// about tokens.
func (s *Server) guard(r *fasthttp.RequestCtx) *problem {
	host := string(r.Request.Header.Host())
	if !s.ownHost(host, r.LocalAddr()) {
		return problemf(403, "the Host header names %.100q: reach the admin API at its address, or write that name into admin.listen", host)
	}
	if origin := string(r.Request.Header.Peek("Origin")); origin != "" && !sameOrigin(origin, host) {
		return problemf(403, "the Origin header names %.100q, which is another site", origin)
	}
	if !s.authorized(string(r.Request.Header.Peek("Authorization"))) {
		p := problemf(401, "the Authorization header has to be \"Bearer\" and the admin token, which stands in admin.token in the data directory")
		p.challenge = "Bearer"
		return p
	}
	return nil
}

// ownHost says whether the Host header is a name of this listener. A foreign name
// that resolves to our address (DNS rebinding) is not. The port is left alone: it
// proves nothing about the name, and a tunnel changes it.
func (s *Server) ownHost(header string, local net.Addr) bool {
	host := strings.ToLower(hostOf(header))
	if host == "localhost" || host != "" && host == s.listen {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	tcp, ok := local.(*net.TCPAddr)
	return ok && tcp.IP.Equal(ip)
}

// hostOf cuts a port and the brackets of an IPv6 address off.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
}

// sameOrigin says whether the page that asks came from this very listener.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, host)
}

// authorized compares hashes in constant time, so that neither the token nor its
// length can be felt out.
func (s *Server) authorized(header string) bool {
	scheme, token, _ := strings.Cut(header, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	same := subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
	return same && strings.EqualFold(scheme, "Bearer") // RFC 9110 §11.1
}
