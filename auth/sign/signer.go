package sign

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// The schemes of API.md 3.
const (
	StandardWebhooks = "standardwebhooks" // v1: HMAC-SHA256
	Ed25519          = "ed25519"          // v1a
	HMAC             = "hmac"             // a header of the receiver's own making
)

// SuffixPrevious is what the header of the secret before is called, after the header of scheme HMAC: receivers compare that header as a whole, so
// a second value in it would break every one of them.
const SuffixPrevious = "-Previous"

var errScheme = errors.New("scheme: must be standardwebhooks, ed25519 or hmac")

// Settings say how requests are signed.
type Settings struct {
	Scheme   string
	Secret   secret.Text
	Previous secret.Text // signs as well; zero: none
	Until    time.Time   // … before this
	Header   string      // of HMAC, as all that follow: the header's name
	Hash     string      // sha256 or sha512; "" is sha256
	Encoding string      // hex or base64; "" is hex
	Prefix   string      // of the value
}

// signer is one scheme with one secret. append appends the value of its header.
type signer interface {
	append(dst []byte, id string, unixSeconds int64, body []byte) []byte
}

// Signer signs requests of one subscription, with the secret before the last rotation as long as that counts. It is safe for concurrent use.
type Signer struct {
	now, old signer // old: nil when there is none
	until    time.Time
	header   string // canonical
	previous string // header of old; "" = it is in the same value
}

// New returns the signer of s. The error does not repeat a secret.
func New(s Settings) (*Signer, error) {
	now, err := s.signer(s.Secret)
	if err != nil {
		return nil, err
	}
	g := &Signer{now: now, until: s.Until, header: HeaderSignature}
	if !s.Previous.IsZero() {
		if g.old, err = s.signer(s.Previous); err != nil {
			return nil, err
		}
	}
	if s.Scheme == HMAC {
		g.header = http.CanonicalHeaderKey(s.Header)
		g.previous = g.header + SuffixPrevious
	}
	return g, nil
}

func (s *Settings) signer(text secret.Text) (signer, error) {
	switch s.Scheme {
	case StandardWebhooks:
		return Parse(text)
	case Ed25519:
		return parseEd25519(text)
	case HMAC:
		return newBodyKey(text, s)
	default:
		return nil, errScheme
	}
}

// values are buffers for signatures on their way into a header.
var values = sync.Pool{New: func() any { return new(make([]byte, 0, 256)) }}

// Sign sets the headers that sign a request: webhook-signature, with one value a secret, the newest first; of scheme HMAC the header of its
// own, and during a rotation a second one with SuffixPrevious. id is the webhook-id, at the time of this attempt, which webhook-timestamp
// says in seconds, and body the bytes as they are sent.
func (g *Signer) Sign(h http.Header, id string, at time.Time, body []byte) {
	buffer := values.Get().(*[]byte)
	b := g.now.append((*buffer)[:0], id, at.Unix(), body)
	both := g.old != nil && at.Before(g.until)
	if both && g.previous != "" {
		end := len(b)
		b = g.old.append(b, id, at.Unix(), body)
		h[g.previous] = []string{string(b[end:])}
		b = b[:end]
	} else if both {
		b = g.old.append(append(b, ' '), id, at.Unix(), body)
	}
	h[g.header] = []string{string(b)}
	*buffer = b
	values.Put(buffer)
}
