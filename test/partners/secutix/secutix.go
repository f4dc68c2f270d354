// Package secutix is the receiver of a partner of SecuTix, who gets the number of an order at a URL of the partner's own
// design and then asks for the order's details. Beside it there is the forward proxy that the operator opened.
package secutix

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// Config is what the partner designed.
type Config struct {
	Method string         // GET or POST
	Target *regexp.Regexp // of path and query; its group is the order's number
	Body   *regexp.Regexp // of the whole body, whose group is the number; nil = there is none
	Proxy  bool           // requests have to come by the operator's Proxy

	Interval time.Duration // orders come once an interval; 0 = at any time
	Window   time.Duration // how long after a tick they may come
	Batch    int           // at most so many an interval; 0 = not counted
}

// Partner is the receiver. Its Key is the order's number.
type Partner struct {
	*partners.Receiver
	cfg   Config
	ticks map[int64]int
}

// New makes a partner.
func New(cfg Config) *Partner {
	p := &Partner{cfg: cfg, ticks: map[int64]int{}}
	p.Receiver = partners.NewReceiver(partners.Rules{Judge: p.judge})
	return p
}

func (p *Partner) judge(c *partners.Call, past []*partners.Call) {
	if want := cmp.Or(p.cfg.Method, http.MethodPost); c.Method != want {
		c.Refuse(http.StatusMethodNotAllowed, "method %s, not %s", c.Method, want)
	}
	if c.Header.Get("Authorization") != "" || c.Header.Get("Proxy-Authorization") != "" {
		c.Fault("shows a credential")
	}
	agreed := ""
	if p.cfg.Proxy {
		agreed = via1
	}
	if via := c.Header.Get("Via"); via != agreed {
		c.Refuse(http.StatusForbidden, "via is %q", via)
	}
	p.order(c)
	p.body(c)
	if len(past) == 0 {
		p.tick(c)
	}
}

// order takes the number of the order from the URL.
func (p *Partner) order(c *partners.Call) {
	target := c.Path
	if c.Query != "" {
		target += "?" + c.Query
	}
	m := p.cfg.Target.FindStringSubmatch(target)
	if m == nil {
		c.Refuse(http.StatusNotFound, "URL %s", target)
		return
	}
	if len(m) > 1 {
		number, err := url.QueryUnescape(m[1])
		if err != nil {
			c.Refuse(http.StatusBadRequest, "URL %s: %v", target, err)
		}
		c.Key = number
	}
}

// body checks what a POST carries, and takes the number from there where it is.
func (p *Partner) body(c *partners.Call) {
	if p.cfg.Body == nil {
		if len(c.Body) > 0 {
			c.Refuse(http.StatusBadRequest, "body %q, none was agreed", c.Body)
		}
		return
	}
	c.Want(http.StatusUnsupportedMediaType, "Content-Type", "application/json")
	m := p.cfg.Body.FindSubmatch(c.Body)
	if m == nil || !json.Valid(c.Body) {
		c.Refuse(http.StatusBadRequest, "body %q", c.Body)
		return
	}
	if len(m) > 1 {
		c.Key = string(m[1])
	}
}

// tick checks when a first call comes, and how many come at one tick.
func (p *Partner) tick(c *partners.Call) {
	if p.cfg.Interval == 0 {
		return
	}
	at := c.At.Add(partners.Early)
	tick := at.Truncate(p.cfg.Interval)
	if late := at.Sub(tick); late > p.cfg.Window {
		c.Fault("came %v after a tick", late)
	}
	if p.ticks[tick.UnixNano()]++; p.cfg.Batch > 0 && p.ticks[tick.UnixNano()] > p.cfg.Batch {
		c.Fault("is number %d of the tick at %s", p.ticks[tick.UnixNano()], tick.Format("15:04:05"))
	}
}

// maxDetails bounds what is read of an order.
const maxDetails = 4 << 20

// Details asks for the data of an order, as the partner does when it was told of one: by the API at base with the
// partner's key.
func Details(ctx context.Context, base, key, order string) ([]json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events?subject="+url.QueryEscape(order), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var page struct {
		Items []struct{ Event json.RawMessage }
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("order %s: status %d", order, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDetails)).Decode(&page); err != nil {
		return nil, fmt.Errorf("order %s: %w", order, err)
	}
	var orders []json.RawMessage
	for _, item := range page.Items {
		orders = append(orders, item.Event)
	}
	return orders, nil
}
