package policy

import (
	"crypto/rsa"
	"errors"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/souk-market/souk/sdk/go/value"
)

const (
	maxKeys = 64
	// refetchMS is how old a key set is before a token with a key that is not in it
	// makes the plugin ask for it again: the provider must not be asked for each.
	refetchMS = 30_000
	// What an RSA key has, in bits. Less is guessed, more costs fuel.
	minRSA, maxRSA = 2048, 4096
)

// algorithms are those that an ID token may be signed with. What is not here, such
// as none and everything with a shared secret, is refused before a key is looked for.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// errUnknownKey says that no key of the set fits a token.
var errUnknownKey = errors.New("the provider has no such key")

// key returns the provider's key that a token says it is signed with.
func (p *Party) key(doc *provider, h jose.Header, nowMS uint64) (*jose.JSONWebKey, error) {
	at := "keys/" + p.issuer
	text, fetched := kept(at)
	if p.fresh(fetched, nowMS) {
		k, err := pick(text, h)
		if !errors.Is(err, errUnknownKey) || nowMS-fetched < refetchMS {
			return k, err
		}
	}
	text, err := fetchDocument(doc.keys)
	if err != nil {
		return nil, errors.New("keys: " + err.Error())
	}
	k, err := pick(text, h)
	if err == nil || errors.Is(err, errUnknownKey) {
		p.keep(at, text, nowMS)
	}
	return k, err
}

// webKey is a key of a set, as far as it is looked at (RFC 7517 §4).
type webKey struct{ kty, kid, use, alg, crv, n, e, x, y string }

// pick finds the key of a token. Sets may hold keys of other kinds and for other
// uses, which are passed over; a token without a kid is for a set in which one key
// alone fits (OpenID Connect Core §10.1).
func pick(set string, h jose.Header) (*jose.JSONWebKey, error) {
	keys, err := readSet(set)
	if err != nil {
		return nil, errors.New("keys: " + err.Error())
	}
	kty := map[string]string{string(jose.RS256): "RSA", string(jose.ES256): "EC"}[h.Algorithm]
	var fits []webKey
	for _, k := range keys {
		if k.kty == kty && (k.use == "" || k.use == "sig") && (k.alg == "" || k.alg == h.Algorithm) && (h.KeyID == "" || k.kid == h.KeyID) {
			fits = append(fits, k)
		}
	}
	if len(fits) != 1 {
		return nil, errUnknownKey
	}
	return fits[0].public()
}

func readSet(set string) ([]webKey, error) {
	root, err := value.Parse([]byte(set))
	if err != nil {
		return nil, err
	}
	list, ok := member(root, "keys")
	if !ok {
		return nil, errors.New("the key set has no keys")
	}
	entries, err := list.List()
	if err != nil {
		return nil, err
	}
	if len(entries) > maxKeys {
		return nil, errors.New("the key set has more than " + strconv.Itoa(maxKeys) + " keys")
	}
	keys := make([]webKey, len(entries))
	for i, e := range entries {
		k := &keys[i]
		parts := map[string]*string{
			"kty": &k.kty, "kid": &k.kid, "use": &k.use, "alg": &k.alg, "crv": &k.crv, "n": &k.n, "e": &k.e, "x": &k.x, "y": &k.y,
		}
		err := e.Table(func(key string, v value.Value) (err error) {
			if into := parts[key]; into != nil {
				*into, err = v.Text()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// public makes a key of the parts that matter. The others, such as certificates,
// decide nothing.
func (k *webKey) public() (*jose.JSONWebKey, error) {
	text := `{"kty":"RSA","n":"` + k.n + `","e":"` + k.e + `"}`
	if k.kty == "EC" {
		text = `{"kty":"EC","crv":"P-256","x":"` + k.x + `","y":"` + k.y + `"}`
	}
	if k.kty == "EC" && k.crv != "P-256" || strings.ContainsAny(k.n+k.e+k.x+k.y, `"\`) {
		return nil, errors.New("keys: the token's key is not on curve P-256, or no key")
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON([]byte(text)); err != nil {
		return nil, errors.New("keys: " + err.Error())
	}
	if r, ok := key.Key.(*rsa.PublicKey); ok && (r.N.BitLen() < minRSA || r.N.BitLen() > maxRSA) {
		return nil, errors.New("keys: an RSA key of " + strconv.Itoa(r.N.BitLen()) + " bits: 2048 to 4096 are possible")
	}
	return &key, nil
}
