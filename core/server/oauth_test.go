package server_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/server"
)

func TestReadForm(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       oauth.Params // nil = refused
	}{
		{"plain", "a=1&b=2", oauth.Params{"a": "1", "b": "2"}},
		{"escaped", "a%62=%3A+%2B&c=d%20e", oauth.Params{"ab": ": +", "c": "d e"}},
		{"colons and slashes as they are", "u=urn:a:b&r=app-distribution-oauth://", oauth.Params{"u": "urn:a:b", "r": "app-distribution-oauth://"}},
		{"empty ones", "a=&b&=&c=1&&", oauth.Params{"c": "1"}},
		{"an equals sign in a value", "a=b=c", oauth.Params{"a": "b=c"}},
		{"a semicolon is no separator", "a=1;b=2", oauth.Params{"a": "1;b=2"}},
		{"one twice, spelt differently", "a=1&%61=2", nil},
		{"not UTF-8", "a=%ff", nil},
		{"NUL", "a=%00", nil},
		{"101 parameters", strings.Repeat("a=1&", 101), nil},
	} {
		got, err := server.ReadForm([]byte(test.body))
		if (err == nil) != (test.want != nil) || !maps.Equal(got, test.want) {
			t.Errorf("%s: %q reads as %v, %v, want %v", test.name, test.body, got, err, test.want)
		}
	}
}

// FuzzForm holds the reader of forms against net/url: nothing is there twice, and
// what both read is the same.
func FuzzForm(f *testing.F) {
	for _, body := range []string{
		"", "a=1&b=2", "a%62=%3A+%2B", "a=&b&=&c=1&&", "a=1&%61=2", "a=%ff", "a=%00", "a=%zz&b=%", "a=1;b=2", "+=+", "%=%",
		"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=eyJhbGciOiJSUzI1NiIsImtpZCI6IjIyIn0&client_id=6ef01a168f14431d98a0626cf5c89104",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := server.ReadForm([]byte(body))
		if err != nil {
			var e *oauth.Error
			if !errors.As(err, &e) || e.Code != oauth.InvalidRequest {
				t.Errorf("%q is refused with %v, want invalid_request", body, err)
			}
			return
		}
		for name, value := range p {
			if value == "" || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				t.Errorf("%q gave the parameter %q = %q", body, name, value)
			}
		}
		q, err := url.ParseQuery(body)
		if err != nil {
			return // net/url refuses more than a device's forms need
		}
		for name, values := range q {
			if name == "" {
				continue // a lone equals sign
			}
			if len(values) > 1 {
				t.Errorf("%q has %q more than once and was taken", body, name)
			} else if p[name] != values[0] {
				t.Errorf("%q: %q is %q, for net/url %q", body, name, p[name], values[0])
			}
		}
	})
}

// RFC 6749 §2.3.1: form-encoded inside.
func TestBasicCredentials(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, test := range []struct {
		name, header string
		want         *oauth.Basic
		refused      bool
	}{
		{"none", "", nil, false},
		{"another scheme", "Bearer x", nil, false},
		{"plain", "Basic " + encode("app:secret"), &oauth.Basic{ID: "app", Secret: "secret"}, false},
		{"the scheme in other letters", "bASIC " + encode("app:secret"), &oauth.Basic{ID: "app", Secret: "secret"}, false},
		{"an empty secret", "Basic " + encode("app:"), &oauth.Basic{ID: "app"}, false},
		{"escaped", "Basic " + encode("my%3Aapp:p%3As+e%2Fc%2Bret%25"), &oauth.Basic{ID: "my:app", Secret: "p:s e/c+ret%"}, false},
		{"a colon in the secret", "Basic " + encode("app:a:b"), &oauth.Basic{ID: "app", Secret: "a:b"}, false},
		{"no base64", "Basic ***", nil, true},
		{"no colon", "Basic " + encode("app"), nil, true},
		{"nothing", "Basic", nil, true},
		{"a bad escape", "Basic " + encode("a%zz:"), nil, true},
	} {
		got, err := server.BasicCredentials(test.header)
		if (err != nil) != test.refused || (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: basicCredentials(%q) = %v, %v, want %v", test.name, test.header, got, err, test.want)
		}
	}
}

// FuzzBasicCredentials holds the reader of the header against net/http, which
// reads the same but for the form encoding inside.
func FuzzBasicCredentials(f *testing.F) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, header := range []string{
		"", "Bearer x", "Basic", "Basic ", "Basic ***", "Basic  " + encode("app:secret") + " ", "Basic\t" + encode("app:secret"), "Basic " + encode("app"), "bASIC " + encode("app:secret"),
		"Basic " + encode("my%3Aapp:p%3As+e%2Fc%2Bret%25"), "Basic " + encode("app:a:b"), "Basic " + encode("a%zz:"), "Basic " + encode(":"), "Basic " + encode("\xff:\x00"),
		"Basic " + base64.RawStdEncoding.EncodeToString([]byte("app:secr")), "Basic YTpi\r\n", "Basic YTpj==",
	} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := server.BasicCredentials(header)
		if err != nil {
			var e *oauth.Error
			if !errors.As(err, &e) || e.Code != oauth.InvalidClient || got != nil {
				t.Errorf("%q is refused with %v, %v, want invalid_client", header, got, err)
			}
		}
		req := http.Request{Header: http.Header{"Authorization": {header}}}
		user, password, ok := req.BasicAuth()
		if !ok {
			return // white space around the credentials, which net/http doesn't take
		}
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(password)
		if readable := err1 == nil && err2 == nil; readable != (err == nil) {
			t.Errorf("%q: %v, for net/http it is %q %q", header, err, user, password)
		} else if readable && (got == nil || *got != oauth.Basic{ID: id, Secret: secret}) {
			t.Errorf("%q is %+v, for net/http %q %q", header, got, user, password)
		}
	})
}

func TestRedirectSource(t *testing.T) {
	for uri, want := range map[string]string{
		"app-distribution-oauth://": "app-distribution-oauth:", "app-distribution-oauth:": "app-distribution-oauth:", "com.example.app:/back": "com.example.app:",
		"http://127.0.0.1:7777/back": "http://127.0.0.1:7777", "https://app.example.com/back?x=1": "https://app.example.com", "https://app.example.com?x": "https://app.example.com",
	} {
		if got := server.RedirectSource(uri); got != want {
			t.Errorf("redirectSource(%s) = %s, want %s", uri, got, want)
		}
	}
}
