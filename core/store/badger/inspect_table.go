package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
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

// readTables checks the tables that are named and returns the highest version in
// them. It reads and does not map: a sector that can't be read is an error then, and
// not the end of the process.
func (f *files) readTables(named map[uint64]bdb.TableManifest, all bool) (highest uint64, err error) {
	var mu sync.Mutex
	var running sync.WaitGroup
	ids := make(chan uint64)
	for range max(2, runtime.NumCPU()) {
		running.Go(func() {
			var r tableReader
			for id := range ids {
				version, failed := r.check(context.Background(), f.table(id), all)
				mu.Lock()
				highest = max(highest, version)
				if err == nil {
					err = failed
				}
				mu.Unlock()
			}
		})
	}
	for id := range named {
		ids <- id
	}
	close(ids)
	running.Wait()
	return highest, err
}

// tableReader checks one table after the other. A table may be as large as a memtable's
// budget, so it is never in memory whole.
type tableReader struct {
	open   func(path string) (tableFile, error) // of tests, in the place of os.Open; nil = that
	index  []byte                               // of the table
	window []byte                               // what was read of its blocks last
	at     int64                                // where that begins in the file
}

// tableFile is an *os.File.
type tableFile interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// windowSize is how much is read at once: a block has some 4 KiB, more only if a record
// has.
const windowSize = 256 << 10

// check compares the checksum of a table's index, and with all those of its blocks. It
// returns the highest version of the records. A table that is not what was written is
// store.ErrDamaged; what else keeps it from being read is another error, and so is ctx.
func (r *tableReader) check(ctx context.Context, path string, all bool) (version uint64, err error) {
	version, err = r.read(ctx, path, all)
	var wrong contentError
	switch {
	case err == nil:
		return version, nil
	case errors.Is(err, fs.ErrNotExist):
		err = damaged(path, "it is missing, though %s names it", bdb.ManifestFilename)
	case errors.As(err, &wrong):
		err = damaged(path, "%v", wrong)
	case errors.Is(err, io.EOF), slices.ContainsFunc(lostSector[:], func(lost error) bool { return errors.Is(err, lost) }):
		err = damaged(path, "it can't be read: %v", err)
	default: // it says nothing about the table: the process has no file left, for one
		err = fmt.Errorf("store: check a table: %w", err)
	}
	return 0, err
}

// read is check with the errors as they are.
func (r *tableReader) read(ctx context.Context, path string, all bool) (version uint64, err error) {
	f, err := r.openFile(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	in, blocks, err := r.readIndex(f, info.Size())
	if err != nil {
		return 0, err
	}
	version = in.MaxVersion()
	if all {
		err = r.checkBlocks(ctx, f, in, blocks)
	}
	return version, err
}

func (r *tableReader) openFile(path string) (tableFile, error) {
	if r.open != nil {
		return r.open(path)
	}
	return os.Open(path)
}

// contentError says what is wrong in a table.
type contentError string

func (e contentError) Error() string { return string(e) }

const errTable contentError = "its end is missing, or another file's"

// readIndex reads the index, and returns how many bytes of blocks are before it.
func (r *tableReader) readIndex(f io.ReaderAt, size int64) (in *fb.TableIndex, blocks int64, err error) {
	end := size
	cut := func(n int64) ([]byte, error) { // the n bytes before end
		if n > end {
			return nil, errTable
		}
		if int64(cap(r.index)) < n {
			r.index = make([]byte, n)
		}
		end -= n
		b := r.index[:n]
		_, err := f.ReadAt(b, end)
		return b, err
	}
	length := func() (int64, error) {
		b, err := cut(4)
		if err != nil {
			return 0, err
		}
		return int64(binary.BigEndian.Uint32(b)), nil
	}
	n, err := length()
	if err != nil {
		return nil, 0, err
	}
	const longest = 11 // a checksum
	if n > longest {
		return nil, 0, errTable
	}
	b, err := cut(n)
	if err != nil {
		return nil, 0, err
	}
	sum := string(b)
	if n, err = length(); err != nil {
		return nil, 0, err
	}
	if n < 8 {
		return nil, 0, errTable
	}
	if b, err = cut(n); err != nil {
		return nil, 0, err
	}
	if sum != checksum(b) {
		return nil, 0, contentError("its index has another checksum")
	}
	// What has its checksum is as Badger wrote it, so that its places can be trusted.
	return fb.GetRootAsTableIndex(b, 0), end, nil
}

// checkBlocks compares the checksums of the blocks, which are the first so many bytes.
func (r *tableReader) checkBlocks(ctx context.Context, f io.ReaderAt, in *fb.TableIndex, blocks int64) error {
	r.window = r.window[:0]
	var block fb.BlockOffset
	for i := range in.OffsetsLength() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !in.Offsets(&block, i) {
			return errTable
		}
		from, to := int64(block.Offset()), int64(block.Offset())+int64(block.Len())
		if to > blocks {
			return errTable
		}
		b, err := r.block(f, from, to, blocks)
		if err != nil {
			return err
		}
		if data, sum, ok := cutChecksum(b); !ok || string(sum) != checksum(data) {
			return contentError(fmt.Sprintf("the block at byte %d has another checksum", from))
		}
	}
	return nil
}

// block is what is in the file from here to there, which is before end. It reads on behind
// that, as the blocks are asked for in their order.
func (r *tableReader) block(f io.ReaderAt, from, to, end int64) ([]byte, error) {
	if from < r.at || to > r.at+int64(len(r.window)) {
		n := max(to-from, min(windowSize, end-from))
		if int64(cap(r.window)) < n {
			r.window = make([]byte, n)
		}
		r.window, r.at = r.window[:n], from
		if _, err := f.ReadAt(r.window, from); err != nil {
			r.window = r.window[:0]
			return nil, err
		}
	}
	return r.window[from-r.at : to-r.at], nil
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
