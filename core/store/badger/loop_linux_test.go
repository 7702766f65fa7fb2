package badger_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/store/crashtest"
)

// The power of a real filesystem is cut: ext4 on a loop device, whose image is copied
// while the writer is frozen. What the kernel still had in memory is not in the copy;
// mounting it replays the journal.

// ext4 is an image and where it is mounted.
type ext4 struct {
	image, mount string
}

func needLoop(t *testing.T) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "only root may mount"
	}
	for _, program := range []string{"mkfs.ext4", "mount", "umount", "cp"} {
		if _, err := exec.LookPath(program); err != nil {
			why = err.Error()
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		why = err.Error()
	}
	switch {
	case why == "":
	case os.Getenv("SOUK_CI") != "":
		t.Fatalf("SOUK_CI is set, but %s", why)
	default:
		t.Skipf("no ext4 on a loop device: %s", why)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v %s", name, args, err, out)
	}
}

func makeExt4(t *testing.T, dir string) ext4 {
	t.Helper()
	d := ext4{filepath.Join(dir, "image"), filepath.Join(dir, "mount")}
	if err := errors.Join(os.Mkdir(d.mount, 0o700), os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 2<<30)); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", d.image)
	return d
}

func (d ext4) up(t *testing.T) {
	t.Helper()
	run(t, "mount", "-t", "ext4", "-o", "loop", d.image, d.mount)
	t.Cleanup(func() { _ = exec.Command("umount", d.mount).Run() }) // unless it is unmounted already
}

func (d ext4) down(t *testing.T) {
	t.Helper()
	run(t, "umount", d.mount)
}

// told is a report and when it came.
type told struct {
	crashtest.Report
	at time.Time
}

// cutPower runs the writer on the filesystem until enough, freezes it and takes the
// image as it is: from then on the filesystem is what its disk had then. It returns
// what had been reported, and the moment of the cut.
func (d ext4) cutPower(t *testing.T, w writer, enough func(n int, ran time.Duration) bool) (all []told, cut time.Time) {
	t.Helper()
	d.up(t)
	w.dir = filepath.Join(d.mount, "store")
	child, reports, stderr := w.start(t)
	defer child.Process.Kill() // when something fails before the one below
	began := time.Now()
	for !enough(len(all), time.Since(began)) {
		report, err := crashtest.ReadReport(reports)
		if err != nil {
			t.Fatalf("the writer ended by itself after %d reports: %v %s", len(all), err, stderr)
		}
		all = append(all, told{report, time.Now()})
	}
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("freeze the writer: %v, %v", status, err)
	}
	cut = time.Now()
	run(t, "cp", "--sparse=always", d.image, d.image+".cut")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for { // what it had said before it was frozen
		report, err := crashtest.ReadReport(reports)
		if err != nil {
			break
		}
		all = append(all, told{report, cut})
	}
	_ = child.Wait() // it was killed
	d.down(t)
	if err := os.Rename(d.image+".cut", d.image); err != nil {
		t.Fatal(err)
	}
	return all, cut
}

// roomy is a directory for images of 2 GiB, which hold little: in memory, if there is
// enough.
func roomy(t *testing.T) string {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &st); err != nil || int64(st.Bavail)*st.Bsize < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "souk-loop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// All rounds go on with the disk that the one before has left.
func TestPowerCutOnExt4LosesNothing(t *testing.T) {
	needLoop(t)
	n := rounds(t, "SOUK_CUTS", 8, 3)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	disk := makeExt4(t, roomy(t))
	ledger := &crashtest.Ledger{}
	for round := range n {
		tables := int64(smallTables)
		enough := 500 + random.IntN(8000)
		all, _ := disk.cutPower(t, writer{power: true, tables: tables, session: round}, func(n int, _ time.Duration) bool { return n >= enough })
		for _, r := range all {
			ledger.Take(r.Report)
		}
		disk.up(t)
		checkLedger(t, filepath.Join(disk.mount, "store"), tables, ledger)
		disk.down(t)
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
	}
	t.Logf("%d cuts: %d writes acknowledged, lost 0; %d codes redeemed, twice 0", n, ledger.Acknowledged, ledger.Redeemed)
}

// With durability "process" a power cut takes what the kernel had not written yet.
// How much that is gets measured, and that the store opens all the same. SOUK_LOSS
// is how long to write before the cut, such as 60s, and SOUK_PACE how many reports a
// second are listened to: the writers wait for that.
func TestPowerCutOnExt4WithProcessDurability(t *testing.T) {
	needLoop(t)
	write := 2 * time.Second
	if text := os.Getenv("SOUK_LOSS"); text != "" {
		var err error
		if write, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOUK_LOSS: %v", err)
		}
	}
	disk := makeExt4(t, roomy(t))
	w := writer{power: false, tables: 64 << 20}
	enough := func(_ int, ran time.Duration) bool { return ran >= write }
	if text := os.Getenv("SOUK_PACE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			t.Fatalf("SOUK_PACE is %q, want reports a second", text)
		}
		pace := time.NewTicker(time.Second / time.Duration(n))
		defer pace.Stop()
		enough = func(_ int, ran time.Duration) bool {
			<-pace.C
			return ran >= write
		}
	}
	all, cut := disk.cutPower(t, w, enough)
	disk.up(t)
	defer disk.down(t)
	e, err := badger.Open(badger.Options{Dir: filepath.Join(disk.mount, "store")})
	if err != nil {
		t.Fatalf("a store with durability process after a power cut: %v", err)
	}
	defer shut(t, e)
	there, err := crashtest.Records(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	writes, lost, oldest := 0, 0, cut
	var reports []crashtest.Report
	for _, r := range all {
		reports = append(reports, r.Report)
		for _, written := range r.Writes {
			writes++
			if it, ok := there[written.Key]; written.Sum != 0 && (!ok || it.Version < written.Version) && written.Key.Table != 'Z' {
				lost++
				if r.at.Before(oldest) {
					oldest = r.at
				}
			}
		}
	}
	mixed := crashtest.NewHistory(reports).Mixed(there, badger.CommitOf)
	t.Logf("written for %v: %d of %d writes lost that were acknowledged, the oldest %v before the cut; %d records are older than the newest commit that is there",
		write, lost, writes, cut.Sub(oldest).Round(time.Millisecond), len(mixed))
	if lost == 0 {
		t.Error("no write was lost: either this test finds none, or durability process syncs as power does")
	}
}
