package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

// TestWire holds the conversations in testdata/wire with a server. A line that
// begins with ">" is sent, one that begins with "<" is what has to come back,
// and the rest is for the reader. Of the answer the status is checked, the
// headers that stand there (one without a value must be missing) and the body:
// JSON to the byte but for white space; of a page, that its lines come in this
// order; and where there is none, that it is empty.
//
//	{{name}}            in both directions, what is known by that name: public,
//	                    admin and secret (the addresses and the admin token), and
//	                    what was caught before
//	{{1000 bytes}}      filler
//	<any> <token> <jws> <number> <json>     in an answer, something of that shape
//	<token refresh>     the same, caught under a name
//
// What the admin API answers is set up here and held elsewhere, so it is <json>.
//
// The Host says which listener is spoken to, the public one where it is left out.
// It, Content-Length and Connection are sent besides what stands there.
func TestWire(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "wire", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join("testdata", "wire", "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	writeSouk(t, dir, string(config))
	if err := os.CopyFS(filepath.Join(dir, "wire"), os.DirFS(filepath.Join("testdata", "wire"))); err != nil {
		t.Fatal(err)
	}
	p := startSouk(t, dir)
	known := map[string]string{
		"public": strings.TrimPrefix(p.Public, "http://"), "admin": strings.TrimPrefix(p.Admin, "http://"), "secret": p.token,
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			vars := maps.Clone(known)
			for _, e := range wireExchanges(string(text)) {
				if err := e.hold(vars); err != nil {
					t.Fatalf("%s:%d: %v", file, e.line, err)
				}
			}
		})
	}
}

// wireExchange is one request with its answer.
type wireExchange struct {
	line     int
	sent     []string
	expected []string
}

func wireExchanges(text string) (all []wireExchange) {
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, ">"):
			if len(all) == 0 || len(all[len(all)-1].expected) > 0 {
				all = append(all, wireExchange{line: i + 1})
			}
			e := &all[len(all)-1]
			e.sent = append(e.sent, strings.TrimPrefix(line[1:], " "))
		case strings.HasPrefix(line, "<"):
			e := &all[len(all)-1]
			e.expected = append(e.expected, strings.TrimPrefix(line[1:], " "))
		}
	}
	return all
}

// wireParts cuts a message into its first line, its headers and its body.
func wireParts(lines []string) (first string, headers, body []string) {
	first, headers = lines[0], lines[1:]
	for i, line := range headers {
		if line == "" {
			return first, headers[:i], headers[i+1:]
		}
	}
	return first, headers, nil
}

var (
	wireName   = regexp.MustCompile(`\{\{([a-z_]+|\d+ bytes)\}\}`)
	wireShape  = regexp.MustCompile(`<(any|token|jws|number|json)(?: ([a-z_]+))?>`)
	wireShapes = map[string]string{"any": `[^"\r\n]*`, "token": `[A-Za-z0-9._~-]+`, "jws": `[\w-]+\.[\w-]+\.[\w-]+`, "number": `[0-9]+`, "json": `[^\r\n]*`}
)

// hold sends the request and looks at the answer.
func (e *wireExchange) hold(vars map[string]string) error {
	fill := func(s string) string {
		return wireName.ReplaceAllStringFunc(s, func(name string) string {
			name = strings.Trim(name, "{}")
			if count, ok := strings.CutSuffix(name, " bytes"); ok {
				n, _ := strconv.Atoi(count) // digits, says the expression
				return strings.Repeat("x", n)
			}
			if _, ok := vars[name]; !ok {
				return "{{" + name + " was not caught}}"
			}
			return vars[name]
		})
	}
	res, body, err := wireSend(fill(strings.Join(e.sent, "\n")), vars["public"])
	if err != nil {
		return err
	}
	status, headers, want := wireParts(e.expected)
	var wrong []error
	if strconv.Itoa(res.StatusCode) != status {
		wrong = append(wrong, fmt.Errorf("the status is %d, want %s", res.StatusCode, status))
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		if have := strings.Join(res.Header.Values(name), ", "); !wireMatch(have, fill(strings.TrimSpace(value)), true, vars) {
			wrong = append(wrong, fmt.Errorf("header %s is %q, want %q", name, have, strings.TrimSpace(value)))
		}
	}
	rest := body
	if strings.Contains(res.Header.Get("Content-Type"), "json") || len(want) == 0 {
		if !wireMatch(body, fill(wireCompact(want)), true, vars) {
			wrong = append(wrong, fmt.Errorf("the body differs, want\n%s", strings.Join(want, "\n")))
		}
	} else {
		for _, line := range want {
			if !wireMatch(rest, fill(strings.TrimSpace(line)), false, vars) {
				wrong = append(wrong, fmt.Errorf("the body has no %s", line))
				continue
			}
			rest = rest[wireExpression(fill(strings.TrimSpace(line))).FindStringIndex(rest)[1]:]
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s\n%w\nThe answer was\n%d %v\n%s", e.sent[0], errors.Join(wrong...), res.StatusCode, res.Header, body)
	}
	return nil
}

// wireSend sends a request as it stands there, on a connection of its own.
func wireSend(text, public string) (*http.Response, string, error) {
	first, headers, lines := wireParts(strings.Split(text, "\n"))
	body, host := strings.Join(lines, ""), public
	for _, h := range headers {
		if to, ok := strings.CutPrefix(h, "Host: "); ok {
			host = to
		}
	}
	if host == public {
		headers = append([]string{"Host: " + public}, headers...)
	}
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
		return nil, "", err
	}
	method, _, _ := strings.Cut(first, " ")
	if method != "GET" && method != "HEAD" {
		headers = append(headers, "Content-Length: "+strconv.Itoa(len(body)))
	}
	head := first + "\r\n" + strings.Join(append(headers, "Connection: close"), "\r\n") + "\r\n\r\n"
	// The server may hang up before it has read everything; its answer counts.
	_, _ = io.WriteString(conn, head+body)
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, string(answer), err
}

// wireCompact takes the white space out of JSON, in which shapes may stand.
func wireCompact(lines []string) string {
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range strings.Join(lines, "\n") {
		if !quoted && unicode.IsSpace(c) {
			continue
		}
		if c == '"' && !escaped {
			quoted = !quoted
		}
		escaped = c == '\\' && !escaped
		b.WriteRune(c)
	}
	return b.String()
}

func wireExpression(want string) *regexp.Regexp {
	var b strings.Builder
	for {
		at := wireShape.FindStringSubmatchIndex(want)
		if at == nil {
			return regexp.MustCompile(b.String() + regexp.QuoteMeta(want))
		}
		b.WriteString(regexp.QuoteMeta(want[:at[0]]))
		if at[4] >= 0 {
			b.WriteString("(?P<" + want[at[4]:at[5]] + ">" + wireShapes[want[at[2]:at[3]]] + ")")
		} else {
			b.WriteString("(?:" + wireShapes[want[at[2]:at[3]]] + ")")
		}
		want = want[at[1]:]
	}
}

// wireMatch compares a text with what is expected and keeps what it catches.
func wireMatch(have, want string, whole bool, vars map[string]string) bool {
	x := wireExpression(want)
	found := x.FindStringSubmatch(have)
	if found == nil || whole && found[0] != have {
		return false
	}
	for i, name := range x.SubexpNames() {
		if name != "" {
			vars[name] = found[i]
		}
	}
	return true
}
