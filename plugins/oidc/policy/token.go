package policy

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/value"
)

const (
	maxCode  = 4 << 10
	maxToken = 32 << 10 // bytes of an ID token, and of an access token
)

// secretName is what [plugin.secrets] calls the client's secret.
const secretName = "client_secret"

// tokens are what the provider gave for a code.
type tokens struct{ id, access string }

// redeem asks the token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.5).
func (p *Party) redeem(doc *provider, code, verifier string) (tokens, error) {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.redirectURI}, "code_verifier": {verifier},
	}
	q := abi.FetchRequest{Method: "POST", URL: doc.token, Headers: []abi.FetchHeader{
		{Name: "Accept", Value: "application/json"}, {Name: "Content-Type", Value: "application/x-www-form-urlencoded"},
	}}
	var secret string
	if p.clientAuth != authNone {
		var err error
		if secret, err = souk.Secret(secretName); err != nil {
			return tokens{}, errors.New(secretName + " can't be read (" + err.Error() + `): write it below [plugin.secrets], or client_auth = "none"`)
		}
	}
	switch p.clientAuth {
	case authBasic: // RFC 6749 §2.3.1: both parts are form-encoded first
		pair := url.QueryEscape(p.clientID) + ":" + url.QueryEscape(secret)
		q.Headers = append(q.Headers, abi.FetchHeader{Name: "Authorization", Value: "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))})
	case authPost:
		form.Set("client_id", p.clientID)
		form.Set("client_secret", secret)
	case authNone:
		form.Set("client_id", p.clientID)
	}
	q.Body = form.Encode()
	var a abi.FetchResponse
	if err := souk.Fetch(&q, &a); err != nil {
		return tokens{}, errors.New("POST " + place(doc.token) + ": " + err.Error())
	}
	if a.Status != 200 {
		return tokens{}, declinedCode(doc, &a)
	}
	return readTokens(a.Body)
}

// declinedCode is what a token endpoint's refusal means (RFC 6749 §5.2). Of a
// code that is spent or made up the person hears; of a client that the provider
// doesn't know, the operator has to.
func declinedCode(doc *provider, a *abi.FetchResponse) error {
	why := "POST " + place(doc.token) + ": status " + strconv.Itoa(int(a.Status))
	code := ""
	if root, err := value.Parse([]byte(a.Body[:min(len(a.Body), maxDocument)])); err == nil {
		for _, name := range [...]string{"error", "error_description"} {
			if v, ok := member(root, name); ok && v.Kind == value.Text {
				s, _ := v.Text()
				why += " " + quoted(s)
				if name == "error" {
					code = s
				}
			}
		}
	}
	switch code {
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return errors.New(why)
	}
	return refuse(why)
}

// readTokens reads a token response (OpenID Connect Core §3.1.3.3).
func readTokens(body string) (tokens, error) {
	var t tokens
	if len(body) > 3*maxToken {
		return t, refuse("the token response is too long")
	}
	root, err := value.Parse([]byte(body))
	if err != nil {
		return t, refuse("the token response: " + err.Error())
	}
	kind := ""
	err = root.Table(func(key string, v value.Value) (err error) {
		switch key {
		case "id_token":
			t.id, err = v.Text()
		case "access_token":
			t.access, err = v.Text()
		case "token_type":
			kind, err = v.Text()
		}
		return err
	})
	switch {
	case err != nil:
		return t, refuse("the token response: " + err.Error())
	case !strings.EqualFold(kind, "Bearer"):
		return t, refuse("the token response has tokens of type " + quoted(kind))
	case t.id == "" || len(t.id) > maxToken || len(t.access) > maxToken:
		return t, refuse("the token response has no ID token, or one that is too long")
	}
	// value.Parse has copied the body: both stay good beyond the next Fetch.
	return t, nil
}

// ask adds what the userinfo endpoint says (OpenID Connect Core §5.3).
func (p *Party) ask(doc *provider, t tokens, c *claims) error {
	if t.access == "" || strings.ContainsAny(t.access, "\r\n") {
		return refuse("the token response has no access token")
	}
	q := abi.FetchRequest{Method: "GET", URL: doc.userinfo, Headers: []abi.FetchHeader{
		{Name: "Accept", Value: "application/json"}, {Name: "Authorization", Value: "Bearer " + t.access},
	}}
	var a abi.FetchResponse
	if err := souk.Fetch(&q, &a); err != nil {
		return errors.New("GET " + place(doc.userinfo) + ": " + err.Error())
	}
	if a.Status != 200 || len(a.Body) > maxDocument {
		return refuse("GET " + place(doc.userinfo) + ": status " + strconv.Itoa(int(a.Status)) + " with " + strconv.Itoa(len(a.Body)) + " bytes")
	}
	root, err := value.Parse([]byte(a.Body))
	if err != nil || root.Kind != value.Table {
		return refuse("the answer of " + place(doc.userinfo) + " is no JSON object")
	}
	// §5.3.2: the answer of somebody else's token must not be taken for theirs.
	if sub, _ := text(root, "sub"); sub == "" || sub != c.subject {
		return refuse("the answer of " + place(doc.userinfo) + " is about somebody else")
	}
	c.from = append(c.from, root)
	return nil
}
