// Package caf is the receiver of a client of CAF, who is told of transactions by CloudEvents.
package caf

import (
	"net/http"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Types that are sent.
var Types = []string{"TransactionFinished", "TransactionPending"}

// Config is what the client and CAF agreed on.
type Config struct {
	Workflows []string        // whose transactions the client gets here; none = any
	Schedule  []time.Duration // between the attempts; none = not timed
	Attempts  int             // at most; 0 = not counted
	Within    time.Duration   // from the first attempt to the last; 0 = not timed
	Clock     time.Duration   // how far data.date may be from the client's clock; 0 = it is the producer's time
	Latest    bool            // older than what was taken is refused
}

// Client is the receiver. Its Key is the transaction, its Text the status.
type Client struct {
	*partners.Receiver
	cfg    Config
	newest map[string]time.Time // by transaction, of what was taken
	at     map[int]time.Time    // `time` of calls that are judged and not taken yet
}

// New makes a client.
func New(cfg Config) *Client {
	cl := &Client{cfg: cfg, newest: map[string]time.Time{}, at: map[int]time.Time{}}
	cl.Receiver = partners.NewReceiver(partners.Rules{Judge: cl.judge, Taken: cl.taken})
	return cl
}

func (cl *Client) judge(c *partners.Call, past []*partners.Call) {
	if c.Method != http.MethodPost {
		c.Refuse(http.StatusMethodNotAllowed, "method %s", c.Method)
	}
	c.Want(http.StatusUnsupportedMediaType, "Content-Type", "application/cloudevents+json")
	body := c.Object()
	body.Only([]string{"id", "time", "type", "source", "specversion", "data"})
	body.Is("specversion", "1.0")
	body.Text("id")
	body.Text("source")
	at := body.Time("time")
	if typ := body.Text("type"); !slices.Contains(Types, typ) {
		c.Refuse(http.StatusBadRequest, "type %q", typ)
	}
	cl.data(c, body.Object("data"))
	if before := cl.newest[c.Key]; cl.cfg.Latest && at.Before(before) {
		c.Fault("is of %v, and %v was told before", at, before)
	}
	cl.at[c.Number] = at
	cl.retry(c, past)
}

func (cl *Client) data(c *partners.Call, data *partners.Object) {
	data.Only([]string{"transactionId", "workflowId", "status", "date"})
	c.Key, c.Text = data.Text("transactionId"), data.Text("status")
	if workflow := data.Text("workflowId"); len(cl.cfg.Workflows) > 0 && !slices.Contains(cl.cfg.Workflows, workflow) {
		c.Fault("is of workflow %s", workflow)
	}
	if date := data.Time("date"); cl.cfg.Clock > 0 && c.At.Sub(date).Abs() > cl.cfg.Clock {
		c.Fault("data.date %v is not the time of sending", date)
	}
}

// retry checks how often and when a notification is repeated.
func (cl *Client) retry(c *partners.Call, past []*partners.Call) {
	if len(past) == 0 {
		return
	}
	if cl.cfg.Attempts > 0 && len(past) >= cl.cfg.Attempts {
		c.Fault("attempt %d, %d were agreed", len(past)+1, cl.cfg.Attempts)
	}
	if n := len(cl.cfg.Schedule); n > 0 && !c.Repeat {
		c.Gap(past, cl.cfg.Schedule[min(len(past), n)-1], 0)
	}
	if age := c.At.Sub(past[0].At); cl.cfg.Within > 0 && age > cl.cfg.Within {
		c.Fault("comes %v after the first attempt", age)
	}
}

func (cl *Client) taken(c *partners.Call) {
	if at := cl.at[c.Number]; at.After(cl.newest[c.Key]) {
		cl.newest[c.Key] = at
	}
	delete(cl.at, c.Number)
}
