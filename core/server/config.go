package server

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/unit"
)

// Config is the section [server].
type Config struct {
	// Listen is the address of the public listener.
	Listen string `toml:"listen"`
	// PublicURL is how devices reach it: scheme and host, no path. Empty = made
	// from Listen, which is good for trying things out.
	PublicURL string `toml:"public_url"`
	// Proxies are the networks of the proxies in front of the listener, in CIDR
	// form; theirs is the only X-Forwarded-For that is believed.
	Proxies []string `toml:"proxies"`
	// TerritoryHeader is the header in which those proxies name the country, as
	// ISO 3166-1 alpha-3. Empty = no such header.
	TerritoryHeader string `toml:"territory_header"`
}

// TLSConfig is the section [tls]. With neither file the listener speaks plain
// HTTP and a proxy in front of it ends TLS.
type TLSConfig struct {
	// Cert is the PEM file of the certificate chain, Key that of its key.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Limits is the section [limits]: how much a client may send and how slowly.
type Limits struct {
	// Header is the most bytes of a request's head.
	Header unit.Size `toml:"header"`
	// Body is the most bytes of a request's body; a route may allow less.
	Body unit.Size `toml:"body"`
	// Apps is the most apps that one request may name.
	Apps int `toml:"apps"`
	// String is the most bytes of one parameter of a query or a form. An id has 40
	// characters at most.
	String unit.Size `toml:"string"`
	// ReadTimeout is how long a request may take to arrive. It and the next two may be
	// late, by a sixteenth of the shortest of them.
	ReadTimeout unit.Duration `toml:"read_timeout"`
	// WriteTimeout is how long an answer may take to leave, once it is made; that to an
	// update check, from when the check had arrived.
	WriteTimeout unit.Duration `toml:"write_timeout"`
	// IdleTimeout is how long a connection may wait for its next request, counted from the
	// same moment.
	IdleTimeout unit.Duration `toml:"idle_timeout"`
	// Connections is the most connections at a time; 0 = no limit. Each may hold a
	// head and a body in memory, and takes one of the files that the process may
	// have open.
	// ConnectionsPerAddress is the most of one address (of IPv6 the /64; a proxy
	// of [server] has no limit); 0 = no limit.
	Connections           int `toml:"connections"`
	ConnectionsPerAddress int `toml:"connections_per_address"`
	// Request is how long the server may work on one request that is not an
	// update check. Those that begin together share a deadline: it may be a sixteenth
	// longer.
	Request unit.Duration `toml:"request"`
	// ShedUpdates is how long requests may wait until somebody looks at them. While they
	// wait longer, update checks make room: first nothing is signed for them, then they
	// are turned away, as many as it takes. 0 = never, and nothing else either.
	ShedUpdates unit.Duration `toml:"shed_updates"`
	// ShedAll is the wait from which on everything else but the documents of /.well-known is turned away too, with 503 and
	// Retry-After, and new TLS connections are closed. 0 = never.
	ShedAll unit.Duration `toml:"shed_all"`
	// ShedAnswer is what an update check gets that is turned away: ShedEmpty or
	// ShedUnavailable.
	ShedAnswer string `toml:"shed_answer"`
	// RetryAfter is what Retry-After asks of who is turned away with 503: half of it to
	// one and a half times as much, at random, so that not all come back at once.
	RetryAfter unit.Duration `toml:"retry_after"`
}

// DefaultConfig returns the defaults of [server].
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:8080", Proxies: []string{}} }

// DefaultLimits returns the defaults of [limits].
func DefaultLimits() Limits {
	return Limits{
		Header: 16 << 10, Body: 128 << 10, Apps: 1000, String: 32 << 10, // a sealed sign-in is the longest that is of use
		ReadTimeout: unit.Duration(10 * time.Second), WriteTimeout: unit.Duration(10 * time.Second),
		IdleTimeout: unit.Duration(75 * time.Second), Request: unit.Duration(10 * time.Second),
		Connections: 20_000, ConnectionsPerAddress: 0,
		ShedUpdates: unit.Duration(25 * time.Millisecond), ShedAll: unit.Duration(500 * time.Millisecond),
		ShedAnswer: ShedEmpty, RetryAfter: unit.Duration(30 * time.Second),
	}
}

// Validate names the first key of [server] with an impossible value.
func (c *Config) Validate() error {
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !validPort(port) {
		return fmt.Errorf("server.listen: %q is no address: write host:port, like \"127.0.0.1:8080\"", c.Listen)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return fmt.Errorf("server.public_url: %q is not scheme and host alone: write it like \"https://market.example.com\"", c.PublicURL)
		}
	}
	if _, err := c.proxies(); err != nil {
		return err
	}
	if strings.ContainsFunc(c.TerritoryHeader, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return fmt.Errorf("server.territory_header: %q is no header name", c.TerritoryHeader)
	}
	return nil
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (c *Config) proxies() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for i, p := range c.Proxies {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, fmt.Errorf("server.proxies[%d]: %q is no network: write it like \"10.0.0.0/8\"", i, p)
		}
		all = append(all, prefix)
	}
	return all, nil
}

// Validate names the first key of [tls] with an impossible value.
func (c *TLSConfig) Validate() error {
	switch {
	case c.Cert != "" && c.Key == "":
		return fmt.Errorf("tls.key: is empty while tls.cert is set: name the file of the certificate's key")
	case c.Cert == "" && c.Key != "":
		return fmt.Errorf("tls.cert: is empty while tls.key is set: name the file of the certificate")
	}
	return nil
}

// Validate names the first key of [limits] with an impossible value.
func (l *Limits) Validate() error {
	for _, r := range []struct {
		key             string
		value, min, max int64
	}{
		{"header", int64(l.Header), 4 << 10, 1 << 20},
		{"body", int64(l.Body), 4 << 10, 16 << 20},
		{"apps", int64(l.Apps), 1, 10_000},
		{"string", int64(l.String), 8 << 10, 1 << 20},
		{"connections", int64(l.Connections), 0, 10_000_000},
		{"connections_per_address", int64(l.ConnectionsPerAddress), 0, 10_000_000},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("limits.%s: %d is out of range: use %d to %d", r.key, r.value, r.min, r.max)
		}
	}
	for _, r := range []struct {
		key   string
		value unit.Duration
	}{
		{"read_timeout", l.ReadTimeout}, {"write_timeout", l.WriteTimeout}, {"idle_timeout", l.IdleTimeout}, {"request", l.Request},
	} {
		if v := r.value.Std(); v < 100*time.Millisecond || v > time.Hour {
			return fmt.Errorf("limits.%s: %v is out of range: use 100ms to 1h", r.key, r.value)
		}
	}
	return l.validateShedding()
}

func (l *Limits) validateShedding() error {
	updates, all := l.ShedUpdates.Std(), l.ShedAll.Std()
	switch {
	case updates != 0 && (updates < 5*time.Millisecond || updates > 10*time.Second):
		return fmt.Errorf("limits.shed_updates: %v is out of range: use 5ms to 10s, or 0 to turn nothing away", l.ShedUpdates)
	case all != 0 && (all < 2*updates || all > time.Minute):
		return fmt.Errorf("limits.shed_all: %v is out of range: use twice limits.shed_updates to 1m, or 0 to turn nothing but update checks away", l.ShedAll)
	case l.ShedAnswer != ShedEmpty && l.ShedAnswer != ShedUnavailable:
		return fmt.Errorf("limits.shed_answer: %q is no choice: use empty or 503", l.ShedAnswer)
	case l.RetryAfter.Std() < 2*time.Second || l.RetryAfter.Std() > time.Hour:
		return fmt.Errorf("limits.retry_after: %v is out of range: use 2s to 1h", l.RetryAfter)
	}
	return nil
}
