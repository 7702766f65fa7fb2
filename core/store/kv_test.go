package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
)

func openKV(t *testing.T, s *store.Store, name string, quota store.KVQuota) *store.KV {
	t.Helper()
	kv, err := s.PluginKV(name, quota)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func mustPut(t *testing.T, kv *store.KV, key, val string) {
	t.Helper()
	if err := kv.Put(ctx, []byte(key), []byte(val), 0); err != nil {
		t.Fatalf("Put(%q) = %v", key, err)
	}
}

func wantVal(t *testing.T, kv *store.KV, key, want string) {
	t.Helper()
	if got, err := kv.Get(ctx, []byte(key)); err != nil || string(got) != want {
		t.Errorf("Get(%q) = %q, %v, want %q", key, got, err, want)
	}
}

func TestPluginsAreApart(t *testing.T) {
	s, _, _ := openStore(t)
	one, two := openKV(t, s, "a", store.KVQuota{}), openKV(t, s, "ab", store.KVQuota{})
	mustPut(t, one, "bkey", "one")
	mustPut(t, two, "key", "two")
	wantVal(t, one, "bkey", "one")
	_, err := one.Get(ctx, []byte("key"))
	wantIs(t, "Get of another plugin's key", err, store.ErrNotFound)
	if list, err := one.List(ctx, "", "", 10); err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v, want its own key alone", list, err)
	}
	for range 2 {
		if err := one.Delete(ctx, []byte("bkey")); err != nil {
			t.Errorf("Delete = %v", err)
		}
	}
	wantVal(t, two, "key", "two")
	for _, name := range []string{"", strings.Repeat("p", 129)} {
		_, err := s.PluginKV(name, store.KVQuota{})
		wantIs(t, "PluginKV with a bad name", err, store.ErrLimit)
	}
	wantIs(t, "Put to an empty key", one.Put(ctx, nil, nil, 0), store.ErrLimit)
	wantIs(t, "Put to a long key", one.Put(ctx, make([]byte, 512), nil, 0), store.ErrLimit)
}

func TestKVSwap(t *testing.T) {
	s, e, c := openStore(t)
	kv := openKV(t, s, "p", store.KVQuota{})
	key := []byte("key")
	wantIs(t, "Swap of an absent value", kv.Swap(ctx, key, []byte("old"), []byte("new")), store.ErrConflict)
	if err := kv.Swap(ctx, key, nil, []byte("one")); err != nil {
		t.Errorf("Swap that creates = %v", err)
	}
	wantIs(t, "Swap that creates again", kv.Swap(ctx, key, nil, []byte("two")), store.ErrConflict)
	wantIs(t, "Swap of another value", kv.Swap(ctx, key, []byte("two"), []byte("three")), store.ErrConflict)
	if err := kv.Put(ctx, key, []byte("mortal"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := kv.Swap(ctx, key, []byte("mortal"), []byte("still")); err != nil {
		t.Errorf("Swap = %v", err)
	}
	it, err := e.Get(ctx, store.Key{Table: 'P', Part: "p", Sub: "key"})
	if err != nil || !it.Expires.Equal(start.Add(time.Minute)) {
		t.Errorf("a swapped value expires at %v, %v, want it kept", it.Expires, err)
	}
	c.advance(time.Minute)
	_, err = kv.Get(ctx, key)
	wantIs(t, "Get past the time", err, store.ErrNotFound)

	var winners atomic.Int64
	together(16, func(i int) {
		switch err := kv.Swap(ctx, key, nil, fmt.Append(nil, i)); {
		case err == nil:
			winners.Add(1)
		case !errors.Is(err, store.ErrConflict):
			t.Errorf("Swap = %v", err)
		}
	})
	if winners.Load() != 1 {
		t.Errorf("%d of 16 swaps won", winners.Load())
	}
}

func TestKVAdd(t *testing.T) {
	s, _, _ := openStore(t)
	kv := openKV(t, s, "p", store.KVQuota{})
	key := []byte("counter")
	together(16, func(int) {
		for range 10 {
			if _, err := kv.Add(ctx, key, 3); err != nil {
				t.Error(err)
			}
		}
	})
	if sum, err := kv.Add(ctx, key, -480); err != nil || sum != 0 {
		t.Errorf("Add = %d, %v, want 0", sum, err)
	}
	wantVal(t, kv, "counter", "\x00\x00\x00\x00\x00\x00\x00\x00")
	if sum, err := kv.Add(ctx, key, math.MaxInt64); err != nil || sum != math.MaxInt64 {
		t.Errorf("Add = %d, %v", sum, err)
	}
	_, err := kv.Add(ctx, key, 1)
	wantIs(t, "Add beyond 64 bits", err, store.ErrNotCounter)
	if _, err := kv.Add(ctx, []byte("low"), math.MinInt64); err != nil {
		t.Errorf("Add = %v", err)
	}
	_, err = kv.Add(ctx, []byte("low"), -1)
	wantIs(t, "Add beyond 64 bits", err, store.ErrNotCounter)
	mustPut(t, kv, "text", "seven b")
	_, err = kv.Add(ctx, []byte("text"), 1)
	wantIs(t, "Add to a text", err, store.ErrNotCounter)
	wantVal(t, kv, "text", "seven b")
}

func TestKVList(t *testing.T) {
	s, _, _ := openStore(t)
	kv := openKV(t, s, "p", store.KVQuota{})
	for _, key := range []string{"a", "b", "b/", "b/1", "b/2", "b/3", "b0", "c"} {
		mustPut(t, kv, key, "value of "+key)
	}
	tests := []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 100, "a b b/ b/1 b/2 b/3 b0 c"},
		{"", "b/2", 100, "b/3 b0 c"},
		{"b/", "", 100, "b/ b/1 b/2 b/3"},
		{"b/", "a", 100, "b/ b/1 b/2 b/3"},
		{"b/", "b/", 2, "b/1 b/2"},
		{"b/", "b/3", 100, ""},
		{"b/", "c", 100, ""},
		{"b/", "", 1, "b/"},
		{"b/", "", 2, "b/ b/1"},
		{"x", "", 100, ""},
		{"", "", 0, ""},
	}
	for _, test := range tests {
		list, err := kv.List(ctx, test.prefix, test.after, test.limit)
		if err != nil {
			t.Errorf("List(%q, %q, %d) = %v", test.prefix, test.after, test.limit, err)
		}
		var keys []string
		for _, it := range list {
			keys = append(keys, it.Key)
			if string(it.Value) != "value of "+it.Key {
				t.Errorf("List gives %q the value %q", it.Key, it.Value)
			}
		}
		if got := strings.Join(keys, " "); got != test.want {
			t.Errorf("List(%q, %q, %d) = %q, want %q", test.prefix, test.after, test.limit, got, test.want)
		}
	}
}

func TestKVQuotaIsExactForManyAtOnce(t *testing.T) {
	s, _, _ := openStore(t)
	quotas := map[string]store.KVQuota{
		"keys":  {Keys: 10},
		"bytes": {Bytes: 10 * 8},
	}
	for name, quota := range quotas {
		kv := openKV(t, s, name, quota)
		var stored atomic.Int64
		together(64, func(i int) {
			switch err := kv.Put(ctx, fmt.Appendf(nil, "%03d", i), []byte("12345"), 0); {
			case err == nil:
				stored.Add(1)
			case !errors.Is(err, store.ErrQuota):
				t.Errorf("Put = %v", err)
			}
		})
		list, err := kv.List(ctx, "", "", 100)
		if err != nil || len(list) != 10 || stored.Load() != 10 {
			t.Fatalf("%s: %d writes went through and %d keys are there, %v, want 10", name, stored.Load(), len(list), err)
		}

		// At the limit: what does not grow still goes, from many callers too.
		key := []byte(list[0].Key)
		together(16, func(int) {
			if err := kv.Put(ctx, key, []byte("54321"), 0); err != nil {
				t.Errorf("%s: Put over a value of the same length = %v", name, err)
			}
		})
		wantIs(t, name+": Swap that does not match", kv.Swap(ctx, key, []byte("x"), []byte("123456")), store.ErrConflict)
		wantIs(t, name+": Swap of an absent key", kv.Swap(ctx, []byte("new"), []byte("x"), []byte("y")), store.ErrConflict)
		wantIs(t, name+": Add of a new counter", func() error { _, err := kv.Add(ctx, []byte("new"), 1); return err }(), store.ErrQuota)
		if err := kv.Delete(ctx, []byte("absent")); err != nil {
			t.Errorf("%s: Delete = %v", name, err)
		}
		if err := kv.Delete(ctx, key); err != nil {
			t.Errorf("%s: Delete = %v", name, err)
		}
		if err := kv.Put(ctx, []byte("new"), []byte("12345"), 0); err != nil {
			t.Errorf("%s: Put into the room of a deleted key = %v", name, err)
		}
		wantIs(t, name+": Put beyond", kv.Put(ctx, []byte("one"), []byte("12345"), 0), store.ErrQuota)

		// Whoever opens the plugin again shares the count.
		again := openKV(t, s, name, quota)
		wantIs(t, name+": Put through another KV", again.Put(ctx, []byte("one"), []byte("12345"), 0), store.ErrQuota)
	}
}

func TestKVQuotaAfterARestart(t *testing.T) {
	s, e, c := openStore(t)
	quota := store.KVQuota{Keys: 2, Value: 5}
	kv := openKV(t, s, "p", quota)
	mustPut(t, kv, "one", "12345")
	mustPut(t, kv, "two", "12345")
	wantIs(t, "Put of a long value", kv.Put(ctx, []byte("one"), []byte("123456"), 0), store.ErrQuota)
	_, err := kv.Add(ctx, []byte("one"), 1)
	wantIs(t, "Add where no counter fits", err, store.ErrQuota)
	again := openKV(t, store.New(e, c.now), "p", quota)
	wantIs(t, "Put after a restart", again.Put(ctx, []byte("three"), nil, 0), store.ErrQuota)
}

func TestKVQuotaForgetsWhatExpired(t *testing.T) {
	s, _, c := openStore(t)
	kv := openKV(t, s, "p", store.KVQuota{Keys: 2})
	if err := kv.Put(ctx, []byte("mortal"), nil, time.Minute); err != nil {
		t.Fatal(err)
	}
	mustPut(t, kv, "stays", "")
	wantIs(t, "Put beyond", kv.Put(ctx, []byte("new"), nil, 0), store.ErrQuota)
	c.advance(time.Minute)
	mustPut(t, kv, "new", "")
	wantIs(t, "Put beyond", kv.Put(ctx, []byte("more"), nil, 0), store.ErrQuota)
}

// losing is an engine that loses the answers to its updates.
type losing struct {
	store.Engine
	on bool
}

func (e *losing) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	it, err := e.Engine.Update(ctx, k, f)
	if err == nil && e.on {
		return store.Item{}, store.ErrUnknown
	}
	return it, err
}

func TestKVQuotaCountsLostAnswers(t *testing.T) {
	c := newClock()
	e := &losing{Engine: openEngine(t, c)}
	kv := openKV(t, store.New(e, c.now), "p", store.KVQuota{Keys: 2})
	e.on = true
	for range 2 { // the same key, retried
		wantIs(t, "Put", kv.Put(ctx, []byte("one"), nil, 0), store.ErrUnknown)
	}
	e.on = false
	wantIs(t, "Put while the lost answers count", kv.Put(ctx, []byte("two"), nil, 0), store.ErrQuota)
	c.advance(time.Second)
	mustPut(t, kv, "two", "")
	wantIs(t, "Put beyond", kv.Put(ctx, []byte("three"), nil, 0), store.ErrQuota)
}

// A guest reads its counters as it reads everything else of the contract.
func TestKVCounterIsLittleEndian(t *testing.T) {
	s, _, _ := openStore(t)
	kv := openKV(t, s, "p", store.KVQuota{})
	minus := int64(-2)
	mustPut(t, kv, "n", string(binary.LittleEndian.AppendUint64(nil, uint64(minus))))
	if sum, err := kv.Add(ctx, []byte("n"), 5); err != nil || sum != 3 {
		t.Errorf("Add = %d, %v, want 3", sum, err)
	}
}

// A storm of all writes at once, with keys that expire in it, then a restart: what
// is kept never is beyond the quota, and what is left of it can be used to the byte.
func TestKVQuotaHoldsInAStorm(t *testing.T) {
	t.Run("of keys that expire", func(t *testing.T) { kvStorm(t, true) })
	t.Run("of keys that stay: nothing is ever counted again", func(t *testing.T) { kvStorm(t, false) })
}

func kvStorm(t *testing.T, mortal bool) {
	c := newClock()
	dir := t.TempDir()
	open := func() (*store.Store, store.Engine) {
		e, err := badger.Open(badger.Options{Dir: dir, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(ctx, e, store.Config{Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return s, e
	}
	quota := store.KVQuota{Bytes: 4000, Keys: 60}
	kept := func(kv *store.KV) (bytes, keys int64) {
		t.Helper()
		list, err := kv.List(ctx, "", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range list {
			bytes += int64(len(it.Key) + len(it.Value))
		}
		if keys = int64(len(list)); bytes > quota.Bytes || keys > quota.Keys {
			t.Errorf("%d bytes in %d keys are kept, at most %d in %d", bytes, keys, quota.Bytes, quota.Keys)
		}
		return bytes, keys
	}
	s, e := open()
	kv := openKV(t, s, "p", quota)
	var full atomic.Int64
	together(16, func(w int) {
		random := rand.New(rand.NewPCG(7, uint64(w)))
		for range 150 {
			key := fmt.Appendf(nil, "key-%03d", random.IntN(120))
			var err error
			switch random.IntN(6) {
			case 0, 1:
				err = kv.Put(ctx, key, make([]byte, random.IntN(120)), 0)
			case 2:
				var ttl time.Duration
				if mortal {
					ttl = time.Duration(1+random.IntN(5)) * time.Second
				}
				err = kv.Put(ctx, key, make([]byte, random.IntN(120)), ttl)
			case 3:
				_, err = kv.Add(ctx, key, 1)
			case 4:
				err = kv.Swap(ctx, key, nil, []byte("new"))
			default:
				err = kv.Delete(ctx, key)
			}
			switch {
			case errors.Is(err, store.ErrQuota):
				full.Add(1)
			case err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotCounter):
				t.Errorf("a write: %v", err)
			}
			if w == 0 && random.IntN(10) == 0 {
				c.advance(700 * time.Millisecond)
				kept(kv)
			}
		}
	})
	if full.Load() == 0 {
		t.Error("the quota was never reached: nothing was tested")
	}
	for run := range 2 {
		c.advance(10 * time.Second) // what was to expire has
		bytes, keys := kept(kv)
		// One value that takes all bytes that are left, then nothing more fits.
		free := quota.Bytes - bytes - int64(len("last"))
		if keys < quota.Keys && free >= 0 {
			wantIs(t, "one byte too much", kv.Put(ctx, []byte("last"), make([]byte, free+1), 0), store.ErrQuota)
			if err := kv.Put(ctx, []byte("last"), make([]byte, free), 0); err != nil {
				t.Errorf("run %d: the last %d bytes of %d keys: %v", run, free, keys, err)
			}
			wantIs(t, "a key with no bytes left", kv.Put(ctx, []byte("x"), nil, 0), store.ErrQuota)
		} else if keys == quota.Keys {
			wantIs(t, "one key too many", kv.Put(ctx, []byte("x"), nil, 0), store.ErrQuota)
		}
		if err := errors.Join(kv.Delete(ctx, []byte("last")), s.Close()); err != nil {
			t.Fatal(err)
		}
		s, e = open()
		kv = openKV(t, s, "p", quota)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
