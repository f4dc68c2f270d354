package api

import "net/http"

// page is one page of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"cursor of the next page; absent on the last"`
}

// maxPageBytes bounds a page whose items hold whole events: 1,000 events could be 1 GB. A page always has one item.
const maxPageBytes = 4 << 20

// rawPage is a page whose items are encoded already, because they hold events in their very bytes.
type rawPage struct {
	items [][]byte
	size  int
	next  string
}

// full reports whether nothing more fits.
func (p *rawPage) full(limit int) bool { return len(p.items) >= limit || p.size >= maxPageBytes }

func (p *rawPage) add(item []byte) {
	p.items = append(p.items, item)
	p.size += len(item)
}

func (p *rawPage) write(c *call) error {
	next, err := marshal(p.next)
	if err != nil {
		return err
	}
	b := make([]byte, 0, p.size+len(p.items)+len(next)+32)
	b = append(b, `{"items":[`...)
	for i, item := range p.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item...)
	}
	b = append(b, ']')
	if p.next != "" {
		b = append(b, `,"next":`...)
		b = append(b, next[:len(next)-1]...)
	}
	c.raw(http.StatusOK, append(b, "}\n"...))
	return nil
}
