package plugin

import (
	"cmp"
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
	host     *Host
	failures failures
	last     atomic.Pointer[Failure]
	log      *pluginLog
	metrics  *metrics
	swaps    atomic.Uint64 // modules that were uploaded and took over
	returns  atomic.Uint64 // to the generation before, by the operator
	sentBack atomic.Uint64 // the same, because a new one failed

	// Under the host's lock.
	current, previous *generation
	living            []*generation // all that are not closed: older ones may still be asked
	past              totals        // of those that are
	number            int           // of the newest generation
	returned          *Returned
}

// generation is one module with one configuration, ready to be asked: its own
// runtime, so that closing it frees everything.
type generation struct {
	*plugin
	spec      Spec // as it was configured
	hooks     []abi.Hook
	onError   onError
	lanes     [lanes]*slots
	dry       *slots              // one, for questions that leave no trace
	breakers  [hookCount]*breaker // of the hooks that are asked
	config    []byte              // for configure
	wasm      []byte              // the file, for those who ask what is live
	hash      [sha256.Size]byte   // of it
	number    int
	uploaded  bool // not the file that the configuration names
	voucher   voucher
	kv        KV
	secrets   *secrets
	fetcher   *fetcher
	timeless  bool
	runtime   wazero.Runtime
	compiled  wazero.CompiledModule
	cache     wazero.CompilationCache
	restarts  atomic.Uint64
	gaveUp    [hookCount]gaveUp
	startFuel atomic.Uint64 // of the last start
	probation probation
	compared  *compared // nil = it is no shadow
	held      int       // sets that have it and may still be asked; under the host's lock
	closed    bool      // under the host's lock
	since     time.Time
}

func (g *generation) pages() uint32 { return uint32(g.spec.Memory / page) }

func (g *generation) close(ctx context.Context) error {
	for _, s := range append(g.lanes[:], g.dry) {
		if s != nil {
			s.close()
		}
	}
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
	try      func(context.Context, Options) error
	changing func(context.Context, Changeover) error
	timeless bool
	offline  bool
	keys     []TrustedKey // a Reload changes them, in its turn
}

// load makes a generation of a Spec that is valid, and starts it. The error
// doesn't name the plugin.
func (l *loader) load(ctx context.Context, p *plugin, s Spec) (*generation, error) {
	// 1. The bytes, and whether they are the ones that the operator means.
	wasm, err := l.read(&s)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(wasm)
	if pin, have := strings.ToLower(s.SHA256), hex.EncodeToString(hash[:]); pin != "" && pin != have {
		return nil, fmt.Errorf("sha256 is pinned to %s, but the module's is %s: change the pin if the new module is meant", pin, have)
	}
	voucher, err := l.vouch(&s, wasm)
	if err != nil {
		return nil, err
	}
	// 2. What the module says of itself.
	hooks, err := inspect(&s, wasm)
	if err != nil {
		return nil, err
	}
	// 3. Meter it: what it doesn't understand it refuses.
	g := &generation{plugin: p, spec: s, hooks: hooks, wasm: wasm, hash: hash, voucher: voucher, timeless: l.timeless}
	g.spec.Wasm, g.spec.upload = nil, nil // what was configured is a file or a name
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
		// A shadow sees what the plugin keeps in whose place it is looked at.
		if g.kv, err = l.kv(cmp.Or(s.InsteadOf, s.Name)); err != nil {
			return nil, fmt.Errorf("open its kv: %w", err)
		}
	}
	if slices.Contains(s.Allow, "http") && !l.offline {
		g.fetcher = newFetcher(s.Hosts)
	}
	if g.secrets, err = l.secrets(&s); err != nil {
		return nil, err
	}
	g.onError, _ = parseOnError(s.OnError)
	if s.Shadow {
		g.openShadow()
	} else {
		g.openLanes(slotCount(s.Instances))
	}
	for _, h := range hooks {
		g.breakers[h] = newBreaker(s.Breaker)
	}
	// 5. Validate what its author built, and compile what the meter made of it.
	if err := l.compile(ctx, g, wasm, metered); err != nil {
		return nil, err
	}
	// 6. Start an instance in each lane: what is wrong with its configuration shows now.
	if err := g.warm(ctx, [lanes]int{}); err != nil {
		g.close(ctx)
		return nil, err
	}
	// 7. Try it on what its operator expects of it, away from everything that is live.
	if err := l.tryOut(ctx, s, wasm, hooks); err != nil {
		g.close(ctx)
		return nil, err
	}
	return g, nil
}

func (l *loader) tryOut(ctx context.Context, s Spec, wasm []byte, hooks []abi.Hook) error {
	if l.try == nil || s.Cases == "" {
		return nil
	}
	if s.Shadow {
		s.InEarnest()
		s.Hooks = hookNamesOf(hooks)
	}
	s.Wasm, s.upload = wasm, nil
	return l.try(ctx, Options{Specs: []Spec{s}, Dir: l.dir, Cache: l.cache, MaxModule: l.max})
}

func slotCount(instances int) int {
	if instances > 0 {
		return instances
	}
	return 2 * runtime.GOMAXPROCS(0)
}

func (l *loader) read(s *Spec) ([]byte, error) {
	wasm := s.Wasm
	if wasm == nil {
		path := l.path(s.File)
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

// path is where a file of the configuration is.
func (l *loader) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(l.dir, file)
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
