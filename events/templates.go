package events

// Placeholders returns all placeholders of the sink, headers and body of s, in no order.
func (s *Subscription) Placeholders() (all []*Placeholder) {
	add := func(template string) {
		pieces, err := ParseTemplate(template)
		if err != nil {
			return // it was not taken so
		}
		for _, piece := range pieces {
			if piece.Placeholder != nil {
				all = append(all, piece.Placeholder)
			}
		}
	}
	add(s.Sink)
	for _, template := range s.ProtocolSettings.Headers {
		add(template)
	}
	if body := s.ProtocolSettings.Body; len(body) > 0 {
		rawJSON(body).strings(add)
	}
	return all
}

// strings calls fn for every string in a value that is no name of a member.
func (r rawJSON) strings(fn func(string)) {
	switch r.kind() {
	case jsonString:
		fn(r.text())
	case jsonArray:
		for value := range r.items() {
			value.strings(fn)
		}
	case jsonObject:
		for _, value := range r.members() {
			value.strings(fn)
		}
	default:
	}
}
