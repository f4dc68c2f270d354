package api

import (
	"encoding/json"
	"fmt"

	"github.com/hookfleet/hookfleet/events"
)

// sampleText stands in a test event where a subscription's templates ask for a value.
const sampleText = "test"

// maxSampleItems bounds the arrays of a test event: a template may ask for the millionth item.
const maxSampleItems = 100

// sample is what a test event has because the templates of a subscription ask for it, so that a test sends what would be
// sent.
type sample struct {
	attributes map[string]string
	data       any
}

// newSample makes a sample on top of what every test event has.
func newSample(s *events.Subscription, attributes map[string]string, data map[string]any) *sample {
	m := &sample{attributes, data}
	for _, p := range s.Placeholders() {
		if !p.HasDefault {
			m.add(p)
		}
	}
	return m
}

func (m *sample) add(p *events.Placeholder) {
	_, has := m.attributes[p.Name]
	switch {
	case p.Source == events.FromAttribute && !has:
		m.attributes[p.Name] = sampleText
		if p.Name == "dataschema" {
			m.attributes[p.Name] = "https://example.com/" + sampleText
		}
	case p.Source == events.FromName && p.Name == "subject":
		m.attributes["subject"] = sampleText
	case p.Source == events.FromName && !has, p.Source == events.FromData && len(p.Path) > 0:
		m.data = put(m.data, p.Path)
	}
}

// put returns v with a value at path, if there is none.
func put(v any, path events.Path) any {
	if len(path) == 0 {
		if v == nil {
			return sampleText
		}
		return v
	}
	step := path[0]
	if step.Name != "" {
		m, ok := v.(map[string]any)
		if _, taken := v.([]any); taken {
			return v
		} else if !ok {
			m = map[string]any{}
		}
		m[step.Name] = put(m[step.Name], path[1:])
		return m
	}
	list, ok := v.([]any)
	if _, taken := v.(map[string]any); taken || step.Item >= maxSampleItems {
		return v
	} else if !ok {
		list = nil
	}
	for len(list) <= step.Item {
		list = append(list, nil)
	}
	list[step.Item] = put(list[step.Item], path[1:])
	return list
}

// text is the event in structured mode.
func (m *sample) text() ([]byte, error) {
	all := make(map[string]any, len(m.attributes)+1)
	for name, value := range m.attributes {
		all[name] = value
	}
	all["data"] = m.data
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("make a test event: %w", err)
	}
	return text, nil
}
