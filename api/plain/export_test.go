package plain

import "net/http"

// Head is what tests see of a plain head.
type Head struct {
	Size   int
	Fields http.Header
	Host   string
	Length int64
}

// Parser reads heads of one connection.
type Parser struct{ head head }

// NewParser returns a parser of POSTs to path.
func NewParser(path string, maxBody int64) *Parser {
	return &Parser{head{line: "POST " + path + " HTTP/1.1\r\n", maxBody: maxBody}}
}

// Take looks for a plain head at the beginning of b. more = it may become one.
func (p *Parser) Take(b []byte) (h Head, plain, more bool) {
	n, v := p.head.take(b)
	return Head{n, p.head.fields, p.head.host, p.head.length}, v == whole, v == part
}

// Resting is how many connections wait for a request.
func (s *Server) Resting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.state.Load() == idle {
			n++
		}
	}
	return n
}
