package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/souk-market/souk/core/token"
	"github.com/souk-market/souk/sdk/abi"
)

// CallbackPath is where another provider sends a person back to, followed by the
// name of the plugin that sent them there.
const CallbackPath = "/oauth/callback/"

// maxCallback bounds how many parameters of a callback a plugin is handed.
const maxCallback = 32

// away sends the person to another provider. What has to be known when they come
// back travels in the state, sealed, so any node can go on; policy has named the
// rest of the address, on a host that the operator allowed.
func (s *Server) away(t *transaction, answer *abi.SignInAnswer, name string) (*Step, error) {
	fail := func(err error) (*Step, error) {
		return nil, Errorf(ServerError, "sign-in is not possible at the moment").because(err)
	}
	to, err := url.Parse(strings.Clone(answer.Location))
	if err != nil {
		return fail(err)
	}
	t.Memory, t.Fields, t.Away = strings.Clone(answer.State), nil, true
	plain, err := json.Marshal(t)
	if err != nil {
		return fail(err)
	}
	state, err := s.Ring().Seal(s.Rand, token.PurposeState, plain)
	if err != nil {
		return fail(err)
	}
	q := to.Query()
	if q.Has("state") {
		return fail(errors.New("plugin " + name + " set a state of its own: it is the core's"))
	}
	q.Set("state", state)
	to.RawQuery = q.Encode()
	return &Step{Redirect: to.String()}, nil
}

// Callback answers /oauth/callback/{plugin}: a person comes back from another
// provider. The plugin that sent them is handed the parameters, and nobody else is.
func (s *Server) Callback(ctx context.Context, plugin string, p Params, v Visitor) (*Step, error) {
	t, a, err := s.resume(token.PurposeState, p["state"])
	if err != nil {
		return nil, err
	}
	if t.Plugin != plugin || !t.Away {
		return nil, Errorf(InvalidRequest, "this sign-in was begun elsewhere: go back to the app and begin again")
	}
	if len(p) > maxCallback {
		return nil, Errorf(InvalidRequest, "there are more than %d parameters", maxCallback)
	}
	t.Away = false
	var fields []abi.SubmittedField
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if name != "state" {
			fields = append(fields, abi.SubmittedField{Name: name, Value: p[name]})
		}
	}
	return s.attempt(ctx, a, t, v, abi.SignInCallback, fields)
}
