package events

import "strconv"

// Limits of a batch (API.md 2).
const (
	MaxBatchEvents = 1000
	MaxBatchBytes  = 8 << 20
)

// BatchLimits bound what ParseBatch takes.
type BatchLimits struct {
	MaxEvents int // events
	MaxBytes  int // bytes of the whole text
}

// DefaultBatchLimits are the limits of the contract.
func DefaultBatchLimits() BatchLimits {
	return BatchLimits{MaxEvents: MaxBatchEvents, MaxBytes: MaxBatchBytes}
}

// ParseBatch reads a batch (application/cloudevents-batch+json): a JSON array of events, which may be empty. All are
// good, or the error names the faults of all of them, with pointers such as /3/id. Each event's structured text is
// exactly its bytes in the batch, so one event that is kept keeps all of text in memory.
func ParseBatch(text []byte, limits BatchLimits) ([]*Event, error) {
	if len(text) > limits.MaxBytes {
		return nil, tooLarge("", "a batch has at most "+strconv.Itoa(limits.MaxBytes)+" bytes")
	}
	p := parser{scanner: scanner{text: text}}
	i := skipSpace(text, 0)
	if i < len(text) && text[i] != '[' {
		if i = p.value(i, 0); i >= 0 {
			p.end(i)
		}
		p.note(Fault{Detail: "must be a JSON array"})
		return nil, p.err()
	}
	all, err := p.readBatch(i, limits)
	if err == nil {
		err = p.err()
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// readBatch reads the array that begins at i, and the end of the text. What it returns as error comes before faults.
func (p *parser) readBatch(i int, limits BatchLimits) ([]*Event, error) {
	if i >= len(p.text) {
		p.unexpected(i, "an array")
		return nil, nil
	}
	p.many = true
	all := []*Event{}
	i = skipSpace(p.text, i+1)
	if i < len(p.text) && p.text[i] == ']' {
		p.end(i + 1)
		return all, nil
	}
	for {
		if len(all) == limits.MaxEvents {
			return nil, tooLarge("", "a batch has at most "+strconv.Itoa(limits.MaxEvents)+" events")
		}
		start := i
		p.nth++
		if i = p.readEvent(i); i < 0 {
			return nil, nil
		}
		if i-start > MaxEventBytes {
			return nil, tooLarge(p.base(), eventTooLarge)
		}
		p.finish()
		p.event.text = p.text[start:i:i]
		all = append(all, p.event)
		i = skipSpace(p.text, i)
		switch {
		case i < len(p.text) && p.text[i] == ',':
			i = skipSpace(p.text, i+1)
		case i < len(p.text) && p.text[i] == ']':
			p.end(i + 1)
			return all, nil
		default:
			p.unexpected(i, "',' or ']'")
			return nil, nil
		}
	}
}
