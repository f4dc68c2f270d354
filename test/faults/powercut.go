package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// fickleDisk is a directory on a disk that loses power: Mount is where to work, and after Cut, Durable has what was synced by
// then. It is as unkind as a disk may be: names (files made, renamed, removed) are there at once, as a journal may have
// them, but of a file's bytes only those that were synced after they were written.
type fickleDisk struct {
	Mount, Durable string

	volatile string
	mu       sync.Mutex
	cut      bool
	dirty    map[uint64]*extent // by inode of the volatile file
	syncs    int
	server   *fuse.Server
}

// extent is the part of a file that was written and not synced.
type extent struct{ from, to int64 }

// newFickleDisk mounts a disk, or skips the test where that is not possible.
func newFickleDisk(t *testing.T) *fickleDisk {
	t.Helper()
	base := t.TempDir()
	d := &fickleDisk{
		Mount: filepath.Join(base, "mount"), Durable: filepath.Join(base, "durable"), volatile: filepath.Join(base, "volatile"),
		dirty: map[uint64]*extent{},
	}
	for _, dir := range []string{d.Mount, d.Durable, d.volatile} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := &fs.LoopbackRoot{Path: d.volatile}
	top := &node{LoopbackNode: &fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = top
	server, err := fs.Mount(d.Mount, top, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "powercut"}})
	if err != nil {
		t.Skipf("SKIPPED: no file system can be mounted here, so the loss of power was not tried: %v", err)
	}
	d.server = server
	t.Cleanup(d.Cut)
	return d
}

// Cut is the end of power: nothing becomes durable any more. What uses the disk must have ended.
func (d *fickleDisk) Cut() {
	d.mu.Lock()
	was := d.cut
	d.cut = true
	d.mu.Unlock()
	if !was {
		_ = d.server.Unmount() // who still uses it holds it
	}
}

// written notes that [from, to) of a file is not durable.
func (d *fickleDisk) written(inode uint64, from, to int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.dirty[inode]
	if e == nil {
		d.dirty[inode] = &extent{from, to}
		return
	}
	e.from, e.to = min(e.from, from), max(e.to, to)
}

// sync makes durable what was written to the file at path before.
func (d *fickleDisk) sync(inode uint64, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	e := d.dirty[inode]
	if d.cut || e == nil {
		return nil
	}
	from, err := os.Open(filepath.Join(d.volatile, path))
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed since
	}
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(d.Durable, path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(info.Size()); err != nil {
		return err
	}
	text := make([]byte, max(0, min(e.to, info.Size())-e.from))
	if _, err := from.ReadAt(text, e.from); err != nil {
		return err
	}
	if _, err := to.WriteAt(text, e.from); err != nil {
		return err
	}
	delete(d.dirty, inode)
	return nil
}

// name carries out on the durable side what happened to a name.
func (d *fickleDisk) name(change func() error) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return 0
	}
	return fs.ToErrno(change())
}

// node is a file or directory of the disk.
type node struct {
	*fs.LoopbackNode
	disk *fickleDisk
}

// WrapChild makes every file of the disk one of ours.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: ops.(*fs.LoopbackNode), disk: n.disk}
}

// at is the path of a name in this directory, or of the node itself.
func (n *node) at(names ...string) string {
	return filepath.Join(append([]string{n.Path(n.Root())}, names...)...)
}

func (n *node) durable(names ...string) string { return filepath.Join(n.disk.Durable, n.at(names...)) }

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	inode, errno := n.LoopbackNode.Mkdir(ctx, name, mode, out)
	if errno == 0 {
		errno = n.disk.name(func() error { return os.Mkdir(n.durable(name), os.FileMode(mode)) })
	}
	return inode, errno
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	errno := n.LoopbackNode.Rmdir(ctx, name)
	if errno == 0 {
		errno = n.disk.name(func() error { return os.Remove(n.durable(name)) })
	}
	return errno
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	errno := n.LoopbackNode.Unlink(ctx, name)
	if errno == 0 {
		errno = n.disk.name(func() error { return os.Remove(n.durable(name)) })
	}
	return errno
}

func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	target := filepath.Join(n.disk.Durable, to.EmbeddedInode().Path(n.Root()), newName)
	errno := n.LoopbackNode.Rename(ctx, name, to, newName, flags)
	if errno == 0 {
		errno = n.disk.name(func() error { return os.Rename(n.durable(name), target) })
	}
	return errno
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, h, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return inode, h, fuseFlags, errno
	}
	errno = n.disk.name(func() error {
		f, err := os.OpenFile(n.durable(name), os.O_CREATE|os.O_WRONLY, os.FileMode(mode))
		if err != nil {
			return err
		}
		return f.Close()
	})
	return inode, &handle{h.(*fs.LoopbackFile), inode.Operations().(*node)}, fuseFlags, errno
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return h, fuseFlags, errno
	}
	if flags&syscall.O_TRUNC != 0 {
		n.disk.written(n.StableAttr().Ino, 0, 0)
	}
	return &handle{h.(*fs.LoopbackFile), n}, fuseFlags, 0
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if file, ok := h.(*handle); ok {
		h = file.LoopbackFile
	}
	errno := n.LoopbackNode.Setattr(ctx, h, in, out)
	if size, ok := in.GetSize(); ok && errno == 0 {
		n.disk.written(n.StableAttr().Ino, 0, int64(size))
	}
	return errno
}

func (n *node) Getattr(ctx context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if file, ok := h.(*handle); ok {
		h = file.LoopbackFile
	}
	return n.LoopbackNode.Getattr(ctx, h, out)
}

// Fsync of a directory: names are durable at once.
func (n *node) Fsync(_ context.Context, h fs.FileHandle, _ uint32) syscall.Errno {
	if _, ok := h.(*handle); !ok {
		return 0
	}
	return fs.ToErrno(n.disk.sync(n.StableAttr().Ino, n.at()))
}

// handle is an open file of the disk.
type handle struct {
	*fs.LoopbackFile
	node *node
}

// PassthroughFd hides the file from the kernel, which would write to it without us.
func (*handle) PassthroughFd() (int, bool) { return 0, false }

func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, errno := h.LoopbackFile.Write(ctx, data, off)
	if errno == 0 {
		h.node.disk.written(h.node.StableAttr().Ino, off, off+int64(n))
	}
	return n, errno
}
