package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// adminFlags are those of every command that talks to a running server.
type adminFlags struct {
	Admin     string `env:"SOUK_ADMIN" default:"http://127.0.0.1:8081" placeholder:"URL" help:"The admin listener of the server. Default: http://127.0.0.1:8081, or what the environment says."`
	TokenFile string `placeholder:"FILE" help:"The file with the admin token: admin.token in the server's data directory. Or put the token itself into SOUK_ADMIN_TOKEN."`
	JSON      bool   `name:"json" help:"Print JSON, for machines."`
}

// client asks the admin API.
type client struct {
	base  string
	token string
	http  *http.Client
}

// patience is how long an answer may take; an import of many apps takes longest.
const patience = 6 * time.Minute

// client reads where the server is and the token that opens its admin API.
func (f *adminFlags) client() (*client, error) {
	u, err := url.Parse(f.Admin)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("--admin: %q is no URL of a server: write it like \"http://127.0.0.1:8081\"", f.Admin)
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	return &client{
		base: strings.TrimRight(f.Admin, "/"), token: token,
		http: &http.Client{
			Timeout: patience,
			// The token is for this server and for no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func (f *adminFlags) token() (string, error) {
	token := os.Getenv("SOUK_ADMIN_TOKEN")
	if f.TokenFile != "" {
		text, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		token = string(text)
	}
	token = strings.TrimSpace(token)
	switch {
	case token == "" && f.TokenFile != "":
		return "", fmt.Errorf("--token-file: %s is empty", f.TokenFile)
	case token == "":
		return "", errors.New("the admin token is missing: give --token-file <data>/admin.token, where <data> is store.dir of the server's config.toml, or put the token into SOUK_ADMIN_TOKEN")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("the admin token has characters that no token has: is it the right file?")
	}
	return token, nil
}

// path writes a path of the API; the parts are whatever the operator typed.
func path(format string, parts ...string) string {
	escaped := make([]any, len(parts))
	for i, part := range parts {
		escaped[i] = url.PathEscape(part)
	}
	return fmt.Sprintf(format, escaped...)
}

// call is one request to the API.
type call struct {
	method string
	path   string
	body   any    // JSON, unless raw is set
	raw    []byte // a body as it is, of contentType
	kind   string
	match  string // If-Match or If-None-Match: it has to exist, or must not
	expect string // SHA-256 of the module that has to be there; "" = any
	signed []byte // the signature of raw
}

// large is a body that the server should get the chance to refuse before it is
// sent (RFC 9110 §10.1.1).
const large = 1 << 20

// do sends a request and reads the answer, if into wants one.
func (c *client) do(q call, into any) error {
	req, err := c.request(q)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return c.refused(res.StatusCode, body)
	}
	if into == nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer of %s is not that of an admin API: does --admin name the admin listener?", c.base)
	}
	return nil
}

func (c *client) unreachable(err error) error {
	if cause, ok := errors.AsType[*url.Error](err); ok {
		err = cause.Err
	}
	return fmt.Errorf("can't reach the admin API at %s: %w: does \"souk serve\" run there? (--admin says where)", c.base, err)
}

func (c *client) request(q call) (*http.Request, error) {
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		q.raw, q.kind = text, "application/json"
	}
	req, err := http.NewRequest(q.method, c.base+q.path, bytes.NewReader(q.raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if q.kind != "" {
		req.Header.Set("Content-Type", q.kind)
	}
	if q.match != "" {
		req.Header.Set(q.match, "*")
	}
	if q.expect != "" {
		req.Header.Set("If-Match", `"`+q.expect+`"`)
	}
	if len(q.signed) > 0 {
		req.Header.Set("Souk-Signature", base64.StdEncoding.EncodeToString(q.signed))
	}
	if len(q.raw) > large {
		req.Header.Set("Expect", "100-continue")
	}
	return req, nil
}

// nothingHere is what a listener says of a path that it doesn't have.
const nothingHere = "there is nothing at this path"

// refused makes an error of an answer that is one: a sentence of the server.
func (c *client) refused(status int, body []byte) error {
	var answer struct {
		Error    string   `json:"error"`
		Problems []string `json:"problems"`
	}
	switch err := json.Unmarshal(body, &answer); {
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%s refused the admin token: is it the admin.token of this server's data directory?", c.base)
	case err != nil || answer.Error == "" || answer.Error == nothingHere:
		return fmt.Errorf("%s answered %d, and not as an admin API does: does --admin name the admin listener?", c.base, status)
	case len(answer.Problems) > 1:
		return errors.New(strings.Join(answer.Problems, "\n"))
	}
	return errors.New(answer.Error)
}

// list asks for all pages of a listing; take gets each and returns the next's
// after, empty at the end.
func (c *client) list(path string, take func(json.RawMessage) (next string, err error)) error {
	for after := ""; ; {
		var page json.RawMessage
		q := url.Values{"limit": {"500"}}
		if after != "" {
			q.Set("after", after)
		}
		if err := c.do(call{method: "GET", path: path + "?" + q.Encode()}, &page); err != nil {
			return err
		}
		next, err := take(page)
		if err != nil || next == "" {
			return err
		}
		after = next
	}
}

// printJSON writes a value for machines.
func (s *streams) printJSON(v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows under a heading; cells are cut at tabs.
func (s *streams) table(heading string, rows []string) error {
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	for _, line := range append([]string{heading}, rows...) {
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

// cells joins the cells of a row. An empty one is a dash, and what would break
// the table or play tricks with the terminal is escaped.
func cells(values ...string) string {
	for i, v := range values {
		if v == "" {
			v = "-"
		}
		values[i] = printable(v)
	}
	return strings.Join(values, "\t")
}
