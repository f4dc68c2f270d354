package ids

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
)

// A log's file is its head, with a checksum, and then records: what was added between two calls of Save, which the table has.
const (
	logHeader  = headSize + 4
	recordHead = 4 + 4 + 8 + 8 // checksum of all that follows, number of entries, the last sequence before and after
)

// readLog reads a log up to the last whole record, and calls each for its entries. It returns after which sequence it begins, which is the
// last that it knows, and where it ends; errNotWhole when not even its head is whole, or it is not owner's.
func readLog(path string, owner [ownerSize]byte, each func(entry)) (after, last uint64, end int64, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, 0, err
	}
	if len(b) < logHeader || crc32.Checksum(b[:headSize], castagnoli) != binary.LittleEndian.Uint32(b[headSize:]) {
		return 0, 0, 0, errNotWhole
	}
	h := readHead(b)
	if h.magic != logMagic || h.owner != owner {
		return 0, 0, 0, errNotWhole
	}
	last, end = h.after, logHeader
	for {
		rest := b[end:]
		if len(rest) < recordHead {
			return h.after, last, end, nil
		}
		n := int64(binary.LittleEndian.Uint32(rest[4:]))
		size := recordHead + n*entrySize
		if int64(len(rest)) < size || crc32.Checksum(rest[4:size], castagnoli) != binary.LittleEndian.Uint32(rest) ||
			binary.LittleEndian.Uint64(rest[8:]) != last {
			return h.after, last, end, nil
		}
		for i := int64(recordHead); i < size; i += entrySize {
			each(readEntry(rest[i:]))
		}
		last, end = binary.LittleEndian.Uint64(rest[16:]), end+size
	}
}

// openLog opens a log to be added to at its end; 0 = it begins.
func openLog(path string, h head, end int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(end)
	if end == 0 && err == nil {
		b := h.append(nil)
		_, err = f.Write(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
	} else if err == nil {
		_, err = f.Seek(end, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// record makes a record of entries that follow it in b, which begins with room for its head.
func record(b []byte, before, last uint64) {
	binary.LittleEndian.PutUint32(b[4:], uint32((len(b)-recordHead)/entrySize))
	binary.LittleEndian.PutUint64(b[8:], before)
	binary.LittleEndian.PutUint64(b[16:], last)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
}

// remove removes a file that may be gone already.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
