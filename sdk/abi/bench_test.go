//go:build !wasip1

package abi_test

import (
	"strconv"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

// fiveByThree is the question about a device with five apps that have three
// candidates each.
func fiveByThree() *abi.SelectVersionRequest {
	req := &abi.SelectVersionRequest{Head: head(abi.PurposeUpdate)}
	for i := range uint64(5) {
		app := abi.SelectVersionApp{Item: 1_000_001 + i, Installed: 100, BundleID: "com.example.app" + strconv.Itoa(int(i))}
		for j := range uint64(3) {
			app.Candidates = append(app.Candidates, abi.Candidate{Version: 110 - j, ReleasedMS: 1_789_999_000_000,
				MinOS: abi.OS(18, 0, 0), Rollout: 1000, Salt: "1000001/110", Short: "2.1.0", Build: "210"})
		}
		req.Apps = append(req.Apps, app)
	}
	return req
}

func choices() *abi.SelectVersionVerdict {
	v := &abi.SelectVersionVerdict{}
	for range 5 {
		v.Items = append(v.Items, abi.VersionChoice{Choice: abi.Hold, Code: 26, Reason: "bucket 6312 is not below 1000"})
	}
	return v
}

func TestCodecAllocatesNothing(t *testing.T) {
	for _, m := range []message{fiveByThree(), choices()} {
		b := m.Append(nil)
		if n := testing.AllocsPerRun(100, func() { b = m.Append(b[:0]) }); n != 0 {
			t.Errorf("%s: Append into a buffer that is large enough allocates %v times", recordOf(m), n)
		}
		into := messages[recordOf(m)]()
		if n := testing.AllocsPerRun(100, func() {
			if err := into.Read(b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: Read into a used struct allocates %v times", recordOf(m), n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { abi.Bucket("alice@example.com", "1000001/110") }); n != 0 {
		t.Errorf("Bucket allocates %v times", n)
	}
}

func BenchmarkAppendRequest(b *testing.B) { benchmarkAppend(b, fiveByThree()) }
func BenchmarkReadRequest(b *testing.B) {
	benchmarkRead(b, fiveByThree(), new(abi.SelectVersionRequest))
}
func BenchmarkAppendVerdict(b *testing.B) { benchmarkAppend(b, choices()) }
func BenchmarkReadVerdict(b *testing.B)   { benchmarkRead(b, choices(), new(abi.SelectVersionVerdict)) }

func benchmarkAppend(b *testing.B, m message) {
	b.ReportAllocs()
	buf := m.Append(nil)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		buf = m.Append(buf[:0])
	}
}

func benchmarkRead(b *testing.B, m, into message) {
	b.ReportAllocs()
	buf := m.Append(nil)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if err := into.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBucket(b *testing.B) {
	for b.Loop() {
		abi.Bucket("alice@example.com", "1000001/110")
	}
}
