package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Store are the flags of `souk bench store`.
type Store struct {
	Families int     `default:"30000" help:"Devices to load, each with all that the store keeps of one. Default: 30000."`
	Rounds   int     `default:"5" help:"How often each is measured, in turn; what counts is the median. Default: 5."`
	Dir      string  `type:"existingdir" placeholder:"DIR" help:"A directory on the disk to measure, not one in memory. Default: that for temporary files."`
	Check    bool    `help:"Exit with 1 if group commit is not 4 times as fast as one transaction each with 64 callers, or 7 times with 512."`
	Slack    float64 `default:"1" help:"With --check: how far below its target a ratio may be, on a machine that others use too: 1.25 is a fifth below. Default: 1."`
	Profile  string  `type:"path" placeholder:"FILE" help:"Write a profile of the processor time of group commit with 512 callers, measured once more for it. For go tool pprof."`
	JSON     bool    `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *Store) Help() string {
	return `Everything is written as with durability "power", and counts once it is synced.
A compare-and-set reads a record of 100 bytes, checks and writes it; "single" is
the same with a transaction of Badger's own for each, measured in turn with the
engine. A refresh is all that a refresh token takes but HTTP: its MAC, the rules,
the write, two new tokens. The devices are loaded by another process, which is
killed while it writes: what is opened then is what a crash leaves.

A device has a sign-in (its family of tokens, and the entry in the list of its
account) and here an account of its own: the record, with 15 apps that it was
given, and its entry in the list of accounts. A million devices take about half
a GB of disk.`
}

// Validate refuses what can't be measured.
func (c *Store) Validate() error {
	switch {
	case c.Families < 10_000 || c.Families > 100_000_000:
		return errors.New("--families has to be 10000 to 100000000")
	case c.Rounds < 1 || c.Rounds > 1000:
		return errors.New("--rounds has to be 1 to 1000")
	case c.Slack < 1:
		return errors.New("--slack has to be 1 or more")
	}
	return nil
}

// The least ratios of group commit to one transaction each.
const (
	least64  = 4
	least512 = 7
)

// slice is how long one thing is measured at a time.
const slice = 400 * time.Millisecond

// storeReport is what was measured; what has no JSON is for people.
type storeReport struct {
	CAS64          float64 `json:"cas_64"`
	CAS64Single    float64 `json:"cas_64_single"`
	CAS512         float64 `json:"cas_512"`
	CAS512Single   float64 `json:"cas_512_single"`
	Refresh64      float64 `json:"refresh_64"`
	Refresh512     float64 `json:"refresh_512"`
	ReadP99        float64 `json:"read_p99_us"`
	BytesPerDevice float64 `json:"bytes_per_device"`
	OpenMS         float64 `json:"open_ms"`

	// µs of processor time for each compare-and-set, the callers' too; 0 = not to be had.
	CPU64, CPU64Single, CPU512, CPU512Single float64 `json:"-"`

	Families      int           `json:"-"`
	Loaded        time.Duration `json:"-"`
	ReadWrites    float64       `json:"-"` // a second, beside the reads
	Memory        float64       `json:"-"` // anonymous, bytes; 0 = not to be had
	LoadWrites    float64       `json:"-"` // bytes to the disk for one of a record while loading; 0 = not to be had
	RefreshWrites float64       `json:"-"` // the same of refreshes, each commit synced
}

// Run measures the store.
func (c *Store) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return c.run(ctx, os.Stdout, func(dir string) *exec.Cmd {
		return exec.CommandContext(ctx, self, "bench", "store-loader", dir, strconv.Itoa(c.Families))
	})
}

// run measures and prints. loader is a process that loads a directory and then
// writes to it until it is killed.
func (c *Store) run(ctx context.Context, out io.Writer, loader func(dir string) *exec.Cmd) (err error) {
	dir, err := os.MkdirTemp(c.Dir, "souk-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &storeReport{Families: c.Families}
	p := newProgress()
	defer p.end()
	if err := c.compare(ctx, filepath.Join(dir, "cas"), r, p); err != nil {
		return fmt.Errorf("measure compare-and-sets: %w", err)
	}
	devices := filepath.Join(dir, "devices")
	if err := load(loader(devices), r, p); err != nil {
		return fmt.Errorf("load %d devices: %w", c.Families, err)
	}
	if err := c.devices(ctx, devices, r, p); err != nil {
		return fmt.Errorf("measure %d devices: %w", c.Families, err)
	}
	p.end()
	if c.JSON {
		err = json.NewEncoder(out).Encode(r)
	} else {
		err = r.print(out)
	}
	if err != nil || !c.Check {
		return err
	}
	return r.check(c.Slack)
}

// check says which target was missed.
func (r *storeReport) check(slack float64) error {
	var missed []error
	for _, t := range []struct {
		callers       int
		group, single float64
		least         float64
	}{
		{64, r.CAS64, r.CAS64Single, least64},
		{512, r.CAS512, r.CAS512Single, least512},
	} {
		if ratio := t.group / t.single; ratio < t.least/slack {
			missed = append(missed, fmt.Errorf("group commit with %d callers is %.1f times as fast as one transaction each: has to be %.1f", t.callers, ratio, t.least/slack))
		}
	}
	return errors.Join(missed...)
}
