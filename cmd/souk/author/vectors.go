package author

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"sync"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk"
	"github.com/souk-market/souk/sdk/abi"
)

// vector is a golden question of the contract.
type vector struct {
	name  string
	hook  abi.Hook
	bytes []byte
}

// golden are the questions among the vectors, but for those that are none.
var golden = sync.OnceValue(func() (all []vector) {
	text, err := fs.ReadFile(sdk.Files, "abi/testdata/vectors.json")
	if err != nil {
		panic(err)
	}
	var file struct {
		Vectors []struct{ Name, Record, Wrong, Hex string }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		panic(err)
	}
	hooks := map[string]abi.Hook{
		"EntitleRequest": abi.HookEntitle, "SelectVersionRequest": abi.HookSelectVersion,
		"SignInRequest": abi.HookSignIn, "ExchangeRequest": abi.HookExchange,
	}
	for _, v := range file.Vectors {
		if b, err := hex.DecodeString(v.Hex); err == nil && v.Wrong == "" && hooks[v.Record] != 0 {
			all = append(all, vector{v.Name, hooks[v.Record], b})
		}
	}
	return all
})

func vectors(h abi.Hook) (of []vector) {
	for _, v := range golden() {
		if v.hook == h {
			of = append(of, v)
		}
	}
	return of
}

// ask puts the question as this host writes it.
func (v *vector) ask(ctx context.Context, host *plugin.Host) *plugin.Failure {
	c := host.Acquire()
	defer c.Release()
	switch v.hook {
	case abi.HookEntitle:
		if c.Entitle.Read(v.bytes) == nil {
			c.AskEntitle(ctx)
		}
	case abi.HookSelectVersion:
		if c.SelectVersion.Read(v.bytes) == nil {
			c.AskSelectVersion(ctx)
		}
	case abi.HookSignIn:
		if c.SignIn.Read(v.bytes) == nil {
			_, _, _ = c.AskSignIn(ctx, "")
		}
	case abi.HookExchange:
		if c.Exchange.Read(v.bytes) == nil {
			_, _, _ = c.AskExchange(ctx)
		}
	}
	return c.Failure()
}
