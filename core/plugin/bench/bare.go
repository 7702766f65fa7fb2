package bench

import (
	"context"
	"fmt"
	"slices"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/sdk/abi"
)

// Bare is a module in the engine with nothing of ours around it: no meter unless
// it was asked for, no slots, no deadline, and nobody looks at what it answers.
// Functions are looked up once. It is for one goroutine.
type Bare struct {
	runtime  wazero.Runtime
	memory   api.Memory
	hook     api.Function
	buffer   api.Function
	bufferAt uint32
	space    uint32 // at bufferAt
	stack    [1]uint64
}

// known says whether a module imports nothing that only a host has: of the host
// functions, Bare answers bucket and log.
func known(wasm []byte) bool {
	m, err := meter.Inspect(wasm)
	return err == nil && !slices.ContainsFunc(m.Imports, func(i meter.Import) bool {
		return i.Module == abi.ImportModule && i.Name != "bucket" && i.Name != "log"
	})
}

// NewBare starts a module to ask one hook of it; metered inserts the meter, with
// fuel without end.
func NewBare(ctx context.Context, wasm []byte, hook abi.Hook, metered bool) (b *Bare, err error) {
	b = &Bare{runtime: wazero.NewRuntime(ctx)}
	defer func() {
		if err != nil {
			b.Close(ctx)
		}
	}()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, b.runtime); err != nil {
		return nil, err
	}
	if metered {
		if wasm, _, err = meter.Rewrite(wasm, meter.Limits{}); err != nil {
			return nil, err
		}
		refill := func(_ context.Context, mod api.Module, _ []uint64) {
			fuel := mod.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
			fuel.Set(fuel.Get() + 1<<40)
		}
		if err := b.offer(ctx, meter.ImportModule, function{meter.ImportRefill, refill, "", ""}); err != nil {
			return nil, err
		}
	}
	if err := b.offer(ctx, abi.ImportModule, function{"bucket", bareBucket, "iiii", "i"}, function{"log", bareLog, "iii", ""}); err != nil {
		return nil, err
	}
	mod, err := b.runtime.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithName("").WithStartFunctions(abi.ExportInitialize))
	if err != nil {
		return nil, err
	}
	b.memory, b.hook, b.buffer = mod.Memory(), mod.ExportedFunction(hook.String()), mod.ExportedFunction(abi.ExportBuffer)
	if b.memory == nil || b.hook == nil || b.buffer == nil {
		return nil, fmt.Errorf("the module is no plugin that answers %s", hook)
	}
	return b, b.room(ctx, abi.BufferSize)
}

type function struct {
	name            string
	call            api.GoModuleFunc
	params, results string // a letter each
}

func (b *Bare) offer(ctx context.Context, module string, functions ...function) error {
	types := map[rune]api.ValueType{'i': api.ValueTypeI32, 'I': api.ValueTypeI64}
	list := func(letters string) (l []api.ValueType) {
		for _, letter := range letters {
			l = append(l, types[letter])
		}
		return l
	}
	builder := b.runtime.NewHostModuleBuilder(module)
	for _, f := range functions {
		builder.NewFunctionBuilder().WithGoModuleFunction(f.call, list(f.params), list(f.results)).Export(f.name)
	}
	_, err := builder.Instantiate(ctx)
	return err
}

func bareBucket(_ context.Context, mod api.Module, stack []uint64) {
	key, ok := mod.Memory().Read(uint32(stack[0]), uint32(stack[1]))
	salt, ok2 := mod.Memory().Read(uint32(stack[2]), uint32(stack[3]))
	if !ok || !ok2 {
		panic("bucket: outside of the memory")
	}
	stack[0] = uint64(abi.Bucket(unsafe.String(unsafe.SliceData(key), len(key)), unsafe.String(unsafe.SliceData(salt), len(salt))))
}

func bareLog(context.Context, api.Module, []uint64) {}

func (b *Bare) room(ctx context.Context, n uint32) error {
	b.stack[0] = uint64(n)
	if err := b.buffer.CallWithStack(ctx, b.stack[:]); err != nil {
		return err
	}
	if b.bufferAt, b.space = uint32(b.stack[0]), n; b.bufferAt == 0 {
		return fmt.Errorf("%s refused %d bytes", abi.ExportBuffer, n)
	}
	return nil
}

// Call writes a request into the module's buffer and returns the bytes of the
// verdict where they lie, nil if there is none.
func (b *Bare) Call(ctx context.Context, request []byte) (verdict []byte, err error) {
	if uint32(len(request)) > b.space {
		if err := b.room(ctx, uint32(len(request))); err != nil {
			return nil, err
		}
	}
	if !b.memory.Write(b.bufferAt, request) {
		return nil, fmt.Errorf("%s answered an address outside of the memory", abi.ExportBuffer)
	}
	b.stack[0] = uint64(len(request))
	if err := b.hook.CallWithStack(ctx, b.stack[:]); err != nil {
		return nil, err
	}
	at, n := uint32(b.stack[0]>>32), uint32(b.stack[0])
	if at == 0 {
		if n != 0 {
			return nil, fmt.Errorf("the guest answered code %d", n)
		}
		return nil, nil
	}
	verdict, ok := b.memory.Read(at, n)
	if !ok {
		return nil, fmt.Errorf("a verdict of %d bytes at %d is outside of the memory", n, at)
	}
	return verdict, nil
}

// Close frees the engine.
func (b *Bare) Close(ctx context.Context) error { return b.runtime.Close(ctx) }

// Subject asks the same again and again.
func (b *Bare) Subject(name string, request []byte) Subject {
	return Subject{name, func(ctx context.Context, calls int) error {
		for range calls {
			if _, err := b.Call(ctx, request); err != nil {
				return err
			}
		}
		return nil
	}}
}
