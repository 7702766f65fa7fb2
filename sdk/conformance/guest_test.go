//go:build !wasip1

package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

// guest is a module in the bare engine, which is how a test can ask what the host
// never would: the bytes of another version, or no question at all. Its host
// functions are those of the Go SDK outside of a plugin.
type guest struct {
	mod    api.Module
	called map[string]bool // host functions
	answer []byte          // of http_fetch, as they are; nil = the SDK's
}

func start(t *testing.T, wasm []byte) *guest {
	t.Helper()
	souk.Reset()
	ctx := t.Context()
	rt := wazero.NewRuntime(ctx)
	t.Cleanup(func() { rt.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	g := &guest{called: map[string]bool{}}
	env := rt.NewHostModuleBuilder(abi.ImportModule)
	for _, f := range abi.Imports {
		types := func(letters string) (list []api.ValueType) {
			for _, l := range letters {
				list = append(list, map[rune]api.ValueType{'i': api.ValueTypeI32, 'I': api.ValueTypeI64}[l])
			}
			return list
		}
		env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, mod api.Module, stack []uint64) {
			g.called[f.Name] = true
			n := int32(len(g.answer))
			if f.Name != "http_fetch" || g.answer == nil {
				n = answer(f.Name, mod.Memory(), stack)
			} else if !mod.Memory().Write(uint32(stack[2]), g.answer) {
				panic("outside of the memory")
			}
			if f.Results != "" {
				stack[0] = uint64(uint32(n))
			}
		}), types(f.Params), types(f.Results)).Export(f.Name)
	}
	if _, err := env.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	mod, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	g.mod = mod
	return g
}

// answer is a host function, by its name.
func answer(name string, mem api.Memory, stack []uint64) int32 {
	get := func(i int) []byte {
		b, ok := mem.Read(uint32(stack[i]), uint32(stack[i+1]))
		if !ok {
			panic("outside of the memory")
		}
		return bytes.Clone(b)
	}
	fill := func(i int, b []byte, err error) int32 {
		switch {
		case err != nil:
			return code(err)
		case len(b) > int(uint32(stack[i+1])):
			return int32(abi.CodeDoesNotFit)
		}
		mem.Write(uint32(stack[i]), b)
		return int32(len(b))
	}
	switch name {
	case "bucket":
		return int32(souk.Bucket(string(get(0)), string(get(2))))
	case "kv_get":
		b, err := souk.KVGet(string(get(0)))
		return fill(2, b, err)
	case "kv_put":
		return code(souk.KVPut(string(get(0)), get(2), 0))
	case "kv_delete":
		return code(souk.KVDelete(string(get(0))))
	case "kv_swap":
		return code(souk.KVSwap(string(get(0)), get(2), get(4)))
	case "kv_add":
		sum, err := souk.KVAdd(string(get(0)), int64(stack[2]))
		if err == nil && !mem.WriteUint64Le(uint32(stack[3]), uint64(sum)) {
			panic("outside of the memory")
		}
		return code(err)
	case "log":
		souk.Log(abi.Level(stack[0]), string(get(1)))
		return 0
	case "hmac_sha256":
		sum, err := souk.HMACSHA256(get(0), get(2))
		return fill(4, sum, err)
	case "equal_ct":
		if souk.EqualCT(get(0), get(2)) {
			return 1
		}
		return 0
	case "secret_get":
		s, err := souk.Secret(string(get(0)))
		return fill(2, []byte(s), err)
	case "http_fetch":
		var q abi.FetchRequest
		var a abi.FetchResponse
		err := q.Read(get(0))
		if err == nil {
			err = souk.Fetch(&q, &a)
		}
		return fill(2, a.Append(nil), err)
	case "metric_add":
		return code(souk.MetricAdd(string(get(0)), int64(stack[2])))
	case "password_hash":
		hash, err := souk.PasswordHash(string(get(0)))
		return fill(2, []byte(hash), err)
	case "password_verify":
		ok, err := souk.PasswordVerify(string(get(0)), string(get(2)))
		if ok {
			return 1
		}
		return code(err)
	}
	panic("there is no answer for " + name)
}

func code(err error) int32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, souk.ErrNotFound):
		return int32(abi.CodeNotFound)
	case errors.Is(err, souk.ErrConflict):
		return int32(abi.CodeConflict)
	case errors.Is(err, souk.ErrFailed):
		return int32(abi.CodeFailed)
	}
	return int32(abi.CodeRefused)
}

// ask calls a hook: a verdict, or nothing and the guest's own code, 0 = it
// abstains.
func (g *guest) ask(t *testing.T, hook string, msg []byte) (verdict []byte, code uint32) {
	t.Helper()
	call := func(name string, n int) uint64 {
		r, err := g.mod.ExportedFunction(name).Call(t.Context(), uint64(n))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r[0]
	}
	at := uint32(call(abi.ExportBuffer, max(len(msg), abi.BufferSize)))
	if at == 0 || at%8 != 0 || !g.mod.Memory().Write(at, msg) {
		t.Fatalf("%s gives %d", abi.ExportBuffer, at)
	}
	r := call(hook, len(msg))
	if r>>32 == 0 {
		return nil, uint32(r)
	}
	b, ok := g.mod.Memory().Read(uint32(r>>32), uint32(r))
	if !ok {
		t.Fatalf("%s answers %#x, which is outside of the memory", hook, r)
	}
	return bytes.Clone(b), 0
}

// compare asks the guest, and the policy natively: the bytes have to be the same. What
// a guest makes of texts that are no UTF-8 is its own affair, as long as it lives: no
// host writes them, so a guest need not look.
func (g *guest) compare(t *testing.T, name, hook string, msg []byte) {
	t.Helper()
	want, err := asked(hook, msg)
	export := map[string]string{"Entitle": "entitle", "SelectVersion": "select_version", "SignIn": "sign_in", "Exchange": "exchange"}[hook]
	got, code := g.ask(t, export, msg)
	if err != nil && strings.HasSuffix(err.Error(), "is not UTF-8") {
		return
	}
	if !bytes.Equal(got, want) || (code != 0) != (err != nil) {
		t.Errorf("%s: the guest answers code %d and\n%q, the policy %v and\n%q\nthe question is %x", name, code, got, err, want, msg)
	}
}
