package market

import (
	"context"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/token"
)

// foreseen is how many offers are expected of a release that was just published or
// opened to more people, before there is a rate to go by. Of a change of many apps at
// once, which is an import, nothing is expected: most are apps that few have.
const (
	foreseen     = 256
	foreseenApps = 32
)

// FollowCatalog keeps the pool in step with the catalogue until ctx ends: what was
// halted, withdrawn or taken down leaves it, and what was published is prepared for.
func (m *Market) FollowCatalog(ctx context.Context) {
	old := m.Catalog.Snapshot()
	for {
		select {
		case <-ctx.Done():
			return
		case <-old.Replaced():
		}
		next := m.Catalog.Snapshot()
		m.Pool.Sweep()
		for _, c := range opened(old, next) {
			m.Pool.Expect(c, foreseen)
		}
		old = next
	}
}

// Presigned says whether tokens with these claims may be given out: the pool's Offer.
func (m *Market) Presigned(c token.InstallClaims) bool {
	e := m.Catalog.Snapshot().Item(c.Item)
	if e == nil || e.Removed || e.BundleID != c.BundleID {
		return false
	}
	r := e.Version(c.Version)
	return r != nil && !r.Withdrawn && !r.Halted
}

// opened returns the claims of the updates that more people may get than before.
func opened(old, next *catalog.Snapshot) (all []token.InstallClaims) {
	for e := range next.Changed(old) {
		r := e.Newest()
		if r == nil || r.Share == 0 {
			continue
		}
		if before := old.Item(e.ID); before != nil {
			if b := before.Version(r.ID); b != nil && !b.Withdrawn && !b.Halted && !before.Removed && b.Share >= r.Share {
				continue
			}
		}
		all = append(all, token.InstallClaims{BundleID: e.BundleID, Item: e.ID, Version: r.ID, Redownload: true})
		if len(all) > foreseenApps {
			return nil
		}
	}
	return all
}
