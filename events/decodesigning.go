package events

import (
	"slices"
	"strings"
)

// Bounds of what scheme hmac sends.
const (
	maxSignatureHeader = 64
	maxSignaturePrefix = 64
)

// signing reads how requests are signed. What is of one scheme is refused in another: it would not do what it says.
func (d *subscriptionReader) signing(v *jsonValue, at string) {
	sg := &Signing{Scheme: SchemeStandardWebhooks}
	d.s.ProtocolSettings.Signing = sg
	known := true
	if scheme := v.member("scheme"); scheme != nil && scheme.kind == jsonString {
		sg.Scheme = scheme.text
		known = slices.Contains(schemes, scheme.text)
	}
	secret := d.secret(&sg.Secret, sg.wrongSecret)
	if !known {
		secret = d.secret(&sg.Secret, nothingWrong) // of what, nobody knows
	}
	ofHMAC := func(r reader) reader {
		if known && sg.Scheme != SchemeHMAC {
			return func(_ *jsonValue, at string) { d.fault(at, "is of scheme hmac alone") }
		}
		return r
	}
	d.object(v, at, map[string]reader{
		"scheme":        d.among(&sg.Scheme, schemes...),
		"secret":        secret,
		"header":        ofHMAC(d.text(&sg.Header, wrongSignatureHeader)),
		"hash":          ofHMAC(d.among(&sg.Hash, hashSHA256, "sha512")),
		"encoding":      ofHMAC(d.among(&sg.Encoding, encodingHex, "base64")),
		"prefix":        ofHMAC(d.text(&sg.Prefix, wrongSignaturePrefix)),
		"publickey":     d.ignore,
		"previousuntil": d.ignore,
	})
	sg.setDefaults()
}

// checkSigning refuses a signature in a header that something else sets. It follows all that is read.
func (d *subscriptionReader) checkSigning() {
	const at = "/protocolsettings/signing/header"
	sg := d.s.ProtocolSettings.Signing
	if sg == nil || sg.Scheme != SchemeHMAC {
		return
	}
	for name := range d.s.ProtocolSettings.Headers {
		if strings.EqualFold(name, sg.Header) || strings.EqualFold(name, sg.Header+"-previous") {
			d.fault(at, "is in headers too")
			break
		}
	}
	if c := d.s.SinkCredential; c != nil && (strings.EqualFold(sg.Header, "Authorization") || strings.EqualFold(sg.Header, c.Name)) {
		d.fault(at, "is the credential's header")
	}
}

// ownHeaders are those that a request has for reasons of its own, or that frame it.
var ownHeaders = []string{
	"host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect", "user-agent", "cookie",
}

// wrongSignatureHeader says what is wrong with the name of a header that carries a signature; "" = nothing.
func wrongSignatureHeader(name string) string {
	lower := strings.ToLower(name)
	switch {
	case name == "" || strings.ContainsFunc(name, notInHeaderName):
		return "is no header name"
	case len(name) > maxSignatureHeader:
		return wrongLength(name, maxSignatureHeader)
	case slices.Contains(ownHeaders, lower), slices.ContainsFunc([]string{"webhook-", "ce-", "content-", "proxy-"}, func(prefix string) bool {
		return strings.HasPrefix(lower, prefix)
	}):
		return "is a header that has another meaning"
	default:
		return ""
	}
}

// notInHeaderName is the rule for what is no token (RFC 9110, 5.6.2).
func notInHeaderName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func wrongSignaturePrefix(text string) string {
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || strings.HasPrefix(text, " "):
		return "must be printable ASCII, and not begin with a space"
	default:
		return wrongLength(text, maxSignaturePrefix)
	}
}

// among reads a string that is one of words.
func (d *document) among(to *string, words ...string) reader {
	return func(v *jsonValue, at string) {
		switch {
		case !d.is(jsonString, v, at):
		case !slices.Contains(words, v.text):
			d.fault(at, "must be %s", strings.Join(words[:len(words)-1], ", ")+" or "+words[len(words)-1])
		default:
			*to = v.text
		}
	}
}
