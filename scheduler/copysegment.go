package scheduler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

// place is where a record lies: 16 bits of the segment, 16 of the length in steps, 32 of the offset. It is all that is kept in
// memory of a status.
type place uint64

const (
	// lengthStep: an event has at most 1 MB, three times as much where its attributes are escaped, and so a record at most
	// 65,535 steps. What somebody else puts into the stream may be larger.
	lengthStep = 64
	maxRecord  = 65_535 * lengthStep
)

func newPlace(segment int, offset int64, size int) place {
	return place(segment)<<48 | place((size+lengthStep-1)/lengthStep)<<32 | place(offset)
}

func (p place) segment() int  { return int(p >> 48) }
func (p place) offset() int64 { return int64(p & 0xffff_ffff) }

// order is higher for what lies behind.
func (p place) order() uint64 { return uint64(p)>>48<<32 | uint64(p)&0xffff_ffff }

// most is at least the length of the record.
func (p place) most() int { return int(p>>32&0xffff) * lengthStep }

// segment is a file of records, one after the other.
type segment struct {
	file   *os.File
	name   string // "" = it has none, so that it is gone with the process however that ends
	number int
	size   int64
	live   int64     // bytes of records that the index names
	count  int       // of these
	oldest time.Time // when the first of all its records was stored in the stream
}

func (c *statusCopy) newSegment(number int) (*segment, error) {
	if c.kept {
		name := c.nameOf(number)
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		return &segment{file: f, name: name, number: number}, err
	}
	f, err := os.CreateTemp(c.dir, "hookfleet-statuses-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &segment{file: f, number: number}, nil
}

// openSegment opens the file of a segment that was left.
func (c *statusCopy) openSegment(number int) (*segment, error) {
	name := c.nameOf(number)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &segment{file: f, name: name, number: number}, nil
}

// close gives the room back. What fails there is of no use to anybody, and what is left is removed at the next start.
func (s *segment) close() {
	if s == nil {
		return
	}
	_ = s.file.Close()
	if s.name != "" {
		_ = os.Remove(s.name)
	}
}

// A record is its size, a checksum of all that follows, the sequence and time in the stream, the lengths of subject and
// headers, and then these and the data.
const (
	recordHead = 4 + 4 + 8 + 8 + 2 + 4
	// recordGlance is enough to read head and subject: a tenant has at most 63 bytes, and the rest is hashes.
	recordGlance = recordHead + 160
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("a record is damaged")

// appendRecord writes a record.
func appendRecord(b []byte, s *stream.StoredStatus) []byte {
	start := len(b)
	var empty [recordHead]byte
	b = append(b, empty[:]...)
	b = append(b, s.Subject...)
	text := len(b)
	for name, values := range s.Header {
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	end := len(b)
	b = append(b, s.Data...)
	head := b[start:]
	binary.LittleEndian.PutUint32(head, uint32(len(head)))
	binary.LittleEndian.PutUint64(head[8:], s.Sequence)
	binary.LittleEndian.PutUint64(head[16:], uint64(s.At.UnixNano()))
	binary.LittleEndian.PutUint16(head[24:], uint16(len(s.Subject)))
	binary.LittleEndian.PutUint32(head[26:], uint32(end-text))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(head[8:], castagnoli))
	return b
}

// glance is what is at the beginning of a record.
type glance struct {
	size     int
	sequence uint64
	at       time.Time
	subject  string
	headers  int
}

// glanceAt reads the beginning of a record.
func glanceAt(b []byte) (g glance, err error) {
	if len(b) < recordHead {
		return g, errRecord
	}
	g = glance{
		size: int(binary.LittleEndian.Uint32(b)), sequence: binary.LittleEndian.Uint64(b[8:]),
		at: time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:]))), headers: int(binary.LittleEndian.Uint32(b[26:])),
	}
	subject := recordHead + int(binary.LittleEndian.Uint16(b[24:]))
	if g.size > maxRecord || subject > len(b) || subject+g.headers > g.size {
		return g, errRecord
	}
	g.subject = string(b[recordHead:subject])
	return g, nil
}

// headersStart is how the text of headers begins on the wire of NATS.
const headersStart = "NATS/1.0\r\n"

// readRecord reads a whole record, and keeps b.
func readRecord(b []byte) (*stream.StoredStatus, error) {
	g, err := glanceAt(b)
	if err != nil {
		return nil, err
	}
	if g.size > len(b) || crc32.Checksum(b[8:g.size], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, errRecord
	}
	text := b[recordHead+len(g.subject):][:g.headers]
	header, err := nats.DecodeHeadersMsg([]byte(headersStart + string(text) + "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	data := b[recordHead+len(g.subject)+g.headers : g.size : g.size]
	return &stream.StoredStatus{Subject: g.subject, Sequence: g.sequence, At: g.at, Header: header, Data: data}, nil
}

// subjectOf is what all types of a subject have in common, with the last dot.
func subjectOf(subject string) string { return subject[:strings.LastIndexByte(subject, '.')+1] }
