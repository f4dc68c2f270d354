package events

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaxSinkBytes bounds a sink's URL. Common servers and proxies take request lines of 8 KiB; half of it leaves room for
// what placeholders will add.
const MaxSinkBytes = 4096

// noWebPorts are ports of services that no webhook runs on, and that could be made to act on the text of a request.
var noWebPorts = []uint64{
	21, 22, 23, 25, 53, 110, 111, 135, 139, 143, 389, 445, 465, 587, 636, 993, 995, 2049, 3306, 5432, 6379, 11211, 27017,
}

// SinkPolicy says which URLs are taken as sinks when a subscription is registered, and which filters. A URL is checked
// again when dialling; this check is there to tell a mistake early. The zero value takes https URLs of every host, and
// filters without expressions.
type SinkPolicy struct {
	PlainHTTP bool // http is taken as well (egress.plainhttp)

	// HostDenied judges a host (url.URL.Hostname) before anything resolves, and says why it is refused: addresses that
	// the egress denies in any spelling, names of this machine and of metadata services. nil refuses none. It is
	// egress.Guard.HostDenied.
	HostDenied func(host string) (reason string, denied bool)

	// WrongFilter says what is wrong with an expression in a filter, and where; "" = nothing. nil takes none. It is
	// filter.Wrong.
	WrongFilter func(l Language, text string) string

	// Origin is the DNS name by which the fleet calls itself in handshakes that name none; "" = they must.
	Origin string
}

// Refuses returns what is wrong with raw as a sink, in words that complete "sink …"; none when it is taken (API.md 3,
// "Refused when registered"). Names are not resolved. Path and query may have placeholders.
func (p SinkPolicy) Refuses(raw string) []string {
	plain, wrong := withoutPlaceholders(raw)
	if wrong != nil {
		return wrong
	}
	return p.RefusesURL(plain)
}

// withoutPlaceholders is the sink raw with a letter in the place of each placeholder, or what is wrong with them.
func withoutPlaceholders(raw string) (plain string, wrong []string) {
	if len(raw) > MaxSinkBytes {
		return "", []string{"is longer than " + strconv.Itoa(MaxSinkBytes) + " bytes"}
	}
	if !strings.ContainsAny(raw, "{}") {
		return raw, nil
	}
	pieces, err := ParseTemplate(raw)
	if err != nil {
		return "", []string{err.Error()}
	}
	var b strings.Builder
	path := pathStart(raw)
	for _, piece := range pieces {
		switch i := strings.IndexAny(piece.Text, "{}"); {
		case piece.Placeholder == nil && i >= 0:
			wrong = append(wrong, "has { or } outside a placeholder at byte "+strconv.Itoa(piece.At+i))
		case piece.Placeholder != nil && piece.At < path:
			wrong = append(wrong, "has a placeholder before its path at byte "+strconv.Itoa(piece.At))
		case piece.Placeholder != nil:
			b.WriteByte('x')
		default:
			b.WriteString(piece.Text)
		}
	}
	return b.String(), wrong
}

// pathStart is where path or query of an absolute URL begin; its length when neither is there.
func pathStart(raw string) int {
	i := strings.Index(raw, "://")
	if i < 0 {
		return len(raw)
	}
	i += len("://")
	return i + len(cutAny(raw[i:], "/?#"))
}

// HasPlaceholder reports whether a sink that is taken has a placeholder.
func HasPlaceholder(sink string) bool { return strings.Contains(sink, "${") }

// RefusesURL is Refuses for a URL that takes no placeholders, such as an event's own.
func (p SinkPolicy) RefusesURL(raw string) []string {
	switch {
	case len(raw) > MaxSinkBytes:
		return []string{"is longer than " + strconv.Itoa(MaxSinkBytes) + " bytes"}
	case strings.ContainsAny(raw, "{}"):
		return []string{"has { or } at byte " + strconv.Itoa(strings.IndexAny(raw, "{}"))}
	case strings.ContainsFunc(raw, notInURL):
		return []string{"has a space, a backslash or a control character"}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return []string{"is not an absolute URL"}
	}
	return slices.Concat(p.refusesScheme(u.Scheme), p.refusesHost(u), refusesPort(u), refusesRest(u, raw))
}

// notInURL are the runes that servers and clients read differently.
func notInURL(r rune) bool { return r <= ' ' || r == '\\' || 0x7f <= r && r <= 0x9f }

func (p SinkPolicy) refusesScheme(scheme string) []string {
	switch {
	case scheme == "https", scheme == "http" && p.PlainHTTP:
		return nil
	case scheme == "http":
		return []string{"must be https: http is not allowed here (egress.plainhttp)"}
	default:
		return []string{"must be an https URL"}
	}
}

func (p SinkPolicy) refusesHost(u *url.URL) []string {
	host := u.Hostname()
	if host == "" {
		return []string{"has no host"}
	}
	if p.HostDenied == nil {
		return nil
	}
	if why, denied := p.HostDenied(host); denied {
		return []string{"has a host that is refused: " + why}
	}
	return nil
}

func refusesPort(u *url.URL) []string {
	text := u.Port()
	if text == "" && !strings.HasSuffix(u.Host, ":") {
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil || port == 0:
		return []string{"has a port that is not 1 to 65535"}
	case slices.Contains(noWebPorts, port):
		return []string{"has port " + text + ", where no web server listens"}
	default:
		return nil
	}
}

func refusesRest(u *url.URL, raw string) (why []string) {
	if u.User != nil {
		why = append(why, "has user info: use a credential")
	}
	if strings.Contains(raw, "#") {
		why = append(why, "has a fragment")
	}
	return why
}

// Origin returns scheme, host and port of a URL in one spelling: lower case, with the port, without the root's dot.
// "" when raw is not an absolute URL of http or https. What follows the origin may be anything, placeholders too.
func Origin(raw string) string {
	u, err := url.Parse(raw[:pathStart(raw)])
	if err != nil || u.Host == "" {
		return ""
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return ""
	case port == "" && u.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
}
