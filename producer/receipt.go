package producer

import (
	"encoding/json"
	"strconv"

	"github.com/hookfleet/hookfleet/events"
)

// Receipt says that an event is durable.
type Receipt struct {
	ID        string `json:"id"`
	Source    string `json:"source"`
	Tenant    string `json:"tenant"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"` // it was stored before, at Sequence, and is not delivered again
}

// receiptOf is the receipt of an event that is stored at sequence.
func receiptOf(e *events.Event, sequence uint64) Receipt {
	return Receipt{ID: e.ID(), Source: e.Source(), Tenant: e.Tenant(), Sequence: sequence}
}

// receiptRoom is what a receipt takes in JSON, beside its strings.
const receiptRoom = len(`{"id":"","source":"","tenant":"","sequence":18446744073709551615,"duplicate":false},`)

// receiptsText is the receipts of a batch as they are answered. Reflection took as long for them as the scan of the batch's
// smallest events.
func receiptsText(receipts []Receipt) []byte {
	size := len(`{"items":[]}`)
	for i := range receipts {
		r := &receipts[i]
		size += receiptRoom + len(r.ID) + len(r.Source) + len(r.Tenant)
	}
	out := append(make([]byte, 0, size), `{"items":[`...)
	for i := range receipts {
		if i > 0 {
			out = append(out, ',')
		}
		out = receipts[i].appendText(out)
	}
	return append(out, "]}"...)
}

// appendText appends the receipt as encoding/json has it.
func (r *Receipt) appendText(out []byte) []byte {
	out = appendString(append(out, `{"id":`...), r.ID)
	out = appendString(append(out, `,"source":`...), r.Source)
	out = appendString(append(out, `,"tenant":`...), r.Tenant)
	out = strconv.AppendUint(append(out, `,"sequence":`...), r.Sequence, 10)
	out = strconv.AppendBool(append(out, `,"duplicate":`...), r.Duplicate)
	return append(out, '}')
}

func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("producer: encode a string: " + err.Error()) // it always encodes
			}
			return append(out, quoted...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}
