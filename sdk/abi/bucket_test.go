//go:build !wasip1

package abi_test

import (
	"crypto/sha256"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

// bucketFile is testdata/bucket.json.
type bucketFile struct {
	About   []string       `json:"about"`
	Vectors []bucketVector `json:"vectors"`
}

type bucketVector struct {
	Key    string `json:"key"`
	Salt   string `json:"salt"`
	Bucket uint32 `json:"bucket"`
}

var aboutBuckets = []string{
	"Vectors of bucket(key, salt): the first 8 bytes of SHA-256(salt, one byte 0x00, key) as a big-endian number, modulo 10000.",
	"Keys and salts are UTF-8. go test ./sdk/abi -update writes this file; vectors are only added.",
}

// defined is the definition, word by word.
func defined(key, salt string) uint32 {
	h := sha256.New()
	h.Write([]byte(salt))
	h.Write([]byte{0})
	h.Write([]byte(key))
	n := new(big.Int).SetBytes(h.Sum(nil)[:8])
	return uint32(n.Mod(n, big.NewInt(10_000)).Uint64())
}

func TestBucketVectors(t *testing.T) {
	pairs := [][2]string{
		{"", ""}, {"alice@example.com", ""}, {"", "1000001/110"}, {"alice@example.com", "1000001/110"},
		{"alice@example.com", "1000001/111"}, {"bob@example.com", "1000001/110"}, {"Alice@example.com", "1000001/110"},
		{"a", "b"}, {"b", "a"}, {"ab", ""}, {"\x00", ""}, {"", "\x00"}, // the zero byte between them is no part of either
		{"žluťoučký@example.com", "sůl"}, {"顧客-42", "展開"}, {"🚀", "🧂"}, {"e\u0301", "s"}, {"\u00e9", "s"}, // not normalised
		{strings.Repeat("k", 63), strings.Repeat("s", 64)}, {strings.Repeat("k", 64), strings.Repeat("s", 64)},
		{strings.Repeat("key ", 300), strings.Repeat("salt ", 300)},
		{"7d444840-9dc0-11d1-b245-5ffdce74fad2", "reuse-2026"},
	}
	if *update {
		f := bucketFile{About: aboutBuckets}
		for _, p := range pairs {
			f.Vectors = append(f.Vectors, bucketVector{p[0], p[1], defined(p[0], p[1])})
		}
		write(t, "bucket.json", f)
	}
	var f bucketFile
	read(t, "bucket.json", &f)
	if len(f.Vectors) < len(pairs) {
		t.Errorf("the file has %d vectors, this test %d: add them with -update", len(f.Vectors), len(pairs))
	}
	for _, v := range f.Vectors {
		if got := abi.Bucket(v.Key, v.Salt); got != v.Bucket || got != defined(v.Key, v.Salt) {
			t.Errorf("Bucket(%q, %q) = %d, the file has %d and the definition %d", v.Key, v.Salt, got, v.Bucket, defined(v.Key, v.Salt))
		}
	}
}

// The properties below are of fixed keys, so they hold or don't: no test here
// fails by chance.
const keys = 100_000

// deviation is how far a binomial count may be from its mean: all but one in a
// thousand are nearer.
func deviation(n, p float64) float64 { return 3.2905 * math.Sqrt(n*p*(1-p)) }

func within(t *testing.T, what string, count int, p float64) {
	t.Helper()
	if mean, d := keys*p, deviation(keys, p); math.Abs(float64(count)-mean) > d {
		t.Errorf("%s: %d of %d keys, want %.0f ± %.0f", what, count, keys, mean, d)
	}
}

func TestBucketSharesAreRight(t *testing.T) {
	var count [abi.Buckets]int
	for i := range keys {
		count[abi.Bucket("device-"+strconv.Itoa(i), "salt")]++
	}
	below := 0
	for b, n := range count {
		below += n
		switch share := b + 1; share {
		case 1, 10, 100, 500, 1000, 2500, 5000, 7500, 9900, 9990:
			within(t, "a share of "+strconv.Itoa(share), below, float64(share)/abi.Buckets)
		}
	}
	// Chi-squared over 100 groups: 99 degrees of freedom, 148.2 for one in a thousand.
	var chi float64
	for g := range 100 {
		n := 0
		for _, c := range count[g*100 : g*100+100] {
			n += c
		}
		chi += math.Pow(float64(n)-keys/100, 2) / (keys / 100)
	}
	if chi > 148.2 {
		t.Errorf("chi-squared over 100 groups of buckets is %.1f, want at most 148.2", chi)
	}
}

func TestBucketsOfTwoSaltsAreIndependent(t *testing.T) {
	first, second, both := 0, 0, 0
	for i := range keys {
		key := "device-" + strconv.Itoa(i)
		a, b := abi.Bucket(key, "1000001/110") < 1000, abi.Bucket(key, "1000001/111") < 1000
		if a {
			first++
		}
		if b {
			second++
		}
		if a && b {
			both++
		}
	}
	within(t, "in the first tenth of one rollout", first, 0.1)
	within(t, "in the first tenth of the next", second, 0.1)
	within(t, "in both", both, 0.01)
}

// TestBucketKeepsWhoIsIn grows a rollout step by step: nobody falls out of it.
func TestBucketKeepsWhoIsIn(t *testing.T) {
	in := map[int]bool{}
	for _, share := range []uint32{0, 1, 50, 1000, 1001, 5000, 9999, abi.Buckets} {
		for i := range keys / 10 {
			is := abi.Bucket("device-"+strconv.Itoa(i), "salt") < share
			if in[i] && !is {
				t.Fatalf("device-%d falls out of the rollout at a share of %d", i, share)
			}
			in[i] = is
			if share == 0 && is || share == abi.Buckets && !is {
				t.Fatalf("device-%d is in a rollout of %d: %v", i, share, is)
			}
		}
	}
}
