//go:build !wasip1

// Package oidc_test tests the plugin oidc through the server's front door: with a
// provider that says whatever a test wants, and with a real one.
package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	clientID     = "souk market" // a space, so that who forgets to encode it is found out
	clientSecret = "a secret: 100% + more"
)

var b64 = base64.RawURLEncoding

type object = map[string]any

// idp is an OpenID provider whose every answer a test can change.
type idp struct {
	*httptest.Server
	now func() time.Time

	mu        sync.Mutex
	discovery object
	keys      []object
	document  string // of the keys, instead of them
	codes     map[string]*issue
	fetches   map[string]int // by path
	secret    string         // of the client; "" = it is a public one
	bearer    map[string]object
}

// issue is what a code stands for.
type issue struct {
	challenge, redirect string
	status              int
	answer              object
}

// signer signs tokens; jwk is its public key.
type signer struct {
	alg  string
	jwk  object
	sign func(input string) []byte
}

// newIDP starts a provider. It has the keys rs (RS256) and es (ES256).
func newIDP(t testing.TB, now func() time.Time) *idp {
	p := &idp{now: now, codes: map[string]*issue{}, fetches: map[string]int{}, secret: clientSecret, bearer: map[string]object{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	p.discovery = object{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize?tenant=1", "token_endpoint": p.URL + "/token",
		"userinfo_endpoint": p.URL + "/userinfo", "jwks_uri": p.URL + "/keys", "code_challenge_methods_supported": []string{"plain", "S256"},
		"authorization_response_iss_parameter_supported": true,
	}
	p.keys = []object{rs.jwk, es.jwk, {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"}}
	return p
}

// host is how the list of hosts names the provider.
func (p *idp) host() string { return strings.TrimPrefix(p.URL, "http://") }

// change changes what the provider says.
func (p *idp) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// fetched counts the requests for a path.
func (p *idp) fetched(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches[path]
}

func (p *idp) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches[r.URL.Path]++
	status, answer := 200, object{}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = p.discovery
	case "/keys":
		if p.document != "" {
			_, _ = w.Write([]byte(p.document))
			return
		}
		answer = object{"keys": p.keys}
	case "/token":
		status, answer = p.token(r)
	case "/userinfo":
		var ok bool
		if answer, ok = p.bearer[r.Header.Get("Authorization")]; !ok {
			status = 401
		}
	default:
		status = 404
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// token is a strict token endpoint: a code is good once, for who began.
func (p *idp) token(r *http.Request) (int, object) {
	id, secret, basic := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if id != clientID || secret != p.secret || basic && secret == "" {
		return 401, object{"error": "invalid_client"}
	}
	code := r.PostFormValue("code")
	i := p.codes[code]
	delete(p.codes, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if i == nil || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != i.redirect || b64.EncodeToString(sum[:]) != i.challenge {
		return 400, object{"error": "invalid_grant", "error_description": "<b>the code</b>\nis spent"}
	}
	return i.status, i.answer
}

// spec is an ID token that is to be.
type spec struct {
	header, claims object
	by             *signer
	access         string
	raw            string // the token itself, instead of all that
	status         int    // of the response
	extra          object // of the response; nil removes a member
}

// good is the token that the provider owes to an authorization request.
func (p *idp) good(q url.Values, by *signer) *spec {
	access := "access token of " + q.Get("nonce")
	half := sha256.Sum256([]byte(access))
	now := p.now().Unix()
	return &spec{
		header: object{"alg": by.alg, "kid": by.jwk["kid"], "typ": "JWT"},
		claims: object{
			"iss": p.URL, "sub": "248289761001", "aud": clientID, "exp": now + 300, "iat": now, "nonce": q.Get("nonce"),
			"at_hash": b64.EncodeToString(half[:16]), "name": "Carol Example", "email": "Carol@example.com", "email_verified": true,
		},
		by: by, access: access, status: 200,
	}
}

func (s *spec) text() string {
	if s.raw != "" {
		return s.raw
	}
	input := part(s.header) + "." + part(s.claims)
	return input + "." + b64.EncodeToString(s.by.sign(input))
}

func part(o object) string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return b64.EncodeToString(b)
}

// grant is the provider's end of a sign-in: it takes the authorization request and
// returns the code of a token.
func (p *idp) grant(q url.Values, s *spec) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := object{"access_token": s.access, "token_type": "Bearer", "id_token": s.text(), "expires_in": 300}
	maps.Copy(answer, s.extra)
	maps.DeleteFunc(answer, func(_ string, v any) bool { return v == nil })
	code := rand.Text()
	p.codes[code] = &issue{challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri"), status: s.status, answer: answer}
	return code
}

// The keys of the tests.
var (
	rs, rsOther = rsaSigner("rs", 2048), rsaSigner("other", 2048)
	es          = ecSigner("es")
)

func rsaSigner(kid string, bits int) *signer {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	e := big.NewInt(int64(key.E)).Bytes()
	return &signer{
		alg: "RS256",
		jwk: object{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": b64.EncodeToString(key.N.Bytes()), "e": b64.EncodeToString(e)},
		sign: func(input string) []byte {
			sum := sha256.Sum256([]byte(input))
			sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
			if err != nil {
				panic(err)
			}
			return sig
		},
	}
}

func ecSigner(kid string) *signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return &signer{
		alg: "ES256",
		jwk: object{"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:])},
		sign: func(input string) []byte {
			sum := sha256.Sum256([]byte(input))
			r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
			if err != nil {
				panic(err)
			}
			var sig [64]byte
			r.FillBytes(sig[:32])
			s.FillBytes(sig[32:])
			return sig[:]
		},
	}
}

// hmacSigner signs with what everybody knows, as a forger does.
func hmacSigner(key string) *signer {
	return &signer{alg: "HS256", jwk: object{"kid": "rs"}, sign: func(input string) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}}
}

func (s *signer) String() string { return fmt.Sprint(s.alg, " ", s.jwk["kid"]) }
