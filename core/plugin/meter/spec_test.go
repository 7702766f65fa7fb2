package meter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// specLimits let through what the tests of the specification do at the edges of the format.
var specLimits = meter.Limits{MemoryPages: 65536, TableSize: 1 << 27, Tables: 1000, Values: 1000}

// wazeroDir is where the engine's sources are, with the tests of the specification assembled.
func wazeroDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("find wazero: %v", err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" || strings.Contains(filepath.ToSlash(dir), "/vendor/") {
		t.Skip("wazero is vendored, which leaves its test data out")
	}
	return dir
}

// specFile is a .wast file as wast2json writes it.
type specFile struct {
	Commands []struct {
		Type       string
		Line       int
		Name       string
		Filename   string
		As         string
		ModuleType string `json:"module_type"`
		Action     struct {
			Type   string
			Module string
			Field  string
			Args   []specValue
		}
	}
}

type specValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// bits is how the engine takes the value.
func (v specValue) bits() []uint64 {
	if v.Type == "v128" {
		width := map[string]int{"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}[v.LaneType]
		var halves [2]uint64
		for i, lane := range v.Value.([]any) {
			n, _ := strconv.ParseUint(lane.(string), 10, 64)
			halves[i*width/64] |= n << (i * width % 64)
		}
		return halves[:]
	}
	s, _ := v.Value.(string)
	if s == "null" || v.Value == nil {
		return []uint64{0}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		signed, _ := strconv.ParseInt(s, 10, 64)
		n = uint64(signed)
	}
	if v.Type == "externref" {
		n++ // zero is null
	}
	return []uint64{n}
}

// world is one of the two in which a file runs: as it is, or metered.
type world struct {
	runtime wazero.Runtime
	modules map[string]api.Module
	last    api.Module
}

func newWorld(t *testing.T, dir string) *world {
	ctx := context.Background()
	w := &world{runtime: wazero.NewRuntime(ctx), modules: map[string]api.Module{}}
	t.Cleanup(func() { w.runtime.Close(ctx) })
	h := &host{slice: 1 << 40}
	_, err := w.runtime.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(h.refill), nil, nil).Export(meter.ImportRefill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	spectest, err := os.ReadFile(filepath.Join(dir, "internal/integration_test/spectest/testdata/spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.runtime.Instantiate(ctx, spectest); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) instantiate(wasm []byte, as string) (api.Module, error) {
	return w.runtime.InstantiateWithConfig(context.Background(), wasm, wazero.NewModuleConfig().WithName(as))
}

// outcome is what an action answers, so that it can be compared: bits, or the kind of trap.
func (w *world) outcome(c *specFile, i int) string {
	a := c.Commands[i].Action
	mod := w.last
	if a.Module != "" {
		mod = w.modules[a.Module]
	}
	if mod == nil {
		return "no module"
	}
	if a.Type == "get" {
		return fmt.Sprint(mod.ExportedGlobal(a.Field).Get())
	}
	var args []uint64
	for _, arg := range a.Args {
		args = append(args, arg.bits()...)
	}
	f := mod.ExportedFunction(a.Field)
	results, err := f.Call(context.Background(), args...)
	if err != nil {
		return trap(err)
	}
	at := 0
	for _, t := range f.Definition().ResultTypes() {
		switch t {
		case v128:
			at++
		case funcref: // an address
			results[at] = min(results[at], 1)
		}
		at++
	}
	return fmt.Sprint(results)
}

// specCount is what became of the tests of the specification.
type specCount struct {
	sync.Mutex
	files, modules, same, different int
	invalid, invalidRefused         int
	leftOut                         map[string]int
}

func (n *specCount) add(count *int, by int) {
	n.Lock()
	defer n.Unlock()
	*count += by
}

func (n *specCount) leave(why string) {
	n.Lock()
	defer n.Unlock()
	n.leftOut[why]++
}

// TestSpecification runs what the engine runs to show that it follows the specification, as it is and metered. What an
// assertion expects does not matter here, only that metering does not change it.
func TestSpecification(t *testing.T) {
	dir := wazeroDir(t)
	count := &specCount{leftOut: map[string]int{}}
	t.Run("files", func(t *testing.T) {
		for _, version := range []string{"v1", "v2"} {
			files, _ := filepath.Glob(filepath.Join(dir, "internal/integration_test/spectest", version, "testdata/*.json"))
			if len(files) == 0 {
				t.Fatalf("no tests of the specification in %s", dir)
			}
			for _, file := range files {
				t.Run(version+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
					t.Parallel()
					runSpec(t, dir, file, count)
				})
			}
		}
	})
	var reasons []string
	for why, n := range count.leftOut {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, why))
	}
	slices.Sort(reasons)
	t.Logf("%d files, %d modules, %d assertions the same, %d different, left out: %s", count.files, count.modules,
		count.same, count.different, strings.Join(reasons, ", "))
	t.Logf("%d invalid modules, of which %d refused here and the others by the engine", count.invalid,
		count.invalidRefused)
}

// TestProposals takes the modules of the proposals that the host does not enable: what
// they need is refused, also what the engine would let pass, and what the engine
// refuses does not come out valid.
func TestProposals(t *testing.T) {
	dir := filepath.Join(wazeroDir(t), "internal/integration_test/spectest")
	var files, modules, refused, lenient, invalid, same int
	for _, proposal := range []string{"exception-handling", "extended-const", "tail-call", "threads", "typed-function-references"} {
		scripts, _ := filepath.Glob(filepath.Join(dir, proposal, "testdata", "*.wast"))
		paths, _ := filepath.Glob(filepath.Join(dir, proposal, "testdata", "*.wasm"))
		if nested, _ := filepath.Glob(filepath.Join(dir, proposal, "testdata", "*", "*.wasm")); len(paths) == 0 {
			paths = nested
		}
		if len(scripts) == 0 || len(paths) == 0 {
			t.Fatalf("no tests of %s in %s", proposal, dir)
		}
		files += len(scripts)
		r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
		defer r.Close(t.Context())
		valid := func(wasm []byte) bool {
			c, err := r.CompileModule(t.Context(), wasm)
			if err == nil {
				c.Close(t.Context())
			}
			return err == nil
		}
		for _, path := range paths {
			wasm, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			modules++
			out, _, err := meter.Rewrite(wasm, specLimits)
			switch original := valid(wasm); {
			case err != nil && original:
				lenient++
			case err != nil:
				refused++
			case valid(out) != original:
				t.Errorf("%s: to the engine it is valid: %v, and when metered: %v", filepath.Base(path), original, !original)
			case original:
				same++
			default:
				invalid++
			}
		}
	}
	t.Logf("%d files, %d modules: %d refused here that the engine refuses, %d that it would take; %d refused by the engine alone, metered or not; "+
		"%d need nothing new and are valid, metered or not", files, modules, refused, lenient, invalid, same)
}

func runSpec(t *testing.T, dir, file string, count *specCount) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var spec specFile
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	count.add(&count.files, 1)
	original, metered := newWorld(t, dir), newWorld(t, dir)
	left := "" // why the module at hand is not there when metered
	lost := map[string]string{}
	for i, c := range spec.Commands {
		var wasm []byte
		if c.Filename != "" && c.ModuleType != "text" {
			if wasm, err = os.ReadFile(filepath.Join(filepath.Dir(file), c.Filename)); err != nil {
				t.Fatal(err)
			}
		}
		switch c.Type {
		case "register": // was done with the module before it
		case "module", "assert_uninstantiable", "assert_unlinkable":
			as := ""
			if next := i + 1; next < len(spec.Commands) && spec.Commands[next].Type == "register" {
				as = spec.Commands[next].As
			}
			want, wantErr := original.instantiate(wasm, as)
			out, _, err := meter.Rewrite(wasm, specLimits)
			reason := ""
			var got api.Module
			if err != nil {
				if reason = refusal(err); reason == "" {
					t.Errorf("line %d: Rewrite: %v", c.Line, err)
				}
				got, _ = metered.instantiate(wasm, as) // as it is, for what it does to the modules it imports from
			} else if got, err = metered.instantiate(out, as); (err == nil) != (wantErr == nil) {
				t.Errorf("line %d: instantiation ends with %v, with %v when metered", c.Line, wantErr, err)
			}
			if c.Type != "module" {
				if reason == "" {
					count.add(&count.same, 1)
				} else {
					count.leave(reason)
				}
				continue
			}
			if left = reason; reason != "" {
				lost[as], lost[c.Name] = reason, reason
			} else {
				count.add(&count.modules, 1)
				delete(lost, c.Name)
			}
			original.last, metered.last = want, got
			if c.Name != "" {
				original.modules[c.Name], metered.modules[c.Name] = want, got
			}
		case "action", "assert_return", "assert_trap", "assert_exhaustion":
			if c.Type == "assert_exhaustion" && raceDetector {
				count.leave("stack exhaustion, which takes minutes under the race detector")
				continue
			}
			want, got := original.outcome(&spec, i), metered.outcome(&spec, i)
			reason := left
			if c.Action.Module != "" {
				reason = lost[c.Action.Module]
			}
			if reason != "" {
				count.leave(reason)
				continue
			}
			if got != want {
				count.add(&count.different, 1)
				t.Errorf("line %d: %s(%v) is %s, want %s", c.Line, c.Action.Field, c.Action.Args, got, want)
				continue
			}
			count.add(&count.same, 1)
		case "assert_malformed", "assert_invalid":
			if wasm == nil {
				count.leave("in text")
				continue
			}
			checkInvalid(t, original.runtime, metered.runtime, c.Line, wasm, count)
		default:
			t.Errorf("line %d: command %q is unknown", c.Line, c.Type)
		}
	}
}

// checkInvalid makes sure that an invalid module does not come out valid.
func checkInvalid(t *testing.T, original, metered wazero.Runtime, line int, wasm []byte, count *specCount) {
	ctx := context.Background()
	out, _, err := meter.Rewrite(wasm, specLimits)
	if c, err := original.CompileModule(ctx, wasm); err == nil {
		c.Close(ctx)
		count.leave("called invalid, but not by the engine")
		return
	}
	count.add(&count.invalid, 1)
	if err != nil {
		count.add(&count.invalidRefused, 1)
		return
	}
	if c, err := metered.CompileModule(ctx, out); err == nil {
		c.Close(ctx)
		t.Errorf("line %d: an invalid module is valid when metered", line)
	}
}

// refusal names what Rewrite refuses on purpose in a valid module.
func refusal(err error) string {
	switch s := err.Error(); {
	case strings.Contains(s, "a guest owns its memory and tables"):
		return "importing memory or tables"
	}
	return ""
}
