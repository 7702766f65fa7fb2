package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests start this very binary as the process that loads and is killed.
const (
	loaderDir     = "SOUK_TEST_LOADER_DIR"
	loaderDevices = "SOUK_TEST_LOADER_DEVICES"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(loaderDir); dir != "" {
		n, err := strconv.Atoi(os.Getenv(loaderDevices))
		if err == nil {
			err = (&Loader{Dir: dir, Families: n}).Run()
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func testLoader(devices string) func(dir string) *exec.Cmd {
	return func(dir string) *exec.Cmd {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), loaderDir+"="+dir, loaderDevices+"="+devices)
		return child
	}
}

func TestStoreSaysWhatItMeasured(t *testing.T) {
	c := &Store{Families: 10_000, Rounds: 1, Dir: t.TempDir(), Slack: 1, JSON: true, Profile: filepath.Join(t.TempDir(), "cpu")}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.run(t.Context(), &out, testLoader("10000")); err != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", out.String(), err)
	}
	want := []string{
		"bytes_per_device", "cas_512", "cas_512_single", "cas_64", "cas_64_single",
		"open_ms", "read_p99_us", "refresh_512", "refresh_64",
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("keys are %v, want %v", keys, want)
	}
	for key, value := range got {
		if value <= 0 {
			t.Errorf("%s = %v", key, value)
		}
	}
	if b := got["bytes_per_device"]; b < 300 || b > 1000 {
		t.Errorf("a device has %.0f bytes on disk", b)
	}
	if profile, err := os.ReadFile(c.Profile); err != nil || !bytes.HasPrefix(profile, []byte{0x1f, 0x8b}) { // gzip
		t.Errorf("the profile has %d bytes, %v", len(profile), err)
	}
	left, err := os.ReadDir(c.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left in the directory, %v", left, err)
	}
}

func TestStoreSaysWhyALoaderEnded(t *testing.T) {
	err := load(testLoader("none")(t.TempDir()), new(storeReport), progress{})
	if err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("load = %v, want what the process said", err)
	}
}

func TestStoreRefusesWhatItCannotMeasure(t *testing.T) {
	for flag, c := range map[string]Store{
		"--families": {Families: 9999, Rounds: 1, Slack: 1},
		"--rounds":   {Families: 10_000, Rounds: 0, Slack: 1},
		"--slack":    {Families: 10_000, Rounds: 1, Slack: 0.5},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("Validate() = %v, want a sentence about %s", err, flag)
		}
	}
}

func TestStoreCheck(t *testing.T) {
	tests := []struct {
		cas64, cas512, slack float64
		misses               []string
	}{
		{400, 700, 1, nil},
		{399, 700, 1, []string{"64 callers"}},
		{400, 699, 1, []string{"512 callers"}},
		{100, 100, 1, []string{"64 callers", "512 callers"}},
		{320, 560, 1.25, nil},
		{319, 560, 1.25, []string{"64 callers"}},
	}
	for _, test := range tests {
		r := storeReport{CAS64: test.cas64, CAS64Single: 100, CAS512: test.cas512, CAS512Single: 100}
		err := r.check(test.slack)
		if (err == nil) != (test.misses == nil) {
			t.Errorf("check of %v = %v", test, err)
		}
		for _, miss := range test.misses {
			if err == nil || !strings.Contains(err.Error(), miss) {
				t.Errorf("check of %v = %v, want a sentence about %s", test, err, miss)
			}
		}
	}
}

func TestRateEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	_, err := rate(t.Context(), 8, slice, func(caller int) error {
		if caller == 3 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("rate = %v, want the caller's error", err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := rate(ended, 1, slice, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("rate in an ended context = %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		of   []float64
		want float64
	}{{[]float64{7}, 7}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2}} {
		if got := median(test.of); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.of, got, test.want)
		}
	}
}
