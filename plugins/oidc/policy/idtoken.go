package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/souk-market/souk/sdk/go/value"
)

// maxAge bounds how long ago an ID token was issued: it comes from the provider
// at once, so an old one is from elsewhere.
const maxAge = 10 * time.Minute

// verify checks an ID token (OpenID Connect Core §3.1.3.7) and returns its claims.
func (p *Party) verify(doc *provider, t tokens, nonce string, nowMS uint64) (*claims, error) {
	for part := range strings.SplitSeq(t.id, ".") { // the library is not strict
		if _, err := b64.DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, refuse("ID token: is not in base64url")
		}
	}
	signed, err := jose.ParseSignedCompact(t.id, algorithms)
	if err != nil {
		return nil, refuse("ID token: " + quoted(err.Error()))
	}
	key, err := p.key(doc, signed.Signatures[0].Header, nowMS)
	if errors.Is(err, errUnknownKey) {
		return nil, refuse("ID token: " + err.Error() + " as " + quoted(signed.Signatures[0].Header.KeyID))
	} else if err != nil {
		return nil, err
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, refuse("ID token: the signature is wrong")
	}
	var std jwt.Claims
	if err := json.Unmarshal(payload, &std); err != nil {
		return nil, refuse("ID token: " + quoted(err.Error()))
	}
	root, err := value.Parse(payload)
	if err != nil {
		return nil, refuse("ID token: " + err.Error())
	}
	if why := p.wrong(&std, root, t, nonce, time.UnixMilli(int64(nowMS))); why != "" {
		return nil, refuse("ID token: " + why)
	}
	return &claims{subject: std.Subject, from: []value.Value{root}}, nil
}

// wrong says which rule the claims of a token break, "" if none.
func (p *Party) wrong(std *jwt.Claims, root value.Value, t tokens, nonce string, now time.Time) string {
	leeway := time.Duration(p.leeway) * time.Second
	if std.Expiry == nil || std.IssuedAt == nil {
		return "exp or iat is missing" // the library takes both for optional
	}
	if err := std.ValidateWithLeeway(jwt.Expected{Issuer: p.issuer, AnyAudience: jwt.Audience{p.clientID}, Time: now}, leeway); err != nil {
		return quoted(err.Error())
	}
	azp, hasAZP := text(root, "azp")
	got, _ := text(root, "nonce")
	switch {
	case std.Subject == "":
		return "sub is missing"
	case now.Add(-leeway - maxAge).After(std.IssuedAt.Time()):
		return "was issued long ago"
	case len(std.Audience) > 1 && !hasAZP:
		return "is for several, and azp is missing"
	case hasAZP && azp != p.clientID:
		return "azp is somebody else"
	case subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1:
		return "nonce is not that of this sign-in"
	}
	if v, there := member(root, "at_hash"); there {
		// §3.1.3.6: the left half of the hash; both algorithms hash with SHA-256.
		sum := sha256.Sum256([]byte(t.access))
		if hash, err := v.Text(); err != nil || t.access == "" || hash != b64.EncodeToString(sum[:16]) {
			return "at_hash is not that of the access token"
		}
	}
	return ""
}
