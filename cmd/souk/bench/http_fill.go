package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/oauth"
)

// filled is what a store was filled with, as clients have to know it.
type filled struct {
	Items   int      `json:"items"` // of the catalogue
	Devices []device `json:"devices"`
	Key     string   `json:"key"` // the public half of what signs install verification tokens, PEM
}

// device is one that is signed in, with an account of its own.
type device struct {
	Access  string `json:"access"`
	Refresh string `json:"refresh"`
}

// fill imports the catalogue and signs devices in, each with the token of an install
// link, by the rules of the core. Both wait for the disk most of the time.
func fill(ctx context.Context, h *core.Host, items, devices int) (*filled, error) {
	f := &filled{Items: items, Devices: make([]device, devices), Key: string(h.InstallKey)}
	imported := make(chan error, 1)
	go func() {
		_, err := h.Catalog.Import(ctx, catalogue(items))
		imported <- err
	}()
	err := f.signIn(ctx, h)
	return f, errors.Join(err, <-imported)
}

func (f *filled) signIn(ctx context.Context, h *core.Host) error {
	const fillers = 1024 // at once, for the store commits them together
	var taken atomic.Int64
	errs := make([]error, fillers)
	var wg sync.WaitGroup
	for i := range fillers {
		wg.Go(func() {
			for errs[i] == nil {
				at := int(taken.Add(1)) - 1
				if at >= len(f.Devices) {
					return
				}
				if f.Devices[at], errs[i] = signIn(ctx, h, at); errs[i] != nil {
					errs[i] = fmt.Errorf("sign device %d in: %w", at, errs[i])
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func signIn(ctx context.Context, h *core.Host, at int) (d device, err error) {
	subject, err := h.OAuth.SubjectToken(ctx, fmt.Sprintf("person-%d@example.com", at))
	if err != nil {
		return d, err
	}
	params, err := oauth.NewParams([]oauth.Pair{
		{Name: "grant_type", Value: oauth.GrantTokenExchange},
		{Name: "subject_token", Value: subject}, {Name: "subject_token_type", Value: oauth.TypeAccessToken},
		{Name: "client_id", Value: fmt.Sprintf("00000000-0000-4000-8000-%012X", at)},
	}, 1<<10)
	if err != nil {
		return d, err
	}
	t, err := h.OAuth.Token(ctx, oauth.TokenRequest{Params: params})
	if err != nil {
		return d, err
	}
	return device{Access: t.AccessToken, Refresh: t.RefreshToken}, nil
}
