package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
)

// request is what a handler reads from and writes to.
type request struct {
	http  *fasthttp.RequestCtx
	parts map[string]string // of the path, decoded
}

// item is the app that the path names.
func (r *request) item() (uint64, error) { return r.id("item") }

// version is the version that the path names.
func (r *request) version() (uint64, error) { return r.id("version") }

func (r *request) id(part string) (uint64, error) {
	id, ok := catalog.ParseID(r.parts[part])
	if !ok {
		return 0, problemf(400, "%s: %q is no id: write its digits", part, r.parts[part])
	}
	return id, nil
}

// account is the account that the path names.
func (r *request) account() (string, error) {
	name := r.parts["account"]
	return name, checkAccount(name)
}

func checkAccount(name string) error {
	if !oauth.ValidAccount(name) {
		return problemf(400, "account: %.60q is no account: write 1 to 255 bytes of text without spaces around it", name)
	}
	return nil
}

// maxEmail is what fits into a key of a plugin's data with its prefix.
const maxEmail = 249

// email is the person that the path names, in lower case: so the plugin looks it up.
func (r *request) email() (string, error) {
	email := strings.ToLower(r.parts["email"])
	local, domain, _ := strings.Cut(email, "@")
	if local == "" || domain == "" || len(email) > maxEmail || strings.Contains(domain, "@") ||
		strings.ContainsFunc(email, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
		return "", problemf(400, "email: %.60q is no address: write it like \"alice@example.com\"", email)
	}
	return email, nil
}

// The size of a page of a listing.
const (
	usualPage = 100
	maxPage   = 1000
)

// page reads ?after= and ?limit=; any other parameter is a mistake.
func (r *request) page() (after string, limit int, err error) {
	q, err := r.query("after", "limit")
	if err != nil {
		return "", 0, err
	}
	limit, err = pageLimit(q["limit"])
	return q["after"], limit, err
}

// query reads the parameters of the query; any but these, or one that is given twice,
// is a mistake.
func (r *request) query(known ...string) (map[string]string, error) {
	target := string(r.http.Request.Header.RequestURI())
	_, query, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, problemf(400, "the query is not form-encoded")
	}
	given := make(map[string]string, len(values))
	for key, list := range values {
		switch {
		case !slices.Contains(known, key):
			last := len(known) - 1
			return nil, problemf(400, "%s: there is no such parameter: there are %s and %s", key, strings.Join(known[:last], ", "), known[last])
		case len(list) > 1:
			return nil, problemf(400, "%s: is given twice", key)
		}
		given[key] = list[0]
	}
	return given, nil
}

func pageLimit(text string) (int, error) {
	if text == "" {
		return usualPage, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxPage {
		return 0, problemf(400, "limit: %q is out of range: use 1 to %d", text, maxPage)
	}
	return limit, nil
}

// read decodes the JSON body into a struct. Unknown keys and keys that stand there
// twice are refused: what they were meant to say would be lost.
func (r *request) read(into any) error {
	body := r.http.Request.Body()
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err == io.EOF {
		return problemf(400, "the body is empty: it has to be a JSON object")
	} else if err != nil {
		return explainJSON(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return problemf(400, "the body has something behind its JSON value")
	}
	if bytes.TrimSpace(body)[0] != '{' {
		return problemf(400, "the body has to be a JSON object")
	}
	if err := unique(json.NewDecoder(bytes.NewReader(body)), ""); err != nil {
		return err
	}
	return exact(body, into)
}

// exact refuses a key in other letters than the struct's. To encoding/json it is
// the same key, and of the two the last would count.
func exact(body []byte, into any) error {
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(body, &sent); err != nil {
		return explainJSON(err)
	}
	known := reflect.TypeOf(into).Elem()
	for i := range known.NumField() {
		delete(sent, known.Field(i).Tag.Get("json"))
	}
	if unknown := slices.Sorted(maps.Keys(sent)); len(unknown) > 0 {
		return unknownKey(unknown[0])
	}
	return nil
}

func unknownKey(key string) *problem { return problemf(400, "%s: there is no such key here", key) }

func explainJSON(err error) error {
	if invalid, ok := errors.AsType[catalog.Invalid](err); ok {
		return invalid
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if kind.Field == "" {
			return problemf(400, "the body has to be a JSON object")
		}
		return problemf(400, "%s: found a JSON %s, want %s", kind.Field, kind.Value, goName(kind.Type.String()))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return unknownKey(strings.Trim(name, `"`))
	}
	return problemf(400, "the body is not JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// goName says a Go type in the words of JSON.
func goName(t string) string {
	switch {
	case strings.HasPrefix(t, "["):
		return "a list"
	case strings.HasPrefix(t, "int"):
		return "a whole number"
	case t == "bool":
		return "true or false"
	case t == "string":
		return "a string"
	}
	return "an object"
}

// unique refuses an object with the same key twice, of which encoding/json would
// take the last. The text is valid JSON already.
func unique(d *json.Decoder, path string) error {
	t, err := d.Token()
	if err != nil {
		return problemf(400, "the body is not JSON")
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			t, err := d.Token()
			key, ok := t.(string)
			if err != nil || !ok {
				return problemf(400, "the body is not JSON")
			}
			if seen[key] {
				return problemf(400, "%s: is given twice", path+key)
			}
			seen[key] = true
			if err := unique(d, path+key+"."); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := unique(d, fmt.Sprintf("%s[%d].", strings.TrimSuffix(path, "."), i)); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token() // the closing one
	return err
}

// write answers with a value.
func (r *request) write(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeBody(r.http, status, body)
	return nil
}

// done answers that it is done and there is nothing to say.
func (r *request) done() error {
	r.http.Response.SetStatusCode(204)
	return nil
}
