package events

import "slices"

// maxTerminal bounds the statuses that end something; there are some five.
const maxTerminal = 100

// statuses reads statuses, each once.
func (d *document) statuses(dst *[]string) reader {
	return func(v *jsonValue, at string) {
		d.array(v, at, maxTerminal, func(v *jsonValue, at string) {
			var status string
			d.text(&status, wrongStatus)(v, at)
			if status != "" && slices.Contains(*dst, status) {
				d.fault(at, "appears more than once")
			}
			*dst = append(*dst, status)
		})
	}
}

func wrongStatus(s string) string {
	if s == "" {
		return "must not be empty"
	}
	return wrongLength(s, maxStatusText)
}
