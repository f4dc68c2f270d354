package egress

import (
	"cmp"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// bufferBytes holds the whole of nearly every request and answer. With 500 sends at a time it is 4 MiB of each.
	bufferBytes = 8 << 10

	// maxPooled is above which a buffer is not used again: one large event must not make all of them large.
	maxPooled = 32 << 10

	// maxAtOnce is up to which size a request is written before its answer is read. It fits in the sockets' buffers of both sides, so a receiver
	// that answers without reading blocks nothing. More is written and read at the same time.
	maxAtOnce = 32 << 10
)

// errUnsent says that nothing of a request has left, because the connection had ended. run returns it; it is safe to send on another.
var errUnsent = errors.New("nothing was sent")

// exchange is the state of one exchange, reused.
type exchange struct {
	out      []byte   // the request
	names    []string // of its header, sorted
	bodiless bool     // the answer has no body, whatever it says

	in   []byte // what came; r..w is not read yet
	r, w int
	src  net.Conn
	left int64 // bytes that may still be read: of the header, then of the body
	keep int   // bytes of the body that are kept; 0: as the config says

	again    bool          // the connection can carry another exchange
	patience time.Duration // for how long the receiver keeps it
}

var exchanges = sync.Pool{New: func() any {
	return &exchange{out: make([]byte, 0, bufferBytes), in: make([]byte, bufferBytes)}
}}

func (x *exchange) release() {
	if cap(x.out) > maxPooled {
		x.out = make([]byte, 0, bufferBytes)
	}
	if len(x.in) > maxPooled {
		x.in = make([]byte, bufferBytes)
	}
	x.src = nil
	exchanges.Put(x)
}

// run sends the request that render left and reads the answer. Its errors are the network's own, or an *Error.
func (x *exchange) run(conn *conn, r *Request, cfg *Config) (*Response, error) {
	x.src, x.r, x.w, x.again = conn, 0, 0, true
	x.keep = r.Keep
	if len(r.Body) > maxAtOnce {
		if conn.talk != nil && conn.used && !conn.open() {
			return nil, errUnsent
		}
		return x.runLarge(conn, r, cfg)
	}
	head := len(x.out)
	x.out = append(x.out, r.Body...)
	n, err := x.write(conn, cfg)
	whole := n == len(x.out)
	x.out = x.out[:head]
	switch {
	case err == nil:
		return x.answer(cfg)
	case errors.Is(err, errUnsent), n == 0 && conn.used && isReset(err):
		return nil, errUnsent
	case whole: // then reading failed
		return nil, err
	}
	return x.lastWords(cfg, err)
}

// write sends what out holds. What came of the answer meanwhile is in the buffer.
func (x *exchange) write(conn *conn, cfg *Config) (n int, err error) {
	if conn.talk == nil {
		return conn.Write(x.out)
	}
	n, x.w, err = conn.talk.run(x.out, x.in[:min(int64(len(x.in)), cfg.MaxHeaderBytes)])
	if err == nil && n < len(x.out) {
		var more int
		more, err = conn.Write(x.out[n:])
		n += more
	}
	return n, err
}

// runLarge sends and reads at the same time.
func (x *exchange) runLarge(conn *conn, r *Request, cfg *Config) (*Response, error) {
	var wrote error
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, wrote = conn.Write(x.out); wrote == nil {
			_, wrote = conn.Write(r.Body)
		}
	})
	answer, err := x.answer(cfg)
	if err != nil || !x.again {
		_ = conn.SetWriteDeadline(time.Unix(1, 0)) // it is closed anyway
	} else {
		_ = conn.SetWriteDeadline(time.Now().Add(lateWrite))
	}
	writing.Wait()
	x.again = x.again && wrote == nil
	return answer, err
}

// lateWrite is how long a whole answer waits for the end of its request, so that the connection can be used again.
const lateWrite = 50 * time.Millisecond

// lastWords reads the answer of a receiver that has closed before it had the whole request; err is what the write met.
func (x *exchange) lastWords(cfg *Config, err error) (*Response, error) {
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return nil, err
	}
	if answer, late := x.answer(cfg); late == nil {
		x.again = false
		return answer, nil
	}
	return nil, err
}

// answer reads the response, with its body as far as it is wanted.
func (x *exchange) answer(cfg *Config) (*Response, error) {
	h, err := x.readHead(cfg.MaxHeaderBytes)
	if err != nil {
		return nil, err
	}
	answer := &Response{Status: h.status, Header: h.fields}
	x.left = cfg.MaxBodyBytes - int64(x.w-x.r)
	keep := cmp.Or(x.keep, cfg.KeepBodyBytes)
	switch {
	case h.status == 204 || h.status == 304 || x.bodiless:
	case h.chunked:
		err = x.readChunks(answer, keep)
	case h.length >= 0:
		err = x.readLength(answer, keep, h.length)
	default:
		err = x.readAll(answer, keep)
	}
	if errors.Is(err, errEnough) {
		x.again, err = false, nil
	}
	x.again = x.again && h.keep && x.r == x.w // what comes unasked belongs to nobody
	x.patience = h.patience
	return answer, err
}

// errEnough ends the reading of a body that is longer than what is read.
var errEnough = errors.New("body is longer than what is read")

// fill reads more into the buffer, which grows up to what may still be read. It returns an error only when nothing came.
func (x *exchange) fill() error {
	if x.left <= 0 {
		return errEnough
	}
	if x.r > 0 {
		x.w = copy(x.in, x.in[x.r:x.w])
		x.r = 0
	}
	if x.w == len(x.in) {
		x.in = append(x.in, make([]byte, len(x.in))...)
	}
	n, err := x.src.Read(x.in[x.w : x.w+int(min(x.left, int64(len(x.in)-x.w)))])
	x.w += n
	x.left -= int64(n)
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// readLength reads a body of n bytes.
func (x *exchange) readLength(answer *Response, keep int, n int64) error {
	for n > 0 {
		if x.r == x.w {
			if err := x.fill(); err != nil {
				return err
			}
		}
		n -= int64(x.consume(answer, keep, n))
	}
	return nil
}

// readAll reads a body that ends with the connection.
func (x *exchange) readAll(answer *Response, keep int) error {
	x.again = false
	for {
		x.consume(answer, keep, int64(x.w-x.r))
		if err := x.fill(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readChunks reads a chunked body. What may be read counts the frames too, else a receiver could send them for ever.
func (x *exchange) readChunks(answer *Response, keep int) error {
	for {
		line, err := x.readLine()
		if err != nil {
			return err
		}
		n, err := chunkSize(line)
		if err != nil {
			return err
		}
		if n == 0 {
			return x.readTrailer()
		}
		if err := x.readLength(answer, keep, n); err != nil {
			return err
		}
		if line, err = x.readLine(); err != nil {
			return err
		} else if len(line) > 0 {
			return errBroken
		}
	}
}

// readTrailer reads what follows the last chunk, and forgets it.
func (x *exchange) readTrailer() error {
	for {
		if line, err := x.readLine(); err != nil || len(line) == 0 {
			return err
		}
	}
}

// consume takes up to n bytes from the buffer, and keeps them while there is room.
func (x *exchange) consume(answer *Response, keep int, n int64) int {
	b := x.in[x.r:min(x.w, x.r+int(min(n, int64(x.w-x.r))))]
	if room := keep - len(answer.Body); room > 0 && len(b) > 0 {
		answer.Body = append(answer.Body, b[:min(room, len(b))]...)
	}
	x.r += len(b)
	return len(b)
}
