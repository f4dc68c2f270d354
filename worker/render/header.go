package render

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"unicode"

	"github.com/hookfleet/hookfleet/events"
)

// maxHeaders bounds the values of all headers of a subscription together: what common servers take is 8 to 32 KiB.
const maxHeaders = 16 << 10

// header is one header of a subscription.
type header struct {
	name  string // canonical
	where string
	text  text
}

// newHeaders compiles headers, in the order of their names.
func newHeaders(all map[string]string, l *lookup) ([]header, error) {
	var hs []header
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t, err := newText(all[name], l)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		hs = append(hs, header{name, "header " + name, t})
	}
	return hs, nil
}

// setHeaders sets hs in h. One that is nothing but ${x?} is left out where x is missing.
func setHeaders(hs []header, h http.Header, values []events.Value) error {
	left := maxHeaders
	for i := range hs {
		if hs[i].text.absent(values) {
			continue
		}
		b, err := hs[i].text.append(nil, values, inHeader, hs[i].where, left)
		if err != nil {
			return err
		}
		left -= len(b)
		h[hs[i].name] = []string{string(b)}
	}
	return nil
}

// inHeader appends a value as CloudEvents has it in headers (HB-4). Control characters are an error: encoded they would
// come back to life in a careless receiver.
func inHeader(dst []byte, v events.Value) (out []byte, why string) {
	s := v.Text()
	for _, r := range s {
		if unicode.IsControl(r) {
			return dst, "has a control character"
		}
	}
	return events.AppendHeader(dst, s), ""
}
