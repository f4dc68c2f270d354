// Package steadfast is the receiver of a partner of Steadfast, a courier whose middleware told partners about the status
// of their orders, and beside it what the courier's old system talked to: the token server of a partner, and the
// internal system that knows the status of an order.
package steadfast

import (
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Config is what the partner and the courier agreed on.
type Config struct {
	Path     string               // of the webhook
	Auth     func(*partners.Call) // refuses what shows the wrong credential; nil = none was agreed
	Interval time.Duration        // updates come once an interval, aligned to the epoch; 0 = at any time
	Window   time.Duration        // how long after a tick they may come
	Terminal []string             // after one of them an order is completed
	Unsent   string               // the status that an order starts with, which is not sent; "" = all are
	MaxCalls int                  // for one update; 0 = it is not counted
	Off      func(time.Time) bool // times in which the tick does not count, such as after a fault that was injected; nil = none
}

// Partner is the receiver. Its Key is the order, its Text the status.
type Partner struct {
	*partners.Receiver
	cfg    Config
	orders map[string][]string // statuses that were taken
}

// New makes a partner.
func New(cfg Config) *Partner {
	p := &Partner{cfg: cfg, orders: map[string][]string{}}
	p.Receiver = partners.NewReceiver(partners.Rules{Judge: p.judge, Taken: p.taken})
	return p
}

func (p *Partner) judge(c *partners.Call, past []*partners.Call) {
	if c.Method != http.MethodPost {
		c.Refuse(http.StatusMethodNotAllowed, "method %s", c.Method)
	}
	if c.Path != p.cfg.Path {
		c.Refuse(http.StatusNotFound, "path %s", c.Path)
	}
	if p.cfg.Auth != nil {
		p.cfg.Auth(c)
	}
	c.Want(http.StatusUnsupportedMediaType, "Content-Type", "application/json")
	body := c.Object()
	body.Only([]string{"orderId", "status"})
	c.Key, c.Text = body.Text("orderId"), body.Text("status")
	if p.cfg.Unsent != "" && c.Text == p.cfg.Unsent {
		c.Fault("an order that is only %q is told", c.Text)
	}
	if !c.Repeat {
		p.news(c)
	}
	if p.cfg.MaxCalls > 0 && len(past) >= p.cfg.MaxCalls {
		c.Fault("called %d times for one update", len(past)+1)
	}
	if len(past) == 0 {
		p.tick(c)
	}
}

// news checks that the status is one that the partner does not have.
func (p *Partner) news(c *partners.Call) {
	had := p.orders[c.Key]
	if slices.Contains(had, c.Text) {
		c.Fault("order %s was %q before: %q", c.Key, c.Text, had)
	}
	if len(had) > 0 && slices.Contains(p.cfg.Terminal, had[len(had)-1]) {
		c.Fault("order %s was completed by %q", c.Key, had[len(had)-1])
	}
}

// tick checks that a first call comes with the interval's tick.
func (p *Partner) tick(c *partners.Call) {
	if p.cfg.Interval == 0 || p.cfg.Off != nil && p.cfg.Off(c.At) {
		return
	}
	at := c.At.Add(partners.Early)
	if late := at.Sub(at.Truncate(p.cfg.Interval)); late > p.cfg.Window {
		c.Fault("came %v after a tick", late)
	}
}

func (p *Partner) taken(c *partners.Call) { p.orders[c.Key] = append(p.orders[c.Key], c.Text) }

// Header is an API key in a header.
func Header(name, key string) func(*partners.Call) {
	return func(c *partners.Call) { c.Want(http.StatusUnauthorized, name, key) }
}

// Query is an API key in the query, beside which there is nothing.
func Query(name, key string) func(*partners.Call) {
	return func(c *partners.Call) {
		if v := c.Values(); len(v) != 1 || len(v[name]) != 1 || v.Get(name) != key {
			c.Refuse(http.StatusUnauthorized, "query is %q", c.Query)
		}
		if c.Header.Get("Authorization") != "" {
			c.Refuse(http.StatusUnauthorized, "the key is in the query, and Authorization is %q", c.Header.Get("Authorization"))
		}
	}
}

// Basic is a user with a password.
func Basic(user, password string) func(*partners.Call) {
	return Header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// Bearer is a token that does not change.
func Bearer(token string) func(*partners.Call) { return Header("Authorization", "Bearer "+token) }
