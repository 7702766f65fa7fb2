package badger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"os"
	"strconv"
)

// A log of a memtable:
//
//	key id 8 (0: no encryption) | 12 bytes | entries | zeros
//	entry: meta 1 | user meta 1 | uvarint len(key) | uvarint len(value) | uvarint expires |
//	       key | ^version 8 | value | CRC-32C 4
//
// The entries of a commit end with one that says so. The file is made with zeros to
// its whole length and written from its beginning.
const (
	logHeader   = 20
	entryHeader = 22 // at most; Badger keeps as much zero behind the last entry
	metaTxn     = 1 << 6
	metaEnd     = 1 << 7
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	endKey     = []byte("!badger!txn")
)

// entry is an entry that has its checksum.
type entry struct {
	meta    byte
	key     []byte // without the version
	version uint64
	value   []byte
	size    int
}

func readEntry(b []byte) (e entry, ok bool) {
	if len(b) < 2 {
		return e, false
	}
	at := 2
	var numbers [3]uint64
	for i := range numbers {
		n, width := binary.Uvarint(b[at:])
		if width <= 0 {
			return e, false
		}
		numbers[i], at = n, at+width
	}
	key, value := numbers[0], numbers[1]
	if key < 8 || key > uint64(len(b)) || value > uint64(len(b)) || uint64(at)+key+value+4 > uint64(len(b)) {
		return e, false
	}
	end := at + int(key) + int(value)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return e, false
	}
	k := b[at : at+int(key)]
	return entry{
		meta: b[0], key: k[:len(k)-8], version: math.MaxUint64 - binary.BigEndian.Uint64(k[len(k)-8:]),
		value: b[at+int(key) : end], size: end + 4,
	}, true
}

// ends says whether the entry is the last one of its commit.
func (e *entry) ends() bool {
	return e.meta&metaEnd != 0 && bytes.Equal(e.key, endKey) && string(e.value) == strconv.FormatUint(e.version, 10)
}

// logCommits goes through the whole commits at the beginning of a log and returns the
// versions of the first and of the last, 0 if there is none, and where they end.
func logCommits(b []byte) (first, last uint64, end int) {
	var version uint64 // of the commit under way
	end = min(logHeader, len(b))
	for at := end; ; {
		e, ok := readEntry(b[at:])
		if !ok || version != 0 && e.version != version {
			return first, last, end
		}
		at += e.size
		switch {
		case e.ends():
			if first == 0 {
				first = e.version
			}
			last, version, end = e.version, 0, at
		case e.meta&metaTxn != 0:
			version = e.version
		default: // nobody here writes outside of a commit
			return first, last, end
		}
	}
}

// later says whether something was written behind the commit that rest begins with,
// which can't be read; last is the version of the one before it, 0 if there is none.
// There is one commit at a time, and with sync the next one begins when it is on the
// disk: so that one was acknowledged. It is told apart from the next one by its
// version, for those of a log have no gaps.
func later(rest []byte, last uint64) bool {
	var version uint64 // of the commit; 0 = nothing tells
	if e, ok := readEntry(rest); ok {
		version = e.version
	} else if last != 0 {
		version = last + 1
	}
	for at := 0; ; {
		n := bytes.Index(rest[at:], endKey)
		if n < 0 {
			return false
		}
		at += n
		// The header of a last entry is two bytes, the length of its key, and two more.
		if from := at - 5; from >= 0 {
			e, ok := readEntry(rest[from:])
			if ok && e.ends() && (version != 0 && e.version != version || !zero(rest[from+e.size:])) {
				return true
			}
		}
		at += len(endKey)
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// readLogs checks the logs and returns the version with which each begins. The last
// one may end within a commit: that was under way when the process or the power went.
// The others have to be whole, since Badger cuts a log before it begins the next.
func (f *files) readLogs(sync bool, log *slog.Logger) (begins []uint64, err error) {
	for i, id := range f.logs {
		path := f.log(id)
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, damaged(path, "it can't be read: %v", err)
		}
		if len(b) >= 8 && binary.BigEndian.Uint64(b) != 0 {
			return nil, damaged(path, "it begins with the key %x, and none is used", b[:8])
		}
		first, before, end := logCommits(b)
		if first != 0 {
			begins = append(begins, first)
		}
		rest := b[end:]
		switch last := i == len(f.logs)-1; {
		case zero(rest):
			continue
		case !last || later(rest, before):
			what := fmt.Sprintf("what was written at byte %d can't be read, and there is more behind it", end)
			if sync {
				return nil, damaged(path, "%s", what)
			}
			// Without sync a power loss may leave holes anywhere. That is what was asked for.
			log.Warn("store: a log is damaged, and with durability \"process\" that is put up with: what it says from there on is lost", "file", path, "byte", end)
		default:
			log.Info("store: a commit was under way when the process ended: it was not acknowledged, and did not happen", "file", path, "byte", end)
			if sync {
				f.torn, f.tornAt = path, int64(end)
			}
		}
	}
	return begins, nil
}

// clearTail takes the commit that was under way off the end of a log, for good. Badger
// does so too and does not sync it: after a power cut it could be back, in front of a
// log with commits that were acknowledged. The file stays as long as it was, which
// tells how large its memtable is.
func (f *files) clearTail() error {
	if f.torn == "" {
		return nil
	}
	file, err := os.OpenFile(f.torn, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil {
		err = errors.Join(file.Truncate(f.tornAt), file.Truncate(info.Size()), file.Sync())
	}
	if err != nil {
		return fmt.Errorf("store: clear the end of %s: %w", f.torn, err)
	}
	return nil
}
