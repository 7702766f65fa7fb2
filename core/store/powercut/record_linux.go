package powercut

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Notes is the file below the mount point to which a program writes its notes, one
// with each write. It is in no image.
const Notes = "notes"

// ErrNoMount means that this user or system may not mount.
var ErrNoMount = errors.New("powercut: no filesystem can be mounted here, root and /dev/fuse are needed")

// Recorder is a mounted filesystem that logs what is done to it.
type Recorder struct {
	server *fuse.Server

	mu     sync.Mutex // an event and its place in the log are one
	events []Event
	notes  int
	inodes uint64
}

// Record mounts an empty filesystem on a directory. It must be served by another
// process than the one that maps its files, and Unmount ends it.
func Record(dir string) (*Recorder, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNoMount
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	const notebookID = root + 1
	r := &Recorder{inodes: notebookID}
	long := time.Hour // nobody else changes anything
	top := &folder{node: node{r: r, id: root}}
	server, err := fs.Mount(dir, top, &fs.Options{
		MountOptions:    fuse.MountOptions{DirectMountStrict: true, FsName: "powercut", Name: "powercut", MaxWrite: 1 << 20, DisableXAttrs: true},
		AttrTimeout:     &long,
		EntryTimeout:    &long,
		RootStableAttr:  &fs.StableAttr{Ino: root},
		NullPermissions: true,
	})
	if err != nil {
		return nil, fmt.Errorf("powercut: mount on %s: %w", dir, err)
	}
	notes := top.NewPersistentInode(context.Background(), &notebook{r: r}, fs.StableAttr{Mode: syscall.S_IFREG, Ino: notebookID})
	top.AddChild(Notes, notes, false)
	r.server = server
	return r, nil
}

// Noted is how many notes the log has.
func (r *Recorder) Noted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notes
}

// Unmount ends the recording and returns the log.
func (r *Recorder) Unmount() ([]Event, error) {
	if err := r.server.Unmount(); err != nil {
		return nil, fmt.Errorf("powercut: unmount: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events, nil
}

// log adds an event and does what it says, as one.
func (r *Recorder) log(e Event, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if do != nil {
		do()
	}
}

func (r *Recorder) inode() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inodes++
	return r.inodes
}

// node is what files and folders have in common.
type node struct {
	fs.Inode
	r  *Recorder
	id uint64
}

type folder struct{ node }

var (
	_ fs.NodeCreater   = (*folder)(nil)
	_ fs.NodeMkdirer   = (*folder)(nil)
	_ fs.NodeUnlinker  = (*folder)(nil)
	_ fs.NodeRmdirer   = (*folder)(nil)
	_ fs.NodeRenamer   = (*folder)(nil)
	_ fs.NodeFsyncer   = (*folder)(nil)
	_ fs.NodeGetattrer = (*folder)(nil)
	_ fs.NodeSetattrer = (*folder)(nil)
	_ fs.NodeStatfser  = (*folder)(nil)
)

func (d *folder) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f := &recorded{node: node{r: d.r, id: d.r.inode()}}
	f.attr(&out.Attr)
	child := d.NewPersistentInode(ctx, f, fs.StableAttr{Mode: syscall.S_IFREG, Ino: f.id})
	d.r.log(Event{Kind: Link, Dir: d.id, Name: name, Inode: f.id}, nil)
	return child, handle{flags}, fuse.FOPEN_KEEP_CACHE, 0
}

func (d *folder) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	sub := &folder{node{r: d.r, id: d.r.inode()}}
	sub.attr(&out.Attr)
	child := d.NewPersistentInode(ctx, sub, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: sub.id})
	d.r.log(Event{Kind: Link, Dir: d.id, Name: name, Inode: sub.id, IsDir: true}, nil)
	return child, 0
}

func (d *folder) Unlink(_ context.Context, name string) syscall.Errno {
	d.r.log(Event{Kind: Unlink, Dir: d.id, Name: name}, nil)
	return 0
}

func (d *folder) Rmdir(_ context.Context, name string) syscall.Errno {
	if child := d.GetChild(name); child != nil && len(child.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	d.r.log(Event{Kind: Unlink, Dir: d.id, Name: name}, nil)
	return 0
}

func (d *folder) Rename(_ context.Context, name string, to fs.InodeEmbedder, toName string, flags uint32) syscall.Errno {
	target, ok := to.(*folder)
	if !ok || flags != 0 {
		return syscall.ENOTSUP
	}
	d.r.log(Event{Kind: Rename, Dir: d.id, Name: name, ToDir: target.id, To: toName}, nil)
	return 0
}

func (d *folder) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.r.log(Event{Kind: SyncDir, Inode: d.id}, nil)
	return 0
}

func (d *folder) attr(out *fuse.Attr) { out.Mode, out.Nlink = syscall.S_IFDIR|0o700, 2 }

func (d *folder) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.attr(&out.Attr)
	return 0
}

func (d *folder) Setattr(ctx context.Context, f fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, out)
}

func (d *folder) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	*out = fuse.StatfsOut{Bsize: page, Blocks: 1 << 30, Bfree: 1 << 29, Bavail: 1 << 29, NameLen: 255}
	return 0
}

// recorded is a file of the filesystem as the program sees it; Replay has its own.
type recorded struct {
	node
	bytes content // the Recorder's lock
}

var (
	_ fs.NodeOpener    = (*recorded)(nil)
	_ fs.NodeReader    = (*recorded)(nil)
	_ fs.NodeWriter    = (*recorded)(nil)
	_ fs.NodeFsyncer   = (*recorded)(nil)
	_ fs.NodeGetattrer = (*recorded)(nil)
	_ fs.NodeSetattrer = (*recorded)(nil)
)

// handle remembers whether each write is to be synced.
type handle struct{ flags uint32 }

func (f *recorded) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return handle{flags}, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *recorded) Read(_ context.Context, _ fs.FileHandle, into []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return fuse.ReadResultData(into[:f.bytes.read(offset, into)]), 0
}

func (f *recorded) Write(_ context.Context, h fs.FileHandle, data []byte, offset int64) (uint32, syscall.Errno) {
	e := Event{Kind: Write, Inode: f.id, Offset: offset, Data: append([]byte(nil), data...)}
	f.r.log(e, func() { f.bytes.write(offset, e.Data) })
	if h, ok := h.(handle); ok && h.flags&syscall.O_DSYNC != 0 {
		f.r.log(Event{Kind: Sync, Inode: f.id}, nil)
	}
	return uint32(len(data)), 0
}

func (f *recorded) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.r.log(Event{Kind: Sync, Inode: f.id}, nil)
	return 0
}

func (f *recorded) attr(out *fuse.Attr) {
	out.Mode, out.Nlink = syscall.S_IFREG|0o600, 1
	out.Size = uint64(f.bytes.size)
}

func (f *recorded) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.attr(&out.Attr)
	return 0
}

func (f *recorded) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f.r.log(Event{Kind: Resize, Inode: f.id, Size: int64(size)}, func() { f.bytes.resize(int64(size)) })
	}
	return f.Getattr(ctx, h, out)
}

// notebook takes notes past the page cache, so that each has its place in the log.
type notebook struct {
	fs.Inode
	r *Recorder
}

var (
	_ fs.NodeOpener    = (*notebook)(nil)
	_ fs.NodeWriter    = (*notebook)(nil)
	_ fs.NodeGetattrer = (*notebook)(nil)
)

func (b *notebook) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (b *notebook) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	b.r.log(Event{Kind: Note, Data: append([]byte(nil), data...)}, func() { b.r.notes++ })
	return uint32(len(data)), 0
}

func (b *notebook) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = syscall.S_IFREG|0o600, 1
	return 0
}
