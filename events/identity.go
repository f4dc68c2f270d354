package events

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// MsgID is the event's Nats-Msg-Id: 32 characters made of tenant, source and id, by which JetStream finds duplicates
// (NB-11). The source counts as it is spelled.
func (e *Event) MsgID() string {
	sum := digest(e.Tenant(), e.source, e.id)
	var out [43]byte
	base64.RawURLEncoding.Encode(out[:], sum[:])
	return string(out[:32])
}

// lowerBase32 has neither dots nor upper case.
var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// WebhookID is the webhook-id of the event's delivery to subscription: the same for all attempts and replays, without a
// dot (SW-2).
func (e *Event) WebhookID(subscription string) string {
	return webhookID([]string{e.Tenant(), e.source, e.id, subscription})
}

func webhookID(parts []string) string {
	sum := digest(parts...)
	out := make([]byte, 4, 4+52)
	copy(out, "msg_")
	return string(lowerBase32.AppendEncode(out, sum[:])[:4+27])
}

// digest hashes parts, each with its length before it, so that no two lists of parts are the same text.
func digest(parts ...string) [sha256.Size]byte {
	b := make([]byte, 0, 512)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}

// Same reports whether o is the same event: the same attributes, in any order and mode, and the same bytes of data. An
// absent tenant is DefaultTenant. JSON types are not compared: headers have none.
func (e *Event) Same(o *Event) bool {
	if e.Tenant() != o.Tenant() || !bytes.Equal(e.data, o.data) {
		return false
	}
	a, b := e.sorted(), o.sorted()
	return slices.EqualFunc(a, b, func(x, y Attribute) bool { return x.Name == y.Name && x.Value == y.Value })
}

// sorted are the attributes by name, without tenant.
func (e *Event) sorted() []Attribute {
	out := slices.DeleteFunc(slices.Clone(e.attrs), func(a Attribute) bool { return a.Name == "tenant" })
	slices.SortFunc(out, func(a, b Attribute) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
