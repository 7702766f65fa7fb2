package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
)

// fill makes the server know the people whose devices ask in a stretch of time, and no
// others: a server of a hundred million devices has their accounts, and the simulator
// those it needs.
type fill struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Refresh bool      `json:"refresh"` // sign the devices in, and return their refresh tokens
}

const fillers = 256

// run fills the server. soFar is told each second how many devices it knows.
func (f *fill) run(ctx context.Context, h *core.Host, c population.Config, soFar func(known int) error) (done, error) {
	people, err := population.New(c, population.Catalogue(c))
	if err != nil {
		return done{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var d done
	var mu sync.Mutex
	said := time.Now()
	var wg sync.WaitGroup
	todo := make(chan uint64, fillers)
	for range fillers {
		wg.Go(func() {
			var device population.Device
			for index := range todo {
				people.Device(&device, index, f.From)
				refresh, err := f.meet(ctx, h, strings.Clone(device.Account), strings.Clone(device.ClientID))
				if err != nil {
					stop(fmt.Errorf("fill the server with device %d: %w", index, err))
					return
				}
				mu.Lock()
				if d.Known++; f.Refresh {
					d.Devices, d.Refresh = append(d.Devices, index), append(d.Refresh, refresh)
				}
				if now := time.Now(); now.Sub(said) >= time.Second {
					if said, err = now, soFar(d.Known); err != nil {
						stop(err)
					}
				}
				mu.Unlock()
			}
		})
	}
	seen := newBits(c.Devices)
	for a := range people.Arrivals(f.From, f.To) {
		if !seen.set(a.Device) {
			continue
		}
		select {
		case todo <- a.Device:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(todo)
	wg.Wait()
	return d, context.Cause(ctx)
}

// meet makes the server know a device. Of one that refreshes nothing the account is all
// that a check looks at: its access tokens are minted, see worker.mint. A sign-in writes
// five times as much.
func (f *fill) meet(ctx context.Context, h *core.Host, account, client string) (refresh string, err error) {
	if f.Refresh {
		return signIn(ctx, h, account, client)
	}
	_, err = h.Store.UpdateAccount(ctx, account, func(*store.Account) (bool, error) { return true, nil })
	return "", err
}

// signIn signs one device in, with the token of an install link.
func signIn(ctx context.Context, h *core.Host, account, client string) (refresh string, err error) {
	subject, err := h.OAuth.SubjectToken(ctx, account)
	if err != nil {
		return "", err
	}
	params, err := oauth.NewParams([]oauth.Pair{
		{Name: "grant_type", Value: oauth.GrantTokenExchange},
		{Name: "subject_token", Value: subject}, {Name: "subject_token_type", Value: oauth.TypeAccessToken},
		{Name: "client_id", Value: client},
	}, 1<<10)
	if err != nil {
		return "", err
	}
	t, err := h.OAuth.Token(ctx, oauth.TokenRequest{Params: params})
	if err != nil {
		return "", err
	}
	return t.RefreshToken, nil
}

func decodeKey(text string, key *[32]byte) error {
	b, err := hex.DecodeString(text)
	if err != nil || copy(key[:], b) != len(key) || len(b) != len(key) {
		return errors.New("the key has to be 64 hexadecimal digits")
	}
	return nil
}
