package api

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// checkMedia refuses a body in another format than the route takes. JSON is UTF-8 only (API.md 1).
func checkMedia(r *http.Request, accepted []string) error {
	refuse := func(detail string) error {
		return faulty(CodeMediaType, events.Fault{Pointer: "content-type", Detail: detail})
	}
	given := r.Header.Values("Content-Type")
	if len(given) != 1 {
		return refuse("must be there once, and be " + strings.Join(accepted, " or "))
	}
	media, params, err := mime.ParseMediaType(given[0])
	if err != nil || !slices.Contains(accepted, media) {
		return refuse("must be " + strings.Join(accepted, " or "))
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return refuse("the charset must be UTF-8")
	}
	return nil
}

// checkEncoding refuses compressed bodies: 1 MB of them can be 1 GB.
func checkEncoding(h http.Header) error {
	for _, enc := range h.Values("Content-Encoding") {
		if !strings.EqualFold(enc, "identity") {
			return faulty(CodeMediaType, events.Fault{Pointer: "content-encoding", Detail: "bodies are taken as they are, not compressed"})
		}
	}
	return nil
}
