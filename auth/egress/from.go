package egress

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

// beyond are addresses that nobody has (documentation), to ask the system which of ours it would send from to the world.
var beyond = []string{"192.0.2.1:443", "[2001:db8::1]:443"}

// From returns the local addresses that requests leave from: Config.Source, else those that the system would choose for IPv4 and IPv6. Behind
// an address translation, receivers see another. Nothing is sent to find out.
func (c *Client) From(ctx context.Context) []netip.Addr {
	if c.cfg.Source.IsValid() {
		return []netip.Addr{c.cfg.Source}
	}
	var all []netip.Addr
	for _, address := range beyond {
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address) // connecting UDP is a look at the routes, and no more
		if err != nil {
			continue // there is no such route
		}
		if from, err := netip.ParseAddrPort(conn.LocalAddr().String()); err == nil {
			all = append(all, from.Addr().Unmap().WithZone(""))
		}
		_ = conn.Close() // nothing was sent
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// Proxy is what requests go by that do not say NoProxy; nil: nothing.
func (c *Client) Proxy() *Proxy { return c.cfg.Proxy }
