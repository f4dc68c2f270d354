package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// The server's error codes that mean something here.
const (
	codeNoResources    = 10023
	codeAccountFull    = 10002
	codeStreamFull     = 10077
	codeBatchDuplicate = 10201
	codeWrongLastMsgID = 10070
	codeInProcess      = 10158
	codeWrongSequence  = 10071
	statusNoResponders = "503"
)

// parseAck reads JetStream's answer. The common one is {"stream":"EVENTS", "seq":7} or with "duplicate": true, and is
// read without a JSON decoder; whatever else comes is left to encoding/json.
func parseAck(msg *nats.Msg) (Ack, error) {
	if len(msg.Header) > 0 && msg.Header.Get("Status") == statusNoResponders {
		return Ack{}, fmt.Errorf("%w: nobody stores it", ErrUnknown)
	}
	if at := bytes.Index(msg.Data, []byte(`"seq":`)); at > 0 && !bytes.Contains(msg.Data, []byte(`"error"`)) {
		rest := bytes.TrimLeft(msg.Data[at+len(`"seq":`):], " ")
		var seq uint64
		for len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
			seq = seq*10 + uint64(rest[0]-'0')
			rest = rest[1:]
		}
		if seq > 0 {
			return Ack{Sequence: seq, Duplicate: bytes.Contains(rest, []byte(`"duplicate"`)) && bytes.Contains(rest, []byte("true"))}, nil
		}
	}
	return Ack{}, ackError(msg.Data)
}

func ackError(data []byte) error {
	var answer struct {
		Error *struct {
			Code        int    `json:"code"`
			ErrCode     int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.Error == nil {
		return fmt.Errorf("%w: its answer was %.200q", ErrUnknown, data)
	}
	e := answer.Error
	switch {
	case e.ErrCode == codeNoResources, e.ErrCode == codeAccountFull, e.ErrCode == codeStreamFull && e.Description != perSubjectFull:
		return fmt.Errorf("%w: %s", ErrRefusedFull, e.Description)
	case e.ErrCode == codeStreamFull:
		return ErrExists
	case e.ErrCode == codeBatchDuplicate:
		return ErrDuplicateInBatch
	case e.ErrCode == codeWrongLastMsgID:
		return errWrongLastMsgID
	case e.ErrCode == codeInProcess:
		return fmt.Errorf("%w: %w", ErrUnknown, errInProcess)
	case e.ErrCode == codeWrongSequence:
		return ErrMoved
	default:
		return fmt.Errorf("refused by the broker: %s (%d)", e.Description, e.ErrCode)
	}
}

// perSubjectFull is the description that tells one subject's limit from the stream's: both have code 10077.
const perSubjectFull = "maximum messages per subject exceeded"

// Answers that only this package branches on.
var (
	errWrongLastMsgID = errors.New("wrong last message id")
	errInProcess      = errors.New("the same message id is being stored")
)
