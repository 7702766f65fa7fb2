package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/souk-market/souk/core/store"
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

const (
	// PageSignInLife is how long a sign-in that a page has begun may take.
	PageSignInLife = 20 * time.Minute
	// PageLife is how long a visitor stays signed in.
	PageLife = time.Hour
)

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
	var refused *Error
	switch {
	case errors.As(err, &refused) && refused.Code != TemporarilyUnavailable:
		// What is wrong with a code is for a developer; a person can only begin again.
		return "", 0, Errorf(InvalidGrant, "this sign-in could not be completed: sign in again").because(err)
	case err != nil:
		return "", 0, err
	}
	return res.AccessToken, time.Duration(res.ExpiresIn) * time.Second, nil
}

// SignOut ends the sign-in of a visitor, and the links that were made for it.
func (s *Server) SignOut(ctx context.Context, visitor *token.Access) error {
	return s.revoke(ctx, visitor.Family, "the visitor signed out")
}

// linkToken is the subject token of an install link. It is sealed and not stored,
// so that looking at a page writes nothing; see exchangeGrant for what happens when
// a device shows it.
type linkToken struct {
	Account string   `json:"a"`
	Epoch   uint32   `json:"e"`
	Family  [16]byte `json:"f"` // the sign-in that it was made for
	Item    uint64   `json:"i"`
	Issued  int64    `json:"t"` // Unix milliseconds
	Expires int64    `json:"x"` // unix seconds
}

// LinkToken makes the subject token of a link for a visitor of an app's page. It is
// worth what the visitor's sign-in is worth at the moment when a device shows it.
func (s *Server) LinkToken(visitor *token.Access, account string, item uint64) (string, error) {
	plain, err := json.Marshal(linkToken{
		Account: account, Epoch: visitor.Epoch, Family: visitor.Family, Item: item,
		Issued: s.Now().UnixMilli(), Expires: s.Now().Add(SubjectTokenLife).Unix(),
	})
	if err == nil {
		var sealed string
		if sealed, err = s.Ring().Seal(s.Rand, token.PurposeLink, plain); err == nil {
			return sealed, nil
		}
	}
	return "", Errorf(ServerError, "no token can be issued at the moment").because(err)
}

// openLink reads the token of a link, nil if it is none.
func (s *Server) openLink(subjectToken string) (*linkToken, error) {
	plain, err := s.Ring().Open(token.PurposeLink, subjectToken)
	if err != nil {
		return nil, nil
	}
	l := new(linkToken)
	if err := json.Unmarshal(plain, l); err != nil {
		return nil, Errorf(ServerError, "the token can't be exchanged at the moment").because(err)
	}
	switch {
	case s.Now().Unix() >= l.Expires || s.forgotten(l.Issued):
		return nil, Errorf(InvalidRequest, "subject_token is not known, or has expired")
	case s.Store.RevocationSet().Contains(l.Family):
		return nil, Errorf(InvalidRequest, "subject_token is of a visitor who is no longer signed in")
	}
	return l, nil
}

// taken is what follows when a device has a sign-in from a link. The visitor's own
// may have ended meanwhile, and then the device's ends too. Otherwise the device is
// given the app: it is about to be installed, and nobody can keep it back any more.
func (s *Server) taken(ctx context.Context, l *linkToken, family, device [16]byte) error {
	if s.Store.RevocationSet().Contains(l.Family) {
		if err := s.revoke(ctx, family, "the visitor of the link signed out"); err != nil {
			return err
		}
		return Errorf(InvalidRequest, "subject_token is of a visitor who is no longer signed in")
	}
	epoch, item := l.Epoch, l.Item
	_, err := s.Store.UpdateAccount(ctx, l.Account, func(a *store.Account) (bool, error) {
		if a.Epoch != epoch { // signed out everywhere meanwhile
			return a.AddHistory(item), nil
		}
		return a.Give(device, item), nil
	})
	if err == nil && s.Store.RevocationSet().Contains(family) { // ended meanwhile, maybe too early to be taken off
		err = s.Store.Vacate(ctx, store.SubjectID(l.Account), device, s.Clients.Device)
	}
	if err != nil { // the sign-in stands, and the next link says once more that it is a first download
		s.log().Error("the download of a link is not noted", "account", l.Account, "item", l.Item, "error", err)
	}
	return nil
}
