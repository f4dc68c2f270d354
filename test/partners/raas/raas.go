// Package raas is the receiver of a client of RaaS, which sends signed events and takes a 409 for "not yet".
package raas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Config is what the client and RaaS agreed on.
type Config struct {
	Path         string
	Subscription string        // its id
	Every        time.Duration // between calls after a 409; 0 = not timed
	Late         time.Duration // how much later than that they may come; 0 = not looked at
	Clock        time.Duration // how far `timestamp` may be from the client's clock
}

// Client is the receiver. Its Key is the resource, its Text the event's name.
type Client struct {
	*partners.Receiver
	cfg Config

	mu      sync.Mutex
	secrets []string
}

// New makes a client that knows these secrets.
func New(cfg Config, secrets ...string) *Client {
	cl := &Client{cfg: cfg, secrets: secrets}
	cl.Receiver = partners.NewReceiver(partners.Rules{Judge: cl.judge})
	return cl
}

// Know replaces the secrets of which one has to fit.
func (cl *Client) Know(secrets ...string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.secrets = secrets
}

func (cl *Client) judge(c *partners.Call, past []*partners.Call) {
	if c.Method != http.MethodPost || c.Path != cl.cfg.Path {
		c.Refuse(http.StatusNotFound, "%s %s", c.Method, c.Path)
	}
	cl.signature(c)
	c.Want(http.StatusUnsupportedMediaType, "Content-Type", "application/json")
	body := c.Object()
	body.Only([]string{"id", "event_name", "resource_id", "subscription_id", "timestamp"}, "user_id", "payload")
	body.Is("id", c.ID())
	body.Is("subscription_id", cl.cfg.Subscription)
	c.Key, c.Text = body.Text("resource_id"), body.Text("event_name")
	c.Want(http.StatusBadRequest, "X-Raas-Event", c.Text)
	if at := body.Time("timestamp"); c.At.Sub(at).Abs() > cl.cfg.Clock {
		c.Fault("timestamp %v is not that of posting", at)
	}
	if body.Has("user_id") {
		body.Text("user_id")
	}
	if tags := c.Text == "tag.status"; tags != body.Has("payload") {
		c.Refuse(http.StatusBadRequest, "payload of %s: %t", c.Text, body.Has("payload"))
	}
	body.Texts("payload")
	cl.again(c, past)
}

// signature checks the 64 hex digits over the body.
func (cl *Client) signature(c *partners.Call) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	for _, secret := range cl.secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(c.Body)
		if got := c.Header.Values("X-Raas-Webhook-Signature"); len(got) == 1 && hmac.Equal([]byte(got[0]), []byte(hex.EncodeToString(mac.Sum(nil)))) {
			return
		}
	}
	c.Refuse(http.StatusUnauthorized, "signature %q does not fit", c.Header.Values("X-Raas-Webhook-Signature"))
}

// again checks that a call is repeated after a 409 only, and then at the interval.
func (cl *Client) again(c *partners.Call, past []*partners.Call) {
	if len(past) == 0 {
		return
	}
	last := past[len(past)-1]
	if last.Status != http.StatusConflict && !last.Taken() {
		c.Fault("called again after %d", last.Status)
	}
	if last.Status == http.StatusConflict && cl.cfg.Every > 0 {
		c.Gap(past, cl.cfg.Every, cl.cfg.Late)
	}
}
