package cases

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// KV is the kv of a plugin in memory. What expires does so at the times of the
// cases. Its zero value is empty.
type KV struct {
	mu     sync.Mutex
	now    time.Time
	values map[string]kvEntry
}

type kvEntry struct {
	val     []byte
	expires time.Time // zero = never
}

var _ plugin.KV = (*KV)(nil)

// reset makes values the whole content.
func (kv *KV) reset(values map[string][]byte) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.values = map[string]kvEntry{}
	for key, val := range values {
		kv.values[key] = kvEntry{val: bytes.Clone(val)}
	}
}

func (kv *KV) at(now time.Time) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.now = now
}

// live returns what is there and not expired. The lock is held.
func (kv *KV) live(key []byte) (kvEntry, bool) {
	e, ok := kv.values[string(key)]
	if ok && !e.expires.IsZero() && !kv.now.Before(e.expires) {
		delete(kv.values, string(key))
		ok = false
	}
	return e, ok
}

func (kv *KV) set(key []byte, e kvEntry) {
	if kv.values == nil {
		kv.values = map[string]kvEntry{}
	}
	kv.values[string(key)] = e
}

// Get returns a value.
func (kv *KV) Get(_ context.Context, key []byte) ([]byte, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e, ok := kv.live(key)
	if !ok {
		return nil, plugin.ErrKVNotFound
	}
	return bytes.Clone(e.val), nil
}

// Put stores a value.
func (kv *KV) Put(_ context.Context, key, val []byte, ttl time.Duration) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e := kvEntry{val: bytes.Clone(val)}
	if ttl > 0 {
		e.expires = kv.now.Add(ttl)
	}
	kv.set(key, e)
	return nil
}

// Delete removes a value.
func (kv *KV) Delete(_ context.Context, key []byte) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	delete(kv.values, string(key))
	return nil
}

// Swap stores val where old is; the store's rules hold: an empty old is an absent
// value, and the expiry stays.
func (kv *KV) Swap(_ context.Context, key, old, val []byte) error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e, ok := kv.live(key)
	if ok != (len(old) > 0) || ok && !bytes.Equal(e.val, old) {
		return plugin.ErrKVConflict
	}
	if !ok {
		e = kvEntry{}
	}
	e.val = bytes.Clone(val)
	kv.set(key, e)
	return nil
}

// Add adds to a counter of 8 bytes, little endian.
func (kv *KV) Add(_ context.Context, key []byte, delta int64) (int64, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	e, ok := kv.live(key)
	var before int64
	switch {
	case !ok:
		e = kvEntry{}
	case len(e.val) != 8:
		return 0, plugin.ErrKVRefused
	default:
		before = int64(binary.LittleEndian.Uint64(e.val))
	}
	if delta > 0 && before > math.MaxInt64-delta || delta < 0 && before < math.MinInt64-delta {
		return 0, plugin.ErrKVRefused
	}
	e.val = counter(before + delta)
	kv.set(key, e)
	return before + delta, nil
}

func counter(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

// kvWant is what one key has to hold afterwards.
type kvWant struct {
	key    string
	val    []byte
	json   bool // compared as JSON
	absent bool
}

// kv reads a table of values: a text, a number (a counter of 8 bytes) or a table,
// which stands for itself as JSON.
func (t table) kv(key string) map[string][]byte {
	v, there := t.m[key]
	if !there {
		return nil
	}
	m := t.open(key, v)
	values := map[string][]byte{}
	for _, k := range sortedKeys(m) {
		w := t.kvValue(key, k, m[k])
		if w.absent {
			t.d.fail(join(t.path, key), k, "is false, which says that a key must not be there: only kv_after can")
		}
		values[k] = w.val
	}
	return values
}

// kvAfter reads the same, and false for a key that must not be there.
func (t table) kvAfter(key string) []kvWant {
	v, there := t.m[key]
	if !there {
		return nil
	}
	m := t.open(key, v)
	var wants []kvWant
	for _, k := range sortedKeys(m) {
		wants = append(wants, t.kvValue(key, k, m[k]))
	}
	return wants
}

func (t table) kvValue(table, key string, v any) kvWant {
	if key == "" || len(key) > abi.MaxKVKey {
		t.d.fail(join(t.path, table), key, "no key of the kv is empty or longer than %d bytes", abi.MaxKVKey)
	}
	switch v := v.(type) {
	case string:
		return kvWant{key: key, val: []byte(v)}
	case int64:
		return kvWant{key: key, val: counter(v)}
	case map[string]any:
		if b, err := json.Marshal(v); err == nil {
			return kvWant{key: key, val: b, json: true}
		}
	case bool:
		if !v {
			return kvWant{key: key, absent: true}
		}
	}
	t.d.fail(join(t.path, table), key, "is %s: it has to be a text, a number (a counter), or a table, which is kept as JSON", kind(v))
	return kvWant{key: key}
}

// compare says how the content differs from what it has to be.
func (kv *KV) compare(wants []kvWant) []string {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	var differences []string
	for _, w := range wants {
		e, ok := kv.live([]byte(w.key))
		switch {
		case w.absent && ok:
			differences = append(differences, fmt.Sprintf("kv %q is %s, want none", w.key, shown(e.val)))
		case !w.absent && !ok:
			differences = append(differences, fmt.Sprintf("kv %q is not there, want %s; there is %s", w.key, shown(w.val), keyList(kv.values)))
		case !w.absent && !w.holds(e.val):
			differences = append(differences, fmt.Sprintf("kv %q is %s, want %s", w.key, shown(e.val), shown(w.val)))
		}
	}
	return differences
}

func (w *kvWant) holds(val []byte) bool {
	if !w.json {
		return bytes.Equal(val, w.val)
	}
	var have, want any
	return json.Unmarshal(val, &have) == nil && json.Unmarshal(w.val, &want) == nil && reflect.DeepEqual(have, want)
}

func keyList(values map[string]kvEntry) string {
	if len(values) == 0 {
		return "nothing"
	}
	keys := slices.Sorted(maps.Keys(values))
	for i := range keys {
		keys[i] = strconv.Quote(keys[i])
	}
	return list(keys)
}

// shown writes a value for people.
func shown(val []byte) string {
	text := utf8.Valid(val)
	for _, b := range val {
		text = text && b >= ' '
	}
	switch {
	case text:
		return strconv.Quote(string(val))
	case len(val) == 8:
		return fmt.Sprintf("the counter %d", int64(binary.LittleEndian.Uint64(val)))
	}
	return fmt.Sprintf("the bytes %x", val)
}
