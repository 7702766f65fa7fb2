// Package oauth holds the rules of the authorization server: who may ask for a
// token, how a person signs in, and what becomes of codes, refresh tokens and
// subject tokens. It serves two kinds of clients with the same code: devices,
// which nobody registers, and the apps that the operator registers.
//
// It knows no HTTP: a request arrives as Params, and an answer is a value or an
// *Error with a code of RFC 6749. It refuses to know what a password is: the
// sign-in page and the person behind it are policy, asked of plugins; the frame
// around them (limits, transaction, code) belongs to this package.
//
// The token endpoint is one pipeline, in token.go, with a numbered step for each
// thing that a grant must not forget. A grant is one file and fills in its own
// part: code.go, exchange.go, refresh.go.
package oauth

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
)

// Server answers for the authorization endpoint and the token endpoint. Wire it
// by field name; every field is needed but Log.
type Server struct {
	Issuer   string // the public URL of this server, without a slash at its end
	Market   string // what people sign in to when the client has no name of its own
	Config   Config
	Lives    Lives
	Clients  *Clients // after Open
	Store    *store.Store
	Ring     func() *token.Ring // the key ring as it is now
	Plugins  *plugin.Host
	Attempts *Attempts
	Now      func() time.Time
	Rand     io.Reader
	Log      *slog.Logger // nil = silent
}

// Audiences of an access token: what it opens.
const (
	AudienceMarket byte = 1 // the endpoints of the market
	AudienceApp    byte = 2 // the APIs for registered apps
	AudiencePage   byte = 3 // the install page, in a browser's cookie
)

// Classes of a token family: whose it is. A device's next wake-up may be a day
// away, so its refresh is retried late; an app's is not.
const (
	ClassDevice byte = 1
	ClassApp    byte = 2
)

// flagRegistered marks an access token of a registered client: it is worth
// something as long as the client is.
const flagRegistered byte = 1

// ScopeAll is the only scope of a device: what it may have is a matter of
// entitlement, not of scopes. Apple's sample response carries the word.
const (
	ScopeAll     = "all"
	scopeAll     = 1 // its bit in a scope set
	maxScopeText = 1024
)

// Visitor is what is known of the browser in front of the sign-in page.
type Visitor struct {
	Address string // of the person, behind a trusted proxy
	Locale  string // the first language tag, or empty
}

// Seen returns a context for a request of this visitor: what it changes is written
// down as asked for from there.
func Seen(ctx context.Context, v Visitor) context.Context {
	return audit.By(ctx, audit.Origin{Actor: audit.Client, Address: v.Address})
}

// by refines who asks, once it is known: a device or an app.
func by(ctx context.Context, device bool, name string) context.Context {
	o := audit.From(ctx)
	o.Actor, o.Name = audit.Client, name
	if device {
		o.Actor, o.Name = audit.Device, ""
	}
	return audit.By(ctx, o)
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
