// Package powercut is what a disk may hold after its power was cut.
//
// A Recorder is a filesystem in memory under which any program may run. The kernel
// is in front of it, with its page cache, its write-back and its mapped files, so the
// log has the writes and syncs that a disk would have got, in their order, and between
// them the notes of the program: what it told others that it keeps.
//
// A Replay goes along the log and makes images: what may be found if the power had
// been cut there. What was synced is in all of them. What was not is there, absent,
// torn into pages or sectors, and in any order, as the model of the filesystem allows.
//
// The package knows neither the program nor what its files mean.
package powercut

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind says what an Event is.
type Kind byte

const (
	Link    Kind = iota // Name in Dir is Inode from now on; also the second half of a rename
	Unlink              // Name in Dir is gone
	Rename              // Name in Dir became To in ToDir
	Resize              // Inode has Size bytes
	Write               // Data at Offset of Inode
	Sync                // Inode was synced: fsync, msync
	SyncDir             // so was a directory
	Note                // Data is what the program said
)

// Event is a line of the log. The root is Inode 1.
type Event struct {
	Kind   Kind
	Inode  uint64
	Dir    uint64
	Name   string
	ToDir  uint64
	To     string
	IsDir  bool // of a Link: the inode is a directory
	Size   int64
	Offset int64
	Data   []byte
}

// changesNames says whether the event is about names and not about bytes.
func (e Event) changesNames() bool { return e.Kind <= Rename }

const (
	root   = 1
	page   = 4096
	sector = 512
)

// content is a file's bytes. Pages that are absent are zero; a page is never written
// to once it is in a content, so that many share it.
type content struct {
	size  int64
	pages map[int64][]byte
}

func (c content) clone() content {
	copied := make(map[int64][]byte, len(c.pages))
	for at, p := range c.pages {
		copied[at] = p
	}
	return content{c.size, copied}
}

func (c *content) resize(size int64) {
	if c.pages == nil {
		c.pages = map[int64][]byte{}
	}
	if size < c.size {
		for at, p := range c.pages {
			switch first := at * page; {
			case first >= size:
				delete(c.pages, at)
			case first+page > size:
				cut := make([]byte, page)
				copy(cut, p[:size-first])
				c.pages[at] = cut
			}
		}
	}
	c.size = size
}

func (c *content) write(offset int64, data []byte) {
	if c.pages == nil {
		c.pages = map[int64][]byte{}
	}
	c.size = max(c.size, offset+int64(len(data)))
	for len(data) > 0 {
		at, from := offset/page, offset%page
		fresh := make([]byte, page)
		if from != 0 || len(data) < page {
			copy(fresh, c.pages[at])
		}
		n := copy(fresh[from:], data)
		c.pages[at] = fresh
		offset, data = offset+int64(n), data[n:]
	}
}

func (c content) read(offset int64, into []byte) int {
	n := int(max(0, min(int64(len(into)), c.size-offset)))
	for done := 0; done < n; {
		at, from := (offset+int64(done))/page, (offset+int64(done))%page
		part := into[done:min(n, done+int(page-from))]
		if p, ok := c.pages[at]; ok {
			copy(part, p[from:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return n
}

// Image is what is on the disk after a power cut: its files by path. Directories are
// there if anything is in them.
type Image struct {
	Description string // the cut, and what became of what was not synced
	files       map[string]content
}

// String lists the files with their sizes.
func (m *Image) String() string {
	all := make([]string, 0, len(m.files))
	for name, c := range m.files {
		all = append(all, fmt.Sprintf("%s (%d)", name, c.size))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Materialise writes the image into a directory.
func (m *Image) Materialise(dir string) error {
	for name, c := range m.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := c.save(path); err != nil {
			return err
		}
	}
	return nil
}

func (c content) save(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(c.size); err != nil {
		return err
	}
	for at, p := range c.pages {
		if _, err := f.WriteAt(p[:min(page, c.size-at*page)], at*page); err != nil {
			return err
		}
	}
	return f.Close()
}
