package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestExplainIsTotal(t *testing.T) {
	t.Parallel()
	dial := func(errno error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	read := func(errno error) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", errno)}
	}
	for _, tt := range []struct {
		err  error
		want Kind
	}{
		{dial(syscall.ECONNREFUSED), Refused}, {dial(syscall.EHOSTUNREACH), Refused}, {dial(syscall.ENETUNREACH), Refused},
		{dial(syscall.EADDRNOTAVAIL), Refused}, {dial(syscall.EMFILE), Refused}, {dial(syscall.EACCES), Refused},
		{dial(syscall.ETIMEDOUT), Timeout}, {dial(os.ErrDeadlineExceeded), Timeout}, {read(syscall.ETIMEDOUT), Timeout}, {os.ErrDeadlineExceeded, Timeout},
		{dial(syscall.ECONNRESET), Reset}, {read(syscall.ECONNRESET), Reset}, {read(syscall.EPIPE), Reset}, {io.EOF, Reset}, {io.ErrUnexpectedEOF, Reset}, {net.ErrClosed, Reset},
		{dial(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), DNS}, {&net.DNSError{IsTimeout: true}, DNS},
		{handshakeError{errors.New("anything")}, TLS}, {handshakeError{io.EOF}, Reset}, {tls.AlertError(42), TLS}, {&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, TLS},
		{&net.OpError{Op: "dial", Err: blocked("x")}, Blocked},
		{errors.New("?"), Protocol}, {fmt.Errorf("x: %w", errors.New("token=canary")), Protocol},
	} {
		got := explain(context.Background(), tt.err)
		if got.Kind != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got.Kind, tt.want)
		}
		if strings.Contains(got.Error(), "canary") {
			t.Errorf("repeats what it does not know: %v", got)
		}
	}
}
