package policy

import (
	"encoding/binary"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/value"
)

// maxDocument bounds what the provider says of itself, in bytes: the kv keeps it
// with eight bytes more, and reading it costs fuel.
const maxDocument = 60 << 10

// provider is what the plugin needs of the discovery document (OpenID Connect
// Discovery 1.0 §3).
type provider struct {
	authorization, token, userinfo, keys string
	issInResponse                        bool // RFC 9207 §3
}

// discover returns where the provider's endpoints are.
func (p *Party) discover(nowMS uint64) (*provider, error) {
	key := "discovery/" + p.issuer
	if text, fetched := kept(key); p.fresh(fetched, nowMS) {
		if doc, err := p.readProvider(text); err == nil {
			return doc, nil // else another version of this plugin has kept it
		}
	}
	text, err := fetchDocument(strings.TrimSuffix(p.issuer, "/") + "/.well-known/openid-configuration")
	if err != nil {
		return nil, errors.New("discovery: " + err.Error())
	}
	doc, err := p.readProvider(text)
	if err != nil {
		return nil, errors.New("discovery: " + err.Error())
	}
	p.keep(key, text, nowMS)
	return doc, nil
}

func (p *Party) readProvider(text string) (*provider, error) {
	root, err := value.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	var doc provider
	var issuer string
	var methods []string
	err = root.Table(func(key string, v value.Value) (err error) {
		switch key {
		case "issuer":
			issuer, err = v.Text()
		case "authorization_endpoint":
			doc.authorization, err = v.Text()
		case "token_endpoint":
			doc.token, err = v.Text()
		case "userinfo_endpoint":
			doc.userinfo, err = v.Text()
		case "jwks_uri":
			doc.keys, err = v.Text()
		case "authorization_response_iss_parameter_supported":
			doc.issInResponse, err = v.Bool()
		case "code_challenge_methods_supported":
			methods, err = v.Texts()
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case issuer != p.issuer: // Discovery §4.3: exactly, or anybody could stand in
		return nil, errors.New("the document is of issuer " + quoted(issuer) + ", not of " + strconv.Quote(p.issuer))
	case doc.authorization == "" || doc.token == "" || doc.keys == "":
		return nil, errors.New("authorization_endpoint, token_endpoint or jwks_uri is missing")
	case p.userinfo && doc.userinfo == "":
		return nil, errors.New("userinfo_endpoint is missing: set userinfo = false")
	case methods != nil && !slices.Contains(methods, "S256"):
		return nil, errors.New("the provider does PKCE, but not with S256")
	}
	return &doc, nil
}

// fetchDocument asks for a document that everybody may read.
func fetchDocument(from string) (string, error) {
	q := abi.FetchRequest{Method: "GET", URL: from, Headers: []abi.FetchHeader{{Name: "Accept", Value: "application/json"}}}
	var a abi.FetchResponse
	if err := souk.Fetch(&q, &a); err != nil {
		return "", errors.New("GET " + place(from) + ": " + err.Error())
	}
	switch {
	case a.Status != 200:
		return "", errors.New("GET " + place(from) + ": status " + strconv.Itoa(int(a.Status)))
	case len(a.Body) > maxDocument:
		return "", errors.New("GET " + place(from) + ": more than " + strconv.Itoa(maxDocument) + " bytes")
	}
	return strings.Clone(a.Body), nil
}

// place is a URL as the log may have it.
func place(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	return quoted(u.Host + u.Path)
}

// keep keeps a document for all instances. Without room it is asked for again.
func (p *Party) keep(key, text string, nowMS uint64) {
	b := append(binary.BigEndian.AppendUint64(nil, nowMS), text...)
	if err := souk.KVPut(key, b, time.Duration(p.cache)*time.Second); err != nil {
		souk.Log(abi.LevelWarn, "what the provider says can't be kept: "+err.Error())
	}
}

// kept returns a document and when it was fetched, 0 if there is none.
func kept(key string) (text string, fetchedMS uint64) {
	b, err := souk.KVGet(key)
	if err != nil || len(b) < 8 {
		return "", 0
	}
	return string(b[8:]), binary.BigEndian.Uint64(b)
}

// fresh says whether what was fetched then is still good. What comes from the
// future was kept by another clock.
func (p *Party) fresh(fetchedMS, nowMS uint64) bool {
	return fetchedMS > 0 && fetchedMS <= nowMS && nowMS-fetchedMS < p.cache*1000
}
