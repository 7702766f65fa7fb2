package bench

import (
	"context"
	"errors"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/cases"
	"github.com/souk-market/souk/sdk/abi"
)

// Hosted is a module as the server has it.
type Hosted struct{ host *plugin.Host }

// NewHosted loads one module with the limits of the Spec; its kv is empty and in
// memory.
func NewHosted(ctx context.Context, s plugin.Spec) (*Hosted, error) {
	s.InEarnest()
	h, err := plugin.Open(ctx, plugin.Options{Specs: []plugin.Spec{s}, KV: func(string) (plugin.KV, error) { return &cases.KV{}, nil }})
	if err != nil {
		return nil, err
	}
	return &Hosted{h}, nil
}

// Close frees everything.
func (h *Hosted) Close(ctx context.Context) error { return h.host.Close(ctx) }

// Has says whether the module answers this hook.
func (h *Hosted) Has(hook abi.Hook) bool { return h.host.Has(hook) }

// Ask asks a question for a device, as the server does: from an empty record to
// the answers. It returns the fuel it took; the error is why the plugin failed.
func (h *Hosted) Ask(ctx context.Context, q *Question, device int) (fuel uint64, err error) {
	c := h.host.Acquire()
	q.Fill(c, device)
	failed := false
	switch q.Hook {
	case abi.HookEntitle:
		failed = c.AskEntitle(ctx)[0].Failed
	case abi.HookSelectVersion:
		failed = c.AskSelectVersion(ctx)[0].Failed
	case abi.HookSignIn:
		_, _, err = c.AskSignIn(ctx, "")
	default:
		_, _, err = c.AskExchange(ctx)
	}
	fuel = c.Fuel()
	c.Release()
	if errors.Is(err, plugin.ErrAbstained) {
		err = nil
	}
	if failed {
		err = errors.New(h.host.Plugins()[0].LastFailure)
	}
	return fuel, err
}

// memory is what all instances have together, in bytes.
func (h *Hosted) memory() int64 { return h.host.Plugins()[0].Memory }

// Subject asks a question again and again, for one device.
func (h *Hosted) Subject(name string, q Question) Subject {
	return Subject{name, func(ctx context.Context, calls int) error {
		for range calls {
			if _, err := h.Ask(ctx, &q, 0); err != nil {
				return err
			}
		}
		return nil
	}}
}
