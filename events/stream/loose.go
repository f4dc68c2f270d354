package stream

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// JetStream's fast batches (ADR-50, nats-server 2.14): messages that follow each other and share one answer. They are not
// atomic: each is stored by itself, in order, and a gap ends the batch. The reply subject of each names the batch:
// <prefix>.<batch>.<flow>.<gap mode>.<place from 1>.<operation>.$FI.
const (
	fastSuffix = ".$FI"
	fastFlow   = ".1000.fail." // an answer for each thousand, which no group has; a gap ends the batch

	fastStart  = ".0" + fastSuffix
	fastAppend = ".1" + fastSuffix
	fastCommit = ".2" + fastSuffix
)

// looseFirst puts the loose writes of a group first, and returns how many there are. One alone goes as all others do.
func looseFirst(group []*write) int {
	n := 0
	for i, m := range group {
		if m.loose {
			group[n], group[i] = group[i], group[n]
			n++
		}
	}
	if n < 2 {
		return 0
	}
	return n
}

// publishLoose publishes bundles of writes: several as one fast batch, one alone as any message, whose reply is that of the
// group's first write.
func (w *Writer) publishLoose(number uint64, all []bundle) {
	prefix := append([]byte(w.inbox), w.id+"-"+strconv.FormatUint(number, 36)+fastFlow...)
	for i := range all {
		msg := all[i].message()
		operation := fastAppend
		switch i {
		case 0:
			operation = fastStart
		case len(all) - 1:
			operation = fastCommit
		}
		msg.Reply = string(append(strconv.AppendInt(prefix, int64(i+1), 10), operation...))
		if len(all) == 1 {
			msg.Reply = w.inbox + strconv.FormatUint(number, 36) + ".0"
		}
		if err := w.nc.PublishMsg(msg); err != nil {
			w.settleLoose(number, fmt.Errorf("publish to %s: %w", msg.Subject, err))
			return
		}
	}
}

// answeredLoose takes an answer about a fast batch: that it began, that something is missing of it, or that it is whole.
func (w *Writer) answeredLoose(tail string, msg *nats.Msg) {
	batch, _, _ := strings.Cut(tail, ".")
	text, own := strings.CutPrefix(batch, w.id+"-")
	number, err := strconv.ParseUint(text, 36, 64)
	if !own || err != nil || bytes.Contains(msg.Data, []byte(`"type":"ack"`)) {
		return
	}
	if _, err := parseAck(msg); err != nil {
		w.settleLoose(number, err)
		return
	}
	// Less than all of it: what was missing is not known, and all of it is written again by who wants it.
	if !bytes.Contains(msg.Data, fmt.Appendf(nil, `"count":%d}`, w.bundlesOf(number))) {
		w.settleLoose(number, fmt.Errorf("%w to all of a batch: %.200q", ErrUnknown, msg.Data))
		return
	}
	w.settleLoose(number, nil)
}

// looseOf is how many loose writes the group has; 0 when it is over.
func (w *Writer) looseOf(number uint64) int {
	g := &w.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if number != g.number {
		return 0
	}
	return min(g.loose, len(g.writes))
}

// bundlesOf is how many messages the loose writes of the group are; 0 when it is over.
func (w *Writer) bundlesOf(number uint64) int {
	g := &w.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if number != g.number {
		return 0
	}
	return g.bundles
}

// settleLoose settles the loose writes of a group.
func (w *Writer) settleLoose(number uint64, err error) {
	for i := range w.looseOf(number) {
		w.settle(number, i, Ack{}, err)
	}
}
