package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	random "math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

const (
	readWrites = 5000 // paced refreshes a second beside the reads
	readRounds = 3
	sampled    = 1000 // devices that have to be there after the crash
)

// market are the rules of refreshing over a store, and what its devices know.
type market struct {
	store       *store.Store
	oauth       *oauth.Server
	ring        *token.Ring
	generations []uint32 // of each device's refresh token
}

func newMarket(s *store.Store, devices int) (*market, error) {
	key, err := token.NewKey(rand.Reader, 1, time.Now())
	if err != nil {
		return nil, err
	}
	ring, err := token.NewRing([]token.Key{key})
	if err != nil {
		return nil, err
	}
	clients, err := oauth.NewClients("https://market.example.com", nil)
	if err != nil {
		return nil, err
	}
	config := oauth.DefaultConfig()
	return &market{
		store: s, ring: ring, generations: make([]uint32, devices),
		oauth: &oauth.Server{
			Issuer: "https://market.example.com", Config: config, Lives: oauth.DefaultLives(), Clients: clients, Store: s,
			Ring: func() *token.Ring { return ring }, Attempts: oauth.NewAttempts(config, s, time.Now), Now: time.Now, Rand: rand.Reader,
		},
	}, nil
}

// refresh does what the token endpoint does for a device. No two may do it for one
// device at a time: it has one token.
func (m *market) refresh(ctx context.Context, device int) error {
	held := token.Refresh{KID: 1, Family: familyID(device), Generation: m.generations[device]}
	answer, err := m.oauth.Token(ctx, oauth.TokenRequest{Params: oauth.Params{
		"grant_type": "refresh_token", "refresh_token": string(m.ring.AppendRefresh(nil, held)),
	}})
	if err != nil {
		return fmt.Errorf("refresh of device %d: %w", device, err)
	}
	next, err := m.ring.ParseRefresh([]byte(answer.RefreshToken))
	if err != nil || next.Family != held.Family || next.Generation != held.Generation+1 {
		return fmt.Errorf("refresh of device %d: got generation %d of family %x, %v", device, next.Generation, next.Family, err)
	}
	m.generations[device] = next.Generation
	return nil
}

// one is a random device of those that the caller may refresh.
func (m *market) one(caller, callers int) int {
	from := len(m.generations) / crashShare
	return from + caller + callers*random.IntN((len(m.generations)-from)/callers)
}

// devices opens what the crash left and measures everything that is about devices.
func (c *Store) devices(ctx context.Context, dir string, r *storeReport, p progress) error {
	p.say("devices: the open after the crash")
	began := time.Now()
	s, _, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	r.OpenMS = float64(time.Since(began).Microseconds()) / 1000
	err = everyoneIsThere(ctx, s, c.Families)
	if err = errors.Join(err, s.Close()); err != nil { // its log goes into tables
		return err
	}
	size, err := diskSize(dir)
	if err != nil {
		return err
	}
	r.BytesPerDevice = float64(size) / float64(c.Families)

	s, engine, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	wrote := bytesWritten(os.Getpid())
	if err := c.refreshes(ctx, s, r, p); err != nil {
		return errors.Join(err, s.Close())
	}
	// Not what closing writes: it makes tables of a log however small, and merges them
	// with all others.
	if now := bytesWritten(os.Getpid()); now > 0 {
		r.RefreshWrites = float64(now-wrote) / float64(engine.Stats().Bytes)
	}
	if err := s.Close(); err != nil {
		return err
	}
	return nil
}

func openStore(ctx context.Context, dir string) (*store.Store, *badger.Engine, error) {
	engine, err := badger.Open(badger.Options{Dir: dir, Sync: true, MinFree: minFree})
	if err != nil {
		return nil, nil, err
	}
	s, err := store.Open(ctx, engine, store.Config{})
	if err != nil {
		return nil, nil, errors.Join(err, engine.Close())
	}
	return s, engine, nil
}

// everyoneIsThere looks for a sample of the devices.
func everyoneIsThere(ctx context.Context, s *store.Store, devices int) error {
	for range sampled {
		device := random.IntN(devices)
		if _, err := s.Family(ctx, familyID(device)); err != nil {
			return fmt.Errorf("device %d after the crash: %w", device, err)
		}
	}
	return nil
}

// diskSize is the size of the tables and what belongs to them. The logs of
// memtables are left out: they are of one size, however many devices there are.
func diskSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains([]string{".mem", ".vlog"}, filepath.Ext(file)) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// refreshes measures refreshes, and reads beside them.
func (c *Store) refreshes(ctx context.Context, s *store.Store, r *storeReport, p progress) error {
	m, err := newMarket(s, c.Families)
	if err != nil {
		return err
	}
	var at64, at512 []float64
	for round := range c.Rounds {
		for _, one := range []struct {
			callers int
			rates   *[]float64
		}{{64, &at64}, {512, &at512}} {
			p.say("refreshes, round %d of %d: %d callers", round+1, c.Rounds, one.callers)
			n, err := rate(ctx, one.callers, slice, func(caller int) error { return m.refresh(ctx, m.one(caller, one.callers)) })
			if err != nil {
				return err
			}
			*one.rates = append(*one.rates, n)
		}
	}
	r.Refresh64, r.Refresh512 = median(at64), median(at512)
	debug.FreeOSMemory()
	if r.Memory = float64(anonymousMemory()); r.Memory > 0 {
		r.Memory -= float64(4 * len(m.generations)) // those are the devices'
	}

	var p99, writes []float64
	for round := range readRounds {
		p.say("reads beside %d writes a second, round %d of %d", readWrites, round+1, readRounds)
		slow, n, err := m.reads(ctx)
		if err != nil {
			return err
		}
		p99, writes = append(p99, slow), append(writes, n)
	}
	r.ReadP99, r.ReadWrites = median(p99), median(writes)
	return nil
}

// reads reads families one after the other beside paced refreshes, and returns
// what 99 of 100 reads are faster than, in µs, and the writes a second that there
// were.
func (m *market) reads(ctx context.Context) (p99, writes float64, err error) {
	const callers = 64
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var took []time.Duration
	var failed error
	var reader sync.WaitGroup
	reader.Go(func() {
		for reading.Err() == nil {
			id := familyID(random.IntN(len(m.generations)))
			began := time.Now()
			_, err := m.store.Family(ctx, id)
			took = append(took, time.Since(began))
			if err != nil {
				failed = err
				return
			}
		}
	})
	due := make([]time.Time, callers)
	for i := range due {
		due[i] = time.Now().Add(time.Duration(i) * time.Second / readWrites)
	}
	writes, err = rate(ctx, callers, 2*slice, func(caller int) error {
		time.Sleep(time.Until(due[caller]))
		due[caller] = due[caller].Add(callers * time.Second / readWrites)
		return m.refresh(ctx, m.one(caller, callers))
	})
	stop()
	reader.Wait()
	if err = errors.Join(err, failed); err != nil {
		return 0, 0, err
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100].Nanoseconds()) / 1000, writes, nil
}
