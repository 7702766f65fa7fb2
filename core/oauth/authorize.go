package oauth

import (
	"net/url"
	"strings"
)

// authorization is a checked authorization request (RFC 6749 §4.1.1).
type authorization struct {
	client    *Client
	redirect  string
	state     string
	challenge string
	hint      string
}

// maxState bounds what a client may ask to get back.
const maxState = 2048

// authorization checks a request in an order that matters: as long as client and
// redirect are not proven, an error must not travel to the redirect
// (RFC 6749 §4.1.2.1, RFC 9700 §4.11.2).
func (s *Server) authorization(p Params) (*authorization, error) {
	// 1. Who asks, and where may the answer go?
	client, ok := s.Clients.ByID(p["client_id"])
	if !ok {
		return nil, Errorf(InvalidRequest, "client_id is missing or is no client id")
	}
	redirect := p["redirect_uri"]
	if redirect == "" {
		return nil, Errorf(InvalidRequest, "redirect_uri is missing")
	}
	if !client.Redirects(redirect) {
		return nil, Errorf(InvalidRequest, "redirect_uri is not registered for this client_id")
	}
	a := &authorization{client: client, redirect: redirect, state: p["state"], hint: LoginHint(p["login_hint"])}
	if len(a.state) > maxState {
		a.state = ""
		return nil, a.refuse(s, Errorf(InvalidRequest, "state is longer than %d bytes", maxState))
	}
	// 2. From here on the client itself is told.
	switch {
	case p["response_type"] == "":
		return nil, a.refuse(s, Errorf(InvalidRequest, "response_type is missing"))
	case p["response_type"] != "code":
		return nil, a.refuse(s, Errorf(UnsupportedResponseType, "response_type must be code"))
	}
	// 3. PKCE is not optional (RFC 9700 §2.1.1), and a missing method would mean
	// "plain" (RFC 7636 §4.3).
	a.challenge = p["code_challenge"]
	switch {
	case a.challenge == "":
		return nil, a.refuse(s, Errorf(InvalidRequest, "code_challenge is missing: PKCE is required"))
	case p["code_challenge_method"] != MethodS256:
		return nil, a.refuse(s, Errorf(InvalidRequest, "code_challenge_method must be S256"))
	case !validChallenge(a.challenge):
		return nil, a.refuse(s, Errorf(InvalidRequest, "code_challenge is not the base64url form of a SHA-256"))
	}
	// 4. The scope.
	if _, err := parseScope(p["scope"]); err != nil {
		return nil, a.refuse(s, err)
	}
	return a, nil
}

// parseScope reads a scope (RFC 6749 §3.3). Left out, it is all there is.
func parseScope(scope string) (uint32, *Error) {
	if len(scope) > maxScopeText {
		return 0, Errorf(InvalidScope, "scope is too long")
	}
	for _, word := range strings.Fields(scope) {
		if word != ScopeAll {
			return 0, Errorf(InvalidScope, "scope %s is not known: leave it out or use %q", printable(word), ScopeAll)
		}
	}
	return scopeAll, nil
}

func scopeText(set uint32) string {
	if set&scopeAll != 0 {
		return ScopeAll
	}
	return ""
}

// refuse sends an error to the client through the browser.
func (a *authorization) refuse(s *Server, e *Error) *Error {
	e.Redirect = a.answer(s, url.Values{"error": {string(e.Code)}, "error_description": {e.Description}})
	return e
}

// answer is the redirect URI with the parameters of an answer. A space is %20:
// where the app's scheme is read, a plus sign stays one.
func (a *authorization) answer(s *Server, v url.Values) string {
	if a.state != "" {
		v.Set("state", a.state)
	}
	base := a.redirect
	if a.client.Device {
		base = strings.TrimSuffix(DeviceRedirect, "//") // as Apple writes it
	} else {
		v.Set("iss", s.Issuer) // RFC 9207, announced in the metadata
	}
	mark := "?"
	if strings.Contains(base, "?") {
		mark = "&"
	}
	return base + mark + strings.ReplaceAll(v.Encode(), "+", "%20")
}
