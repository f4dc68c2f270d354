package stream

import (
	"bytes"
	"iter"
	"slices"

	"github.com/nats-io/nats.go"
)

// A message of ATTEMPTS holds one record, or several of its subject that were written at the same moment, one a line: a
// message costs the broker as much whatever is in it. Only records that nobody names by their sequence share one, which
// end their deliveries, so a delivery has at most one in a message.
const (
	// maxBundle gives most of what there is to gain, and bounds what readers have in memory by counts of messages.
	maxBundle = 16
	// maxBundleBytes bounds the same where records hold long answers of sinks.
	maxBundleBytes = 32 << 10
)

var newline = []byte{'\n'}

// recordsOf are the records of a message. JSON has no line breaks but between its tokens, and AppendRecord writes none.
func recordsOf(data []byte) iter.Seq[[]byte] { return bytes.SplitSeq(data, newline) }

// recordOf is the record of a delivery in a message; nil when it has none.
func recordOf(data []byte, delivery string) []byte {
	for r := range recordsOf(data) {
		if recordID(r) == delivery {
			return r
		}
	}
	return nil
}

// bundle is what becomes one message.
type bundle struct {
	lines []*nats.Msg // of one subject
	size  int
}

// bundles puts the messages of writes together where they are of one subject, in their order.
func bundles(writes []*write) []bundle {
	var all []bundle
	open := make(map[string]int, 8) // by subject, the one that has room
	for _, m := range writes {
		at, ok := open[m.msg.Subject]
		if ok {
			b := &all[at]
			ok = len(b.lines) < maxBundle && b.size+len(m.msg.Data) < maxBundleBytes && len(m.msg.Header)+len(b.lines[0].Header) == 0
		}
		if !ok {
			at, open[m.msg.Subject] = len(all), len(all)
			all = append(all, bundle{lines: make([]*nats.Msg, 0, min(maxBundle, len(writes)))})
		}
		b := &all[at]
		b.lines = append(b.lines, m.msg)
		b.size += len(m.msg.Data) + len(newline)
	}
	return all
}

// message is the bundle as one message.
func (b *bundle) message() *nats.Msg {
	first := b.lines[0]
	if len(b.lines) == 1 {
		return first
	}
	data := slices.Grow([]byte(nil), b.size)
	for i, line := range b.lines {
		if i > 0 {
			data = append(data, newline...)
		}
		data = append(data, line.Data...)
	}
	return &nats.Msg{Subject: first.Subject, Data: data}
}
