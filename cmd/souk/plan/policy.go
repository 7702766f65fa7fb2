package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Policy is what a market asks, opened for a forecast: with fuel and without deadlines, so
// that it comes out the same on any machine, without the network, without a store.
type Policy struct {
	Market *market.Market
	Notes  []string // what the forecast can't know of it
	host   *plugin.Host
}

// Policies says what a market asks.
type Policies struct {
	Specs  []plugin.Spec // in their order; those that are asked nothing about apps are left out
	Dir    string        // of relative files
	Max    int64         // bytes of a module
	Market market.Config
}

// Open loads the plugins.
func (p *Policies) Open(ctx context.Context) (*Policy, error) {
	specs, err := p.aboutApps()
	if err != nil {
		return nil, err
	}
	config := p.Market
	host, err := plugin.Open(ctx, plugin.Options{
		Specs: specs, Dir: p.Dir, MaxModule: p.Max, KV: func(string) (plugin.KV, error) { return empty{}, nil },
		Rules: &config, Timeless: true, Offline: true,
	})
	if err != nil {
		return nil, err
	}
	o := &Policy{Market: &market.Market{Config: config, Plugins: host}, host: host}
	for _, s := range specs {
		if slices.Contains(s.Allow, "kv") {
			o.Notes = append(o.Notes, fmt.Sprintf("plugin %s keeps things in its kv, which is empty here at each question", s.Name))
		}
		if slices.Contains(s.Allow, "http") {
			o.Notes = append(o.Notes, fmt.Sprintf("plugin %s may ask other servers, which refuse here", s.Name))
		}
	}
	return o, nil
}

// Close gives the plugins back.
func (p *Policy) Close() error { return p.host.Close(context.Background()) }

// AsksEntitle says whether somebody decides who may have an app.
func (p *Policy) AsksEntitle() bool {
	call := p.host.Acquire()
	defer call.Release()
	return call.Has(abi.HookEntitle)
}

// aboutApps are the plugins that have a say in an update, and for nothing else: secrets are
// for the other hooks, and the cases of a plugin are for the server that it is loaded into.
func (p *Policies) aboutApps() ([]plugin.Spec, error) {
	var kept []plugin.Spec
	for _, s := range p.Specs {
		if s.Shadow {
			continue // it changes nothing
		}
		s.Secrets, s.Cases = nil, ""
		hooks := s.Hooks
		if len(hooks) == 0 && s.Wasm != nil {
			o, err := plugin.OutlineOf(s.Wasm)
			if err != nil {
				return nil, fmt.Errorf("plugin %s: %w", s.Name, err)
			}
			for _, h := range o.Hooks {
				hooks = append(hooks, h.String())
			}
		}
		asked := slices.DeleteFunc(slices.Clone(hooks), func(h string) bool {
			return h != abi.HookEntitle.String() && h != abi.HookSelectVersion.String()
		})
		if len(asked) == 0 {
			continue
		}
		s.Hooks = asked
		kept = append(kept, s)
	}
	return kept, nil
}

// Replace puts another build into the place of a plugin.
func (p *Policies) Replace(name string, wasm []byte) error {
	for i := range p.Specs {
		if s := &p.Specs[i]; s.Name == name && !s.Shadow {
			s.Wasm, s.File, s.SHA256 = wasm, "", ""
			return nil
		}
	}
	var names []string
	for _, s := range p.Specs {
		if !s.Shadow {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return errors.New("the market has no plugins")
	}
	return fmt.Errorf("the market has no plugin %q: it has %s", name, strings.Join(names, ", "))
}

// empty is the kv of a forecast. What a plugin writes is seen by the same question alone,
// and comes to nothing.
type empty struct{}

func (empty) Get(context.Context, []byte) ([]byte, error)              { return nil, plugin.ErrKVNotFound }
func (empty) Put(context.Context, []byte, []byte, time.Duration) error { return plugin.ErrKVRefused }
func (empty) Delete(context.Context, []byte) error                     { return plugin.ErrKVRefused }
func (empty) Swap(context.Context, []byte, []byte, []byte) error       { return plugin.ErrKVRefused }
func (empty) Add(context.Context, []byte, int64) (int64, error)        { return 0, plugin.ErrKVRefused }
