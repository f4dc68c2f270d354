package events

// SinkPolicy says which URLs are taken as sinks when a subscription is registered. Everything is checked again when
// dialling; this check is there to tell a mistake early. The zero value takes https URLs of every host.
type SinkPolicy struct {
	PlainHTTP bool // http is taken as well (egress.plainhttp)

	// HostDenied judges a host (url.URL.Hostname) before anything resolves, and says why it is refused: addresses that
	// the egress denies in any spelling, names of this machine and of metadata services. nil refuses none. It is
	// egress.Guard.HostDenied.
	HostDenied func(host string) (reason string, denied bool)
}

// Refuses returns what is wrong with raw as a sink, for people; nil when it is taken. Names are not resolved.
func (p SinkPolicy) Refuses(raw string) []string { panic("not yet") }

// Origin returns scheme, host and port of a URL in one spelling: lower case, with the port, without the root's dot.
// "" when raw is not an absolute URL.
func Origin(raw string) string { panic("not yet") }
