package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

const (
	loadCallers = 512
	deviceItems = 15 // apps that a device was given

	// The first tenth of the devices is what the loader refreshes when it is
	// killed; nobody knows how far it came, so the others are measured.
	crashShare = 10
)

// familyID is the id of a device's family: random, and the same each time.
func familyID(device int) (id [16]byte) {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("family %d", device))
	rand.NewChaCha8(seed).Read(id[:])
	return id
}

func deviceAccount(device int) string { return fmt.Sprintf("person.%08d@example.com", device) }

// Loader is the process that is killed: it loads devices and then refreshes some.
type Loader struct {
	Dir      string `arg:""`
	Families int    `arg:""`
}

// Run loads, and writes until it is killed.
func (l *Loader) Run() error { return l.run(context.Background(), os.Stdout) }

// run writes a line for each hundredth that is loaded, then "loaded" with the bytes of
// all records, then a line for each hundredth refresh.
func (l *Loader) run(ctx context.Context, out io.Writer) error {
	engine, err := badger.Open(badger.Options{Dir: l.Dir, MinFree: minFree})
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, engine, store.Config{})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	lives := oauth.DefaultLives()
	var next, done atomic.Int64
	failed := make(chan error, 1)
	var all sync.WaitGroup
	for range loadCallers {
		all.Go(func() {
			for {
				device := int(next.Add(1) - 1)
				if device >= l.Families {
					return
				}
				if err := addDevice(ctx, s, device, lives.RefreshIdle.Std()); err != nil {
					select {
					case failed <- fmt.Errorf("device %d: %w", device, err):
					default:
					}
					return
				}
				if n := done.Add(1); n%int64(max(1, l.Families/100)) == 0 {
					fmt.Fprintln(out, n)
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return errors.Join(err, s.Close())
	default:
	}
	fmt.Fprintln(out, "loaded", engine.Stats().Bytes)
	m, err := newMarket(s, l.Families)
	if err != nil {
		return err
	}
	var refreshed atomic.Int64
	_, err = rate(ctx, loadCallers, time.Hour, func(caller int) error {
		share := l.Families / crashShare / loadCallers
		err := m.refresh(ctx, caller+loadCallers*rand.IntN(max(1, share)))
		if n := refreshed.Add(1); n%100 == 0 {
			fmt.Fprintln(out, n)
		}
		return err
	})
	return errors.Join(err, s.Close())
}

// addDevice writes what the store has of a device whose account has no other.
func addDevice(ctx context.Context, s *store.Store, device int, idle time.Duration) error {
	now := time.Now()
	account, client := deviceAccount(device), token.ClientID(fmt.Sprintf("device %d", device))
	items := make([]uint64, deviceItems)
	for i := range items {
		items[i] = 1_000_000 + uint64(rand.IntN(10_000))
	}
	_, err := s.UpdateAccount(ctx, account, func(a *store.Account) (bool, error) {
		a.DisplayName, a.Territory, a.Grants = account, "DEU", []string{"sub:plus"}
		a.Give(client, items...)
		return true, nil
	})
	if err != nil {
		return err
	}
	created, _, err := s.CreateFamily(ctx, familyID(device), store.Family{
		State: store.Active, KID: 1, Class: oauth.ClassDevice, Audience: oauth.AudienceMarket,
		RotatedAt: now, Created: now, Subject: store.SubjectID(account), Client: client, Scope: 1,
	}, now.Add(idle))
	if err == nil && !created {
		err = errors.New("its family is there already")
	}
	return err
}

// load runs the loader until it has loaded and refreshes, and kills it.
func load(child *exec.Cmd, r *storeReport, p progress) error {
	var stderr strings.Builder
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := child.Start(); err != nil {
		return err
	}
	const refreshes = 50 // lines of them
	loaded, after := false, 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		line := lines.Text()
		bytes, done := strings.CutPrefix(line, "loaded ")
		switch {
		case done:
			loaded, r.Loaded = true, time.Since(began)
			n, err := strconv.ParseUint(bytes, 10, 64)
			if err != nil {
				return fmt.Errorf("the process that loads: %w", err)
			}
			r.LoadWrites = float64(bytesWritten(child.Process.Pid)) / float64(n)
		case !loaded:
			p.say("devices: %s of %d are loaded", line, r.Families)
		default:
			if after++; after == refreshes {
				if err := child.Process.Kill(); err != nil {
					return err
				}
			}
		}
	}
	err = child.Wait()
	if after < refreshes {
		return fmt.Errorf("the process that loads ended by itself: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
