package badger

import (
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger/plain"
)

// BenchmarkSettings writes b.N random records of 100 bytes and reads some of them,
// with one of Badger's options as it is not in this engine. With some millions
// (-benchtime 4000000x) tables are compacted more than once, and it says what an
// option is good for.
func BenchmarkSettings(b *testing.B) {
	const keys = 2_000_000
	cases := []struct {
		name   string
		sync   bool
		change func(bdb.Options) bdb.Options
	}{
		{name: "as-they-are"},
		{name: "sync", sync: true},
		{name: "memtable=16MiB", change: func(o bdb.Options) bdb.Options { return o.WithMemTableSize(16 << 20) }},
		{name: "memtable=256MiB", change: func(o bdb.Options) bdb.Options { return o.WithMemTableSize(256 << 20) }},
		{name: "compression=snappy", change: func(o bdb.Options) bdb.Options {
			return o.WithCompression(options.Snappy).WithBlockCacheSize(256 << 20)
		}},
		{name: "compression=zstd", change: func(o bdb.Options) bdb.Options {
			return o.WithCompression(options.ZSTD).WithBlockCacheSize(256 << 20)
		}},
		{name: "blockcache=256MiB", change: func(o bdb.Options) bdb.Options { return o.WithBlockCacheSize(256 << 20) }},
		{name: "basetable=2MiB", change: func(o bdb.Options) bdb.Options { return o.WithBaseTableSize(2 << 20) }},
	}
	for _, one := range cases {
		b.Run(one.name, func(b *testing.B) {
			dir := b.TempDir()
			open := func() *Engine {
				e, err := Open(Options{Dir: dir, Sync: one.sync, change: one.change})
				if err != nil {
					b.Fatal(err)
				}
				return e
			}
			e := open()
			before := diskBytes()
			writeRandom(b, e, keys)
			payload := e.Stats().Bytes
			if err := e.Close(); err != nil { // what is in memory goes to disk too
				b.Fatal(err)
			}
			if before > 0 {
				b.ReportMetric(float64(diskBytes()-before)/float64(payload), "written/payload")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "record/s")
			b.StopTimer()
			files, size := tablesOf(b, dir)
			b.ReportMetric(float64(files), "tables")
			b.ReportMetric(float64(size)/float64(min(b.N, keys)), "B/key")
			e = open()
			defer e.Close()
			b.ReportMetric(readRandom(b, e, keys), "ns/get")
		})
	}
}

func settingsKey(n int) store.Key {
	return store.Key{Table: 'P', Part: string(binary.BigEndian.AppendUint64([]byte("settings"), uint64(n)))}
}

// writeRandom puts b.N records, many at a time.
func writeRandom(b *testing.B, e *Engine, keys int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for caller := range 64 {
		all.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(caller)})
			for left.Add(-1) >= 0 {
				value := make([]byte, 83)
				random.Read(value) // as little compressible as tokens
				op := store.Op{Key: settingsKey(int(random.Uint64() % uint64(keys))), Value: value}
				if err := e.Apply(ctx, op); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func readRandom(b *testing.B, e *Engine, keys int) (ns float64) {
	const reads = 50_000
	began := time.Now()
	for range reads {
		_, _ = e.Get(ctx, settingsKey(rand.IntN(keys))) // not all were written
	}
	return float64(time.Since(began).Nanoseconds()) / reads
}

func tablesOf(b *testing.B, dir string) (files int, size int64) {
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".sst" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files, size = files+1, size+info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return files, size
}

// diskBytes is what this process had written to disks, mapped pages too; 0 where
// the system doesn't say.
func diskBytes() int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseInt(line, 10, 64)
	return n
}

// BenchmarkReadBesideWrites reads while 64 callers write durably as fast as they
// can: in managed mode a reader waits for nobody, in Badger's own mode for the
// commits under way.
func BenchmarkReadBesideWrites(b *testing.B) {
	const keys = 10_000
	key := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	cases := map[string]func(b *testing.B) (write, read func(n int) error, done func() error){
		"managed": func(b *testing.B) (write, read func(int) error, done func() error) {
			e, err := Open(Options{Dir: b.TempDir(), Sync: true})
			if err != nil {
				b.Fatal(err)
			}
			write = func(n int) error { return e.Apply(ctx, store.Op{Key: settingsKey(n), Value: make([]byte, 83)}) }
			read = func(n int) error { _, err := e.Get(ctx, settingsKey(n)); return err }
			return write, read, e.Close
		},
		"own": func(b *testing.B) (write, read func(int) error, done func() error) {
			d, err := plain.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			write = func(n int) error {
				return d.CompareAndSet(key(n), func([]byte) []byte { return make([]byte, 83) })
			}
			read = func(n int) error { _, err := d.Get(key(n)); return err }
			return write, read, d.Close
		},
	}
	for name, open := range cases {
		b.Run(name, func(b *testing.B) {
			write, read, done := open(b)
			for n := range 64 {
				if err := write(n); err != nil {
					b.Fatal(err)
				}
			}
			var over atomic.Bool
			var writers sync.WaitGroup
			for range 64 {
				writers.Go(func() {
					for !over.Load() {
						if err := write(rand.IntN(keys)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			b.ResetTimer()
			for range b.N {
				if err := read(rand.IntN(64)); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			over.Store(true)
			writers.Wait()
			if err := done(); err != nil {
				b.Error(err)
			}
		})
	}
}
