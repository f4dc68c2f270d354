package producer

import (
	"encoding/json"
	"strconv"
)

// Receipt says that an event is durable.
type Receipt struct {
	ID        string `json:"id"`
	Source    string `json:"source"`
	Tenant    string `json:"tenant"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"` // it was stored before, at Sequence, and is not delivered again
}

// appendJSON appends what json.Marshal makes of r. It is written for each event, and this is a tenth of the cost.
func (r *Receipt) appendJSON(dst []byte) []byte {
	dst = appendText(append(dst, `{"id":`...), r.ID)
	dst = appendText(append(dst, `,"source":`...), r.Source)
	dst = appendText(append(dst, `,"tenant":`...), r.Tenant)
	dst = strconv.AppendUint(append(dst, `,"sequence":`...), r.Sequence, 10)
	dst = strconv.AppendBool(append(dst, `,"duplicate":`...), r.Duplicate)
	return append(dst, '}')
}

// receiptSize is what a receipt has beside its texts, and quotes for them.
const receiptSize = len(`{"id":"","source":"","tenant":"","sequence":18446744073709551615,"duplicate":false}`)

// size is what appendJSON appends, unless there is something to escape.
func (r *Receipt) size() int { return receiptSize + len(r.ID) + len(r.Source) + len(r.Tenant) }

// appendText appends a JSON string. What needs an escape is rare, and left to encoding/json.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			b, _ := json.Marshal(s) // strings always encode
			return append(dst, b...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// encodeReceipts is the body of an answer.
func encodeReceipts(receipts []Receipt, batch bool) []byte {
	if !batch {
		return receipts[0].appendJSON(make([]byte, 0, receipts[0].size()))
	}
	size := len(`{"items":[]}`)
	for i := range receipts {
		size += receipts[i].size() + len(",")
	}
	dst := append(make([]byte, 0, size), `{"items":[`...)
	for i := range receipts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = receipts[i].appendJSON(dst)
	}
	return append(dst, "]}"...)
}
