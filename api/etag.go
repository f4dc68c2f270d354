package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// etag is the entity tag of a revision.
func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// ifMatch is what a caller says that it is about to change.
type ifMatch struct {
	any       bool     // something, whatever its revision
	revisions []uint64 // one of these; none and not any = no condition
}

// parseIfMatch reads If-Match (RFC 9110, 13.1.1). Weak tags and tags that are none of ours match nothing, but are no
// mistake.
func parseIfMatch(h http.Header) (m ifMatch, conditional bool, err error) {
	values := h.Values("If-Match")
	if len(values) == 0 {
		return m, false, nil
	}
	text := strings.Join(values, ",")
	if strings.TrimSpace(text) == "*" {
		return ifMatch{any: true}, true, nil
	}
	for tag := range strings.SplitSeq(text, ",") {
		tag = strings.TrimSpace(tag)
		opaque := strings.TrimPrefix(tag, "W/")
		if len(opaque) < 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' {
			return m, true, faulty(CodeInvalidHeader, events.Fault{Pointer: "if-match", Detail: `must be * or entity tags such as "7"`})
		}
		if n, err := strconv.ParseUint(tag[1:len(tag)-1], 10, 64); err == nil && tag[0] == '"' {
			m.revisions = append(m.revisions, n)
		}
	}
	return m, true, nil
}
