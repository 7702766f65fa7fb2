package plugin_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// web is a few servers on this machine and the guest that asks them.
type web struct {
	t    *testing.T
	said journal
	spec plugin.Spec
	host *plugin.Host
	network
}

type network = plugin.Network

// newWeb makes a web without a guest: open starts it.
func newWeb(t *testing.T, hosts ...string) *web {
	w := &web{t: t, spec: fullSpec(t)}
	w.spec.Hosts = hosts
	return w
}

func (w *web) open() *web {
	w.t.Helper()
	w.host = open(w.t, plugin.Options{Specs: []plugin.Spec{w.spec}, KV: (&store{}).open, Log: w.said.logger()})
	plugin.SetNetwork(w.host, w.network)
	return w
}

// fetch gives the guest an order and returns what it tells.
func (w *web) fetch(order string) string {
	w.t.Helper()
	c := w.host.Acquire()
	defer c.Release()
	c.Exchange.SubjectToken = "fetch " + order
	answer, _, err := c.AskExchange(w.t.Context())
	if err != nil {
		w.t.Fatalf("fetch %s: %v", order, err)
	}
	return strings.Clone(answer.Reason)
}

// want checks what a fetch gives, and what the log says of it.
func (w *web) want(rule, order, want, logged string) {
	w.t.Helper()
	if got := w.fetch(order); got != want {
		w.t.Errorf("%s: fetch gives %q, want %q; log:\n%s", rule, got, want, w.said.String())
	}
	if !strings.Contains(w.said.String(), logged) {
		w.t.Errorf("%s: log:\n%swant %q", rule, w.said.String(), logged)
	}
}

const (
	fetchRefused = "souk: refused by the host"
	fetchFailed  = "souk: the host could not do it"
)

// serve starts a server with a certificate for example.com and 127.0.0.1, and
// has the web trust it.
func (w *web) serve(h http.HandlerFunc) (s *httptest.Server, port string) {
	s = httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	if w.Roots == nil {
		w.Roots = x509.NewCertPool()
	}
	w.Roots.AddCert(s.Certificate())
	return s, portOf(s)
}

func portOf(s *httptest.Server) string {
	u, _ := url.Parse(s.URL)
	return u.Port()
}

// names answers each look-up of a name with the next of its addresses, and the
// last for ever.
func (w *web) names(table map[string][]string) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	asked := map[string]int{}
	answer := func(b []byte) []byte {
		var p dnsmessage.Parser
		head, err := p.Start(b)
		if err != nil {
			return nil
		}
		q, err := p.Question()
		if err != nil {
			return nil
		}
		name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
		addresses, known := table[name]
		head.Response, head.Authoritative = true, true
		if !known {
			head.RCode = dnsmessage.RCodeNameError
		}
		m := dnsmessage.NewBuilder(nil, head)
		m.StartQuestions()
		m.Question(q)
		m.StartAnswers()
		if known && q.Type == dnsmessage.TypeA {
			mu.Lock()
			a := netip.MustParseAddr(addresses[min(asked[name], len(addresses)-1)])
			asked[name]++
			mu.Unlock()
			m.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, dnsmessage.AResource{A: a.As4()})
		}
		out, _ := m.Finish()
		return out
	}
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			conn.WriteTo(answer(b[:n]), from)
		}
	}()
	w.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen", r.Method+" "+r.URL.RequestURI())
	w.Header().Add("X-Many", "1")
	w.Header().Add("X-Many", "2")
	w.WriteHeader(201)
	fmt.Fprintf(w, "%s|%s|%s|%s|%s", r.Header.Get("User-Agent"), r.Header.Get("X-A"), r.Header.Get("Accept-Encoding"), r.Header.Get("Cookie"), body)
}

func TestFetch(t *testing.T) {
	w := newWeb(t)
	w.names(map[string][]string{"example.com": {"127.0.0.1"}})
	w.Public = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	_, port := w.serve(echo)
	plain := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(plain.Close)
	plainPort := portOf(plain)
	w.spec.Hosts = []string{"example.com:" + port, "localhost:" + plainPort, "127.0.0.1:" + plainPort, "127.0.0.1:" + port}
	w.open()
	at := "https://example.com:" + port
	w.want("by name", "GET "+at+"/a?b=c", "201 x-many=1 x-many=2 x-seen=GET /a?b=c souk||||", "")
	w.want("a name in capitals", "GET https://EXAMPLE.com:"+port+"/", "201 x-many=1 x-many=2 x-seen=GET / souk||||", "")
	w.want("headers and a body", "POST "+at+"/\nX-A: 1\nUser-Agent: mine\n\nname=Käthe", "201 x-many=1 x-many=2 x-seen=POST / mine|1|||name=Käthe", "")
	w.want("another method", "DELETE "+at+"/", "201 x-many=1 x-many=2 x-seen=DELETE / souk||||", "")
	w.want("no body", "HEAD "+at+"/", "201 x-many=1 x-many=2 x-seen=HEAD / ", "")
	w.want("this machine by address", "GET https://127.0.0.1:"+port+"/", "201 x-many=1 x-many=2 x-seen=GET / souk||||", "")
	w.want("this machine in plain http", "GET http://127.0.0.1:"+plainPort+"/", "201 x-many=1 x-many=2 x-seen=GET / souk||||", "")

	for _, c := range []struct{ rule, order, logged string }{
		{"an unlisted host", "GET https://example.org:" + port + "/", "host example.org:" + port + " is not on its list"},
		{"an unlisted port", "GET https://example.com/", "host example.com is not on its list"},
		{"an unlisted name of a listed address", "GET https://[::1]:" + port + "/", "host [::1]:" + port + " is not on its list"},
		{"a dot behind the name", "GET https://example.com.:" + port + "/", "host example.com.:" + port + " is not on its list"},
		{"plain http elsewhere", "GET http://example.com:" + port + "/", "is plain http: only https is possible"},
		{"another scheme", "GET file:///etc/passwd", "the URL has no host"},
		{"another scheme with a host", "GET ftp://example.com:" + port + "/", "the URL is neither https nor http"},
		{"no scheme", "GET //example.com:" + port + "/", "the URL is neither https nor http"},
		{"a user", "GET https://user@example.com:" + port + "/", "the URL has no host, or a user"},
		{"no URL", "GET ", "the URL has no host"},
		{"what is no URL", "GET https://exa mple.com/", "the URL is none"},
		{"a line's end in the URL", "GET https://example.com:" + port + "/\rX: y", "the URL is none"},
		{"a method of one's own", "TRACE " + at + "/", `method \"TRACE\" is none of GET`},
		{"a method with a line's end", "GET\r " + at + "/", "is none of GET"},
		{"another host in the header", "GET " + at + "/\nHost: example.org", "header Host is the host's own"},
		{"a length", "GET " + at + "/\ncontent-length: 5", "header Content-Length is the host's own"},
		{"a coding", "GET " + at + "/\nTransfer-Encoding: chunked", "header Transfer-Encoding is the host's own"},
		{"a connection", "GET " + at + "/\nconnection: close", "header Connection is the host's own"},
		{"a proxy's header", "GET " + at + "/\nproxy-authorization: x", "header Proxy-Authorization is the host's own"},
		{"an upgrade", "GET " + at + "/\nUpgrade: websocket", "header Upgrade is the host's own"},
		{"a carriage return", "GET " + at + "/\nX-A: a\rX-B: b", "header X-A has a control character"},
		{"a zero", "GET " + at + "/\nX-A: a\x00b", "header X-A has a control character"},
		{"a name with a space", "GET " + at + "/\nX A: a", "header 0 has no name"},
		{"a name that is empty", "GET " + at + "/\n: a", "header 0 has no name"},
		{"too many headers", "GET " + at + "/" + strings.Repeat("\nX-A: a", 65), "65 headers: at most 64"},
	} {
		w.want(c.rule, c.order, fetchRefused, c.logged)
	}
	w.want("a request that is too long", "POST "+at+"/\n\n"+strings.Repeat("x", abi.MaxFetchRequest), fetchRefused, "")
	if got := entitle(t, w.host, 1, abi.Head{Account: "fetch"})[0]; got.Reason != fetchRefused {
		t.Errorf("http_fetch in entitle: %q, want a refusal", got.Reason)
	}
}

// What counts is the address that a connection is made to.
func TestFetchReachesPublicAddressesOnly(t *testing.T) {
	var reached atomic.Int32
	w := newWeb(t)
	_, port := w.serve(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		w.Header().Set("Connection", "close")
	})
	w.spec.Hosts = []string{"example.com:" + port, "10.0.0.1:" + port, "[fd00::1]:" + port, "169.254.169.254", "[::ffff:127.0.0.1]:" + port, "0.0.0.0:" + port, "localhost:" + port}
	w.names(map[string][]string{"example.com": {"127.0.0.1"}})
	w.open()
	w.want("a name of this machine", "GET https://example.com:"+port+"/", fetchRefused, "http_fetch: ")
	w.want("a private address", "GET https://10.0.0.1:"+port+"/", fetchRefused, "10.0.0.1 has the address 10.0.0.1, which is not public")
	w.want("a private address of IPv6", "GET https://[fd00::1]:"+port+"/", fetchRefused, "fd00::1 has the address fd00::1, which is not public")
	w.want("a cloud's own address", "GET https://169.254.169.254/latest", fetchRefused, "which is not public")
	w.want("no address", "GET https://0.0.0.0:"+port+"/", fetchRefused, "which is not public")
	if !strings.Contains(w.said.String(), "example.com has the address 127.0.0.1, which is not public") {
		t.Errorf("log:\n%s", w.said.String())
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the server was reached %d times", n)
	}
}

// A name whose address changes after it was looked at is refused where the
// connection is made.
func TestFetchRefusesARebindingName(t *testing.T) {
	var reached atomic.Int32
	w := newWeb(t)
	_, port := w.serve(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		w.Header().Set("Connection", "close")
	})
	w.spec.Hosts = []string{"example.com:" + port}
	w.Public = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	w.names(map[string][]string{"example.com": {"127.0.0.1", "127.0.0.2"}})
	w.open()
	w.want("the first time", "GET https://example.com:"+port+"/", "200 ", "")
	w.want("the second time", "GET https://example.com:"+port+"/", fetchRefused, "example.com has the address 127.0.0.2, which is not public")
	if n := reached.Load(); n != 1 {
		t.Errorf("the server was reached %d times, want once", n)
	}
}

// "localhost" is this machine, whatever a name server says.
func TestFetchHoldsLocalhostToThisMachine(t *testing.T) {
	w := newWeb(t, "localhost:9")
	w.names(map[string][]string{"localhost": {"203.0.113.7"}})
	w.Public = func(netip.Addr) bool { return true }
	w.open()
	if got := w.fetch("GET http://localhost:9/"); got != fetchRefused && got != fetchFailed {
		t.Errorf("fetch gives %q", got)
	}
	if said := w.said.String(); strings.Contains(said, "203.0.113.7") && !strings.Contains(said, "which is not this machine") {
		t.Errorf("log:\n%s", said)
	}
}

func TestFetchRedirects(t *testing.T) {
	w := newWeb(t)
	w.names(map[string][]string{"example.com": {"127.0.0.1"}, "www.example.com": {"127.0.0.1"}, "private.example.com": {"127.0.0.2"}})
	w.Public = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	var port string
	_, port = w.serve(func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if to := q.Get("to"); to != "" {
			status := http.StatusFound
			if q.Has("keep") {
				status = http.StatusTemporaryRedirect
			}
			http.SetCookie(rw, &http.Cookie{Name: "a", Value: "b"})
			http.Redirect(rw, r, to, status)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s|%s|%s|%s|%s|%s", r.Method, r.Host, r.Header.Get("Authorization"), r.Header.Get("X-Key"), r.Header.Get("Referer"), r.Header.Get("Cookie"), body)
	})
	plain := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(plain.Close)
	local := "localhost:" + portOf(plain)
	w.spec.Hosts = []string{"example.com:" + port, "private.example.com:" + port, "127.0.0.1:" + port, local}
	w.open()
	a, b := "https://example.com:"+port, "https://127.0.0.1:"+port
	to := func(from, target string) string { return from + "/?to=" + url.QueryEscape(target) }
	keys := "\nAuthorization: Bearer x\nX-Key: k"

	w.want("on one host everything goes along, but no cookie", "GET "+to(a, "/next")+keys, "200 GET example.com:"+port+"|Bearer x|k|||", "")
	w.want("three times", "GET "+to(a, to(a, to(a, a+"/end"))), "200 GET example.com:"+port+"|||||", "")
	w.want("four times", "GET "+to(a, to(a, to(a, to(a, a+"/end")))), fetchRefused, "more than 3 redirects")
	w.want("a body on one host", "POST "+to(a, "/next")+"&keep"+keys+"\n\nbody", "200 POST example.com:"+port+"|Bearer x|k|||body", "")
	w.want("to an unlisted host", "GET "+to(a, "https://www.example.com:"+port+"/"), fetchRefused, "redirect: host www.example.com:"+port+" is not on its list")
	w.want("to a private address by its name", "GET "+to(a, "https://private.example.com:"+port+"/"), fetchRefused, "private.example.com has the address 127.0.0.2, which is not public")
	w.want("to a cloud's own address", "GET "+to(a, "http://169.254.169.254/latest/meta-data"), fetchRefused, "redirect: the URL of 169.254.169.254 is plain http")
	w.want("to plain http", "GET "+to(a, "http://example.com:"+port+"/"), fetchRefused, "redirect: the URL of example.com is plain http")
	w.want("to a file", "GET "+to(a, "file:///etc/passwd"), fetchRefused, "redirect: the URL")
	w.want("to a listed service of this machine", "GET "+to(a, "http://"+local+"/"), fetchRefused, "redirect from example.com:"+port+" to this machine")
	w.want("within this machine without its keys", "GET "+to(b, "http://"+local+"/")+"\nX-A: k", "201 x-many=1 x-many=2 x-seen=GET / souk||||", "")
	w.want("a body to another host", "POST "+to(b, a+"/")+"&keep\n\nbody", fetchRefused, "redirect of a body from 127.0.0.1:"+port+" to example.com:"+port)
	w.want("to another host without its keys", "GET "+to(b, a+"/next")+keys, "200 GET example.com:"+port+"|||||", "")
	if said := w.said.String(); strings.Contains(said, "?to=") || strings.Contains(said, "Bearer") {
		t.Errorf("a query or a header is in the log:\n%s", said)
	}
}

func TestFetchFailures(t *testing.T) {
	w := newWeb(t)
	w.spec.HostDeadline = unit.Duration(30 * time.Second)
	stop := make(chan struct{})
	_, port := w.serve(func(rw http.ResponseWriter, r *http.Request) {
		flush := rw.(http.Flusher).Flush
		switch r.URL.Path {
		case "/slow":
			<-stop
		case "/drip":
			for {
				rw.Write([]byte("x"))
				flush()
				select {
				case <-stop:
					return
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		case "/huge":
			rw.Write(make([]byte, abi.MaxFetchResponse+1))
		case "/endless":
			for {
				if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		case "/large":
			rw.Write([]byte(strings.Repeat("x", abi.MaxFetchResponse-1000)))
		case "/just":
			rw.Write([]byte(strings.Repeat("x", abi.MaxFetchResponse)))
		case "/binary":
			rw.Write([]byte{0xFF, 0xFE})
		case "/head":
			for i := range 100 {
				rw.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
			}
		case "/short":
			rw.Header().Set("Content-Length", "100")
			rw.Write([]byte("short"))
		case "/latin":
			rw.Header()["X-Name"] = []string{"K\xe4the"}
		}
	})
	t.Cleanup(func() { close(stop) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	at := "127.0.0.1:" + port
	w.spec.Hosts = []string{at, nobody}
	w.open()
	w.want("nobody there", "GET https://"+nobody+"/", fetchFailed, "connection refused")
	w.want("more than 256 KiB", "GET https://"+at+"/huge", fetchFailed, "the response is longer than 262144 bytes")
	w.want("an endless one", "GET https://"+at+"/endless", fetchFailed, "the response is longer than 262144 bytes")
	w.want("a body that leaves no space for the rest", "GET https://"+at+"/just", fetchFailed, "the response is longer than 262144 bytes")
	w.want("nearly 256 KiB", "GET https://"+at+"/large", fmt.Sprintf("200 %d bytes", abi.MaxFetchResponse-1000), "")
	w.want("bytes that are no text", "GET https://"+at+"/binary", fetchFailed, "the response is not UTF-8")
	w.want("a head of 100 KiB", "GET https://"+at+"/head", fetchFailed, "http_fetch: ")
	w.want("a body that is cut off", "GET https://"+at+"/short", fetchFailed, "read the response: unexpected EOF")
	w.want("a header in another coding", "GET https://"+at+"/latin", "200 x-name=K?the ", "")

	hasty := newWeb(t, at)
	hasty.spec.HostDeadline, hasty.Roots = unit.Duration(300*time.Millisecond), w.Roots
	hasty.open()
	for _, path := range []string{"/slow", "/drip"} {
		began := time.Now()
		hasty.want("a slow server", "GET https://"+at+path, fetchFailed, "context deadline exceeded")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %v, host_deadline is 300ms", path, took)
		}
	}
	w.want("the next call has its time again", "GET https://"+at+"/", "200 ", "")
}

func TestFetchVerifiesTLS(t *testing.T) {
	w := newWeb(t)
	w.names(map[string][]string{"example.com": {"127.0.0.1"}, "wrong.example.net": {"127.0.0.1"}})
	w.Public = func(netip.Addr) bool { return true }
	_, port := w.serve(echo)
	w.spec.Hosts = []string{"example.com:" + port, "wrong.example.net:" + port}
	w.open()
	w.want("a certificate for another name", "GET https://wrong.example.net:"+port+"/", fetchFailed, "certificate is valid for example.com")
	w.want("the right one", "GET https://example.com:"+port+"/", "201 x-many=1 x-many=2 x-seen=GET / souk||||", "")

	stranger := newWeb(t, "example.com:"+port)
	stranger.Resolver, stranger.Public, stranger.Roots = w.Resolver, w.Public, x509.NewCertPool()
	stranger.open()
	stranger.want("a certificate of nobody we know", "GET https://example.com:"+port+"/", fetchFailed, "certificate signed by unknown authority")
}

func TestFetchUsesNoProxy(t *testing.T) {
	var reached atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	w := newWeb(t)
	w.names(map[string][]string{"example.com": {"127.0.0.1"}})
	w.Public = func(netip.Addr) bool { return true }
	_, port := w.serve(echo)
	w.spec.Hosts = []string{"example.com:" + port}
	w.open()
	w.want("past the proxy", "GET https://example.com:"+port+"/", "201 x-many=1 x-many=2 x-seen=GET / souk||||", "")
	if n := reached.Load(); n != 0 {
		t.Errorf("the proxy of the environment was asked %d times", n)
	}
}

// A secret that went out in a header must not come back in the log.
func TestFetchLogsNoSecret(t *testing.T) {
	w := newWeb(t, "127.0.0.1:9")
	w.spec = secretSpec(t, "wonderland-9431")
	w.spec.Hosts = []string{"127.0.0.1:9"}
	w.open()
	w.want("in the name", "GET https://wonderland-9431.example.com/?wonderland-9431", fetchRefused, "host […].example.com is not on its list")
	if strings.Contains(w.said.String(), "wonderland") {
		t.Errorf("log:\n%s", w.said.String())
	}
}

func TestPublicAddresses(t *testing.T) {
	for _, a := range []string{
		"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "223.255.255.255", "11.0.0.0",
		"2606:4700:4700::1111", "2a00:1450:4001::1", "2001:200::1", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8",
	} {
		if !plugin.PublicAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
		"2002:7f00:1::", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "2606:4700::1%1",
	} {
		if plugin.PublicAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s is public", a)
		}
	}
	if plugin.PublicAddress(netip.Addr{}) {
		t.Error("no address is public")
	}
}
