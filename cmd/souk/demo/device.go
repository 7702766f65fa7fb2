package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// deviceRedirect is where a device waits for its code.
const deviceRedirect = "app-distribution-oauth://"

// device is a client that does what a real device does, and no more: no cookies,
// no cache, form parameters in a random order, a literal plus sign in a form, the
// token's type as the server spelt it, and exactly one retry after a 401 or 403.
type device struct {
	http    *http.Client
	base    string
	account string // becomes the login_hint
	id      string // client_id; a device makes its own
	// registered is set for the marketplace app, which signs in by itself and
	// sends its token in a header of its own.
	registered string // redirect URI
	header     string
	password   string // what the person in front of it types
	tokens     tokens
	report     func(call) // of each request
}

// tokens is the answer of the token endpoint; a device can't do without the
// fields that have no omitempty.
type tokens struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires *int64 `json:"expires_in"`
	Refresh string `json:"refresh_token,omitempty"`
}

// configuration is what a device reads of /.well-known/marketplace-kit.
type configuration struct {
	Restore *string `json:"restore"`
	Updates *struct {
		URL             *string  `json:"url"`
		PollingInterval *float64 `json:"pollingInterval"`
	} `json:"updates"`
	License *struct {
		Dynamic    *string `json:"dynamicLicenseURL"`
		Signing    *string `json:"signingCertificateURL"`
		Encryption *string `json:"encryptionCertificateURL"`
	} `json:"license"`
}

// metadata is what a device reads of /.well-known/oauth-authorization-server.
type metadata struct {
	Authorization *string  `json:"authorization_endpoint"`
	Token         *string  `json:"token_endpoint"`
	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
}

// app is an app as a device names it.
type app struct {
	Item    string `json:"appleItemId"`
	Version string `json:"appleVersionId"`
}

// offer is an app as a device is given it: everything but the share URL has to
// be there.
type offer struct {
	app
	Package string `json:"alternativeDistributionPackage"`
	Token   string `json:"installVerificationToken"`
	Bundle  string `json:"bundleVersion"`
	Short   string `json:"shortVersionString"`
}

// failure is an app that a device does not get.
type failure struct {
	app
	Failure struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"failure"`
}

// answer is what restore and update check lead to.
type answer struct {
	Restores []offer   `json:"restores"`
	Updates  []offer   `json:"updates"`
	Failures []failure `json:"failures"`
}

// newUUID is a client_id as a device makes it.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// discover reads both documents. A device does so for each operation anew.
func (d *device) discover(ctx context.Context) (*configuration, *metadata, error) {
	c, err := fetch[configuration](ctx, d, "/.well-known/marketplace-kit")
	if err != nil {
		return nil, nil, err
	}
	if c.Updates == nil || c.Updates.URL == nil || c.Updates.PollingInterval == nil || c.License == nil ||
		c.License.Dynamic == nil || c.License.Signing == nil || c.License.Encryption == nil || c.Restore == nil {
		return nil, nil, errors.New("the marketplace configuration lacks a key that a device needs")
	}
	m, err := fetch[metadata](ctx, d, "/.well-known/oauth-authorization-server")
	if err != nil {
		return nil, nil, err
	}
	switch {
	case m.Authorization == nil || m.Token == nil || m.ResponseTypes == nil:
		return nil, nil, errors.New("the OAuth metadata lacks a key that a device needs")
	case len(m.Challenges) > 0 && !slices.Contains(m.Challenges, "S256"):
		return nil, nil, errors.New("the OAuth metadata lists challenge methods without S256")
	}
	return c, m, nil
}

func fetch[T any](ctx context.Context, d *device, path string) (*T, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+path, nil)
	if err != nil {
		return nil, err
	}
	status, body, err := d.do(req, "")
	if err != nil {
		return nil, err
	}
	if status != 200 {
		return nil, fmt.Errorf("GET %s answered %d", path, status)
	}
	v := new(T)
	return v, json.Unmarshal(body, v)
}

// do sends one request and reports it.
func (d *device) do(req *http.Request, note string) (int, []byte, error) {
	req.Header.Set("User-Agent", "ManagedAppDistribution/1.0 iOS/26.1 model/iPhone17,3 build/23B85")
	began := now()
	res, err := d.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if d.report != nil {
		d.report(call{Method: req.Method, Path: req.URL.Path, Status: res.StatusCode, Took: now().Sub(began), Note: note})
	}
	return res.StatusCode, body, err
}

// updates asks whether apps have updates.
func (d *device) updates(ctx context.Context, os string, apps ...app) (*answer, error) {
	c, _, err := d.discover(ctx)
	if err != nil {
		return nil, err
	}
	a, err := d.ask(ctx, *c.Updates.URL, os, apps)
	if err == nil && a.Updates == nil {
		return nil, errors.New("the answer has no updates, not even an empty list")
	}
	return a, err
}

// restore asks for apps that the device had.
func (d *device) restore(ctx context.Context, os string, apps ...app) (*answer, error) {
	c, _, err := d.discover(ctx)
	if err != nil {
		return nil, err
	}
	return d.ask(ctx, *c.Restore, os, apps)
}

// ask posts a request, recovers from the first 401 or 403, and asks once more.
// Whatever comes then is final.
func (d *device) ask(ctx context.Context, to, os string, apps []app) (*answer, error) {
	body, err := json.Marshal(map[string]any{"apps": apps, "platform": "iOS", "osVersion": os})
	if err != nil {
		return nil, err
	}
	status, text, err := d.post(ctx, to, body)
	if err != nil {
		return nil, err
	}
	if status == 401 || status == 403 {
		if err := d.recover(ctx); err != nil {
			return nil, err
		}
		if status, text, err = d.post(ctx, to, body); err != nil {
			return nil, err
		}
	}
	if status != 200 {
		return nil, fmt.Errorf("POST %s answered %d: %s", to, status, text)
	}
	a := new(answer)
	return a, json.Unmarshal(text, a)
}

func (d *device) post(ctx context.Context, to string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	note := "without a token"
	if d.tokens.Access != "" {
		if d.header != "" {
			req.Header.Set(d.header, d.tokens.Access)
			note = "token in " + d.header
		} else {
			req.Header.Set("Authorization", d.tokens.Type+" "+d.tokens.Access)
			note = "token of " + d.account
		}
	}
	return d.do(req, note)
}

// recover does what a device does after a 401 or 403: it reads the metadata
// again, tries its refresh token, and only then lets the person sign in.
func (d *device) recover(ctx context.Context) error {
	_, m, err := d.discover(ctx)
	if err != nil {
		return err
	}
	if d.tokens.Refresh != "" && slices.Contains(m.GrantTypes, "refresh_token") {
		// No client_id and no scope: the token has to say it all.
		if err := d.token(ctx, *m.Token, pair{"grant_type", "refresh_token"}, pair{"refresh_token", d.tokens.Refresh}); err == nil {
			return nil
		}
	}
	return d.signIn(ctx, m)
}

// signIn walks the code flow with PKCE through the sign-in page.
func (d *device) signIn(ctx context.Context, m *metadata) error {
	redirect := deviceRedirect
	if d.registered != "" {
		redirect = d.registered
	}
	verifier := randomText()
	challenge := sha256.Sum256([]byte(verifier))
	state := newUUID()
	u, err := url.Parse(*m.Authorization)
	if err != nil {
		return err
	}
	u.RawQuery = form([]pair{
		{"response_type", "code"}, {"client_id", d.id}, {"redirect_uri", redirect}, {"login_hint", d.account}, {"state", state},
		{"code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:])}, {"code_challenge_method", "S256"},
	})
	back, err := d.browse(ctx, u.String())
	if err != nil {
		return err
	}
	scheme, _, _ := strings.Cut(redirect, ":")
	if back.Scheme != scheme {
		return fmt.Errorf("the page led to the scheme %s, not back to %s", back.Scheme, scheme)
	}
	q := back.Query()
	switch {
	case q.Get("state") != state:
		return errors.New("the answer has another state than the request")
	case q.Get("code") == "":
		return fmt.Errorf("no code came back: %s %s", q.Get("error"), q.Get("error_description"))
	}
	return d.token(ctx, *m.Token, pair{"grant_type", "authorization_code"}, pair{"code", q.Get("code")},
		pair{"code_verifier", verifier}, pair{"client_id", d.id}, pair{"redirect_uri", redirect})
}

// exchange turns the token of an install link into the device's own.
func (d *device) exchange(ctx context.Context, subject string) error {
	_, m, err := d.discover(ctx)
	if err != nil {
		return err
	}
	const accessToken = "urn:ietf:params:oauth:token-type:access_token"
	return d.token(ctx, *m.Token,
		pair{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"}, pair{"subject_token", subject},
		pair{"subject_token_type", accessToken}, pair{"issued_token_type", accessToken}, pair{"client_id", d.id})
}

func (d *device) token(ctx context.Context, endpoint string, pairs ...pair) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form(pairs)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, text, err := d.do(req, pairs[0].value[strings.LastIndexByte(pairs[0].value, ':')+1:])
	if err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("the token endpoint answered %d: %s", status, text)
	}
	var t tokens
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	if t.Access == "" || t.Type == "" || t.Expires == nil {
		return errors.New("the token response lacks a field that a device needs")
	}
	d.tokens = t
	return nil
}

type pair struct{ name, value string }

// form encodes as a device does: in any order, and with a plus sign as it is.
func form(pairs []pair) string {
	pairs = slices.Clone(pairs)
	mrand.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=")
		for _, c := range []byte(p.value) {
			if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+:@/!$'()*,", c) >= 0 {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return b.String()
}

func randomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
