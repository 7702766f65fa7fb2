package meter_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// bulkProgram has a function for each memory instruction with the same parameters, and one that drops the segment.
func bulkProgram(pages uint32, segment []byte) *program {
	p := newProgram()
	p.memory(pages)
	p.segment(segment)
	three := ops(i32, i32, i32)
	all := ops(localGet, 0, localGet, 1, localGet, 2)
	p.function("fill", three, nil, all, ops(0xfc, 11, 0))
	p.function("copy", three, nil, all, ops(0xfc, 10, 0, 0))
	p.function("init", three, nil, all, ops(0xfc, 8, 0, 0))
	p.function("drop", nil, nil, ops(0xfc, 9, 0))
	return p
}

// plain instantiates a program as it is.
func plain(t testing.TB, wasm []byte) api.Module {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(ctx) })
	mod, err := r.Instantiate(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	return mod
}

// trap is the first line of an error, which names the kind of trap.
func trap(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// sameBulk does one operation in both modules and compares what it left.
func sameBulk(t *testing.T, original, metered api.Module, op string, args ...uint64) {
	t.Helper()
	_, want := original.ExportedFunction(op).Call(t.Context(), args...)
	_, got := metered.ExportedFunction(op).Call(t.Context(), args...)
	if trap(got) != trap(want) {
		t.Fatalf("%s(%d): metered %q, original %q", op, args, trap(got), trap(want))
	}
	size := original.Memory().Size()
	a, _ := original.Memory().Read(0, size)
	b, ok := metered.Memory().Read(0, size)
	if !ok || !bytes.Equal(a, b) {
		t.Fatalf("%s(%d): memories differ", op, args)
	}
}

func scramble(mods ...api.Module) {
	size := mods[0].Memory().Size()
	noise := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for _, mod := range mods {
		mod.Memory().Write(0, noise)
	}
}

func TestBulkOperationsMeanTheSame(t *testing.T) {
	t.Parallel()
	const (
		page    = 65536
		size    = 6 * page
		chunk   = 65536
		segment = 2*chunk + 17
	)
	content := make([]byte, segment)
	for i := range content {
		content[i] = byte(i * 31)
	}
	p := bulkProgram(6, content)
	original, metered := plain(t, p.wasm()), start(t, &host{slice: 1 << 40}, p)
	lengths := []uint64{
		0, 1, 100, chunk - 1, chunk, chunk + 1, 2 * chunk, 2*chunk + 1, segment, segment + 1, size - 1, size,
		size + 1, 1 << 31, 1<<32 - 1,
	}
	places := []uint64{0, 1, 5, chunk - 1, chunk, chunk + 1, segment, size - 1, size, size + 1, 1<<32 - chunk, 1<<32 - 1}
	scramble(original, metered)
	for _, n := range lengths {
		for _, to := range places {
			ends := append([]uint64{}, places...)
			if n <= size {
				ends = append(ends, size-n, size-n+1) // ends with the memory's end, and one behind it
			}
			if n <= segment {
				ends = append(ends, segment-n, segment-n+1)
			}
			sameBulk(t, original, metered, "fill", to, n*7+to, n)
			if n <= size {
				sameBulk(t, original, metered, "fill", size-n, 3, n)
				sameBulk(t, original, metered, "fill", size-n+1, 4, n)
				scramble(original, metered)
			}
			for _, from := range ends {
				sameBulk(t, original, metered, "copy", to, from, n)
				sameBulk(t, original, metered, "copy", from, to, n)
				sameBulk(t, original, metered, "init", to, from, n)
			}
		}
		scramble(original, metered)
	}
	sameBulk(t, original, metered, "drop")
	for _, n := range lengths {
		for _, from := range []uint64{0, 1, segment} {
			sameBulk(t, original, metered, "init", 0, from, n)
			sameBulk(t, original, metered, "init", size, from, n)
		}
	}
}

func TestOverlapByAnyDistance(t *testing.T) {
	const size = 8 * 65536
	p := bulkProgram(8, nil)
	original, metered := plain(t, p.wasm()), start(t, &host{slice: 1 << 40}, p)
	scramble(original, metered)
	for _, distance := range []uint64{0, 1, 2, 63, 64, 4095, 65535, 65536, 65537, 131071, 131072, 200000} {
		for _, n := range []uint64{65537, 131072, 131073, 200000, 300000} {
			sameBulk(t, original, metered, "copy", 11+distance, 11, n)
			sameBulk(t, original, metered, "copy", 11, 11+distance, n)
			if distance+n <= size {
				sameBulk(t, original, metered, "copy", size-n, size-n-distance, n)
				sameBulk(t, original, metered, "copy", size-n-distance, size-n, n)
			}
		}
	}
}

// An operation that the host ends did whole chunks, from the end where it has to begin.
func TestBulkStopsBetweenChunks(t *testing.T) {
	const chunk = 65536
	p := bulkProgram(64, bytes.Repeat([]byte{9}, 40*chunk))
	metered := rewrite(t, p.wasm(), meter.Limits{})
	for _, op := range []string{"fill", "init"} {
		h := &host{slice: 1025, stopAt: 5}
		mod, err := instance(t, h, metered)
		if err != nil {
			t.Fatal(err)
		}
		args := []uint64{0, 9, 40 * chunk}
		if op == "init" {
			args[1] = 0
		}
		if _, err := mod.ExportedFunction(op).Call(t.Context(), args...); !errors.Is(err, errStopped) {
			t.Fatalf("%s: error %v, want %v", op, err, errStopped)
		}
		b, _ := mod.Memory().Read(0, 64*chunk)
		written := bytes.IndexByte(b, 0)
		if written%chunk != 0 || written == 0 || written > 5*chunk {
			t.Errorf("%s: stopped after %d bytes, want a few chunks", op, written)
		}
	}
}

func TestBoundsFollowTheMemory(t *testing.T) {
	p := bulkProgram(1, nil)
	p.function("grow", ops(i32), ops(i32), ops(localGet, 0, memoryGrow, 0))
	original, metered := plain(t, p.wasm()), start(t, &host{slice: 1 << 40}, p)
	for range 3 {
		for _, mod := range []api.Module{original, metered} {
			if got, err := mod.ExportedFunction("grow").Call(t.Context(), 1); err != nil || int32(got[0]) < 1 {
				t.Fatalf("grow: %v, %v", got, err)
			}
		}
		size := uint64(original.Memory().Size())
		sameBulk(t, original, metered, "fill", 0, 1, size)
		sameBulk(t, original, metered, "fill", 1, 2, size)
	}
}
