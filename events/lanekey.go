package events

func (s *Subscription) KeyOf(e *Event) (string, bool) { return e.Subject(), e.Subject() != "" }
