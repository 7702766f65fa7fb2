package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/sdk/abi"
)

// plugin is one entry of the configuration; what it runs can be replaced.
type plugin struct {
	name     string
	hooks    []abi.Hook
	onError  onError
	current  atomic.Pointer[generation]
	failures failures
	last     atomic.Pointer[Failure]
	log      *pluginLog
	metrics  *metrics
}

// generation is one module with one configuration, ready to be asked: its own
// runtime, so that closing it frees everything.
type generation struct {
	*slots
	spec     Spec
	config   []byte // for configure
	hooks    []abi.Hook
	hash     [sha256.Size]byte // of the file
	size     int
	kv       KV
	secrets  *secrets
	fetcher  *fetcher
	log      *pluginLog
	metrics  *metrics
	timeless bool
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	cache    wazero.CompilationCache
	restarts atomic.Uint64
}

func (g *generation) pages() uint32 { return uint32(g.spec.Memory / page) }

func (g *generation) close(ctx context.Context) error {
	g.slots.close()
	err := g.runtime.Close(ctx)
	if g.fetcher != nil {
		g.fetcher.close()
	}
	if g.cache != nil {
		err = errors.Join(err, g.cache.Close(ctx))
	}
	return err
}

// loader makes generations.
type loader struct {
	dir      string
	cache    string
	max      int64
	workers  int // of one compilation
	kv       func(plugin string) (KV, error)
	log      *slog.Logger
	now      func() time.Time
	timeless bool
}

// load makes a plugin of a Spec that is valid. The error doesn't name it.
func (l *loader) load(ctx context.Context, s Spec) (*plugin, error) {
	// 1. The bytes, and whether they are the ones that the operator means.
	wasm, err := l.read(&s)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(wasm)
	if pin, have := strings.ToLower(s.SHA256), hex.EncodeToString(hash[:]); pin != "" && pin != have {
		return nil, fmt.Errorf("sha256 is pinned to %s, but the module's is %s: change the pin if the new module is meant", pin, have)
	}
	// 2. What the module says of itself.
	hooks, err := inspect(&s, wasm)
	if err != nil {
		return nil, err
	}
	// 3. Meter it: what it doesn't understand it refuses.
	g := &generation{spec: s, hooks: hooks, hash: hash, size: len(wasm), timeless: l.timeless}
	metered, _, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: g.pages()})
	if err != nil {
		return nil, fmt.Errorf("the module can't be metered: %w", err)
	}
	// 4. What it will need to run.
	if g.config, err = s.config(); err != nil {
		return nil, err
	}
	if slices.Contains(s.Allow, "kv") {
		if l.kv == nil {
			return nil, errors.New("allow names kv, but there is no store here: remove it")
		}
		if g.kv, err = l.kv(s.Name); err != nil {
			return nil, fmt.Errorf("open its kv: %w", err)
		}
	}
	if slices.Contains(s.Allow, "http") {
		g.fetcher = newFetcher(s.Hosts)
	}
	if g.secrets, err = l.secrets(&s); err != nil {
		return nil, err
	}
	policy, _ := parseOnError(s.OnError)
	p := &plugin{name: s.Name, hooks: hooks, onError: policy, log: newPluginLog(l.log, l.now, s.Name), metrics: newMetrics()}
	g.log, g.metrics = p.log, p.metrics
	g.slots = newSlots(slotCount(s.Instances))
	// 5. Validate what its author built, and compile what the meter made of it.
	if err := l.compile(ctx, g, wasm, metered); err != nil {
		return nil, err
	}
	// 6. Start one instance: what is wrong with its configuration shows now.
	in, err := g.start(ctx)
	if err != nil {
		g.close(ctx)
		return nil, err
	}
	g.all[0].in = in
	p.current.Store(g)
	return p, nil
}

func slotCount(instances int) int {
	if instances > 0 {
		return instances
	}
	return 2 * runtime.GOMAXPROCS(0)
}

func (l *loader) read(s *Spec) ([]byte, error) {
	wasm, path := s.Wasm, s.File
	if wasm == nil {
		if !filepath.IsAbs(path) {
			path = filepath.Join(l.dir, path)
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("file %s doesn't exist: name the plugin's .wasm file", path)
		} else if err != nil {
			return nil, err
		}
		defer f.Close()
		if wasm, err = io.ReadAll(io.LimitReader(f, l.max+1)); err != nil {
			return nil, err
		}
	}
	if int64(len(wasm)) > l.max {
		return nil, fmt.Errorf("the module is larger than %v: build it smaller", unit.Size(l.max))
	}
	return wasm, nil
}

func inspect(s *Spec, wasm []byte) ([]abi.Hook, error) {
	m, err := meter.Inspect(wasm)
	switch {
	case errors.Is(err, meter.ErrNotWasm):
		return nil, errors.New("the file is no WebAssembly module")
	case errors.Is(err, meter.ErrComponent):
		return nil, errors.New("the file is a component: build it as a core module")
	case err != nil:
		return nil, fmt.Errorf("the module is damaged: %w", err)
	}
	return check(s, m)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
