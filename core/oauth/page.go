package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/souk-market/souk/core/token"
)

// The install page signs its visitors in as any other app does: with a code and
// PKCE, through the one sign-in page there is. It is a client of its own, so its
// sign-ins are listed and ended like all others.
const (
	PageClient = "install-page"
	PagePath   = "/install/" // followed by an appleItemId; each is a redirect URI
)

// isPage compares a redirect URI with the page's: what follows the path is digits
// and nothing else.
func (c *Client) isPage(uri string) bool {
	item, ok := strings.CutPrefix(uri, c.redirects[0])
	return ok && item != "" && strings.Trim(item, "0123456789") == ""
}

// PageSignInLife is how long a sign-in that a page has begun may take.
const PageSignInLife = 20 * time.Minute

// pageSignIn is a sign-in that the page has begun. It waits in a cookie, sealed:
// only the browser that began can end it (RFC 9700 §4.7).
type pageSignIn struct {
	State    string `json:"s"`
	Verifier string `json:"v"`
	Redirect string `json:"r"`
	Expires  int64  `json:"x"` // unix seconds
}

// BeginPage begins a sign-in for the page of an app: the browser goes to location
// and keeps the cookie meanwhile. The page is named by what follows PagePath.
func (s *Server) BeginPage(item string) (location, cookie string, err error) {
	var random [64]byte
	if _, err := io.ReadFull(s.Rand, random[:]); err != nil {
		return "", "", Errorf(ServerError, "sign-in is not possible at the moment").because(err)
	}
	begun := pageSignIn{
		State: base64.RawURLEncoding.EncodeToString(random[:32]), Verifier: base64.RawURLEncoding.EncodeToString(random[32:]),
		Redirect: s.Issuer + PagePath + item, Expires: s.Now().Add(PageSignInLife).Unix(),
	}
	plain, err := json.Marshal(begun)
	if err == nil {
		cookie, err = s.Ring().Seal(s.Rand, token.PurposePage, plain)
	}
	if err != nil {
		return "", "", Errorf(ServerError, "sign-in is not possible at the moment").because(err)
	}
	challenge := sha256.Sum256([]byte(begun.Verifier))
	return s.Issuer + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {PageClient}, "redirect_uri": {begun.Redirect}, "state": {begun.State},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {MethodS256},
	}.Encode(), cookie, nil
}

// EndPage ends a sign-in with the parameters that the browser brought back and the
// cookie that it kept. The access token is for AudiencePage; it goes into a cookie
// of the browser and is good for life.
func (s *Server) EndPage(ctx context.Context, item string, p Params, cookie string) (access string, life time.Duration, err error) {
	var begun pageSignIn
	plain, err := s.Ring().Open(token.PurposePage, cookie)
	if err == nil {
		err = json.Unmarshal(plain, &begun)
	}
	if err != nil || s.Now().Unix() >= begun.Expires || begun.Redirect != s.Issuer+PagePath+item ||
		subtle.ConstantTimeCompare([]byte(begun.State), []byte(p["state"])) != 1 || p["iss"] != s.Issuer {
		return "", 0, Errorf(InvalidRequest, "this sign-in was not begun in this browser, or too long ago: sign in again").because(err)
	}
	if p["error"] != "" {
		return "", 0, Errorf(AccessDenied, "you did not sign in")
	}
	res, err := s.Token(ctx, TokenRequest{Params: Params{
		"grant_type": "authorization_code", "client_id": PageClient, "code": p["code"],
		"code_verifier": begun.Verifier, "redirect_uri": begun.Redirect,
	}})
	if err != nil {
		return "", 0, err
	}
	return res.AccessToken, time.Duration(res.ExpiresIn) * time.Second, nil
}
