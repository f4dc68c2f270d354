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
		"scheme":        d.oneOf(&sg.Scheme, schemes...),
		"secret":        secret,
		"header":        ofHMAC(d.text(&sg.Header, wrongSignatureHeader)),
		"hash":          ofHMAC(d.oneOf(&sg.Hash, hashSHA256, "sha512")),
		"encoding":      ofHMAC(d.oneOf(&sg.Encoding, encodingHex, "base64")),
		"prefix":        ofHMAC(d.text(&sg.Prefix, wrongSignaturePrefix)),
		"publickey":     d.ignore,
		"previousuntil": d.ignore,
	})
	sg.setDefaults()
}

// suffixPrevious is what the header of the secret before a rotation ends with, after that of the present one.
const suffixPrevious = "-previous"

// checkSigning refuses a signature in the header that the credential is in. It follows all that is read.
func (d *subscriptionReader) checkSigning() {
	if sg := d.s.ProtocolSettings.Signing; sg != nil && sg.Header != "" && d.s.credentialSets(lower(sg.Header)) {
		d.fault("/protocolsettings/signing/header", "is the credential's header")
	}
}

// wrongSignatureHeader says what is wrong with the name of a header that carries a signature; "" = nothing.
func wrongSignatureHeader(name string) string {
	switch {
	case !isToken(name):
		return "is no header name"
	case len(name) > maxSignatureHeader:
		return wrongLength(name, maxSignatureHeader)
	case isReservedHeader(name), strings.EqualFold(name, "User-Agent"), strings.EqualFold(name, "Cookie"):
		return "is a header that has another meaning"
	default:
		return ""
	}
}

func wrongSignaturePrefix(text string) string {
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || strings.HasPrefix(text, " "):
		return "must be printable ASCII, and not begin with a space"
	default:
		return wrongLength(text, maxSignaturePrefix)
	}
}
