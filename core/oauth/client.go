package oauth

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// DeviceRedirect is where a device waits for its code. A URL parser takes the
// spelling without slashes for the same, so both are one registered value.
const DeviceRedirect = "app-distribution-oauth://"

// ClientConfig is one [[oauth.client]]: a native app, such as the marketplace
// app itself. It has no secret: PKCE proves who began the sign-in (RFC 8252 §8.1).
type ClientConfig struct {
	ID           string   `toml:"id"`
	Name         string   `toml:"name"`
	RedirectURIs []string `toml:"redirect_uris"`
	// Market says that the client is the marketplace app: its tokens open the
	// market's endpoints and live as long as a device's.
	Market bool `toml:"market"`
}

// Client is who asks for a token.
type Client struct {
	ID        string
	Name      string
	Device    bool // not registered: a device with the built-in redirect
	Market    bool
	Page      bool // the install page of this server
	redirects []string
	scopes    uint32 // that its tokens have

	confidential bool     // it has to prove who it is with a secret
	secret       [32]byte // SHA-256
	epoch        uint32   // how often its sign-ins were ended
}

// Key is the client's place in tokens and records. It is another one after the
// client's sign-ins were ended, so that nothing from before fits it any more.
func (c *Client) Key() [16]byte { return clientKey(c.ID, c.epoch) }

func clientKey(id string, epoch uint32) [16]byte {
	if epoch > 0 {
		id += "\x00" + strconv.FormatUint(uint64(epoch), 10) // no id has a NUL
	}
	return token.ClientID(id)
}

// Proves reports whether the secret is the client's.
func (c *Client) Proves(secret string) bool {
	sum := token.Hash(secret)
	return c.confidential && subtle.ConstantTimeCompare(sum[:], c.secret[:]) == 1
}

// Policy is the client as policy sees it: a registered one by its id, a device by
// 32 hexadecimal digits that stay the same.
func (c *Client) Policy() string {
	if !c.Device {
		return c.ID
	}
	key := c.Key()
	return hex.EncodeToString(key[:])
}

func (c *Client) class() byte {
	if c.Device {
		return ClassDevice
	}
	return ClassApp
}

func (c *Client) audience() byte {
	switch {
	case c.Device || c.Market:
		return AudienceMarket
	case c.Page:
		return AudiencePage
	}
	return AudienceApp
}

// Redirects reports whether uri is registered for the client. The comparison is
// exact (RFC 9700 §2.1); only a loopback address may come with any port
// (RFC 8252 §7.3).
func (c *Client) Redirects(uri string) bool {
	switch {
	case c.Device:
		return isDeviceRedirect(uri)
	case c.Page:
		return c.isPage(uri)
	}
	for _, r := range c.redirects {
		if r == uri || loopbackBesidesPort(r, uri) {
			return true
		}
	}
	return false
}

func isDeviceRedirect(uri string) bool {
	return uri == DeviceRedirect || uri == strings.TrimSuffix(DeviceRedirect, "//")
}

// sameRedirect reports whether the redirect_uri of the token request is the one
// of the authorization request.
func sameRedirect(a, b string) bool {
	return a == b || isDeviceRedirect(a) && isDeviceRedirect(b)
}

// loopbackBesidesPort compares two loopback URIs without their ports. What stands
// before and behind the port is compared as text: nothing is normalised.
func loopbackBesidesPort(registered, uri string) bool {
	for _, host := range [...]string{"http://127.0.0.1", "http://[::1]"} {
		r, ok1 := strings.CutPrefix(registered, host)
		u, ok2 := strings.CutPrefix(uri, host)
		if ok1 && ok2 {
			rest, ok1 := cutPort(u)
			want, ok2 := cutPort(r)
			return ok1 && ok2 && rest == want
		}
	}
	return false
}

// cutPort removes ":digits" from the front of s, which must go on with the path.
func cutPort(s string) (string, bool) {
	if p, ok := strings.CutPrefix(s, ":"); ok {
		i := 0
		for i < len(p) && p[i] >= '0' && p[i] <= '9' {
			i++
		}
		if i == 0 || i > 5 {
			return "", false
		}
		s = p[i:]
	}
	return s, s == "" || s[0] == '/'
}

// checkClient holds what an operator may say of a client, in config.toml and over
// the admin API. An error begins with the name of the field and has the fix.
func checkClient(id, name string, redirects []string) error {
	switch {
	case id == "" || len(id) > maxClientID || !vschar(id):
		return fmt.Errorf("id: %.60q is no client id: use 1 to 255 printable ASCII characters", id)
	case id == PageClient:
		return fmt.Errorf("id: %q is the install page of this server: choose another", id)
	case !validName(name):
		return fmt.Errorf("name: is longer than %d bytes, or no text in one line", maxAccount)
	case len(redirects) == 0 || len(redirects) > store.MaxRedirects:
		return fmt.Errorf("redirect_uris: has %d entries: a client has 1 to %d", len(redirects), store.MaxRedirects)
	}
	for i, uri := range redirects {
		if err := checkRedirect(uri); err != nil {
			return fmt.Errorf("redirect_uris[%d]: %q %w", i, uri, err)
		}
	}
	return nil
}

const maxClientID = 255 // bytes

// checkRedirect holds RFC 8252 §7 for what a native app may register: a claimed
// https URI, a private-use scheme, or a loopback address.
func checkRedirect(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "":
		return fmt.Errorf("is no absolute URI: write it whole, like \"com.example.market:/callback\"")
	case len(uri) > 1024 || !vschar(uri) || strings.ContainsAny(uri, " \"<>\\^`{|}"):
		return fmt.Errorf("is too long or has characters that no URI has")
	case hasAnswer(u.Query()):
		return fmt.Errorf("has a parameter of the answer in its query: leave it out, none may be there twice (RFC 6749 §3.1)")
	case strings.Contains(uri, "#"):
		return fmt.Errorf("has a fragment: leave it out (RFC 6749 §3.1.2)")
	case u.User != nil:
		return fmt.Errorf("has a user name in it: leave it out")
	case isDeviceRedirect(uri) || u.Scheme == "app-distribution-oauth":
		return fmt.Errorf("belongs to devices: nobody registers it")
	case u.Scheme == "https":
		if u.Hostname() == "" || u.Hostname() == "localhost" || loopback(u.Hostname()) {
			return fmt.Errorf("is https without a public host: use the app's claimed domain")
		}
	case u.Scheme == "http":
		if !loopback(u.Hostname()) {
			return fmt.Errorf("is plain http: only http://127.0.0.1 and http://[::1] may be (RFC 8252 §7.3)")
		}
	case !strings.Contains(u.Scheme, "."):
		return fmt.Errorf("has a scheme without a dot: a private one is a reversed domain name (RFC 8252 §7.1)")
	}
	return nil
}

// hasAnswer reports whether a query has a parameter that answer adds.
func hasAnswer(q url.Values) bool {
	for _, name := range [...]string{"code", "state", "iss", "error", "error_description"} {
		if q.Has(name) {
			return true
		}
	}
	return false
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
