package egress

import "net"

// SetResolver makes c resolve names with r.
func (c *Client) SetResolver(r *net.Resolver) { c.dial.net.Resolver = r }
