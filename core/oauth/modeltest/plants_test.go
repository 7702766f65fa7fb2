package modeltest

import (
	"context"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
)

// plant is a fault that is planted, to see that it is found. The zero value is none.
type plant struct {
	name   string
	drop   func(p *port, k store.Key, cur *store.Item) bool // a write is answered and not made
	shown  func(p *port, k store.Key, cur *store.Item) *store.Item
	set    func(*oauth.Lives)
	answer func(w *world, o *op, p oauth.Params, ask func(oauth.Params) (*oauth.TokenResponse, error)) (*oauth.TokenResponse, error)
}

func (t *plant) update(p *port, k store.Key, cur *store.Item, f store.UpdateFunc) (*store.Write, error) {
	if t.shown != nil {
		cur = t.shown(p, k, cur)
	}
	w, err := f(cur)
	if err == nil && w != nil && t.drop != nil && t.drop(p, k, cur) {
		return nil, dropped{store.Item{Key: k, Value: w.Value, Version: 1, Expires: store.Millis(w.Expires)}}
	}
	return w, err
}

// dropped carries the item that a dropped write would have made.
type dropped struct{ item store.Item }

func (dropped) Error() string { return "modeltest: a planted fault dropped a write" }

func (t *plant) updated(it store.Item, err error) (store.Item, error) {
	if d, ok := err.(dropped); ok {
		return d.item, nil
	}
	return it, err
}

func (t *plant) lives(l *oauth.Lives) {
	if t.set != nil {
		t.set(l)
	}
}

func (t *plant) token(_ context.Context, w *world, o *op, p oauth.Params, ask func(oauth.Params) (*oauth.TokenResponse, error)) (*oauth.TokenResponse, error) {
	if t.answer != nil {
		return t.answer(w, o, p, ask)
	}
	return ask(p)
}
