package ids

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// castagnoli is what checksums are made with: processors do it at gigabytes a second.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNotWhole says that a file is cut off, changed, of another release or of another stream.
var errNotWhole = errors.New("not whole")

// What files begin with: a magic number with the version, whose they are, and after which sequence they begin.
const (
	runMagic  = 0x01_72_69_68 // "hir", 1
	logMagic  = 0x01_6c_69_68 // "hil", 1
	ownerSize = 16
	headSize  = 4 + ownerSize + 8
)

type head struct {
	magic uint32
	owner [ownerSize]byte
	after uint64
}

func (h *head) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.magic)
	b = append(b, h.owner[:]...)
	return binary.LittleEndian.AppendUint64(b, h.after)
}

func readHead(b []byte) (h head) {
	h.magic = binary.LittleEndian.Uint32(b)
	copy(h.owner[:], b[4:])
	h.after = binary.LittleEndian.Uint64(b[4+ownerSize:])
	return h
}

// A run's file is its head, then this, then the slots of a table as they were.
const (
	runFixed  = 8 + 8 + 4 + 4 + 4 // last sequence, newest time, slots, checksum of the slots, checksum of what is before
	runHeader = headSize + runFixed
	chunk     = 64 << 10 / entrySize * entrySize
)

// run is a table that was full, in a file; in memory where that could not be written.
type run struct {
	path   string
	file   *os.File
	mem    []entry
	slots  int
	last   uint64
	newest int64 // ms
}

// writeRun writes a table that knows what came after a sequence up to last.
func writeRun(path string, h head, t *table, last uint64, newest int64) (r *run, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	sum, at := uint32(0), int64(runHeader)
	buffer := make([]byte, 0, chunk)
	for i := range t.slots {
		buffer = buffer[:len(buffer)+entrySize]
		t.slots[i].put(buffer[len(buffer)-entrySize:])
		if len(buffer) == chunk || i == len(t.slots)-1 {
			if _, err := f.WriteAt(buffer, at); err != nil {
				return nil, err
			}
			sum, at, buffer = crc32.Update(sum, castagnoli, buffer), at+int64(len(buffer)), buffer[:0]
		}
	}
	b := h.append(nil)
	b = binary.LittleEndian.AppendUint64(b, last)
	b = binary.LittleEndian.AppendUint64(b, uint64(newest))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.slots)))
	b = binary.LittleEndian.AppendUint32(b, sum)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, err
	}
	return &run{path: path, file: f, slots: len(t.slots), last: last, newest: newest}, nil
}

// openRun opens a run and calls each for its ids; errNotWhole if it is not one of owner.
func openRun(path string, owner [ownerSize]byte, each func(key)) (r *run, after uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
		}
	}()
	b := make([]byte, runHeader)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, 0, errNotWhole
	}
	h, fixed := readHead(b), b[headSize:]
	r = &run{path: path, file: f, last: binary.LittleEndian.Uint64(fixed), newest: int64(binary.LittleEndian.Uint64(fixed[8:]))}
	r.slots = int(binary.LittleEndian.Uint32(fixed[16:]))
	whole := crc32.Checksum(b[:runHeader-4], castagnoli) == binary.LittleEndian.Uint32(fixed[24:])
	if !whole || h.magic != runMagic || h.owner != owner || r.slots == 0 || r.slots&(r.slots-1) != 0 {
		return nil, 0, errNotWhole
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.Size() != int64(runHeader)+int64(r.slots)*entrySize {
		return nil, 0, errNotWhole
	}
	return r, h.after, r.check(binary.LittleEndian.Uint32(fixed[20:]), each)
}

// check reads all slots.
func (r *run) check(want uint32, each func(key)) error {
	sum, b := uint32(0), make([]byte, chunk)
	for at := int64(0); at < int64(r.slots)*entrySize; at += int64(len(b)) {
		b = b[:min(int64(chunk), int64(r.slots)*entrySize-at)]
		if _, err := r.file.ReadAt(b, runHeader+at); err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, b)
		for i := 0; i < len(b); i += entrySize {
			if e := readEntry(b[i:]); !e.free() {
				each(e.key())
			}
		}
	}
	if sum != want {
		return errNotWhole
	}
	return nil
}

// runRead is how many slots are read at once: an id that is there is within 3 of its place, one that is not makes some 8 be looked at.
const runRead = 8

// find returns the entry of a key; free = there is none.
func (r *run) find(k key) (entry, error) {
	if r.mem != nil {
		t := table{slots: r.mem}
		return *t.find(k), nil
	}
	var b [runRead * entrySize]byte
	for at, seen := place(k, r.slots), 0; seen < r.slots; {
		n := min(runRead, r.slots-at)
		if _, err := r.file.ReadAt(b[:n*entrySize], int64(runHeader)+int64(at)*entrySize); err != nil {
			return entry{}, fmt.Errorf("look for an id: %w", err)
		}
		for i := range n {
			if e := readEntry(b[i*entrySize:]); e.free() || e.key() == k {
				return e, nil
			}
		}
		seen, at = seen+n, (at+n)&(r.slots-1)
	}
	return entry{}, nil
}

// drop ends its use, and removes its file.
func (r *run) drop() {
	if r.file != nil {
		_ = r.file.Close() // nothing was written that matters any more
		_ = os.Remove(r.path)
	}
}
