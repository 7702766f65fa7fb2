package store

import (
	"encoding/binary"
	"testing"
)

func cacheID(n int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	id[15] = byte(n)
	return id
}

func TestCacheKeepsNothingReadBeforeADrop(t *testing.T) {
	c := newAccountCache(cacheShards)
	id, a := cacheID(1), &Account{Account: "alice"}
	_, _, lease := c.get(id)
	c.drop(id) // a write that the reader did not see
	c.put(id, a, lease)
	if _, known, _ := c.get(id); known {
		t.Error("what was read before the drop came back after it")
	}
	_, _, lease = c.get(id)
	c.put(id, a, lease)
	if got, known, _ := c.get(id); !known || got != a {
		t.Errorf("get = %v, %v, want what was put", got, known)
	}
	_, _, lease = c.get(cacheID(2))
	c.clear()
	c.put(cacheID(2), a, lease)
	for n := range 3 {
		if _, known, _ := c.get(cacheID(n)); known {
			t.Errorf("%d is known after everything was cleared", n)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	const size = 4 * cacheShards
	c := newAccountCache(size)
	for n := range 100 * size {
		_, _, lease := c.get(cacheID(n))
		c.put(cacheID(n), nil, lease)
		if n%7 == 0 {
			c.drop(cacheID(n - n%3))
		}
	}
	held := 0
	for i := range c.shards {
		s := &c.shards[i]
		if len(s.slots) > 4 || len(s.index) > len(s.slots) {
			t.Fatalf("a shard has %d slots and %d entries, want at most 4", len(s.slots), len(s.index))
		}
		for id, at := range s.index {
			if s.slots[at].subject != id {
				t.Fatalf("the entry of %x is that of %x", id, s.slots[at].subject)
			}
		}
		held += len(s.index)
	}
	if held < size/2 {
		t.Errorf("%d entries are held, want about %d", held, size)
	}
}

func TestCacheKeepsWhatIsAskedFor(t *testing.T) {
	c := newAccountCache(4 * cacheShards)
	popular := cacheID(0)
	_, _, lease := c.get(popular)
	c.put(popular, nil, lease)
	for n := range 100 {
		if _, known, _ := c.get(popular); !known {
			t.Fatalf("what is asked for all the time was let go after %d others", n)
		}
		id := cacheID((n + 1) * 256) // the same shard
		_, _, lease := c.get(id)
		c.put(id, nil, lease)
	}
}

func BenchmarkCachedAccount(b *testing.B) {
	c := newAccountCache(1 << 16)
	for n := range 1 << 14 {
		_, _, lease := c.get(cacheID(n))
		c.put(cacheID(n), &Account{}, lease)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			c.get(cacheID(n % (1 << 14)))
		}
	})
}
