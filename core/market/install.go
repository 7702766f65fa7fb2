package market

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// ErrNoApp means that there is no such app, or that it was taken down.
var ErrNoApp = errors.New("market: no such app")

// Visit is somebody in front of an app's install page.
type Visit struct {
	Item      uint64
	Platform  catalog.Platform
	OS        uint32        // what the browser says, which is no more than a hint; catalog.AnyOS if it says nothing
	Territory string        // as a trusted proxy says, or empty
	Access    *token.Access // nil = nobody is signed in
}

// Install is what the page tells them.
type Install struct {
	App     *catalog.Entry
	Account string           // who is signed in, or empty
	SignIn  bool             // only people who are signed in get the app, and nobody is
	Nobody  bool             // there is no version for anybody at the moment
	Release *catalog.Release // nil: it is not for them
	Token   []byte           // the install verification token
}

// Install answers an install page: the same question as of the marketplace app,
// but looking at a page is no download, so nothing is remembered.
func (m *Market) Install(ctx context.Context, v Visit) (*Install, error) {
	e := m.Catalog.Snapshot().Item(v.Item)
	if e == nil || e.Removed {
		return nil, ErrNoApp
	}
	in := &Install{App: e}
	if v.Access != nil {
		account, err := m.account(ctx, v.Access, false)
		if err != nil {
			return nil, err
		}
		in.Account = account.Account
	}
	if in.SignIn = e.SignIn && v.Access == nil; in.SignIn {
		return in, nil
	}
	q := Request{Apps: []App{{Item: v.Item}}, Platform: v.Platform, OS: v.OS, Territory: v.Territory, Access: v.Access}
	// A browser may name an older system than it runs on, so what it says helps to
	// choose a version but never refuses all. The device itself checks again.
	if len(e.AppendRestores(nil, 0, v.Platform, v.OS)) == 0 {
		q.OS = catalog.AnyOS
	}
	in.Nobody = len(e.AppendRestores(nil, 0, v.Platform, catalog.AnyOS)) == 0
	var a Answer
	if err := m.give(ctx, &q, &a, abi.PurposeInstallToken, nil); err != nil {
		return nil, err
	}
	if len(a.Offers) > 0 {
		in.Release, in.Token = a.Offers[0].Release, bytes.Clone(a.Token(a.Offers[0]))
	}
	return in, nil
}

// Link is the link behind an install button. Apple: MarketplaceKit URI scheme.
type Link struct {
	Package      string // URL of the distribution package, on the page's own origin
	Token        string // install verification token
	SubjectToken string // empty = the device asks the person to sign in, if it has to
	Account      string // empty = nobody in particular
	ShareURL     string // empty = none
}

// String writes the link. A space is %20: a plus sign would stay one.
func (l Link) String() string {
	var b strings.Builder
	b.WriteString("marketplace-kit://install")
	mark := byte('?')
	for _, p := range [...]struct{ name, value string }{
		{"alternativeDistributionPackage", l.Package}, {"installVerificationToken", l.Token},
		{"token", l.SubjectToken}, {"account", l.Account}, {"appShareURL", l.ShareURL},
	} {
		if p.value == "" {
			continue
		}
		b.WriteByte(mark)
		mark = '&'
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(strings.ReplaceAll(url.QueryEscape(p.value), "+", "%20"))
	}
	return b.String()
}
