package egress_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hookfleet/hookfleet/auth/egress"
)

// nameserver answers every question for an address with what answer returns for the n-th one (0 is the first); nothing: no such name.
func nameserver(t *testing.T, answer func(n int64) []net.IP) *net.Resolver {
	t.Helper()
	var asked atomic.Int64
	return nameserverOf(t, func(string) []net.IP { return answer(asked.Add(1) - 1) })
}

// nameserverOf answers by name, which ends with a dot.
func nameserverOf(t *testing.T, answer func(name string) []net.IP) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(reply(buf[:n], answer), from)
		}
	}()
	return resolverAt(pc.LocalAddr().String())
}

// resolverAt asks the nameserver at address.
func resolverAt(address string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", address)
	}}
}

func reply(query []byte, answer func(name string) []net.IP) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	m.RCode = dnsmessage.RCodeNameError
	if q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA {
		for _, ip := range answer(q.Name.String()) {
			head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
			if v4 := ip.To4(); v4 != nil && q.Type == dnsmessage.TypeA {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte(v4)}})
			} else if q.Type == dnsmessage.TypeAAAA && len(ip) == net.IPv6len {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}})
			}
			m.RCode = dnsmessage.RCodeSuccess
		}
	}
	b, _ := m.Pack()
	return b
}

func TestNames(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	port := parse(t, r.url).Port()
	v4 := func(s string) net.IP { return net.ParseIP(s).To4() }
	for name, tt := range map[string]struct {
		ips  []net.IP
		deny string
		kind egress.Kind
	}{
		"allowed":            {[]net.IP{v4("127.0.0.1")}, "", ""},
		"denied":             {[]net.IP{v4("127.0.0.1")}, "127.0.0.0/8", egress.Blocked},
		"private":            {[]net.IP{v4("10.0.0.1")}, "", egress.Blocked},
		"metadata":           {[]net.IP{v4("169.254.169.254")}, "", egress.Blocked},
		"mapped":             {[]net.IP{net.ParseIP("::ffff:10.0.0.1").To16()}, "", egress.Blocked},
		"one of two":         {[]net.IP{v4("10.0.0.1"), v4("127.0.0.1")}, "", ""}, // only the permitted address is dialled
		"does not resolve":   {nil, "", egress.DNS},
		"IPv4 in IPv6 NAT64": {[]net.IP{net.ParseIP("64:ff9b::a9fe:a9fe")}, "", egress.Blocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, func(cfg *egress.Config) { cfg.Deny = cidrs(t, tt.deny) })
			c.SetResolver(nameserver(t, func(int64) []net.IP { return tt.ips }))
			got, err := c.Do(t.Context(), post(t, "http://partner.example.:"+port))
			if tt.kind == "" && (err != nil || got.Status != 200) || tt.kind != "" && kindOf(err) != tt.kind {
				t.Errorf("%+v, %v, want kind %q", got, err, tt.kind)
			}
		})
	}
}

// A name that resolves to something harmless when it is checked and to this machine when it is dialled gets nowhere: what is checked is what is dialled.
func TestRebinding(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	c := client(t, func(cfg *egress.Config) { cfg.Allow = cidrs(t, "192.0.2.0/24") })
	c.SetResolver(nameserver(t, func(n int64) []net.IP {
		if n%3 == 0 {
			return []net.IP{net.IPv4(192, 0, 2, 1).To4(), net.IPv4(127, 0, 0, 1).To4()}
		}
		return []net.IP{net.IPv4(127, 0, 0, 1).To4()}
	}))
	for range 200 {
		req := post(t, "http://partner.example.:"+parse(t, r.url).Port())
		req.Timeout = 20 * time.Millisecond
		if _, err := c.Do(t.Context(), req); err == nil {
			t.Fatal("reached this machine")
		}
	}
	if n := r.conns.Load(); n != 0 {
		t.Errorf("%d connections to this machine", n)
	}
}
