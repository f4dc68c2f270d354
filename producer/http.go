package producer

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/hookfleet/hookfleet/events"
)

// maxBody bounds a request: a batch of 8 MiB is the largest thing that is taken (API.md 2).
const maxBody = 8 << 20

// Handler answers POST /v1/events.
type Handler struct {
	Ingest *Ingest
	// MayPublish says whether who sent the request may publish an event of tenant and type. It is asked once per event.
	MayPublish func(r *http.Request, tenant, typ string) bool
	// Fail answers with a problem for err: *events.Invalid, ErrForbidden, ErrReuse, ErrUnavailable.
	Fail func(w http.ResponseWriter, r *http.Request, err error)
}

// ErrForbidden says that the key may not publish such events. Handler hands it to Fail.
var ErrForbidden = errors.New("the key may not publish events of this tenant and type")

// ServeHTTP takes one event or a batch, and answers 202 when it is durable.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	if err != nil {
		h.Fail(w, r, err)
		return
	}
	evts, batch, err := events.ParseHTTP(r.Header, body)
	if err != nil {
		h.Fail(w, r, err)
		return
	}
	for _, e := range evts {
		if !h.MayPublish(r, e.Tenant(), e.Type()) {
			h.Fail(w, r, ErrForbidden)
			return
		}
	}
	receipts, err := h.Ingest.Accept(r.Context(), evts)
	if err != nil {
		h.Fail(w, r, err)
		return
	}
	answer(w, receipts, batch)
}

func answer(w http.ResponseWriter, receipts []Receipt, batch bool) {
	var body []byte
	if batch {
		body = receiptsText(receipts)
	} else {
		body = receipts[0].appendText(make([]byte, 0, 256))
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(body) //nolint:gosec // it is JSON, and says so. Who is gone does not get it; the event stays
}

// readBody reads the whole request. The bytes are kept by the events, so the buffer is made to measure.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	if r.ContentLength > 0 {
		body := make([]byte, r.ContentLength)
		_, err := io.ReadFull(limited, body)
		return body, readError(err)
	}
	body, err := io.ReadAll(limited)
	return body, readError(err)
}

func readError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	return &events.Invalid{Status: http.StatusBadRequest, Code: "body_cut", Faults: []events.Fault{{Detail: "the body ended before its length"}}}
}

func tooLarge() error {
	return &events.Invalid{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Faults: []events.Fault{
		{Detail: "an event is at most 1,000,000 bytes, a batch 8 MiB"},
	}}
}
