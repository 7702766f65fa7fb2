package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/badger/plain"
)

const (
	casKeys  = 100_000
	casValue = 83 // with its key about as much as a family
	minFree  = 2 << 30
)

// compare measures compare-and-sets through the engine and one transaction each,
// in turn, so that whatever else the machine does meets both.
func (c *Store) compare(ctx context.Context, dir string, r *storeReport, p progress) (err error) {
	engine, err := badger.Open(badger.Options{Dir: filepath.Join(dir, "group"), Sync: true, MinFree: minFree})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close(), os.RemoveAll(dir)) }()
	single, err := plain.Open(filepath.Join(dir, "single"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, single.Close()) }()

	group := func(int) error {
		k := store.Key{Table: 'P', Part: string(binary.BigEndian.AppendUint64(nil, uint64(rand.IntN(casKeys))))}
		_, err := engine.Update(ctx, k, func(cur *store.Item) (*store.Write, error) {
			if cur == nil {
				return &store.Write{Value: following(nil)}, nil
			}
			return &store.Write{Value: following(cur.Value)}, nil
		})
		return err
	}
	alone := func(int) error {
		return single.CompareAndSet(binary.BigEndian.AppendUint64([]byte{'P'}, uint64(rand.IntN(casKeys))), following)
	}
	cases := []struct {
		name        string
		callers     int
		f           func(int) error
		rates, cpu  []float64
		median, per *float64
	}{
		{name: "group commit, 64 callers", callers: 64, f: group, median: &r.CAS64, per: &r.CPU64},
		{name: "one transaction each, 64 callers", callers: 64, f: alone, median: &r.CAS64Single, per: &r.CPU64Single},
		{name: "group commit, 512 callers", callers: 512, f: group, median: &r.CAS512, per: &r.CPU512},
		{name: "one transaction each, 512 callers", callers: 512, f: alone, median: &r.CAS512Single, per: &r.CPU512Single},
	}
	for round := range c.Rounds {
		for i := range cases {
			one := &cases[i]
			p.say("compare-and-sets, round %d of %d: %s", round+1, c.Rounds, one.name)
			began := time.Now()
			before, _ := cpuTime() // 0 where the system doesn't say
			n, err := rate(ctx, one.callers, slice, one.f)
			if err != nil {
				return err
			}
			after, _ := cpuTime()
			one.rates = append(one.rates, n)
			one.cpu = append(one.cpu, float64(after-before)/float64(time.Microsecond)/(n*time.Since(began).Seconds()))
		}
	}
	for _, one := range cases {
		*one.median, *one.per = median(one.rates), median(one.cpu)
	}
	if c.Profile == "" {
		return nil
	}
	p.say("compare-and-sets, for the profile")
	return profiled(c.Profile, func() error {
		_, err := rate(ctx, 512, 5*slice, group)
		return err
	})
}

// profiled writes a profile of the processor time while f runs.
func profiled(file string, f func() error) error {
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(fmt.Errorf("--profile: %w", err), out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

// following is the value after cur: a count, and as many bytes as a record has.
func following(cur []byte) []byte {
	next := make([]byte, casValue)
	if len(cur) == casValue {
		binary.BigEndian.PutUint64(next, binary.BigEndian.Uint64(cur)+1)
	}
	return next
}
