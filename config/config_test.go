package config

import (
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/auth/secret"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"data: may not be empty":                                      func(c *Config) { c.Data = "" },
		"roles: may not be empty":                                     func(c *Config) { c.Roles = nil },
		`roles: "api" is named twice`:                                 func(c *Config) { c.Roles = []Role{RoleAPI, RoleAPI} },
		`api.listen: "" is not host:port`:                             func(c *Config) { c.API.Listen = "" },
		`api.listen: "x:99999" is not host:port`:                      func(c *Config) { c.API.Listen = "x:99999" },
		`api.publicurl: "hooks.example" is not an http`:               func(c *Config) { c.API.PublicURL = "hooks.example" },
		`api.publicurl: "https://hooks.example?a" is not an http`:     func(c *Config) { c.API.PublicURL = "https://hooks.example?a" },
		`nats.listen: "4222" is not host:port`:                        func(c *Config) { c.NATS.Listen = "4222" },
		"nats.url: is not a list":                                     func(c *Config) { external(c); c.NATS.URL = []string{"nats://a", "http://user:hunter2@b"} },
		"nats.replicas: 6 is not within 1..5":                         func(c *Config) { external(c); c.NATS.Replicas = 6 },
		"secrets.keys: is required with nats.url":                     func(c *Config) { external(c); c.Secrets.Keys = nil },
		"nats.replicas: the embedded broker is one server":            func(c *Config) { c.NATS.Replicas = 3 },
		"events.retention: must be more than 0":                       func(c *Config) { c.Events.Retention = 0 },
		"events.maxsize: 999999 bytes do not hold one event":          func(c *Config) { c.Events.MaxSize = 999_999 },
		"events.dedupe: must be at least 100ms":                       func(c *Config) { c.Events.Dedupe = 1 },
		"worker.concurrency: 0 is not within":                         func(c *Config) { c.Worker.Concurrency = 0 },
		`log.level: "" is not one of trace, debug, info, warn, error`: func(c *Config) { c.Log.Level = "" },
		`log.format: "xml" is not one of json, console`:               func(c *Config) { c.Log.Format = "xml" },
	} {
		c := Default()
		change(c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s", err, want)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Error("a password is shown:", err)
		}
	}
}

// external is a fleet on a cluster.
func external(c *Config) {
	c.NATS.URL, c.Secrets.Keys = []string{"nats://a"}, []secret.Text{secret.New("hunter2")}
}
