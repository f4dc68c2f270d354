package filter

import (
	"strconv"

	"github.com/hookfleet/hookfleet/events"
)

// typed is an attribute in the type that it was sent with: string, int32 or bool. Headers of HTTP and NATS only know
// strings.
func typed(a events.Attribute) any {
	switch a.Kind {
	case events.KindBoolean:
		return a.Value == "true"
	case events.KindInteger:
		if n, err := strconv.ParseInt(a.Value, 10, 32); err == nil {
			return int32(n)
		}
	case events.KindString:
	}
	return a.Value
}
