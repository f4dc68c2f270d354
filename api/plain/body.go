package plain

import (
	"errors"
	"io"
	"net/http"
)

// body is the body of the request that is being served. It implements io.ReadCloser.
type body struct {
	conn   *conn
	left   int64 // bytes that have not been read
	closed bool
	failed bool // it did not come whole, so nothing behind it can be read
}

// Read implements io.Reader. What is not buffered is read where it is wanted.
func (b *body) Read(p []byte) (n int, err error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	p = p[:min(int64(len(p)), b.left)]
	if n = b.conn.takeBuffered(p); n == 0 {
		n, err = b.conn.Read(p)
	}
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, nil
	case err != nil:
		b.failed = true
		b.conn.cancel() // as net/http does: nobody is there to read an answer
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close implements io.Closer. What is left is read when the handler has returned.
func (b *body) Close() error {
	b.closed = true
	return nil
}

// discard reads what the handler has left, so that the next request can be found; false = it cannot be.
func (b *body) discard() bool {
	switch {
	case b.left == 0:
		return true
	case b.failed || b.left >= maxUnread:
		return false
	}
	b.closed = false
	_, err := io.Copy(io.Discard, b)
	return err == nil
}
