package events

const (
	codeInvalidReplay = "invalid_replay"
	// maxReplayBytes fits 64 filters of 4 KiB and as much again, as those of a subscription.
	maxReplayBytes = MaxSubscriptionBytes
)

// DecodeReplay reads a replay from the JSON of the API, strictly. Its id may be absent. The error is an *Invalid, as that
// of DecodeSubscription, with code invalid_replay; beside its faults the replay has what could be read, so that the caller
// can add to them.
func DecodeReplay(text []byte, policy SinkPolicy) (*Replay, error) {
	if len(text) > maxReplayBytes {
		return nil, &Invalid{Status: 413, Code: "too_large", Faults: []Fault{{Detail: "is too large"}}}
	}
	root, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	// Filters and rate are those of a subscription, and read as such.
	d := subscriptionReader{s: &Subscription{Config: &DeliveryConfig{}}, sinks: policy}
	r := &Replay{Wish: ReplayRunning}
	d.object(root, "", map[string]reader{
		"id":           d.text(&r.ID, wrongID),
		"subscription": d.text(&r.Subscription, wrongID),
		"from":         d.oneOf(&r.From, ReplayEvents, ReplayDeadLetters),
		"since":        d.moment(&r.Since),
		"until":        d.moment(&r.Until),
		"filters":      d.filters,
		"rate":         d.replayRate,
		"dryrun":       d.boolean(&r.DryRun),
		"again":        d.boolean(&r.Again),
	})
	d.checkReplay(root, r)
	if d.faults != nil {
		return r, &Invalid{Status: statusInvalid, Code: codeInvalidReplay, Faults: d.faults}
	}
	r.Filters, r.Rate = d.s.Filters, d.s.Config.Rate
	return r, nil
}

// replayRate reads a rate, or a number of deliveries a second.
func (d *subscriptionReader) replayRate(v *jsonValue, at string) {
	if v.kind != jsonNumber {
		if v.kind != jsonObject {
			d.fault(at, "must be a number of deliveries a second, or an object with permit, per, burst")
			return
		}
		d.rate(v, at)
		return
	}
	r := defaultRate()
	d.integer(&r.Permit, 1, maxPermit)(v, at)
	r.Burst = r.Permit
	d.s.Config.Rate = r
}

func (d *subscriptionReader) checkReplay(root *jsonValue, r *Replay) {
	if root.kind != jsonObject {
		return
	}
	for _, name := range []string{"subscription", "from"} {
		if root.member(name) == nil {
			d.fault("/"+name, "is required")
		}
	}
	if !r.Since.IsZero() && !r.Until.IsZero() && !r.Until.After(r.Since) && !d.faulted("/until") {
		d.fault("/until", "must be after since")
	}
}
