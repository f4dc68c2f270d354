package events

import "slices"

// AppendWithout appends the event in the JSON format without the attributes named in omit. Of what came in structured the
// members are taken out and every other byte stays; what came in binary mode is rendered as AppendStructured does.
func (e *Event) AppendWithout(dst []byte, omit []string) []byte {
	if e.text == nil {
		return e.appendStructured(dst, omit)
	}
	p := parser{scanner: scanner{text: e.text}}
	kept := 0  // members kept so far
	begin := 0 // where the bytes before the next member begin: its comma, or all before the first
	for i := p.firstMember(); e.text[i] != '}'; i = p.next(begin) {
		end := p.str(i)
		name := asString(p.unquote(i, end, p.escaped))
		end = p.value(p.colon(end), 1)
		if !slices.Contains(omit, name) {
			switch {
			case kept > 0:
				dst = append(dst, e.text[begin:end]...)
			case begin == 0:
				dst = append(dst, e.text[:end]...)
			default: // those before it are gone: the space that they had is its own
				dst = append(append(dst, e.text[:p.firstMember()]...), e.text[i:end]...)
			}
			kept++
		}
		begin = end
	}
	return append(dst, e.text[begin:]...)
}

// firstMember is where the first member of the object begins.
func (s *scanner) firstMember() int { return skipSpace(s.text, skipSpace(s.text, 0)+1) }
