package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// The variables beside those of the settings.
const (
	EnvConfig      = "HOOKFLEET_CONFIG"       // the same as --config
	EnvOperatorKey = "HOOKFLEET_OPERATOR_KEY" // sets the operator key instead of making one
	EnvURL         = "HOOKFLEET_URL"          // client commands: where the API is
	EnvKey         = "HOOKFLEET_KEY"          // client commands: the API key

	envPrefix = "HOOKFLEET_"
)

// Setting is one key of the configuration.
type Setting struct {
	Key     string // api.listen
	Default string // in text form, as in a flag; "" = empty
	Type    string // what --help calls the value
	Usage   string // one line for people

	set func(c *Config, text string) error // parses the text into its field
}

// Flag is the setting's flag without the dashes: api-listen.
func (s *Setting) Flag() string { return strings.ReplaceAll(s.Key, ".", "-") }

// Env is the setting's environment variable: HOOKFLEET_API_LISTEN.
func (s *Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// Settings are all settings, in the order of the documentation.
func Settings() []Setting { return slices.Clone(settings) }

// settings is the one list of keys: flags, variables, file, help and defaults all come from it.
var settings = []Setting{
	{"data", "./data", "dir", "directory of the embedded store, the operator key and the secrets' key",
		into(text, func(c *Config) *string { return &c.Data })},
	{"roles", "api,worker,scheduler", "list", "parts of the fleet to run in this process",
		into(roles, func(c *Config) *[]Role { return &c.Roles })},
	{"api.listen", "127.0.0.1:8080", "addr", "address of the HTTP API; a process without that role serves health and metrics there, if it is not the default",
		into(text, func(c *Config) *string { return &c.API.Listen })},
	{"api.publicurl", "", "url", "how partners reach the API, for handshake callbacks",
		into(text, func(c *Config) *string { return &c.API.PublicURL })},
	{"nats.listen", "127.0.0.1:4222", "addr", "address of the embedded broker; empty: in process only",
		into(text, func(c *Config) *string { return &c.NATS.Listen })},
	{"nats.url", "", "list", "servers of an external cluster, instead of the embedded broker",
		into(list, func(c *Config) *[]string { return &c.NATS.URL })},
	{"nats.creds", "", "file", "credentials file for nats.url",
		into(text, func(c *Config) *string { return &c.NATS.Creds })},
	{"nats.replicas", "1", "number", "replicas of each stream, with nats.url",
		into(number, func(c *Config) *int { return &c.NATS.Replicas })},
	{"nats.sync", SyncGroup, "mode", "when the embedded broker syncs: group, always, or interval (none before the answer)",
		into(text, func(c *Config) *string { return &c.NATS.Sync })},
	{"events.retention", "72h", "duration", "how long settled events are kept",
		into(duration, func(c *Config) *time.Duration { return &c.Events.Retention })},
	{"events.maxsize", "", "size", "most bytes of events, as in 10GB; empty: no bound of its own",
		into(size, func(c *Config) *int64 { return &c.Events.MaxSize })},
	{"events.dedupe", "10m", "duration", "window in which an id that comes again is a duplicate",
		into(duration, func(c *Config) *time.Duration { return &c.Events.Dedupe })},
	{"statuses.retention", "30d", "duration", "how long the last status of a subject can be looked up; 0: not at all, which saves reading every event once more",
		into(duration, func(c *Config) *time.Duration { return &c.Statuses.Retention })},
	{"worker.concurrency", "512", "number", "simultaneous sends of one worker",
		into(number, func(c *Config) *int { return &c.Worker.Concurrency })},
	{"egress.allow", "", "list", "CIDRs that are open although private, loopback or special",
		into(prefixes, func(c *Config) *[]netip.Prefix { return &c.Egress.Allow })},
	{"egress.deny", "", "list", "CIDRs that are closed although public",
		into(prefixes, func(c *Config) *[]netip.Prefix { return &c.Egress.Deny })},
	{"egress.plainhttp", "false", "bool", "take http: sinks",
		into(boolean, func(c *Config) *bool { return &c.Egress.PlainHTTP })},
	{"egress.source", "", "ip", "local address to send from",
		into(address, func(c *Config) *netip.Addr { return &c.Egress.Source })},
	{"egress.proxy", "", "url", "forward proxy to send by, http:// or https://, with user info if it wants some",
		into(proxy, func(c *Config) *secret.Text { return &c.Egress.Proxy })},
	{"secrets.keys", "", "list", "keys that encrypt secrets at rest, 32 bytes in base64 each: the first encrypts, all decrypt; empty: made in data; required with nats.url",
		into(secrets, func(c *Config) *[]secret.Text { return &c.Secrets.Keys })},
	{"log.level", "info", "level", "trace, debug, info, warn or error",
		into(text, func(c *Config) *string { return &c.Log.Level })},
	{"log.format", "", "format", "json or console; empty: console on a terminal, else json",
		into(text, func(c *Config) *string { return &c.Log.Format })},
}

// into makes a setter from a parser and the place of the value.
func into[T any](parse func(string) (T, error), at func(*Config) *T) func(*Config, string) error {
	return func(c *Config, text string) error {
		v, err := parse(text)
		if err != nil {
			return err
		}
		*at(c) = v
		return nil
	}
}
