package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
)

// A table, from its end:
//
//	blocks | index | len 4 | checksum | len 4
//	block: records | checksum | len 4
//
// A checksum is a record of its own, but only ever that of one algorithm.

var errTable = errors.New("its end is missing, or another file's")

// readTables checks the tables that are named and returns the highest version in
// them. It reads and does not map: a sector that can't be read is an error then, and
// not the end of the process.
func (f *files) readTables(named map[uint64]bdb.TableManifest, all bool) (highest uint64, err error) {
	var mu sync.Mutex
	var running sync.WaitGroup
	turns := make(chan struct{}, max(2, runtime.NumCPU()))
	for id := range named {
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			version, failed := f.readTable(id, all)
			mu.Lock()
			defer mu.Unlock()
			highest = max(highest, version)
			if err == nil {
				err = failed
			}
		})
	}
	running.Wait()
	return highest, err
}

func (f *files) readTable(id uint64, all bool) (version uint64, err error) {
	path := f.table(id)
	b, err := readTable(path, all)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, damaged(path, "it is missing, though %s names it", filepath.Base(filepath.Join(f.dir, bdb.ManifestFilename)))
	case err != nil:
		return 0, damaged(path, "it can't be read: %v", err)
	}
	if version, err = checkTable(b, all); err != nil {
		return 0, damaged(path, "%v", err)
	}
	return version, nil
}

// readTable reads a table whole, or its end from the index on.
func readTable(path string, all bool) ([]byte, error) {
	if all {
		return os.ReadFile(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tail := func(n int64) ([]byte, error) {
		b := make([]byte, min(n, info.Size()))
		_, err := f.ReadAt(b, info.Size()-int64(len(b)))
		return b, err
	}
	const most = 4 + 11 + 4 // two lengths and a checksum
	b, err := tail(most)
	if err != nil {
		return nil, err
	}
	rest, _, ok := cutChecksum(b)
	if !ok || len(rest) < 4 {
		return b, nil // which is no table
	}
	return tail(most + int64(binary.BigEndian.Uint32(rest[len(rest)-4:])))
}

// checkTable compares the checksum of the index, and with all those of the blocks. It
// returns the highest version of the records.
func checkTable(b []byte, all bool) (version uint64, err error) {
	rest, sum, ok := cutChecksum(b)
	if !ok || len(rest) < 4 {
		return 0, errTable
	}
	size := uint64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	rest = rest[:len(rest)-4]
	if size > uint64(len(rest)) || size < 8 {
		return 0, errTable
	}
	index := rest[uint64(len(rest))-size:]
	if string(sum) != checksum(index) {
		return 0, errors.New("its index has another checksum")
	}
	// What has its checksum is as Badger wrote it, so that its places can be trusted.
	in := fb.GetRootAsTableIndex(index, 0)
	var block fb.BlockOffset
	for i := 0; all && i < in.OffsetsLength(); i++ {
		if !in.Offsets(&block, i) {
			return 0, errTable
		}
		from, to := uint64(block.Offset()), uint64(block.Offset())+uint64(block.Len())
		if to > uint64(len(rest)) {
			return 0, errTable
		}
		data, sum, ok := cutChecksum(b[from:to])
		if !ok || string(sum) != checksum(data) {
			return 0, fmt.Errorf("the block at byte %d has another checksum", from)
		}
	}
	return in.MaxVersion(), nil
}

// cutChecksum takes the checksum off the end.
func cutChecksum(b []byte) (data, sum []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	b, n := b[:len(b)-4], uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	at := uint64(len(b)) - n
	return b[:at], b[at:], true
}

// checksum is CRC-32C as Badger writes it: a protocol buffer with the algorithm, which
// is 0 and left out, and the sum as field 2.
func checksum(data []byte) string {
	sum := y.CalculateChecksum(data, pb.Checksum_CRC32C)
	if sum == 0 {
		return ""
	}
	return string(binary.AppendUvarint([]byte{2 << 3}, sum))
}
