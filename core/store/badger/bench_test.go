package badger_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/badger/plain"
)

// benchKeys spreads the compare-and-sets; one more line has them all on one key.
const benchKeys = 100_000

// callers runs f b.N times from n goroutines and reports the rate.
func callers(b *testing.B, n int, f func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	before := cpuTime()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}

func benchValue(cur []byte) []byte {
	next := make([]byte, 83)
	if cur != nil {
		binary.BigEndian.PutUint64(next, binary.BigEndian.Uint64(cur)+1)
	}
	return next
}

// BenchmarkCompareAndSet is a durable read, check and write: through the committer,
// against one transaction of Badger's own for each.
func BenchmarkCompareAndSet(b *testing.B) {
	for _, keys := range []uint32{benchKeys, 1} {
		for _, n := range []int{64, 512} {
			b.Run(fmt.Sprintf("group/keys=%d/callers=%d", keys, n), func(b *testing.B) {
				e, err := badger.Open(badger.Options{Dir: b.TempDir(), Sync: true})
				if err != nil {
					b.Fatal(err)
				}
				defer e.Close()
				callers(b, n, func() error {
					_, err := e.Update(ctx, writerKey(rand.Uint32N(keys)), func(cur *store.Item) (*store.Write, error) {
						if cur == nil {
							return &store.Write{Value: benchValue(nil)}, nil
						}
						return &store.Write{Value: benchValue(cur.Value)}, nil
					})
					return err
				})
				s := e.Stats()
				b.ReportMetric(float64(s.Ops)/float64(s.Batches), "op/commit")
			})
			b.Run(fmt.Sprintf("single/keys=%d/callers=%d", keys, n), func(b *testing.B) {
				db, err := plain.Open(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				callers(b, n, func() error {
					return db.CompareAndSet(binary.BigEndian.AppendUint32(nil, rand.Uint32N(keys)), benchValue)
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	e, err := badger.Open(badger.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	var all sync.WaitGroup
	for i := range uint32(16) {
		all.Go(func() {
			for n := i; n < benchKeys; n += 16 {
				if err := e.Apply(ctx, store.Op{Key: writerKey(n), Value: benchValue(nil)}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := e.Get(ctx, writerKey(rand.Uint32N(benchKeys))); err != nil {
				b.Error(err)
			}
		}
	})
}

func writerKey(n uint32) store.Key {
	return store.Key{Table: 'P', Part: string(binary.BigEndian.AppendUint32(nil, n))}
}
