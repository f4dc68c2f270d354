package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events"
)

// Config is what a process is told. The zero value is not usable: start from Default or Load.
type Config struct {
	Data     string // directory of the embedded store, the operator key and the secrets' key
	Roles    []Role // parts of the fleet that run in this process
	API      API
	NATS     NATS
	Events   Events
	Statuses Statuses
	Worker   Worker
	Egress   Egress
	Secrets  Secrets
	Log      Log

	// OperatorKey is HOOKFLEET_OPERATOR_KEY. It is never a flag or in the file, where others could read it. Zero = the
	// first start makes one.
	OperatorKey secret.Text
}

// Role is a part of the fleet that a process may run.
type Role string

// The roles.
const (
	RoleAPI       Role = "api"
	RoleWorker    Role = "worker"
	RoleScheduler Role = "scheduler"
)

// API says where the HTTP API listens.
type API struct {
	Listen    string // host:port; port 0 = any free one
	PublicURL string // how partners reach the API; "" = not known
}

// NATS says which broker the fleet stands on.
type NATS struct {
	Listen   string   // host:port of the embedded broker; "" = in process only. Without meaning when URL is set
	URL      []string // servers of an external cluster; none = the embedded broker
	Creds    string   // credentials file for URL; "" = none
	Replicas int      // of each stream; 1 on the embedded broker
	Sync     string   // when the embedded broker is synced: SyncGroup, SyncAlways or SyncInterval
}

// When the embedded broker writes through to the disk.
const (
	SyncGroup    = "group"    // one sync per group of messages, before their answers
	SyncAlways   = "always"   // the server's own: one sync per message
	SyncInterval = "interval" // none before the answer
)

// Events says how long events stay.
type Events struct {
	Retention time.Duration // of what is settled
	MaxSize   int64         // bytes; 0 = no bound of its own
	Dedupe    time.Duration // window in which an id that comes again is a duplicate
}

// Statuses says how long statuses can be looked up.
type Statuses struct {
	Retention time.Duration // of one that no newer one replaces; 0 = there are none
}

// Worker says how much one worker does at once.
type Worker struct {
	Concurrency int // simultaneous sends
}

// Egress says where requests may go, and from where.
type Egress struct {
	Allow     []netip.Prefix // ranges that are open although private, loopback or special
	Deny      []netip.Prefix // ranges that are closed although public
	PlainHTTP bool           // whether http: sinks are taken
	Source    netip.Addr     // local address to send from; the zero Addr = the system's choice
	Proxy     secret.Text    // URL of a forward proxy, with its password; zero = none
}

// Secrets says what the secrets in the store are encrypted with.
type Secrets struct {
	Keys []secret.Text // the first encrypts, all decrypt; none = what is in Data. Their form is package vault's
}

// Log says what is logged, and how.
type Log struct {
	Level  string // trace, debug, info, warn or error
	Format string // json or console; "" = console on a terminal, else json
}

// Bounds of settings.
const (
	maxReplicas    = 5                      // of a JetStream stream
	minConcurrency = 4                      // first attempts, retries and held deliveries each have slots of their own
	maxConcurrency = 1 << 16                // each send holds a socket, and a host has about that many ports
	minStatuses    = time.Second            // the server keeps everything for a little longer
	minDedupe      = 100 * time.Millisecond // the least that JetStream takes
)

// Default is the configuration when nothing is said.
func Default() *Config {
	c := &Config{}
	for _, s := range settings {
		if err := s.set(c, s.Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", s.Key, err))
		}
	}
	return c
}

// Has reports whether the process runs the role.
func (c *Config) Has(r Role) bool { return slices.Contains(c.Roles, r) }

// Embedded reports whether the broker runs in this process.
func (c *Config) Embedded() bool { return len(c.NATS.URL) == 0 }

// Validate names everything that is wrong, each with its key; nil when nothing is.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range c.faults() {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// fault is one thing that is wrong with a setting.
type fault struct {
	key    string // the setting's
	origin string // where its value came from; "" = not known
	detail string
}

// Error names the key first, so that a list of faults reads as a list of settings.
func (f *fault) Error() string {
	if f.origin == "" {
		return f.key + ": " + f.detail
	}
	return fmt.Sprintf("%s: %s (%s)", f.key, f.detail, f.origin)
}

// faults checks the values against their bounds and against each other.
func (c *Config) faults() []*fault {
	var out []*fault
	check := func(key, detail string) {
		if detail != "" {
			out = append(out, &fault{key: key, detail: detail})
		}
	}
	check("data", require(c.Data != "", "may not be empty"))
	check("roles", rolesFault(c.Roles))
	check("api.listen", listenFault(c.API.Listen))
	check("api.publicurl", publicURLFault(c.API.PublicURL))
	if c.NATS.Listen != "" {
		check("nats.listen", listenFault(c.NATS.Listen))
	}
	for _, u := range c.NATS.URL {
		check("nats.url", natsURLFault(u))
	}
	check("nats.creds", require(c.NATS.Creds == "" || !c.Embedded(), "is for an external cluster: nats.url is not set"))
	check("nats.replicas", require(c.NATS.Replicas >= 1 && c.NATS.Replicas <= maxReplicas,
		fmt.Sprintf("%d is not within 1..%d", c.NATS.Replicas, maxReplicas)))
	check("nats.replicas", require(c.NATS.Replicas <= 1 || !c.Embedded(), "the embedded broker is one server: nats.url is not set"))
	check("nats.sync", oneOf(c.NATS.Sync, SyncGroup, SyncAlways, SyncInterval))
	check("events.retention", require(c.Events.Retention > 0, "must be more than 0"))
	check("events.maxsize", require(c.Events.MaxSize == 0 || c.Events.MaxSize >= events.MaxEventBytes,
		fmt.Sprintf("%d bytes do not hold one event of %d", c.Events.MaxSize, events.MaxEventBytes)))
	check("events.dedupe", require(c.Events.Dedupe >= minDedupe, "must be at least "+minDedupe.String()))
	check("statuses.retention", require(c.Statuses.Retention == 0 || c.Statuses.Retention >= minStatuses,
		"must be at least "+minStatuses.String()+", or 0 for none"))
	check("worker.concurrency", require(c.Worker.Concurrency >= minConcurrency && c.Worker.Concurrency <= maxConcurrency,
		fmt.Sprintf("%d is not within %d..%d", c.Worker.Concurrency, minConcurrency, maxConcurrency)))
	check("secrets.keys", require(c.Embedded() || len(c.Secrets.Keys) > 0,
		"is required with nats.url, the same for all processes of the fleet (hookfleet key new-secret makes one)"))
	check("log.level", oneOf(c.Log.Level, "trace", "debug", "info", "warn", "error"))
	if c.Log.Format != "" {
		check("log.format", oneOf(c.Log.Format, "json", "console"))
	}
	return out
}

// require gives detail when ok is false.
func require(ok bool, detail string) string {
	if ok {
		return ""
	}
	return detail
}

func oneOf(s string, choices ...string) string {
	return require(slices.Contains(choices, s), fmt.Sprintf("%q is not one of %s", s, strings.Join(choices, ", ")))
}

func rolesFault(roles []Role) string {
	if len(roles) == 0 {
		return "may not be empty"
	}
	seen := map[Role]bool{}
	for _, r := range roles {
		if detail := oneOf(string(r), string(RoleAPI), string(RoleWorker), string(RoleScheduler)); detail != "" {
			return detail
		}
		if seen[r] {
			return fmt.Sprintf("%q is named twice", r)
		}
		seen[r] = true
	}
	return ""
}

func listenFault(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return require(err == nil, fmt.Sprintf("%q is not host:port", addr))
}

func publicURLFault(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	ok := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
	return require(ok, fmt.Sprintf("%q is not an http or https URL without query", s))
}

// natsURLFault never shows the URL, which may hold a password.
func natsURLFault(s string) string {
	u, err := url.Parse(s)
	ok := err == nil && slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && u.Host != ""
	return require(ok, "is not a list of nats://, tls://, ws:// or wss:// URLs")
}
