package oauth

import (
	"context"
	"encoding/hex"

	"github.com/souk-market/souk/core/store"
)

// Device is what a sign-in counts as. A device makes its client id itself and keeps
// it when it signs in again. The id of a registered client is the same on all
// devices, so there each sign-in counts as one.
func (c *Clients) Device(client, family [16]byte) [16]byte {
	if c.byKey(client) != nil {
		return family
	}
	return client
}

// vacate takes the device of a family that has ended off its account, unless it has
// another sign-in. That it failed is found out when devices are counted next.
func (s *Server) vacate(ctx context.Context, id [16]byte, f *store.Family) {
	device := f.Client
	if f.Class == ClassApp { // of a client that is no more, too
		device = id
	}
	if err := s.Store.Vacate(ctx, f.Subject, device, s.Clients.Device); err != nil {
		s.log().Error("a device is still counted", "family", hex.EncodeToString(id[:]), "error", err)
	}
}
