package powercut

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
)

// Model says what a filesystem promises.
type Model byte

const (
	// Ordered is a journal, as ext4 has it by default. Names and sizes become durable
	// in their order, and a sync takes along what came before the last change of its
	// file's name, size or blocks. Bytes that were not synced are written in any order;
	// behind the end of a file they appear from the front.
	Ordered Model = iota
	// Named has no order: whatever was not synced is kept or not, each thing by itself.
	// A sync of a file keeps its bytes and its name, as the filesystems of Linux do.
	Named
	// Strict is what POSIX says and no more: it takes a sync of the directory to keep
	// a name.
	Strict
)

func (m Model) String() string {
	return [...]string{"ordered", "named", "strict"}[m]
}

// Replay goes along a log.
type Replay struct {
	model     Model
	events    []Event
	at        int // events that have happened
	committed int // Ordered: events of names and sizes before this are durable
	files     map[uint64]*file
	names     map[name]uint64   // durable
	isDir     map[uint64]bool   // inodes
	changes   []int             // of names, not yet durable; indexes of events
	now       map[name]uint64   // as the program sees them
	pending   map[uint64][]name // not Ordered: by directory, names that changed
	history   map[name][]uint64 // not Ordered: what a name was since it was durable
}

type name struct {
	dir  uint64
	name string
}

type file struct {
	durable content
	pending []int          // writes and resizes since; indexes of events
	changed int            // events up to the last change of name, size or blocks
	blocks  map[int64]bool // pages that have room on the disk
}

// note books what an event of the file means to the journal; at counts events up to
// it.
func (f *file) note(e Event, at int) {
	if e.Kind != Write {
		f.changed = at
		maps.DeleteFunc(f.blocks, func(block int64, _ bool) bool { return block*page >= e.Size })
		return
	}
	for block := e.Offset / page; block*page < e.Offset+int64(len(e.Data)); block++ {
		if !f.blocks[block] {
			f.blocks[block] = true
			f.changed = at
		}
	}
}

// NewReplay begins in front of the first event.
func NewReplay(model Model, events []Event) *Replay {
	return &Replay{
		model: model, events: events, files: map[uint64]*file{}, names: map[name]uint64{}, now: map[name]uint64{},
		isDir: map[uint64]bool{root: true}, pending: map[uint64][]name{}, history: map[name][]uint64{},
	}
}

// Advance lets the events before to happen, and hands out the notes among them.
func (r *Replay) Advance(to int, note func([]byte)) {
	for ; r.at < to; r.at++ {
		e := r.events[r.at]
		switch e.Kind {
		case Note:
			note(e.Data)
		case Write, Resize:
			f := r.file(e.Inode)
			f.pending = append(f.pending, r.at)
			f.note(e, r.at+1)
		case Sync:
			r.sync(e.Inode)
		case SyncDir:
			r.syncDir(e.Inode)
		default:
			r.rename(e)
		}
	}
}

func (r *Replay) file(inode uint64) *file {
	f := r.files[inode]
	if f == nil {
		f = &file{blocks: map[int64]bool{}}
		r.files[inode] = f
	}
	return f
}

func (r *Replay) sync(inode uint64) {
	f := r.file(inode)
	for _, i := range f.pending {
		f.durable.apply(r.events[i])
	}
	f.pending = nil
	switch r.model {
	case Ordered:
		r.commit(f.changed)
	case Named:
		for n, was := range r.history {
			if was[len(was)-1] == inode {
				setName(r.names, n, inode)
				r.history[n] = []uint64{inode}
			}
		}
	}
}

func (r *Replay) syncDir(dir uint64) {
	if r.model == Ordered {
		r.commit(r.file(dir).changed)
		return
	}
	for _, n := range r.pending[dir] {
		setName(r.names, n, r.now[n])
		delete(r.history, n)
	}
	delete(r.pending, dir)
}

// commit writes the journal up to an event at least.
func (r *Replay) commit(upTo int) {
	r.committed = max(r.committed, upTo)
	for len(r.changes) > 0 && r.changes[0] < r.committed {
		changeNames(r.names, r.events[r.changes[0]], nil)
		r.changes = r.changes[1:]
	}
}

func (r *Replay) rename(e Event) {
	if e.Kind == Link && e.IsDir {
		r.isDir[e.Inode] = true
	}
	changeNames(r.now, e, func(n name, before, after uint64) {
		if r.model == Ordered {
			r.file(n.dir).changed = r.at + 1
			if after != 0 {
				r.file(after).changed = r.at + 1
			}
			return
		}
		if r.history[n] == nil {
			r.history[n] = []uint64{before}
			r.pending[n.dir] = append(r.pending[n.dir], n)
		}
		r.history[n] = append(r.history[n], after)
	})
	if r.model == Ordered {
		r.changes = append(r.changes, r.at)
	}
}

func changeNames(names map[name]uint64, e Event, changed func(n name, before, after uint64)) {
	set := func(n name, inode uint64) {
		if changed != nil {
			changed(n, names[n], inode)
		}
		setName(names, n, inode)
	}
	switch n := (name{e.Dir, e.Name}); e.Kind {
	case Link:
		set(n, e.Inode)
	case Unlink:
		set(n, 0)
	case Rename:
		inode := names[n]
		set(n, 0)
		set(name{e.ToDir, e.To}, inode)
	}
}

func setName(names map[name]uint64, n name, inode uint64) {
	if inode == 0 {
		delete(names, n)
	} else {
		names[n] = inode
	}
}

func (c *content) apply(e Event) {
	if e.Kind == Resize {
		c.resize(e.Size)
	} else {
		c.write(e.Offset, e.Data)
	}
}

// Image makes an image of a power cut here and now.
func (r *Replay) Image(random *rand.Rand) *Image {
	d := dice{random, []float64{0, 1, 0.5, random.Float64()}[random.IntN(4)]}
	upTo := r.at
	if r.model == Ordered { // the transaction that runs is durable up to some event, if at all
		upTo = r.committed + random.IntN(r.at-r.committed+1)
	}
	image := &Image{files: map[string]content{}}
	names := r.namesAfter(d, upTo)
	for n, inode := range names {
		if path, ok := pathOf(names, n); ok && !r.isDir[inode] {
			image.files[path] = r.contentAfter(d, inode, upTo)
		}
	}
	image.Description = fmt.Sprintf("%s, cut after event %d of %d, names and sizes up to %d, unsynced writes kept with probability %.2f",
		r.model, r.at, len(r.events), upTo, d.keep)
	return image
}

// dice decides what becomes of what was not synced.
type dice struct {
	*rand.Rand
	keep float64
}

func (d dice) kept() bool { return d.Float64() < d.keep }

func (r *Replay) namesAfter(d dice, upTo int) map[name]uint64 {
	names := maps.Clone(r.names)
	for _, i := range r.changes {
		if i < upTo {
			changeNames(names, r.events[i], nil)
		}
	}
	for _, pending := range r.pending {
		for _, n := range pending {
			was := r.history[n]
			at := d.IntN(len(was))
			switch d.keep {
			case 0:
				at = 0
			case 1:
				at = len(was) - 1
			}
			setName(names, n, was[at])
		}
	}
	return names
}

// pathOf finds the way from the root to a name. A name in a directory whose own name
// was lost is lost too.
func pathOf(names map[name]uint64, n name) (string, bool) {
	if n.dir == root {
		return n.name, true
	}
	for above, inode := range names {
		if inode == n.dir {
			dir, ok := pathOf(names, above)
			return path.Join(dir, n.name), ok
		}
	}
	return "", false
}

func (r *Replay) contentAfter(d dice, inode uint64, upTo int) content {
	f := r.files[inode]
	if f == nil {
		return content{}
	}
	if len(f.pending) == 0 {
		return f.durable
	}
	c := f.durable.clone()
	whole := true // no append was cut short so far
	for _, i := range f.pending {
		e := r.events[i]
		if e.Kind == Resize {
			lost := i >= upTo
			if r.model != Ordered {
				lost = !d.kept()
			}
			if !lost {
				c.resize(e.Size)
			} else if r.model == Ordered && e.Size < c.size {
				return c // what was written then is in blocks that nobody finds
			}
			continue
		}
		if r.model != Ordered {
			d.tear(e.Data, func(from, to int) { c.write(e.Offset+int64(from), e.Data[from:to]) })
			continue
		}
		inside := int(max(0, min(int64(len(e.Data)), c.size-e.Offset)))
		d.tear(e.Data[:inside], func(from, to int) { c.write(e.Offset+int64(from), e.Data[from:to]) })
		if inside == len(e.Data) {
			continue
		}
		// A write beyond the end that is behind a hole stands for a size that was not
		// kept: it is a mapped page.
		if whole = whole && e.Offset+int64(inside) == c.size && d.kept(); whole {
			end := len(e.Data)
			if d.keep < 1 && d.IntN(2) == 0 {
				end = inside + d.IntN((len(e.Data)-inside)/sector+1)*sector
				whole = false
			}
			c.write(e.Offset+int64(inside), e.Data[inside:end])
		}
	}
	return c
}

// tear hands out those parts of a write that reach the disk: all, none, or some of
// its pages or sectors.
func (d dice) tear(data []byte, part func(from, to int)) {
	if len(data) == 0 {
		return
	}
	unit := len(data)
	switch d.IntN(4) {
	case 0:
		unit = page
	case 1:
		unit = sector
	}
	for from := 0; from < len(data); from += unit {
		if d.kept() {
			part(from, min(from+unit, len(data)))
		}
	}
}
