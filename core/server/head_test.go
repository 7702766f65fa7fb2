package server_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/server"
)

const (
	checkBody = `{"apps":[{"appleItemId":"1000002","appleVersionId":"2000021"}],"platform":"iOS","osVersion":"26.10"}`
	checkLine = "POST /updates HTTP/1.1\r\n"
	checkHead = "Host: market.example.com\r\nAccept: */*\r\nAuthorization: Bearer a-long_token.of.63\r\nUser-Agent: managedappdistributiond/1 iOS/26.1 iPhone\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
	whole     = checkLine + checkHead + "\r\n" + checkBody
)

// shortWay reads what is known of an update check, with these headers configured.
func shortWay(b string) (server.Check, bool) { return server.ScanCheck(b, "X-Token", "X-Country") }

func TestScanCheck(t *testing.T) {
	t.Parallel()
	if len(checkBody) != 100 {
		t.Fatalf("the body has %d bytes", len(checkBody))
	}
	for name, text := range map[string]string{
		"as a device writes it":       whole,
		"through proxies":             strings.Replace(whole, "Accept: */*\r\n", "X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nVia: 1.1 proxy\r\nConnection: keep-alive\r\n", 1),
		"in lower case":               strings.NewReplacer("Host:", "host:", "Authorization:", "authorization:", "Content-Type", "content-type", "Content-Length:", "content-length:").Replace(whole),
		"without spaces":              strings.NewReplacer("Host: ", "Host:", "Content-Length: ", "Content-Length:").Replace(whole),
		"with more spaces":            strings.Replace(whole, "Host: ", "Host:    ", 1),
		"with an empty header":        strings.Replace(whole, "Accept: */*", "Accept:", 1),
		"to an address":               strings.Replace(whole, "market.example.com", "192.0.2.1:8080", 1),
		"nobody is signed in":         strings.Replace(whole, "Authorization: Bearer a-long_token.of.63\r\n", "", 1),
		"with a header of its own":    strings.Replace(whole, "Accept:", "X-Token: other\r\nx-country: DEU\r\nAccept:", 1),
		"every character of a header": strings.Replace(whole, "*/*", everyCharacter(), 1),
	} {
		c, ok := shortWay(text)
		if !ok {
			t.Errorf("%s: it goes the long way", name)
			continue
		}
		want := server.Check{Authorization: "Bearer a-long_token.of.63", Body: checkBody}
		switch name {
		case "nobody is signed in":
			want.Authorization = ""
		case "with a header of its own":
			want.Token, want.Territory = "other", "DEU"
		}
		if c != want {
			t.Errorf("%s: %+v, want %+v", name, c, want)
		}
	}
	at := func(line string) string { return strings.Replace(whole, "Accept: */*\r\n", line+"\r\n", 1) }
	for name, text := range map[string]string{
		"nothing":                     "",
		"the line alone":              checkLine,
		"another path":                strings.Replace(whole, "/updates", "/restore", 1),
		"another method":              strings.Replace(whole, "POST", "PUT", 1),
		"a query":                     strings.Replace(whole, "/updates", "/updates?", 1),
		"HTTP/1.0":                    strings.Replace(whole, "HTTP/1.1", "HTTP/1.0", 1),
		"cut off":                     whole[:len(whole)-1],
		"something behind it":         whole + " ",
		"two":                         whole + whole,
		"line feeds alone":            strings.ReplaceAll(whole, "\r\n", "\n"),
		"a line that goes on":         at("Accept: a\r\n b"),
		"a tab":                       at("Accept:\t*/*"),
		"a space behind a value":      at("Accept: */* "),
		"a space before the colon":    at("Accept : */*"),
		"a control character":         at("Accept: a\x01b"),
		"a carriage return":           at("Accept: a\rb"),
		"DEL":                         at("Accept: a\x7fb"),
		"no ASCII":                    at("Accept: \xc3\xa4"),
		"no name":                     at(": */*"),
		"a name with a slash":         at("Acc/ept: */*"),
		"no colon":                    at("Accept"),
		"no host":                     strings.Replace(whole, "Host: market.example.com\r\n", "", 1),
		"two hosts":                   at("Host: market.example.com"),
		"an empty host":               strings.Replace(whole, "market.example.com", "", 1),
		"a host with a path":          strings.Replace(whole, "market.example.com", "market.example.com/x", 1),
		"a port that is a word":       strings.Replace(whole, "market.example.com", "market.example.com:http", 1),
		"an empty port":               strings.Replace(whole, "market.example.com", "market.example.com:", 1),
		"no media type":               strings.Replace(whole, "Content-Type: application/json\r\n", "", 1),
		"another media type":          strings.Replace(whole, "application/json", "text/plain", 1),
		"a parameter of it":           strings.Replace(whole, "application/json", "application/json; charset=utf-8", 1),
		"two media types":             at("content-type: application/json"),
		"no length":                   strings.Replace(whole, "Content-Length: 100\r\n", "", 1),
		"two lengths":                 at("Content-Length: 100"),
		"a length with a sign":        strings.Replace(whole, "100", "+100", 1),
		"a length that is a list":     strings.Replace(whole, "100", "100, 100", 1),
		"a length of 20 digits":       strings.Replace(whole, "100", "18446744073709551716", 1),
		"another length":              strings.Replace(whole, "100", "99", 1),
		"a body in chunks":            at("Transfer-Encoding: chunked"),
		"a compressed body":           at("Content-Encoding: gzip"),
		"who waits for 100":           at("Expect: 100-continue"),
		"trailers":                    at("Trailer: Expires"),
		"another protocol":            at("Upgrade: h2c"),
		"the last of its connection":  at("Connection: close"),
		"two tokens":                  at("Authorization: Bearer b"),
		"two of the operator's":       at("X-Token: a\r\nx-token: b"),
		"a token in another place":    at("X-Token:"),
		"two countries":               at("X-Country: DEU\r\nX-Country: FRA"),
		"a body larger than is taken": checkLine + strings.Replace(checkHead, "100", "200000", 1) + "\r\n" + strings.Repeat(" ", 200_000),
	} {
		if text == whole {
			t.Fatalf("%s: the text is unchanged", name)
		}
		if c, ok := shortWay(text); ok {
			t.Errorf("%s: it goes the short way: %+v", name, c)
		}
	}
}

// everyCharacter is all that a value may have in it.
func everyCharacter() string {
	var all []byte
	for c := byte('!'); c <= '~'; c++ {
		all = append(all, c)
	}
	return string(all)
}

// Whatever goes the short way, fasthttp reads as the same request.
func FuzzScanCheck(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(strings.Replace(whole, "*/*", everyCharacter(), 1)))
	f.Add([]byte(strings.Replace(whole, "Accept: */*\r\n", "X-Token: other\r\nX-Country: DEU\r\nConnection: keep-alive\r\nCookie: a=b; c\r\n", 1)))
	for _, line := range []string{"Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Content-Length: 5", "Expect: 100-continue", "Connection: close", "Connection: keep-alive", "Host: b", "Trailer: a", "X-Token:", "X-Country: ", "authorization: b", "Upgrade: x", "Content-Encoding: br"} {
		f.Add([]byte(strings.Replace(whole, "Accept: */*", line, 1)))
	}
	for _, host := range []string{"a", "a:1", "1.2.3.4:65535", "a:99999", "-", ".", "a..b", "[::1]", "a%41"} {
		f.Add([]byte(strings.Replace(whole, "market.example.com", host, 1)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := shortWay(string(b))
		if !ok {
			return
		}
		var r fasthttp.Request
		in := bufio.NewReaderSize(bytes.NewReader(b), 16<<10)
		var target fasthttp.URI
		err := r.ReadLimitBody(in, int(server.DefaultLimits().Body))
		if err == nil {
			err = target.Parse(r.Header.Host(), r.Header.RequestURI())
		}
		if err != nil {
			t.Fatalf("%q: the short way takes it, and fasthttp says %v", b, err)
		}
		if n := in.Buffered(); n > 0 {
			t.Fatalf("%q: fasthttp leaves %d bytes for the next request", b, n)
		}
		h := &r.Header
		for what, lines := range map[string][2][]string{
			"Authorization": {texts(h.PeekAll("Authorization")), given(c.Authorization)},
			"X-Token":       {texts(h.PeekAll("X-Token")), given(c.Token)},
			"X-Country":     {texts(h.PeekAll("X-Country")), given(c.Territory)},
		} {
			if strings.Join(lines[0], "\n") != strings.Join(lines[1], "\n") {
				t.Errorf("%q: %s is %q, and fasthttp says %q", b, what, lines[1], lines[0])
			}
		}
		switch {
		case string(h.Method()) != "POST" || string(target.Path()) != "/updates" || string(h.RequestURI()) != "/updates" || !h.IsHTTP11():
			t.Errorf("%q: fasthttp reads %s %s", b, h.Method(), &target)
		case string(h.ContentType()) != "application/json" || len(h.ContentEncoding()) > 0:
			t.Errorf("%q: fasthttp reads a body that is %s, %s", b, h.ContentType(), h.ContentEncoding())
		case r.MayContinue() || h.ConnectionClose() || h.ConnectionUpgrade():
			t.Errorf("%q: fasthttp reads more out of the head", b)
		case string(r.Body()) != c.Body:
			t.Errorf("%q: the body is %q, and fasthttp says %q", b, c.Body, r.Body())
		}
	})
}

func texts(all [][]byte) (s []string) {
	for _, b := range all {
		s = append(s, string(b))
	}
	return s
}

// given are the lines that a value was read from.
func given(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// What stands before a body is what fasthttp writes, to the byte.
func TestShortHead(t *testing.T) {
	t.Parallel()
	for i, n := range []int{0, 1, 14, 99, 100, 12345, 1 << 20} {
		body := bytes.Repeat([]byte{'x'}, n)
		now := time.Date(2026, 11, 9, 7, 5, 3, 0, time.FixedZone("", 3600))
		short, long := server.ShortAnswer(body, now, i%2 == 1)
		if string(undated(short)) != string(undated(long)) {
			t.Errorf("%d bytes are answered\n%.300s\nand by fasthttp\n%.300s", n, short, long)
		}
		if !bytes.Contains(short, []byte("\r\nDate: Mon, 09 Nov 2026 06:05:03 GMT\r\n")) {
			t.Errorf("the date is wrong in\n%.300s", short)
		}
	}
}

// undated is an answer without its date.
func undated(answer []byte) []byte {
	before, rest, ok := bytes.Cut(answer, []byte("Date: "))
	if !ok {
		return answer
	}
	_, rest, _ = bytes.Cut(rest, []byte("\r\n"))
	return append(bytes.Clone(before), rest...)
}

// A connection that fasthttp closes because it rests goes on until its answer is out.
func TestCloseWaitsForTheAnswer(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if err := theirs.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := server.LazyConn(ours, time.Minute, time.Minute, time.Minute)
	begin, end := server.Answering(c)
	for range 2 {
		if !begin() || !end() {
			t.Fatal("a request can't be answered")
		}
	}
	if !begin() {
		t.Fatal("a request can't be answered")
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = c.Write([]byte("answer")) }()
	answer := make([]byte, 6)
	if _, err := theirs.Read(answer); err != nil || string(answer) != "answer" {
		t.Fatalf("after Close the client reads %q, %v", answer, err)
	}
	if end() {
		t.Error("the connection goes on after Close")
	}
	if begin() {
		t.Error("another request is answered after Close")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Read(answer); err != io.EOF {
		t.Errorf("after the last answer of the connection the client reads %v, want its end", err)
	}
}

const longHeader = "X-Country-Or-Region-That-The-Address-Is-In"

// Reading a check makes no garbage, however the operator's headers are called.
func TestScanCheckDoesNotAllocate(t *testing.T) {
	scan, text := server.Scanner(longHeader, longHeader+"-2"), []byte(strings.ReplaceAll(whole, "Accept: */*", longHeader+": abc\r\n"+longHeader+"-2: DEU"))
	if n := testing.AllocsPerRun(100, func() {
		if !scan(text) {
			t.Fatal("it goes the long way")
		}
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkScanCheck(b *testing.B) {
	for name, c := range map[string]struct{ text, token, territory string }{
		"as a device writes it":    {text: whole},
		"with the operator's, too": {strings.Replace(whole, "Accept: */*", "X-Token: abc\r\n"+longHeader+": DEU", 1), "X-Token", longHeader},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			scan, text := server.Scanner(c.token, c.territory), []byte(c.text)
			for b.Loop() {
				if !scan(text) {
					b.Fatal("it goes the long way")
				}
			}
		})
	}
}
