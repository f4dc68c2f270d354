// Package idpay is the receiver of a client of IDPay, who is told the status of transactions within limits that the
// client set.
package idpay

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Statuses that were agreed so far. New ones may come.
var Statuses = []string{"approved", "processing", "inconclusive", "shared", "skipped", "unknown-share", "absent-holder", "expired"}

// Config is what the client set.
type Config struct {
	Header, Value string        // of what requests have to show; "" = nothing
	Statuses      []string      // that the client wants to be told; none = all
	MaxRetries    int           // after the first attempt; negative = not counted
	Interval      time.Duration // before the first retry; it doubles with each; 0 = not timed
	Simultaneous  int           // requests at a time; 0 = not counted
	From          []string      // addresses that may call; none = any
}

// Client is the receiver. Its Key is the transaction, its Text the status.
type Client struct {
	*partners.Receiver
	cfg Config
}

// New makes a client.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg}
	c.Receiver = partners.NewReceiver(partners.Rules{Judge: c.judge})
	return c
}

// Faults is what was wrong, with the calls and their peak taken together.
func (cl *Client) Faults() []string {
	faults := cl.Receiver.Faults()
	if _, _, _, peak := cl.Counts(); cl.cfg.Simultaneous > 0 && peak > cl.cfg.Simultaneous {
		faults = append(faults, fmt.Sprintf("%d requests at a time, %d were agreed", peak, cl.cfg.Simultaneous))
	}
	return faults
}

func (cl *Client) judge(c *partners.Call, past []*partners.Call) {
	if host, _, err := net.SplitHostPort(c.From); err != nil || len(cl.cfg.From) > 0 && !slices.Contains(cl.cfg.From, host) {
		c.Refuse(http.StatusForbidden, "called from %s", c.From)
	}
	if c.Method != http.MethodPost {
		c.Refuse(http.StatusMethodNotAllowed, "method %s", c.Method)
	}
	switch {
	case cl.cfg.Header != "":
		c.Want(http.StatusUnauthorized, cl.cfg.Header, cl.cfg.Value)
	case c.Header.Get("Authorization") != "":
		c.Refuse(http.StatusUnauthorized, "shows a credential that was not agreed")
	}
	c.Want(http.StatusUnsupportedMediaType, "Content-Type", "application/json")
	body := c.Object()
	body.Only([]string{"id", "status"})
	c.Key, c.Text = body.Text("id"), body.Text("status")
	if len(cl.cfg.Statuses) > 0 && !slices.Contains(cl.cfg.Statuses, c.Text) {
		c.Fault("status %q is not asked for", c.Text)
	}
	cl.retry(c, past)
}

// retry checks how often and how soon a call is repeated.
func (cl *Client) retry(c *partners.Call, past []*partners.Call) {
	if cl.cfg.MaxRetries >= 0 && len(past) > cl.cfg.MaxRetries {
		c.Fault("retry %d, %d were agreed", len(past), cl.cfg.MaxRetries)
	}
	if len(past) == 0 {
		return
	}
	if first := past[0]; c.Key != first.Key || c.Text != first.Text {
		c.Fault("says %s %s under the webhook-id of %s %s", c.Key, c.Text, first.Key, first.Text)
	}
	if cl.cfg.Interval > 0 && !c.Repeat {
		c.Gap(past, cl.cfg.Interval<<(len(past)-1), 0)
	}
}
