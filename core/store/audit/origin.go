package audit

import "context"

// Origin says who asks for a change. It travels in the context from where a request
// comes in down to where the change is made.
type Origin struct {
	Actor   Actor
	Name    string // of the plugin or the client; empty = it has none
	Address string // empty = nobody asked from outside
}

type originKey struct{}

// By returns a context whose changes are made by o.
func By(ctx context.Context, o Origin) context.Context { return context.WithValue(ctx, originKey{}, o) }

// From returns who changes are made by; the system, if nobody has said otherwise.
func From(ctx context.Context) Origin {
	if o, ok := ctx.Value(originKey{}).(Origin); ok {
		return o
	}
	return Origin{Actor: System}
}
