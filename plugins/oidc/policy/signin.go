// Package policy lets people sign in at another OpenID provider: it sends them
// there, and when they come back it redeems their code, checks the ID token and
// says whose account that is (OpenID Connect Core 1.0 §3.1, RFC 9700). The code
// flow with PKCE and a nonce is the only one that it knows; no password passes
// through here.
//
// It refuses to know HTTP, cookies and the state parameter, which are the core's:
// what has to be remembered between the two steps the core seals, so that neither
// the browser nor the provider can read or change it.
package policy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

// Sentences for the person.
const (
	sayAgain    = "The sign-in did not work. Please try again."
	sayProvider = "could not sign you in. Please try again."
	sayOther    = "That is another account than the one that this sign-in is for."
	sayNotHere  = "This account may not sign in here. Please use another one."
)

// choose is what a page remembers whose button leads to the choice of an account.
const choose = "choose"

// b64 is base64url without padding. Strict, so that one text has one meaning.
var b64 = base64.RawURLEncoding.Strict()

// refusal is why somebody is not signed in: what the page says, what the log
// says, and whether another account may help. It is no failure of the plugin.
type refusal struct {
	say, why string
	choose   bool
}

func (r *refusal) Error() string { return r.why }

func refuse(why string) *refusal { return &refusal{say: sayAgain, why: why} }

// SignIn answers one step of a sign-in.
func (p *Party) SignIn(req *abi.SignInRequest, v *abi.SignInVerdict) error {
	var answer abi.SignInAnswer
	var err error
	switch req.Method {
	case abi.SignInShow:
		if p.immediate {
			answer, err = p.away(req, p.prompt)
		} else {
			answer = p.page("", "")
		}
	case abi.SignInSubmit:
		prompt := p.prompt
		if req.State == choose {
			prompt = "select_account"
		}
		answer, err = p.away(req, prompt)
	case abi.SignInCallback:
		answer, err = p.back(req)
	case abi.SignInCancel:
		answer = abi.SignInAnswer{Outcome: abi.SignInRefused}
	default:
		err = errors.New("sign_in: there is no step " + strconv.Itoa(int(req.Method)) + " of this sign-in")
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		souk.Log(abi.LevelWarn, "not signed in: "+r.why)
		remember := ""
		if r.choose {
			remember = choose
		}
		answer, err = p.page(r.say, remember), nil
	}
	if err == nil {
		v.Items = append(v.Items, answer)
	}
	return err
}

// page has nothing to fill in: its button leads to the provider.
func (p *Party) page(complaint, state string) abi.SignInAnswer {
	a := abi.SignInAnswer{Outcome: abi.SignInPage, Title: p.title, Message: p.message, State: state}
	if a.Title == "" {
		a.Title = "Sign in with " + p.name
	}
	if complaint != "" {
		a.Message = strings.TrimSpace(complaint + " " + p.message)
	}
	return a
}

// memory is what a sign-in remembers while the person is at the provider.
type memory struct{ issuer, nonce, verifier string }

func (m memory) String() string {
	return strings.Join([]string{"1", m.nonce, m.verifier, m.issuer}, " ")
}

func recall(state string) (memory, bool) {
	parts := strings.SplitN(state, " ", 4)
	if len(parts) != 4 || parts[0] != "1" || len(parts[1]) != 43 || len(parts[2]) != 43 {
		return memory{}, false
	}
	return memory{nonce: parts[1], verifier: parts[2], issuer: parts[3]}, true
}

// away sends the person to the provider (OpenID Connect Core §3.1.2.1).
func (p *Party) away(req *abi.SignInRequest, prompt string) (abi.SignInAnswer, error) {
	doc, err := p.discover(req.NowMS)
	if err != nil {
		return abi.SignInAnswer{}, err
	}
	to, err := url.Parse(doc.authorization)
	if err != nil {
		return abi.SignInAnswer{}, errors.New("discovery: authorization_endpoint is no URL")
	}
	// RFC 7636 §7.1 wants 256 bits for the verifier; the nonce gets as many.
	var secret [64]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return abi.SignInAnswer{}, err
	}
	m := memory{issuer: p.issuer, nonce: b64.EncodeToString(secret[:32]), verifier: b64.EncodeToString(secret[32:])}
	challenge := sha256.Sum256([]byte(m.verifier))
	q := to.Query()
	q.Set("response_type", "code")
	q.Set("client_id", p.clientID)
	q.Set("redirect_uri", p.redirectURI)
	q.Set("scope", strings.Join(p.scopes, " "))
	q.Set("nonce", m.nonce)
	q.Set("code_challenge", b64.EncodeToString(challenge[:]))
	q.Set("code_challenge_method", "S256")
	if prompt != "" {
		q.Set("prompt", prompt)
	}
	if hint := p.hintFor(req.LoginHint); hint != "" {
		q.Set("login_hint", hint)
	}
	if len(p.hostedDomains) == 1 {
		q.Set("hd", p.hostedDomains[0])
	}
	if req.Locale != "" {
		q.Set("ui_locales", req.Locale)
	}
	to.RawQuery = q.Encode()
	return abi.SignInAnswer{Outcome: abi.SignInRedirect, Location: to.String(), State: m.String()}, nil
}

// back answers the person who comes from the provider.
func (p *Party) back(req *abi.SignInRequest) (abi.SignInAnswer, error) {
	m, ok := recall(req.State)
	if !ok || m.issuer != p.issuer {
		return abi.SignInAnswer{}, refuse("the provider was changed meanwhile")
	}
	doc, err := p.discover(req.NowMS)
	if err != nil {
		return abi.SignInAnswer{}, err
	}
	// RFC 9207 §2.4: before anything else is looked at, errors too.
	if iss, there := field(req, "iss"); there && iss != p.issuer || !there && doc.issInResponse {
		return abi.SignInAnswer{}, refuse("the answer names " + quoted(iss) + " as its issuer")
	}
	if code, there := field(req, "error"); there {
		return p.declined(req, code)
	}
	code, _ := field(req, "code")
	if code == "" || len(code) > maxCode {
		return abi.SignInAnswer{}, refuse("the answer has no code")
	}
	t, err := p.redeem(doc, code, m.verifier)
	if err != nil {
		return abi.SignInAnswer{}, err
	}
	c, err := p.verify(doc, t, m.nonce, req.NowMS)
	if err != nil {
		return abi.SignInAnswer{}, err
	}
	if p.userinfo {
		if err := p.ask(doc, t, c); err != nil {
			return abi.SignInAnswer{}, err
		}
	}
	return p.person(req, c)
}

// declined answers an error of the provider (OpenID Connect Core §3.1.2.6). Its
// texts are anybody's who has the link: of them the person sees nothing.
func (p *Party) declined(req *abi.SignInRequest, code string) (abi.SignInAnswer, error) {
	if code == "access_denied" {
		return abi.SignInAnswer{Outcome: abi.SignInRefused}, nil
	}
	why, _ := field(req, "error_description")
	return abi.SignInAnswer{}, &refusal{say: p.name + " " + sayProvider, why: "the provider says " + quoted(code) + " " + quoted(why)}
}

// field returns a parameter of the callback.
func field(req *abi.SignInRequest, name string) (string, bool) {
	for _, f := range req.Fields {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

// quoted is a foreign text as the log may have it.
func quoted(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most]
	}
	return strconv.QuoteToASCII(s)
}
