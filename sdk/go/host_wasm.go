//go:build wasip1

package souk

import (
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

func bytesAt(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

func textAt(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// code turns a host function's negative result into an error.
func code(n int32) error {
	switch abi.Code(n) {
	case abi.CodeNotFound:
		return ErrNotFound
	case abi.CodeRefused:
		return ErrRefused
	case abi.CodeConflict:
		return ErrConflict
	}
	if n < 0 {
		return ErrFailed
	}
	return nil
}

// Bucket places a key among abi.Buckets buckets: the first 8 bytes of
// SHA-256(salt ‖ 0x00 ‖ key) as a big-endian number, modulo abi.Buckets. The
// host computes it.
func Bucket(key, salt string) uint32 {
	k, kn := textAt(key)
	s, sn := textAt(salt)
	return uint32(hostBucket(k, kn, s, sn))
}

// Log writes one line to the operator's log; the host limits its rate.
func Log(level abi.Level, line string) {
	at, n := textAt(line)
	hostLog(uint32(level), at, n)
}

// fill calls a host function that copies a value out, again with more space if
// the value needs it.
func fill(call func(out unsafe.Pointer, capacity uint32) int32) ([]byte, error) {
	for _, size := range [...]int{512, abi.MaxKVValue} {
		b := make([]byte, size)
		n := call(bytesAt(b))
		if abi.Code(n) == abi.CodeDoesNotFit || int(n) > size {
			continue
		}
		if err := code(n); err != nil {
			return nil, err
		}
		return b[:n], nil
	}
	return nil, ErrFailed
}

// KVGet returns the value of a key in the plugin's own part of the store.
func KVGet(key string) ([]byte, error) {
	k, kn := textAt(key)
	return fill(func(out unsafe.Pointer, capacity uint32) int32 { return hostKVGet(k, kn, out, capacity) })
}

// KVPut stores a value for ttl, which counts in whole seconds and is rounded
// up; 0 = for ever.
func KVPut(key string, value []byte, ttl time.Duration) error {
	s, err := seconds(ttl)
	if err != nil {
		return err
	}
	k, kn := textAt(key)
	v, vn := bytesAt(value)
	return code(hostKVPut(k, kn, v, vn, s))
}

// KVDelete removes a key; removing none is no error.
func KVDelete(key string) error {
	k, kn := textAt(key)
	return code(hostKVDelete(k, kn))
}

// KVSwap stores a value if the present one is old; an empty old means that
// there must be none.
func KVSwap(key string, old, value []byte) error {
	k, kn := textAt(key)
	o, on := bytesAt(old)
	v, vn := bytesAt(value)
	return code(hostKVSwap(k, kn, o, on, v, vn))
}

// KVAdd adds to a counter, which begins at 0, and returns the sum.
func KVAdd(key string, delta int64) (int64, error) {
	k, kn := textAt(key)
	var sum [8]byte
	if err := code(hostKVAdd(k, kn, delta, unsafe.Pointer(&sum))); err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(sum[:])), nil
}

// PasswordHash returns the argon2id hash of a password.
func PasswordHash(password string) (string, error) {
	p, pn := textAt(password)
	b, err := fill(func(out unsafe.Pointer, capacity uint32) int32 { return hostPasswordHash(p, pn, out, capacity) })
	return string(b), err
}

// PasswordVerify reports whether a password has this hash. An empty hash never
// matches and takes as long as a real one. The error says that the host did not
// look: the password is longer than abi.MaxPassword, or the host is too busy.
func PasswordVerify(password, hash string) (bool, error) {
	p, pn := textAt(password)
	h, hn := textAt(hash)
	n := hostPasswordVerify(p, pn, h, hn)
	return n == 1, code(n)
}

// HMACSHA256 returns the HMAC-SHA256 of data (RFC 2104). The host computes it:
// a module without package crypto is a third smaller.
func HMACSHA256(key, data []byte) ([]byte, error) {
	k, kn := bytesAt(key)
	d, dn := bytesAt(data)
	sum := make([]byte, 32)
	out, capacity := bytesAt(sum)
	return sum, code(hostHMACSHA256(k, kn, d, dn, out, capacity))
}

// EqualCT reports whether a and b are the same bytes, in a time that depends on
// their lengths only. What is longer than abi.MaxCrypto equals nothing.
func EqualCT(a, b []byte) bool {
	x, xn := bytesAt(a)
	y, yn := bytesAt(b)
	return hostEqualCT(x, xn, y, yn) == 1
}

// Secret returns a secret of the plugin's configuration, in sign_in and exchange
// only. The host takes it out of the log; pages and other people's servers are
// the plugin's to watch.
func Secret(name string) (string, error) {
	at, length := textAt(name)
	b, err := fill(func(out unsafe.Pointer, capacity uint32) int32 { return hostSecretGet(at, length, out, capacity) })
	return string(b), err
}

var fetched, asked []byte // space for Fetch, which is used again

// Fetch asks another server, in sign_in and exchange only, and puts its answer
// into a, whose strings are good until the next Fetch. The host follows up to
// three redirects. ErrRefused says that the request, or a redirect, breaks a
// rule: the operator's log says which.
func Fetch(q *abi.FetchRequest, a *abi.FetchResponse) error {
	if fetched == nil {
		// All at once: asking again with more space would send the request again.
		fetched = make([]byte, abi.MaxFetchResponse)
	}
	asked = q.Append(asked[:0])
	at, length := bytesAt(asked)
	out, capacity := bytesAt(fetched)
	n := hostHTTPFetch(at, length, out, capacity)
	if err := code(n); err != nil {
		return err
	}
	return a.Read(fetched[:n])
}

// MetricAdd adds n, which is not negative, to a counter that the operator sees.
// A plugin has at most abi.MaxMetrics of them: a name is no place for what
// differs from request to request.
func MetricAdd(name string, n int64) error {
	at, length := textAt(name)
	return code(hostMetricAdd(at, length, n))
}
