//go:build !wasip1

package souk_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

// The host functions below work in memory, for the tests of policies. What
// these tests hold is where they must not be kinder than the host.

func TestKVSwap(t *testing.T) {
	for _, test := range []struct {
		name    string
		present []byte // nil = none
		old     string
		want    error
	}{
		{"none is expected and there is none", nil, "", nil},
		{"none is expected and there is one", []byte("a"), "", souk.ErrConflict},
		{"none is expected and there is an empty one", []byte{}, "", souk.ErrConflict},
		{"the expected one is there", []byte("a"), "a", nil},
		{"another than the expected one is there", []byte("b"), "a", souk.ErrConflict},
		{"the expected one is gone", nil, "a", souk.ErrConflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			souk.Reset()
			if test.present != nil {
				must(t, souk.KVPut("k", test.present, 0))
			}
			if err := souk.KVSwap("k", []byte(test.old), []byte("new")); !errors.Is(err, test.want) {
				t.Errorf("KVSwap = %v, want %v", err, test.want)
			}
			got, err := souk.KVGet("k")
			if test.want == nil && (err != nil || string(got) != "new") {
				t.Errorf("after the swap the value is %q, %v", got, err)
			}
			if test.want != nil && string(got) != string(test.present) {
				t.Errorf("after a refused swap the value is %q, want %q", got, test.present)
			}
		})
	}
}

func TestKVGetOwnsItsBytes(t *testing.T) {
	souk.Reset()
	value := []byte("value")
	must(t, souk.KVPut("k", value, 0))
	value[0] = 'X'
	got, err := souk.KVGet("k")
	must(t, err)
	got[1] = 'X'
	if again, _ := souk.KVGet("k"); string(again) != "value" {
		t.Errorf("the stored value is %q, want %q", again, "value")
	}
	must(t, souk.KVDelete("k"))
	must(t, souk.KVDelete("k"))
	if _, err := souk.KVGet("k"); !errors.Is(err, souk.ErrNotFound) {
		t.Errorf("KVGet of a deleted key = %v, want %v", err, souk.ErrNotFound)
	}
}

func TestKVPutRefusesTimesThatMeanSomethingElse(t *testing.T) {
	for _, ttl := range []time.Duration{-1, -time.Hour, (math.MaxUint32 + 1) * time.Second, math.MaxInt64} {
		if err := souk.KVPut("k", nil, ttl); !errors.Is(err, souk.ErrRefused) {
			t.Errorf("KVPut for %v = %v, want %v", ttl, err, souk.ErrRefused)
		}
	}
	for _, ttl := range []time.Duration{0, 1, time.Second, math.MaxUint32 * time.Second} {
		must(t, souk.KVPut("k", nil, ttl))
	}
}

func TestKVAdd(t *testing.T) {
	souk.Reset()
	for _, step := range []struct{ delta, want int64 }{{5, 5}, {-7, -2}, {0, -2}} {
		if got, err := souk.KVAdd("n", step.delta); err != nil || got != step.want {
			t.Errorf("KVAdd(%d) = %d, %v, want %d", step.delta, got, err, step.want)
		}
	}
	must(t, souk.KVPut("text", []byte("nine bytes"), 0))
	if _, err := souk.KVAdd("text", 1); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("KVAdd to a value that is no counter = %v, want %v", err, souk.ErrRefused)
	}
}

func TestKVBounds(t *testing.T) {
	souk.Reset()
	longest := strings.Repeat("k", abi.MaxKVKey)
	must(t, souk.KVPut(longest, make([]byte, abi.MaxKVValue), 0))
	if v, err := souk.KVGet(longest); err != nil || len(v) != abi.MaxKVValue {
		t.Errorf("KVGet of the longest key gives %d bytes, %v", len(v), err)
	}
	if err := souk.KVPut("k", make([]byte, abi.MaxKVValue+1), 0); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("KVPut of a value that is too long = %v, want %v", err, souk.ErrRefused)
	}
	for _, key := range []string{"", longest + "k"} {
		_, get := souk.KVGet(key)
		_, add := souk.KVAdd(key, 1)
		for name, err := range map[string]error{"KVGet": get, "KVAdd": add, "KVPut": souk.KVPut(key, nil, 0),
			"KVSwap": souk.KVSwap(key, nil, nil), "KVDelete": souk.KVDelete(key)} {
			if !errors.Is(err, souk.ErrRefused) {
				t.Errorf("%s of a key of %d bytes = %v, want %v", name, len(key), err, souk.ErrRefused)
			}
		}
	}
}

func TestPasswords(t *testing.T) {
	hash, err := souk.PasswordHash("wonderland")
	must(t, err)
	if strings.Contains(hash, "wonderland") {
		t.Errorf("the hash %q holds the password", hash)
	}
	for _, test := range []struct {
		password, hash string
		want           bool
	}{{"wonderland", hash, true}, {"Wonderland", hash, false}, {"", hash, false}, {"", "", false}, {"wonderland", "", false}} {
		if got, err := souk.PasswordVerify(test.password, test.hash); got != test.want || err != nil {
			t.Errorf("PasswordVerify(%q, %q) = %v, %v, want %v", test.password, test.hash, got, err, test.want)
		}
	}
	long := strings.Repeat("x", abi.MaxPassword+1)
	if _, err := souk.PasswordHash(long); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("PasswordHash of a password that is too long = %v, want %v", err, souk.ErrRefused)
	}
	if ok, err := souk.PasswordVerify(long, hash); ok || !errors.Is(err, souk.ErrRefused) {
		t.Errorf("PasswordVerify of a password that is too long = %v, %v, want %v", ok, err, souk.ErrRefused)
	}
}

func TestCrypto(t *testing.T) {
	// RFC 4231 §4.3.
	mac, err := souk.HMACSHA256([]byte("Jefe"), []byte("what do ya want for nothing?"))
	must(t, err)
	if got, want := hex.EncodeToString(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; got != want {
		t.Errorf("HMACSHA256 = %s, want %s", got, want)
	}
	if _, err := souk.HMACSHA256(nil, make([]byte, abi.MaxCrypto+1)); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("HMACSHA256 of a text that is too long = %v, want %v", err, souk.ErrRefused)
	}
	long := make([]byte, abi.MaxCrypto+1)
	for _, test := range []struct {
		a, b []byte
		want bool
	}{{mac, bytes.Clone(mac), true}, {nil, []byte{}, true}, {mac, mac[1:], false}, {mac, make([]byte, 32), false}, {long, long, false}} {
		if got := souk.EqualCT(test.a, test.b); got != test.want {
			t.Errorf("EqualCT of %d and %d bytes = %v, want %v", len(test.a), len(test.b), got, test.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	souk.Reset()
	must(t, souk.MetricAdd("sign_ins", 2))
	must(t, souk.MetricAdd("sign_ins", 3))
	for _, name := range []string{"", "Sign", "sign-ins", "9th", "_x", strings.Repeat("x", abi.MaxMetricName+1)} {
		if err := souk.MetricAdd(name, 1); !errors.Is(err, souk.ErrRefused) {
			t.Errorf("MetricAdd(%q) = %v, want %v", name, err, souk.ErrRefused)
		}
	}
	if err := souk.MetricAdd("sign_ins", -1); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("MetricAdd of less than nothing = %v, want %v", err, souk.ErrRefused)
	}
	for i := 1; i < abi.MaxMetrics; i++ {
		must(t, souk.MetricAdd(fmt.Sprintf("m%d", i), 1))
	}
	if err := souk.MetricAdd("one_more", 1); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("MetricAdd of a name too many = %v, want %v", err, souk.ErrRefused)
	}
	if got := souk.Metrics(); got["sign_ins"] != 5 || len(got) != abi.MaxMetrics {
		t.Errorf("Metrics() = %v", got)
	}
}

func TestSecrets(t *testing.T) {
	souk.Reset()
	souk.SetSecret("client_secret", "for tests only")
	if got, err := souk.Secret("client_secret"); err != nil || got != "for tests only" {
		t.Errorf("Secret = %q, %v", got, err)
	}
	if _, err := souk.Secret("other"); !errors.Is(err, souk.ErrNotFound) {
		t.Errorf("Secret of another name = %v, want %v", err, souk.ErrNotFound)
	}
	souk.Reset()
	if _, err := souk.Secret("client_secret"); !errors.Is(err, souk.ErrNotFound) {
		t.Errorf("Secret after Reset = %v, want %v", err, souk.ErrNotFound)
	}
}

func TestFetch(t *testing.T) {
	souk.Reset()
	var a abi.FetchResponse
	q := abi.FetchRequest{Method: "GET", URL: "https://id.example.com/", Headers: []abi.FetchHeader{{Name: "Accept", Value: "text/plain"}}}
	if err := souk.Fetch(&q, &a); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("Fetch without anybody to ask = %v, want %v", err, souk.ErrRefused)
	}
	souk.HandleFetch(func(q *abi.FetchRequest, a *abi.FetchResponse) error {
		if q.Method == "POST" {
			return souk.ErrFailed
		}
		a.Status, a.Body = 200, q.Method+" "+q.URL+" "+q.Headers[0].Value
		return nil
	})
	if err := souk.Fetch(&q, &a); err != nil || a.Status != 200 || a.Body != "GET https://id.example.com/ text/plain" {
		t.Errorf("Fetch = %+v, %v", a, err)
	}
	q.Method = "POST"
	if err := souk.Fetch(&q, &a); !errors.Is(err, souk.ErrFailed) {
		t.Errorf("Fetch from a server that fails = %v, want %v", err, souk.ErrFailed)
	}
	q.Body = strings.Repeat("x", abi.MaxFetchRequest)
	if err := souk.Fetch(&q, &a); !errors.Is(err, souk.ErrRefused) {
		t.Errorf("Fetch with a body that is too long = %v, want %v", err, souk.ErrRefused)
	}
	souk.HandleFetch(func(_ *abi.FetchRequest, a *abi.FetchResponse) error {
		a.Body = strings.Repeat("x", abi.MaxFetchResponse)
		return nil
	})
	if err := souk.Fetch(&abi.FetchRequest{}, &a); !errors.Is(err, souk.ErrFailed) {
		t.Errorf("Fetch of a response that is too long = %v, want %v", err, souk.ErrFailed)
	}
}

func TestBucketIsTheContracts(t *testing.T) {
	if got, want := souk.Bucket("alice@example.com", "s"), abi.Bucket("alice@example.com", "s"); got != want {
		t.Errorf("Bucket = %d, want %d", got, want)
	}
}

func TestLogIsKept(t *testing.T) {
	souk.Reset()
	souk.Log(abi.LevelWarn, "a line")
	if got := souk.Logged(); len(got) != 1 || !strings.HasSuffix(got[0], "a line") {
		t.Errorf("Logged() = %q", got)
	}
}

func TestDecode(t *testing.T) {
	type config struct{ Title string }
	for _, test := range []struct{ name, json, wrong string }{
		{"a known key", `{"title":"x"}`, ""},
		{"an unknown key", `{"titel":"x"}`, "titel"},
		{"another type", `{"title":1}`, "title"},
		{"a second value", `{} {}`, "more than one"},
		{"no JSON", `title = 1`, "config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c config
			err := souk.Decode([]byte(test.json), &c)
			if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(strings.ToLower(err.Error()), test.wrong) {
				t.Errorf("Decode(%s) = %v, want an error with %q", test.json, err, test.wrong)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpenTo holds both ways to say whom a version is open to against each other.
func TestOpenTo(t *testing.T) {
	open := 0
	for _, key := range []string{"", "alice@example.com", "bob@example.com", "carol@example.com"} {
		q := abi.SelectVersionRequest{Head: abi.Head{BucketKey: key}, Apps: make([]abi.SelectVersionApp, 1)}
		for _, share := range []uint32{0, 1, 2500, 5000, 7500, 9999, abi.Buckets, math.MaxUint32} {
			for salt := range 8 {
				q.Apps[0].Candidates = append(q.Apps[0].Candidates, abi.Candidate{Rollout: share, Salt: fmt.Sprint(salt)})
			}
		}
		_, err := q.Each(func(v *abi.SelectVersionView, app abi.SelectVersionAppView) abi.VersionChoice {
			for i := range app.Candidates() {
				c := &q.Apps[0].Candidates[i]
				got, want := souk.OpenTo(v, app.Candidate(i)), souk.RolledOut(key, c)
				if got != want {
					t.Errorf("key %q, share %d, salt %q: OpenTo = %t, RolledOut = %t", key, c.Rollout, c.Salt, got, want)
				}
				if got && c.Rollout < abi.Buckets {
					open++
				}
			}
			return abi.VersionChoice{}
		})
		must(t, err)
	}
	if open == 0 {
		t.Error("no part of a rollout was open to anybody: the test says little")
	}
}
