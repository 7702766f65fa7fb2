package plugin_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

func TestOutlineSaysWhatAModuleSays(t *testing.T) {
	g := newGuest().imported("souk", "kv_get", "iiii", "i").imported("souk", "bucket", "iiii", "i").imported("wasi_snapshot_preview1", "fd_write", "iiii", "i")
	g.fn("exchange", "i", "I", "", "i64.const 0").fn("entitle", "i", "I", "", "i64.const 0").fn("configure", "i", "I", "", "i64.const 0")
	g.fn(abi.ExportNeedsMinor+"0", "", "", "", "")
	g.min, g.max = 20, 40
	o, err := plugin.OutlineOf(g.wasm())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.Hooks, []abi.Hook{abi.HookEntitle, abi.HookExchange}) || !slices.Equal(o.Groups, []string{"kv"}) ||
		!slices.Equal(o.Imports, []string{"kv_get", "bucket"}) || !slices.Equal(o.WASI, []string{"fd_write"}) ||
		o.MemoryMin != 20<<16 || o.MemoryMax != 40<<16 || !o.Configure || o.Minor != 0 {
		t.Errorf("OutlineOf = %+v", o)
	}
	if _, err := plugin.OutlineOf([]byte("text")); err == nil || !strings.Contains(err.Error(), "no WebAssembly module") {
		t.Errorf("OutlineOf a text: %v", err)
	}
}

// TestCallKnowsItsFailure: what on_error made of it doesn't say which it was.
func TestCallKnowsItsFailure(t *testing.T) {
	g := newGuest().fn("entitle", "i", "I", "", "unreachable").fn("select_version", "i", "I", "", "i64.const 0")
	h := openSpecs(t, spec("traps", g.wasm()))
	c := h.Acquire()
	c.SelectVersion.Apps = make([]abi.SelectVersionApp, 1)
	c.AskSelectVersion(t.Context())
	if f := c.Failure(); f != nil {
		t.Errorf("a question that is answered: %v", f)
	}
	c.Entitle.Apps = make([]abi.EntitleApp, 1)
	c.AskEntitle(t.Context())
	if f := c.Failure(); f == nil || f.Kind != plugin.KindTrap || f.Plugin != "traps" || !slices.Contains(plugin.KindNames(), f.Kind.String()) {
		t.Errorf("a question that traps: %v", f)
	}
	c.Release()
	for range 64 {
		c := h.Acquire()
		if f := c.Failure(); f != nil {
			t.Errorf("a Call that was released: %v", f)
		}
		defer c.Release()
	}
}

func TestStartFuelIsThatOfAStart(t *testing.T) {
	used := func(work int) uint64 {
		g := newGuest().fn("entitle", "i", "I", "", "i64.const 0").fn("_initialize", "", "", "", strings.Repeat("i32.const 1 drop ", work))
		return openSpecs(t, spec("starts", g.wasm())).Plugins()[0].StartFuel
	}
	if little, much := used(1), used(5000); little == 0 || much < little+100 {
		t.Errorf("StartFuel is %d of a short _initialize and %d of a long one", little, much)
	}
}
