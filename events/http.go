package events

import "net/http"

// What is taken, for whoever sent something else.
const (
	takenByHTTP = "must be " + structuredType + " or " + batchType + ", in UTF-8, or any type beside ce-specversion and the other ce-* headers"
	takenByNATS = "must be " + structuredType + ", in UTF-8, or any type beside ce-specversion and the other ce-* headers"
)

// ParseHTTP reads the event or events of an HTTP request: a batch, structured or binary mode, by the Content-Type (HB-2).
// batch says that a batch was sent, also of none or one. The events keep body. Errors are *Invalid as of ParseStructured
// and ParseBatch; pointers are header names where headers are wrong. Further: 415 unsupported_media_type for other
// formats and for what is no event at all, 400 invalid_header for ce-* headers that contradict a structured event.
func ParseHTTP(h http.Header, body []byte) (evts []*Event, batch bool, err error) {
	hs := readHeaders(h)
	contentType, err := hs.contentType()
	switch {
	case err != nil:
		return nil, false, err
	case hasPrefixFold(contentType, batchStart):
		if !isJSONFormat(contentType, batchType) {
			return nil, true, unsupported(takenByHTTP)
		}
		evts, err = ParseBatch(body, DefaultBatchLimits())
		return evts, true, err
	case hasPrefixFold(contentType, structuredStart):
		return one(hs.readStructured(contentType, body, takenByHTTP))
	case !hs.isBinary():
		return nil, false, unsupported(takenByHTTP)
	default:
		return one(hs.readHTTPBinary(contentType, body))
	}
}

func one(e *Event, err error) ([]*Event, bool, error) {
	if err != nil {
		return nil, false, err
	}
	return []*Event{e}, false, nil
}

// readStructured reads an event in structured mode; only the JSON format is known.
func (h *headers) readStructured(contentType string, text []byte, taken string) (*Event, error) {
	if !isJSONFormat(contentType, structuredType) {
		return nil, unsupported(taken)
	}
	e, err := ParseStructured(text)
	if err != nil {
		return nil, err
	}
	if err := h.contradiction(e); err != nil {
		return nil, err
	}
	return e, nil
}
