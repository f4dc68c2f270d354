package partners

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Call is one request as it came, and what became of it.
type Call struct {
	Number int // from 1, in the order of arrival
	Method string
	Path   string
	Query  string // raw
	Host   string
	From   string // host:port of who sent it
	Header http.Header
	Body   []byte
	At     time.Time // when its header had arrived

	Key    string   // what it is about in the partner's words: an order, a transaction; "" = it does not say
	Text   string   // what it says of that: a status, an event's name
	Faults []string // what is wrong with it; none = it is in order
	Status int      // of the answer; 0 = the connection was cut
	Repeat bool     // the same webhook-id was taken before

	refuse int // answer for one that is at fault; 0 = as if it were in order
}

// ID is the webhook-id.
func (c *Call) ID() string { return c.Header.Get("Webhook-Id") }

// Taken reports whether the partner took it.
func (c *Call) Taken() bool { return c.Status >= 200 && c.Status < 300 }

// Fault writes down that something is wrong.
func (c *Call) Fault(format string, args ...any) {
	c.Faults = append(c.Faults, fmt.Sprintf(format, args...))
}

// Refuse is Fault for what the partner answers with a status instead of taking it; the first one counts.
func (c *Call) Refuse(status int, format string, args ...any) {
	c.Fault(format, args...)
	if c.refuse == 0 {
		c.refuse = status
	}
}

// Want refuses a header that is not exactly value.
func (c *Call) Want(status int, header, value string) {
	if got := c.Header.Values(header); len(got) != 1 || got[0] != value {
		c.Refuse(status, "header %s is %q", header, got)
	}
}

// Values are the members of the query.
func (c *Call) Values() url.Values {
	v, err := url.ParseQuery(c.Query)
	if err != nil {
		c.Refuse(http.StatusBadRequest, "query %q: %v", c.Query, err)
	}
	return v
}

// clockSkew is how far webhook-timestamp may be from the partner's clock.
const clockSkew = 5 * time.Minute

// common checks what every request of ours promises.
func (c *Call) common() {
	if id := c.Header.Values("Webhook-Id"); len(id) != 1 || id[0] == "" {
		c.Fault("webhook-id is %q", id)
	}
	var unix int64
	if _, err := fmt.Sscan(c.Header.Get("Webhook-Timestamp"), &unix); err != nil {
		c.Fault("webhook-timestamp is %q", c.Header.Get("Webhook-Timestamp"))
	} else if off := c.At.Sub(time.Unix(unix, 0)).Abs(); off > clockSkew {
		c.Fault("webhook-timestamp is %v off", off)
	}
}

// String is the call in one line.
func (c *Call) String() string {
	target := c.Path
	if c.Query != "" {
		target += "?" + c.Query
	}
	return fmt.Sprintf("call %d at %s: %s %s (%s %s) answered %d", c.Number, c.At.Format("15:04:05.000"), c.Method, target, c.Key, c.Text, c.Status)
}
