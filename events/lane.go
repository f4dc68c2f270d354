package events

// Ordering sends what has the same key one at a time, in the order of acceptance.
type Ordering struct {
	Key string `json:"key"` // an attribute or a path into data, as in a placeholder
}

// Schedule lets first attempts go only at its ticks. Exactly one of Every, Cron and Source is set.
type Schedule struct {
	Every    Duration `json:"every,omitempty"`    // ticks are aligned to the epoch; 0 = not by interval
	Cron     string   `json:"cron,omitempty"`     // five fields; "" = not by cron
	Timezone string   `json:"timezone,omitempty"` // of Cron, an IANA name; "" = UTC
	Source   string   `json:"source,omitempty"`   // id of the status source whose ticks are taken; "" = its own
	Batch    int      `json:"batch,omitempty"`    // first attempts a tick; 0 = all that waits
}

// Lifecycle are the status semantics of API.md 3.5. Key and Status name an attribute or a path into data.
type Lifecycle struct {
	Key        string   `json:"key"`
	Status     string   `json:"status"`
	Terminal   []string `json:"terminal,omitempty"` // statuses after whose delivery the key is completed; none = it never is
	Dedupe     bool     `json:"dedupe"`
	LatestOnly bool     `json:"latestonly"`
}

// Laned reports whether the subscription's deliveries run in a lane of their own: it asks for order, ticks or status
// semantics.
func (s *Subscription) Laned() bool {
	return s.Config != nil && (s.Config.Ordering != nil || s.Config.Schedule != nil || s.Config.Lifecycle != nil)
}

// LaneKey names what deliveries of the subscription go one at a time for: the key of its lifecycle, else of its
// ordering; "" = they need no order.
func (s *Subscription) LaneKey() string {
	switch {
	case s.Config == nil:
		return ""
	case s.Config.Lifecycle != nil:
		return s.Config.Lifecycle.Key
	case s.Config.Ordering != nil:
		return s.Config.Ordering.Key
	default:
		return ""
	}
}
