//go:build !wasip1

package souk

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// Outside a plugin the host functions work in memory, so that a policy's own
// tests are ordinary Go tests. Expiry is not simulated, and the password hash
// is quick instead of safe.
var native struct {
	sync.Mutex
	kv      map[string][]byte
	log     []string
	metrics map[string]int64
	secrets map[string]string
	fetch   func(*abi.FetchRequest, *abi.FetchResponse) error
}

// Reset forgets what the host functions have kept in memory; it exists outside
// plugins only, for tests.
func Reset() {
	native.Lock()
	defer native.Unlock()
	native.kv, native.log, native.metrics = map[string][]byte{}, nil, nil
	native.secrets, native.fetch = nil, nil
}

// Logged returns the lines of the log since Reset; it exists outside plugins
// only, for tests.
func Logged() []string {
	native.Lock()
	defer native.Unlock()
	return append([]string(nil), native.log...)
}

// SetSecret is what Secret returns from then on until Reset; it exists outside
// plugins only, for tests.
func SetSecret(name, value string) {
	native.Lock()
	defer native.Unlock()
	if native.secrets == nil {
		native.secrets = map[string]string{}
	}
	native.secrets[name] = value
}

// HandleFetch answers Fetch from then on until Reset; it exists outside plugins
// only, for tests, which ask nobody else.
func HandleFetch(f func(*abi.FetchRequest, *abi.FetchResponse) error) {
	native.Lock()
	defer native.Unlock()
	native.fetch = f
}

// Metrics returns the counters since Reset; it exists outside plugins only, for
// tests.
func Metrics() map[string]int64 {
	native.Lock()
	defer native.Unlock()
	return maps.Clone(native.metrics)
}

// Bucket places a key among 10 000 buckets: see abi.Bucket.
func Bucket(key, salt string) uint32 { return abi.Bucket(key, salt) }

// Log writes one line to the operator's log; the host limits its rate.
func Log(level abi.Level, line string) {
	native.Lock()
	defer native.Unlock()
	native.log = append(native.log, fmt.Sprintf("%d %s", level, line))
}

// refused reports whether the host would refuse a key, or a value to be stored.
func refused(key string, value []byte) bool {
	return key == "" || len(key) > abi.MaxKVKey || len(value) > abi.MaxKVValue
}

// KVGet returns the value of a key in the plugin's own part of the store.
func KVGet(key string) ([]byte, error) {
	native.Lock()
	defer native.Unlock()
	if refused(key, nil) {
		return nil, ErrRefused
	}
	v, ok := native.kv[key]
	if !ok {
		return nil, ErrNotFound
	}
	return append([]byte(nil), v...), nil
}

// KVPut stores a value for ttl, which counts in whole seconds and is rounded
// up; 0 = for ever.
func KVPut(key string, value []byte, ttl time.Duration) error {
	if _, err := seconds(ttl); err != nil {
		return err
	}
	native.Lock()
	defer native.Unlock()
	return put(key, value)
}

func put(key string, value []byte) error {
	if refused(key, value) {
		return ErrRefused
	}
	if native.kv == nil {
		native.kv = map[string][]byte{}
	}
	native.kv[key] = append([]byte{}, value...)
	return nil
}

// KVDelete removes a key; removing none is no error.
func KVDelete(key string) error {
	native.Lock()
	defer native.Unlock()
	if refused(key, nil) {
		return ErrRefused
	}
	delete(native.kv, key)
	return nil
}

// KVSwap stores a value if the present one is old; an empty old means that
// there must be none.
func KVSwap(key string, old, value []byte) error {
	native.Lock()
	defer native.Unlock()
	present, ok := native.kv[key]
	if ok != (len(old) > 0) || string(present) != string(old) {
		return ErrConflict
	}
	return put(key, value)
}

// KVAdd adds to a counter, which begins at 0, and returns the sum.
func KVAdd(key string, delta int64) (int64, error) {
	native.Lock()
	defer native.Unlock()
	var sum [8]byte
	v, ok := native.kv[key]
	if ok && len(v) != len(sum) {
		return 0, ErrRefused // it is no counter
	}
	copy(sum[:], v)
	n := int64(binary.LittleEndian.Uint64(sum[:])) + delta
	binary.LittleEndian.PutUint64(sum[:], uint64(n))
	return n, put(key, sum[:])
}

// PasswordHash returns a hash of a password.
func PasswordHash(password string) (string, error) {
	if len(password) > abi.MaxPassword {
		return "", ErrRefused
	}
	sum := sha256.Sum256([]byte(password))
	return "test$" + hex.EncodeToString(sum[:]), nil
}

// PasswordVerify reports whether a password has this hash. An empty hash never
// matches. The error says that the host did not look: the password is longer
// than abi.MaxPassword, or, in a plugin, the host is too busy.
func PasswordVerify(password, hash string) (bool, error) {
	h, err := PasswordHash(password)
	return err == nil && h == hash, err
}

// HMACSHA256 returns the HMAC-SHA256 of data (RFC 2104).
func HMACSHA256(key, data []byte) ([]byte, error) {
	if len(key) > abi.MaxCrypto || len(data) > abi.MaxCrypto {
		return nil, ErrRefused
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil), nil
}

// EqualCT reports whether a and b are the same bytes, in a time that depends on
// their lengths only. What is longer than abi.MaxCrypto equals nothing.
func EqualCT(a, b []byte) bool {
	return len(a) <= abi.MaxCrypto && len(b) <= abi.MaxCrypto && subtle.ConstantTimeCompare(a, b) == 1
}

// Secret returns a secret that SetSecret has set. In a plugin it is for sign_in
// and exchange only.
func Secret(name string) (string, error) {
	native.Lock()
	defer native.Unlock()
	s, ok := native.secrets[name]
	if !ok {
		return "", ErrNotFound
	}
	return s, nil
}

// Fetch asks the function that HandleFetch has set; without one it is refused.
// In a plugin it asks another server, for sign_in and exchange only, and the
// answer's strings are good until the next Fetch.
func Fetch(q *abi.FetchRequest, a *abi.FetchResponse) error {
	native.Lock()
	fetch := native.fetch
	native.Unlock()
	sent := q.Append(nil)
	var got abi.FetchRequest
	if fetch == nil || len(sent) > abi.MaxFetchRequest || got.Read(sent) != nil {
		return ErrRefused
	}
	var answer abi.FetchResponse
	if err := fetch(&got, &answer); err != nil {
		return err
	}
	b := answer.Append(nil)
	if len(b) > abi.MaxFetchResponse || a.Read(b) != nil {
		return ErrFailed
	}
	return nil
}

// MetricAdd adds n, which is not negative, to a counter that the operator sees.
// A plugin has at most abi.MaxMetrics of them: a name is no place for what
// differs from request to request.
func MetricAdd(name string, n int64) error {
	native.Lock()
	defer native.Unlock()
	if _, ok := native.metrics[name]; n < 0 || !metricName(name) || !ok && len(native.metrics) >= abi.MaxMetrics {
		return ErrRefused
	}
	if native.metrics == nil {
		native.metrics = map[string]int64{}
	}
	native.metrics[name] += n
	return nil
}

func metricName(s string) bool {
	return s != "" && len(s) <= abi.MaxMetricName && s[0] >= 'a' && s[0] <= 'z' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
