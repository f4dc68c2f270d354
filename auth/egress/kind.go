package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Kind is why there is no usable response. The texts are the network reasons of the API.
type Kind string

// The kinds of Error.
const (
	Timeout  Kind = "timeout"  // the exchange had not ended at its deadline
	Refused  Kind = "refused"  // no connection: refused, unreachable, or no local port or file left
	Reset    Kind = "reset"    // the connection ended before the response did
	DNS      Kind = "dns"      // the name did not resolve
	TLS      Kind = "tls"      // no trust: certificate, name, or version
	Blocked  Kind = "blocked"  // the guard said no; nothing was sent
	Protocol Kind = "protocol" // what came is no HTTP/1.1 response within the limits
	Stopped  Kind = ""         // the caller's own context was cancelled: not the receiver's doing, and no reason of the API
)

// Error is what Client.Do returns. Its text has no query of a URL, no header, and nothing that a receiver sent as HTTP.
type Error struct {
	Kind Kind
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Kind == Stopped {
		return e.Err.Error()
	}
	return string(e.Kind) + ": " + e.Err.Error()
}

// Unwrap returns the cause. errors.Is(err, context.Canceled) holds when the caller's context ended the exchange.
func (e *Error) Unwrap() error { return e.Err }

var (
	errDeadline  = errors.New("exchange not ended in time")
	errMalformed = errors.New("malformed response")
	errHeader    = errors.New("response header over the limit")
	errSwitched  = errors.New("response switches protocols")
	errCutShort  = errors.New("connection closed before the end of the response")
)

// explain makes the *Error of whatever an exchange under ctx ended with. It is total: what it does not know is Protocol, in words of ours.
func explain(ctx context.Context, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	kind, cause := kindOf(err)
	return &Error{Kind: kind, Err: cause}
}

// ended is the error of an exchange whose context is over: by our deadline or by the caller.
func ended(ctx context.Context) *Error {
	switch cause := context.Cause(ctx); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{Kind: Timeout, Err: cause}
	case errors.Is(cause, context.Canceled):
		return &Error{Kind: Stopped, Err: cause}
	default:
		return &Error{Kind: Stopped, Err: fmt.Errorf("%w: %w", context.Canceled, cause)}
	}
}

// kindOf is explain for what the network did.
func kindOf(err error) (Kind, error) {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return DNS, dns
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Timeout, errDeadline
	}
	if isTimeout(err) {
		return Timeout, plain(err)
	}
	if isTLS(err) {
		return TLS, err
	}
	if isReset(err) {
		return Reset, plain(err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return Refused, plain(err)
	}
	return Protocol, errMalformed
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// handshakeError marks what went wrong between connecting and the request.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

func isTLS(err error) bool {
	if _, ok := errors.AsType[handshakeError](err); ok {
		return !isReset(err)
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err) // an alert after the handshake, as TLS 1.3 reports a missing client certificate
	return ok && (op.Op == "remote error" || op.Op == "local error")
}

func isReset(err error) bool {
	for _, known := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.ENETRESET, syscall.ENOTCONN,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// plain returns the error of the system below err, without the layers above it, which name things that are known or ours.
func plain(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	if isReset(err) {
		return errCutShort
	}
	return err
}
