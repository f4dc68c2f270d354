package egress

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// keepAlive finds receivers that went away without a word while a connection was idle or an answer was awaited.
const keepAlive = 30 * time.Second

// maxDial ends dials whose request has no deadline of its own; it is the longest timeout that a subscription may have.
const maxDial = 5 * time.Minute

// dialer opens guarded connections. A forward proxy, once there is one, is another implementation of the same two methods: the guard's
// judgement of the target first, then a dial to the proxy's own address.
type dialer struct {
	guard *Guard
	net   net.Dialer
	tls   *tls.Config
}

func newDialer(cfg Config, guard *Guard) *dialer {
	d := &dialer{guard: guard, tls: &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    cfg.Roots,
		NextProtos: []string{"http/1.1"},
	}}
	d.net = net.Dialer{
		KeepAlive:      keepAlive,
		Resolver:       &net.Resolver{PreferGo: true}, // cgo's resolver takes 127.1 and 0x7f.1 for addresses
		ControlContext: d.control,
	}
	if cfg.Source.IsValid() {
		d.net.LocalAddr = &net.TCPAddr{IP: cfg.Source.AsSlice(), Zone: cfg.Source.Zone()}
	}
	return d
}

// control sees every concrete address, after resolution and before the first packet.
func (d *dialer) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return blocked("address is not valid")
	}
	return d.guard.Check(to.Addr())
}

// plain opens a connection for http.
func (d *dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := dialContext(ctx)
	defer cancel()
	return d.dial(ctx, network, address)
}

// secure opens a connection for https, through the handshake.
func (d *dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := dialContext(ctx)
	defer cancel()
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cfg := d.tls.Clone()
	cfg.ServerName = host
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, handshakeError{err}
	}
	return secure, nil
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, blocked("address is not valid")
	}
	if why, denied := d.guard.HostDenied(host); denied {
		return nil, blocked("host %s", why)
	}
	return d.net.DialContext(ctx, network, address)
}

// deadlineKey is where Do leaves the deadline for the dial: http.Transport detaches dials from the request's cancellation and keeps its values.
type deadlineKey struct{}

func dialContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if at, ok := ctx.Value(deadlineKey{}).(time.Time); ok {
		return context.WithDeadlineCause(ctx, at, errDeadline)
	}
	return context.WithTimeoutCause(ctx, maxDial, errDeadline)
}
