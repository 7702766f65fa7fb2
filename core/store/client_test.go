package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

func aClient(id string) store.Client {
	return store.Client{ID: id, Kind: store.NativeClient, Scope: 1, Name: "App", RedirectURIs: []string{"com.example.app:/back"}}
}

// The life of a client's record: what ends its sign-ins counts its epoch up, and
// nothing counts it down.
func TestClientEpochs(t *testing.T) {
	s, _, c := openStore(t)
	const id = "com.example.app"
	update := func(f func(*store.Client)) (store.Client, error) {
		c.advance(time.Second)
		return s.UpdateClient(ctx, id, func(c *store.Client) (bool, error) { f(c); return true, nil })
	}
	_, err := update(func(*store.Client) {})
	wantIs(t, "UpdateClient of none", err, store.ErrNotFound)
	wantIs(t, "RemoveClient of none", s.RemoveClient(ctx, id), store.ErrNotFound)
	made, err := s.CreateClient(ctx, aClient(id))
	if err != nil || made.State != store.ClientActive || made.Epoch != 0 || !made.Created.Equal(c.now()) {
		t.Fatalf("CreateClient = %+v, %v", made, err)
	}
	born := made.Created
	for _, step := range []struct {
		what  string
		f     func(*store.Client)
		epoch uint32
	}{
		{"another name", func(c *store.Client) { c.Name = "Other" }, 0},
		{"what is not to be changed", func(c *store.Client) {
			c.ID, c.Epoch, c.Kind, c.Created = "x", 77, store.ConfidentialClient, start.Add(time.Hour)
		}, 0},
		{"disabled", func(c *store.Client) { c.State = store.ClientDisabled }, 1},
		{"disabled once more", func(c *store.Client) { c.State = store.ClientDisabled }, 1},
		{"enabled", func(c *store.Client) { c.State = store.ClientActive }, 1},
		{"for the market", func(c *store.Client) { c.Market = true }, 2},
		{"disabled again", func(c *store.Client) { c.State = store.ClientDisabled }, 3},
	} {
		got, err := update(step.f)
		if err != nil || got.Epoch != step.epoch || got.ID != id || got.Kind != store.NativeClient || !got.Created.Equal(born) || !got.Changed.Equal(c.now()) {
			t.Errorf("%s: UpdateClient = %+v, %v, want the epoch %d", step.what, got, err, step.epoch)
		}
	}
	_, err = s.CreateClient(ctx, aClient(id))
	wantIs(t, "CreateClient over a disabled one", err, store.ErrClientExists)
	if err := s.RemoveClient(ctx, id); err != nil {
		t.Fatal(err)
	}
	wantIs(t, "RemoveClient again", s.RemoveClient(ctx, id), store.ErrNotFound)
	all, err := s.Clients(ctx)
	if err != nil || len(all) != 1 || all[0].State != store.ClientRemoved || all[0].Name != "" || all[0].RedirectURIs != nil {
		t.Errorf("Clients = %+v, %v, want what is left of a removed one", all, err)
	}
	again, err := s.CreateClient(ctx, aClient(id))
	if err != nil || again.Epoch != 3 || again.State != store.ClientActive || again.Market {
		t.Errorf("CreateClient of a removed one = %+v, %v, want it with the epoch 3 and nothing else", again, err)
	}
}

func TestClientsAreListedInOrder(t *testing.T) {
	s, _, _ := openStore(t)
	var want []store.Client
	for i := range 600 { // more than a page of a scan
		c := aClient(fmt.Sprintf("app-%03d", i))
		c.Kind, c.Secret = store.ConfidentialClient, [32]byte{byte(i), 1}
		made, err := s.CreateClient(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, made)
	}
	if got, err := s.Clients(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Clients = %d of them, %v, want the 600 in order", len(got), err)
	}
}

func TestClientsThatCantBe(t *testing.T) {
	s, _, _ := openStore(t)
	for name, change := range map[string]func(*store.Client){
		"no id":                 func(c *store.Client) { c.ID = "" },
		"a long id":             func(c *store.Client) { c.ID = strings.Repeat("x", 256) },
		"no kind":               func(c *store.Client) { c.Kind = 0 },
		"a secret of a native":  func(c *store.Client) { c.Secret = [32]byte{1} },
		"no secret of a server": func(c *store.Client) { c.Kind = store.ConfidentialClient },
		"many redirects":        func(c *store.Client) { c.RedirectURIs = make([]string, 11) },
		"a long redirect":       func(c *store.Client) { c.RedirectURIs = []string{strings.Repeat("x", 1025)} },
		"a long name":           func(c *store.Client) { c.Name = strings.Repeat("x", 256) },
	} {
		c := aClient("app")
		change(&c)
		if _, err := s.CreateClient(ctx, c); err == nil {
			t.Errorf("CreateClient with %s succeeded", name)
		}
	}
	if _, err := s.CreateClient(ctx, aClient("app")); err != nil {
		t.Fatal(err)
	}
	_, err := s.UpdateClient(ctx, "app", func(c *store.Client) (bool, error) { c.State = 9; return true, nil })
	if err == nil {
		t.Error("UpdateClient with a state that is none succeeded")
	}
	refused := errors.New("refused")
	if _, err := s.UpdateClient(ctx, "app", func(*store.Client) (bool, error) { return true, refused }); err != refused {
		t.Errorf("UpdateClient = %v, want f's own error", err)
	}
}

// Of many that register one id at once, one does; of many that disable it at once,
// all see the same epoch.
func TestClientRaces(t *testing.T) {
	s, _, _ := openStore(t)
	var won atomic.Int64
	together(16, func(i int) {
		c := aClient("app")
		c.Name = fmt.Sprint(i)
		made, err := s.CreateClient(ctx, c)
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, store.ErrClientExists) || made.ID != "app":
			t.Errorf("CreateClient = %+v, %v", made, err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d of 16 registered one id", won.Load())
	}
	together(16, func(int) {
		c, err := s.UpdateClient(ctx, "app", func(c *store.Client) (bool, error) {
			change := c.State != store.ClientDisabled
			c.State = store.ClientDisabled
			return change, nil
		})
		if err != nil || c.Epoch != 1 {
			t.Errorf("UpdateClient = epoch %d, %v, want 1", c.Epoch, err)
		}
	})
}
