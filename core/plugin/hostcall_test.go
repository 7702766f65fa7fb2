package plugin_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// callee is a function that a guest may import.
type callee struct{ module, name, params, results string }

// callees are all of them.
func callees() []callee {
	var all []callee
	for _, f := range abi.Imports {
		all = append(all, callee{"souk", f.Name, f.Params, f.Results})
	}
	for _, name := range plugin.WASINames() {
		results := "i"
		if name == "proc_exit" {
			results = ""
		}
		all = append(all, callee{"wasi_snapshot_preview1", name, plugin.WASIParams(name), results})
	}
	return all
}

// An order says which function the caller calls: 8 bytes that number it, 9
// arguments of 8 bytes, and what lies in the guest's memory from 0.
const (
	orderArgs   = 9
	orderHead   = 8 + 8*orderArgs
	orderMemory = 32 << 10 // bytes at most
	orderNone   = math.MaxUint32
)

// caller is a guest that calls what an order says and answers with the result.
// The order is the account in entitle and the subject token in exchange. It
// leaves its memory as it found it, so that what one order does is the same
// after any other.
func caller() []byte {
	g := newGuest()
	g.min = bufferAt/(64<<10) + abi.BufferSize/(64<<10)
	var calls strings.Builder
	for i, f := range callees() {
		g.imported(f.module, f.name, f.params, f.results)
		fmt.Fprintf(&calls, "local.get 1 i32.load i32.const %d i32.eq if ", i)
		for j, p := range f.params {
			fmt.Fprintf(&calls, "local.get 1 i32.const %d i32.add i64.load ", 8+8*j)
			if p == 'i' {
				calls.WriteString("i32.wrap_i64 ")
			}
		}
		fmt.Fprintf(&calls, "call %s ", f.name)
		if f.results != "" {
			calls.WriteString("local.set 2 ")
		}
		calls.WriteString("end ")
	}
	hook := func(name string, field int, verdict []byte) {
		var code strings.Builder
		fmt.Fprintf(&code, "i32.const %d i32.load i32.const %d i32.add local.set 1 ", bufferAt+field, bufferAt)
		fmt.Fprintf(&code, "i32.const 0 local.get 1 i32.const %d i32.add i32.const %d i32.load i32.const %d i32.sub memory.copy ", orderHead, bufferAt+field+4, orderHead)
		code.WriteString(calls.String())
		fmt.Fprintf(&code, "i32.const 0 i32.const 0 i32.const %d memory.fill ", g.min*64<<10)
		for at := 0; at < len(verdict); at += 4 {
			fmt.Fprintf(&code, "i32.const %d i32.const %d i32.store ", 1024+at, int32(binary.LittleEndian.Uint32(verdict[at:])))
		}
		fmt.Fprintf(&code, "i32.const %d local.get 2 i32.store %s", 1024+itemAt+4, result(1024, len(verdict)))
		g.fn(name, "i", "I", "ii", code.String())
	}
	entitled := abi.EntitleVerdict{Items: []abi.EntitleDecision{{Decision: abi.Allow}}}
	hook("entitle", 32, entitled.Append(nil))
	exchanged := abi.ExchangeVerdict{Items: []abi.ExchangeAnswer{{Outcome: abi.ExchangeRefused}}}
	hook("exchange", abi.SizeHead, exchanged.Append(nil))
	return g.wasm()
}

// order writes one.
func order(function uint32, args, memory []byte) string {
	b := make([]byte, orderHead, orderHead+len(memory))
	binary.LittleEndian.PutUint32(b, function)
	copy(b[8:], args)
	return string(append(b, memory...))
}

// numbers are arguments.
func numbers(args ...int64) []byte {
	var b []byte
	for _, a := range args {
		b = binary.LittleEndian.AppendUint64(b, uint64(a))
	}
	return b
}

// FuzzHostCall lets a guest call any host function with any arguments over any
// memory. Nothing but its own answer may come of it: a result of that function,
// or a failure by fuel or deadline; a Go panic in a host function would be
// recovered by the engine and count as a trap.
func FuzzHostCall(f *testing.F) {
	functions := callees()
	memory := slices.Concat([]byte("key\x00\x00\x00\x00\x00value\x00\x00\x00"), numbers(5<<32, 3<<32|8), []byte("a line\nand another\n"), make([]byte, 100))
	for i, c := range functions {
		for _, exchange := range []bool{false, true} {
			f.Add(exchange, uint16(abi.PurposeLicense), byte(i), numbers(0, 3, 8, 5, 16, 100, 0, 0, 0), memory)
			f.Add(exchange, uint16(abi.PurposeUpdate), byte(i), numbers(-1, -1, -1, -1, -1, -1, -1, -1, -1), memory)
			f.Add(exchange, uint16(abi.PurposeLicense), byte(i), numbers(0, 3, 64, 64<<10, 0, 0, 0, 0, 0), memory)
		}
		switch c.name {
		case "fd_write":
			f.Add(false, uint16(0), byte(i), numbers(2, 16, 2, 64), memory)
			f.Add(false, uint16(0), byte(i), numbers(1, 16, 1<<29, 64), memory)
			f.Add(false, uint16(0), byte(i), numbers(1, 0, 1024, 64), slices.Repeat(numbers(128<<10<<32), 1024))
		case "poll_oneoff":
			f.Add(false, uint16(0), byte(i), numbers(0, 48, 1, 128), slices.Concat(numbers(7, 0, 1, 1<<50, 0, 0), memory))
			f.Add(false, uint16(0), byte(i), numbers(0, 0, 1024, 0), slices.Repeat(numbers(-1, 0, -1, -1, -1, -1), 600))
		case "kv_swap":
			f.Add(true, uint16(0), byte(i), numbers(0, 3, 8, 5, 8, 2), memory)
		case "random_get":
			f.Add(false, uint16(0), byte(i), numbers(0, 128<<10), memory)
		}
	}
	kv := &store{}
	s := spec("caller", caller())
	s.Allow, s.Instances, s.Hosts = everything, 1, []string{"localhost:9"}
	var seconds atomic.Int64 // a second a look: no line is held back
	h := open(f, plugin.Options{
		Specs: []plugin.Spec{s}, KV: kv.open, Log: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: func() time.Time { return time.Unix(seconds.Add(1), 0) },
	})
	over, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, exchange bool, purpose uint16, function byte, args, memory []byte) {
		if len(memory) > orderMemory {
			return
		}
		n := int(function) % len(functions)
		name := functions[n].name
		ctx := context.Background()
		if strings.HasPrefix(name, "password_") || name == "http_fetch" {
			ctx = over // a hash takes 20 ms, a server longer: all but that is tried
		}
		kept := map[string][]byte{"key": []byte("value")}
		kv.values = maps.Clone(kept)
		c := h.Acquire()
		defer c.Release()
		var got int32
		var failed bool
		text, hook := order(uint32(n), args, memory), "entitle"
		if exchange {
			hook = "exchange"
			c.Exchange.Purpose, c.Exchange.SubjectToken = abi.Purpose(purpose), text
			answer, _, err := c.AskExchange(ctx)
			if failed = err != nil; !failed {
				got = int32(answer.Zero)
			}
		} else {
			c.Entitle.Purpose, c.Entitle.Account = abi.Purpose(purpose), text
			c.Entitle.Apps = append(c.Entitle.Apps, abi.EntitleApp{})
			answer := c.AskEntitle(ctx)[0]
			got, failed = int32(answer.Code), answer.Failed
		}
		switch failure := h.Plugins()[0].LastFailure; {
		case !failed:
			if c.Fuel() > s.Fuel {
				t.Errorf("%s used %d of %d fuel", name, c.Fuel(), s.Fuel)
			}
			wantResult(t, functions[n], got)
			if strings.HasPrefix(name, "password_") && !exchange && got != int32(abi.CodeRefused) {
				t.Errorf("%s in entitle answers %d, want a refusal", name, got)
			}
		case strings.HasPrefix(failure, "plugin caller: "+hook+": fuel: "), strings.HasPrefix(failure, "plugin caller: "+hook+": deadline: "):
		case name == "proc_exit" && strings.HasPrefix(failure, "plugin caller: "+hook+": trap: the guest ended itself with code "):
		default:
			t.Errorf("%s is a failure that no function has: %s", name, failure)
		}
		if p := abi.Purpose(purpose); !exchange && (p == abi.PurposeUpdate || p == abi.PurposeRestore) && !maps.EqualFunc(kv.values, kept, slices.Equal) {
			t.Errorf("%s wrote to the kv in an update check or restore: %q", name, kv.values)
		}
		if got := entitle(t, h, 1, abi.Head{Account: order(orderNone, nil, nil)})[0]; got.Failed || got.Decision != allow || got.Code != 0 {
			t.Errorf("after %s the next question is answered by %+v: %s", name, got, h.Plugins()[0].LastFailure)
		}
		next := h.Acquire() // of the other lane
		defer next.Release()
		next.Exchange.SubjectToken = order(orderNone, nil, nil)
		if _, _, err := next.AskExchange(context.Background()); errors.Is(err, plugin.ErrFailed) {
			t.Errorf("after %s the next exchange fails: %v", name, err)
		}
	})
}

// wantResult checks that a function answers what it may.
func wantResult(t *testing.T, f callee, got int32) {
	t.Helper()
	ok := got == 0 || got >= int32(abi.CodeFailed) && got < 0
	switch {
	case f.module != "souk":
		ok = slices.Contains([]int32{0, 8, 21, 28, 52}, got) // the error numbers of wasi.go
	case f.name == "bucket":
		ok = got >= 0 && got < 10000 || got == int32(abi.CodeRefused)
	case f.name == "hmac_sha256":
		ok = got == 32 || got == int32(abi.CodeDoesNotFit) || got == int32(abi.CodeRefused)
	case f.name == "equal_ct":
		ok = got == 0 || got == 1 || got == int32(abi.CodeRefused)
	case f.name == "http_fetch":
		ok = got == int32(abi.CodeRefused) || got == int32(abi.CodeFailed)
	case f.name == "secret_get":
		ok = got == int32(abi.CodeNotFound) || got == int32(abi.CodeRefused) // this plugin has none
	case f.name == "kv_get":
		ok = got >= int32(abi.CodeFailed) && got <= abi.MaxKVValue
	}
	if !ok {
		t.Errorf("%s answers %d", f.name, got)
	}
}
