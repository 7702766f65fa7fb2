package store

import "math/bits"

// Usage is what an engine takes of the machine at this moment. An engine that can
// tell has a method Usage() Usage.
type Usage struct {
	Levels    []Level // of tables, from the one that is written to first
	Log       int64   // bytes on the disk of what is not in tables yet
	Memtables int     // tables in memory
	Memory    int64   // bytes that they take
	Budget    int64   // bytes that they may take, with the making of tables
}

// Level is a level of tables on the disk.
type Level struct {
	Tables int
	Bytes  int64
	Stale  int64 // of them, bytes of what was written over, deleted or has expired, and goes with the next compaction
}

// Histogram counts values by powers of two: bucket i has those below 1<<i that are
// in no bucket before it. Sum is of all values.
type Histogram struct {
	Sum     uint64
	Buckets [HistogramBuckets]uint64
}

// HistogramBuckets is how many buckets there are; the last has all larger values.
const HistogramBuckets = 40

// HistogramBucket is the bucket of a value.
func HistogramBucket(v uint64) int { return min(bits.Len64(v), HistogramBuckets-1) }

// Count is how many values there are.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Buckets {
		n += c
	}
	return n
}

// Usage is the engine's; false if it doesn't tell.
func (s *Store) Usage() (Usage, bool) {
	e, ok := s.engine.(interface{ Usage() Usage })
	if !ok {
		return Usage{}, false
	}
	return e.Usage(), true
}

// Stats are the engine's; false if it doesn't tell.
func (s *Store) Stats() (Stats, bool) {
	e, ok := s.engine.(interface{ Stats() Stats })
	if !ok {
		return Stats{}, false
	}
	return e.Stats(), true
}
