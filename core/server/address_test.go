package server

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestAddressBehindProxies(t *testing.T) {
	s := &Server{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for _, c := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"a device itself", "192.0.2.7", nil, "192.0.2.7"},
		{"a device that names another", "192.0.2.7", []string{"203.0.113.9"}, "192.0.2.7"},
		{"one proxy", "10.1.1.1", []string{"192.0.2.7"}, "192.0.2.7"},
		{"a proxy that merged what the device had sent", "10.1.1.1", []string{"203.0.113.9, 192.0.2.7"}, "192.0.2.7"},
		{"a proxy that added a line to what the device had sent", "10.1.1.1", []string{"203.0.113.9", "192.0.2.7"}, "192.0.2.7"},
		{"two proxies", "10.1.1.1", []string{"192.0.2.7, 10.2.2.2"}, "192.0.2.7"},
		{"a proxy without the header", "10.1.1.1", nil, "10.1.1.1"},
		{"nonsense in the header", "10.1.1.1", []string{"unknown"}, "10.1.1.1"},
		{"IPv6", "fd00::1", []string{"2001:db8::7"}, "2001:db8::7"},
		{"a zone, which is text of the header's", "10.1.1.1", []string{"2001:db8::7, fd00::2%a \"zone\""}, "2001:db8::7"},
		{"IPv4 in IPv6", "::ffff:192.0.2.7", nil, "192.0.2.7"},
	} {
		var req fasthttp.Request
		for _, line := range c.forwarded {
			req.Header.Add("X-Forwarded-For", line)
		}
		var r fasthttp.RequestCtx
		r.Init(&req, &net.TCPAddr{IP: net.ParseIP(c.remote)}, nil)
		if got := s.address(&r); got != c.want {
			t.Errorf("%s: the address is %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzForwardedFor sends any header from a device and from a proxy. A proxy is
// believed, and so is what it names as long as that is a proxy too.
func FuzzForwardedFor(f *testing.F) {
	for _, remote := range [][]byte{{192, 0, 2, 7}, {10, 1, 1, 1}, netip.MustParseAddr("fd00::1").AsSlice(), netip.MustParseAddr("::ffff:10.1.1.1").AsSlice(), nil} {
		for _, lines := range []string{
			"", "192.0.2.7", "203.0.113.9, 192.0.2.7", "203.0.113.9\n192.0.2.7", "192.0.2.7, 10.2.2.2", "192.0.2.7,10.2.2.2 ,\tfd00::2", "unknown", "192.0.2.7, unknown, 10.2.2.2",
			"2001:db8::7", "::ffff:192.0.2.7", "[2001:db8::7]:443", "192.0.2.7:80", "fe80::1%eth0", "fd00::2%a \"zone\"", "010.1.1.1", ",", "2001:0DB8:0::0007",
		} {
			f.Add(remote, lines)
		}
	}
	s := &Server{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	f.Fuzz(func(t *testing.T, ip []byte, forwarded string) {
		if strings.ContainsAny(forwarded, "\r\x00") {
			return // no value of a header (RFC 9110 §5.5)
		}
		var req fasthttp.Request
		lines := strings.Split(forwarded, "\n")
		for _, line := range lines {
			req.Header.Add("X-Forwarded-For", line)
		}
		var r fasthttp.RequestCtx
		r.Init(&req, &net.TCPAddr{IP: ip}, nil)
		got := s.address(&r)
		remote, ok := netip.AddrFromSlice(ip)
		if !ok {
			if got != "" && got != netip.IPv4Unspecified().String() {
				t.Errorf("the address of a connection without one is %q", got)
			}
			return
		}
		remote = remote.Unmap()
		a, err := netip.ParseAddr(got)
		if err != nil || a.String() != got || a.Zone() != "" || a.Is4In6() {
			t.Errorf("from %v with %q: the address is %q, %v", remote, forwarded, got, err)
		}
		// What stands behind the one that counts are proxies, and the proxy was asked.
		hops := strings.Split(strings.Join(lines, ","), ",")
		last := len(hops) - 1
		for ; last >= 0 && parsed(hops[last]) != a; last-- {
		}
		switch {
		case !s.trusted(remote), last < 0:
			if a != remote {
				t.Errorf("from %v with %q: the address is %q, want that of the connection", remote, forwarded, got)
			}
		case slices.ContainsFunc(hops[last+1:], func(hop string) bool { return !s.trusted(parsed(hop)) }) && a != remote:
			t.Errorf("from %v with %q: the address is %q, but what stands behind it is no proxy", remote, forwarded, got)
		}
		if end := parsed(hops[len(hops)-1]); s.trusted(remote) && end.IsValid() && !s.trusted(end) && a != end {
			t.Errorf("from %v with %q: the address is %q, want the last one %v", remote, forwarded, got, end)
		}
	})
}

// parsed is the address of a hop, not valid if it is none.
func parsed(hop string) netip.Addr {
	a, err := netip.ParseAddr(strings.TrimSpace(hop))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func TestTerritoryIsATrustedProxysAlone(t *testing.T) {
	s := &Server{proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, territory: "X-Country"}
	for _, c := range []struct {
		name, remote string
		lines        []string
		want         string
	}{
		{"the proxy's", "10.1.1.1", []string{"AUT"}, "AUT"},
		{"a device's own", "192.0.2.7", []string{"AUT"}, ""},
		{"none", "10.1.1.1", nil, ""},
		{"two: one may be the device's", "10.1.1.1", []string{"AUT", "DEU"}, ""},
		{"two letters", "10.1.1.1", []string{"AT"}, ""},
		{"small letters", "10.1.1.1", []string{"aut"}, ""},
	} {
		var req fasthttp.Request
		for _, line := range c.lines {
			req.Header.Add("X-Country", line)
		}
		var r fasthttp.RequestCtx
		r.Init(&req, &net.TCPAddr{IP: net.ParseIP(c.remote)}, nil)
		if got := s.territoryOf(&r); got != c.want {
			t.Errorf("%s: the territory is %q, want %q", c.name, got, c.want)
		}
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := newPerAddress(inner, 2, func(netip.Addr) bool { return false })
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	dial()
	first, _ := <-accepted, <-accepted
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatalf("the third connection of an address read %d bytes, want it closed", n)
	}
	// One goes, twice over: closing twice must not count twice.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	dial()
	if conn := <-accepted; conn == nil {
		t.Fatal("after one was closed no other was taken")
	}
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatalf("the third connection read %d bytes, want it closed", n)
	}
}

func TestRedirectSource(t *testing.T) {
	for uri, want := range map[string]string{
		"app-distribution-oauth://":             "app-distribution-oauth:",
		"com.example.market:/signed-in":         "com.example.market:",
		"https://app.example.com/back?a=b":      "https://app.example.com",
		"http://127.0.0.1:7777/callback":        "http://127.0.0.1:7777",
		"http://[::1]:7777/callback":            "http:",
		"https://app.example.com:8443/a/b#frag": "https://app.example.com:8443",
	} {
		if got := redirectSource(uri); got != want {
			t.Errorf("redirectSource(%q) = %q, want %q", uri, got, want)
		}
	}
}

// A network has no zones: who is in it is, whatever the interface.
func TestAddressOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "[fe80::1%eth0]:80": "fe80::1",
	} {
		got, ok := addressOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
		if !ok || got != netip.MustParseAddr(want) {
			t.Errorf("%s is of %v, %v, want %s", text, got, ok, want)
		}
	}
	if got, ok := addressOf(&net.UnixAddr{Name: "/run/souk"}); ok {
		t.Errorf("a socket in the file system is of %v", got)
	}
}
