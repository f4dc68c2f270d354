package sign

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far the timestamp of a message may be from the receiver's clock, both ways, in Verify as in the published libraries.
const Tolerance = 5 * time.Minute

// The headers of a message.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// What Verify returns.
var (
	ErrHeaders   = errors.New("webhook-id, webhook-timestamp or webhook-signature is missing or malformed")
	ErrTooOld    = errors.New("webhook-timestamp is too old")
	ErrTooNew    = errors.New("webhook-timestamp is in the future")
	ErrSignature = errors.New("no signature matches")
)

// Verify returns nil when one of the v1 signatures in h is of k over this body, and the timestamp is within Tolerance of now. Signatures of other schemes
// are passed over, as one message may carry several.
func (k *Key) Verify(h http.Header, body []byte, now time.Time) error {
	id, stamp, list := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if id == "" || list == "" || err != nil {
		return ErrHeaders
	}
	switch sent := time.Unix(seconds, 0); {
	case now.Sub(sent) > Tolerance:
		return fmt.Errorf("%w: %s", ErrTooOld, sent.UTC().Format(time.RFC3339))
	case sent.Sub(now) > Tolerance:
		return fmt.Errorf("%w: %s", ErrTooNew, sent.UTC().Format(time.RFC3339))
	}
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.head = append(m.head[:0], id+"."+stamp+"."...) // the texts as they came: 01 is not 1
	want := m.of(body)
	for one := range strings.SplitSeq(list, " ") {
		text, ok := strings.CutPrefix(one, scheme)
		if !ok {
			continue
		}
		if got, err := base64.StdEncoding.DecodeString(text); err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return ErrSignature
}
