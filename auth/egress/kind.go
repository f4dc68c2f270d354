package egress

// Kind is why there is no usable response. The texts are the network reasons of the API.
type Kind string

// The kinds of Error.
const (
	Timeout  Kind = "timeout"  // the exchange had not ended at its deadline
	Refused  Kind = "refused"  // no connection: refused, unreachable, or no local port
	Reset    Kind = "reset"    // the connection ended before the response did
	DNS      Kind = "dns"      // the name did not resolve
	TLS      Kind = "tls"      // no trust: certificate, name, or version
	Blocked  Kind = "blocked"  // the guard said no; nothing was sent
	Protocol Kind = "protocol" // what came is no HTTP/1.1 response within the limits
)

// Error is what Client.Do returns. Its text has no query of a URL and no header.
type Error struct {
	Kind Kind
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return string(e.Kind) + ": " + e.Err.Error() }

// Unwrap returns the cause. errors.Is(err, context.Canceled) holds when the caller's context ended the exchange.
func (e *Error) Unwrap() error { return e.Err }
