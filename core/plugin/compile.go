package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/souk-market/souk/core/plugin/meter"
)

// runtimeConfig is what guests run with: WebAssembly 2.0 as the meter knows it.
func runtimeConfig(pages uint32) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(pages).
		WithDebugInfoEnabled(false) // no DWARF; names stay
}

// validate checks the module as its author built it: the meter reads structure,
// not types, and what it makes of an invalid module may be valid by accident.
//
// The engine has no call for it; its compiler validates everything before it
// begins and gives up between two functions when its context is done. So a
// context that is done from the start leaves the validation. TestLoadRefuses
// holds the engine to it.
func validate(wasm []byte, pages uint32) error {
	ctx, cancel := context.WithCancel(context.Background())
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(pages))
	defer rt.Close(context.Background())
	cancel()
	_, err := rt.CompileModule(experimental.WithCompilationWorkers(ctx, 2), wasm)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// cacheDir is the place of one module in the directory of compiled code. What
// the engine stores is machine code that it runs as it finds it, with a
// checksum over only a part: so there is a sum of our own, and what doesn't
// match it is compiled again. Who can write here can run code, so an intact
// entry is also good enough to say that its module was validated.
type cacheDir struct {
	path   string
	intact bool // as an earlier start left it
	valid  bool // an earlier start of this very engine validated the module
}

const (
	sumFile  = "sum"
	cacheAge = 30 * 24 * time.Hour // entries that no start has used for so long go
)

// newCacheDir finds the place of a module by all that the result depends on.
// The plugin's name keeps two plugins of one module from writing at a time.
func newCacheDir(root, plugin string, original, metered []byte, pages uint32) *cacheDir {
	h := sha256.New()
	for _, b := range [...][]byte{original, metered} {
		sum := sha256.Sum256(b)
		h.Write(sum[:])
	}
	engine := engineVersion()
	fmt.Fprintf(h, "%s, %d pages, %s, %s", plugin, pages, engine, runtime.GOARCH)
	c := &cacheDir{path: filepath.Join(root, hex.EncodeToString(h.Sum(nil)[:16]))}
	have, err := c.sum()
	want, _ := os.ReadFile(filepath.Join(c.path, sumFile))
	c.intact = err == nil && have == string(want)
	c.valid = c.intact && engine != ""
	return c
}

// engineVersion is "" where the program doesn't know what it was built from.
func engineVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/tetratelabs/wazero" && m.Replace == nil {
			return m.Path + " " + m.Version
		}
	}
	return ""
}

// sum is over names and contents of all files.
func (c *cacheDir) sum() (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(c.path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == sumFile {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(c.path, path)
		fmt.Fprintf(h, "%q %d\n", name, len(b))
		h.Write(b)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// open returns the engine's view of the directory, empty unless it is intact.
func (c *cacheDir) open() (wazero.CompilationCache, error) {
	if !c.intact {
		if err := os.RemoveAll(c.path); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(c.path, 0o700); err != nil {
		return nil, err
	}
	return wazero.NewCompilationCacheWithDir(c.path)
}

// seal writes the sum of what was compiled, or notes that it was used.
func (c *cacheDir) seal() error {
	path, now := filepath.Join(c.path, sumFile), time.Now()
	if c.intact {
		return os.Chtimes(path, now, now)
	}
	sum, err := c.sum()
	if err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d", path, now.UnixNano())
	if err := os.WriteFile(tmp, []byte(sum), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// checkCache refuses a directory that others can write: its files are run.
func checkCache(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o022 != 0 {
		return fmt.Errorf("%s has mode %#o: others may write it, and its files are run; chmod 700", root, mode)
	}
	return nil
}

// pruneCache removes the entries of modules that are long gone.
func pruneCache(root string, now time.Time) {
	sums, _ := filepath.Glob(filepath.Join(root, strings.Repeat("[0-9a-f]", 32), sumFile))
	for _, path := range sums {
		if info, err := os.Stat(path); err == nil && now.Sub(info.ModTime()) > cacheAge {
			os.RemoveAll(filepath.Dir(path))
		}
	}
}

// compile validates the module and compiles what the meter made of it, from the
// cache if there is one. Whatever is wrong with the cache only costs time.
func (l *loader) compile(ctx context.Context, g *generation, original, metered []byte) error {
	var dir *cacheDir
	if l.cache != "" {
		dir = newCacheDir(l.cache, g.spec.Name, original, metered, g.pages())
	}
	if dir == nil || !dir.valid {
		// Without its custom sections: the engine believes their counts.
		stripped, err := meter.Strip(original)
		if err == nil {
			err = validate(stripped, g.pages())
		}
		if err != nil {
			return fmt.Errorf("the module is invalid: %s", firstLine(err))
		}
	}
	if dir != nil {
		err := l.compileCached(ctx, g, metered, dir)
		if err == nil {
			return nil
		}
		l.log.Warn("plugin: compile without cache", "plugin", g.spec.Name, "cause", err)
	}
	if err := l.compileWith(ctx, g, metered, nil); err != nil {
		return fmt.Errorf("compile the module: %s", firstLine(err))
	}
	return nil
}

func (l *loader) compileCached(ctx context.Context, g *generation, metered []byte, dir *cacheDir) error {
	cache, err := dir.open()
	if err != nil {
		return err
	}
	if err := l.compileWith(ctx, g, metered, cache); err != nil {
		cache.Close(ctx)
		os.RemoveAll(dir.path)
		return err
	}
	g.cache = cache
	if err := dir.seal(); err != nil {
		l.log.Warn("plugin: compiled code is not kept", "plugin", g.spec.Name, "cause", err)
	}
	return nil
}

func (l *loader) compileWith(ctx context.Context, g *generation, wasm []byte, cache wazero.CompilationCache) (err error) {
	config := runtimeConfig(g.pages())
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	defer func() {
		if r := recover(); r != nil { // the engine's, on damaged files
			err = fmt.Errorf("compile: %v", r)
		}
		if err != nil {
			rt.Close(context.Background())
		}
	}()
	compiled, err := rt.CompileModule(experimental.WithCompilationWorkers(ctx, l.workers), wasm)
	if err != nil {
		return err
	}
	if err := link(ctx, rt, compiled); err != nil {
		return err
	}
	g.runtime, g.compiled = rt, compiled
	return nil
}

// link offers what the module imports and nothing else.
func link(ctx context.Context, rt wazero.Runtime, compiled wazero.CompiledModule) error {
	builders := map[string]wazero.HostModuleBuilder{}
	var done []importName
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if slices.Contains(done, importName{module, name}) {
			continue // a module may import a function twice
		}
		done = append(done, importName{module, name})
		b := builders[module]
		if b == nil {
			b = rt.NewHostModuleBuilder(module)
			builders[module] = b
		}
		call, params, results := goFunction(refill), f.ParamTypes(), f.ResultTypes()
		if h, ok := hostFunctions[importName{module, name}]; ok {
			call = goFunction(h.call)
		}
		b.NewFunctionBuilder().WithGoModuleFunction(call, params, results).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

func refill(in *instance, _ []uint64) { in.refill() }
