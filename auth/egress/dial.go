package egress

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// keepAlive finds receivers that went away without a word while a connection was idle or an answer was awaited.
const keepAlive = 30 * time.Second

// dialer opens guarded connections. A forward proxy, once there is one, is another way through to: the guard's judgement of the
// target first, then a dial to the proxy's own address.
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

// to opens a connection to the host of u, through the handshake for https. It returns the socket too.
func (d *dialer) to(ctx context.Context, u *url.URL) (net.Conn, *net.TCPConn, error) {
	name, port := u.Hostname(), u.Port()
	if why, denied := d.guard.HostDenied(name); denied {
		return nil, nil, blocked("host %s", why)
	}
	name, err := punycode(name)
	if err != nil {
		return nil, nil, blocked("host is not a host name")
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	nc, err := d.net.DialContext(ctx, "tcp", net.JoinHostPort(name, port))
	if err != nil {
		return nil, nil, err
	}
	tcp := nc.(*net.TCPConn)
	if u.Scheme == "http" {
		return tcp, tcp, nil
	}
	cfg := d.tls.Clone()
	cfg.ServerName = strings.TrimSuffix(name, ".")
	secure := tls.Client(tcp, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, nil, handshakeError{err}
	}
	return secure, tcp, nil
}
