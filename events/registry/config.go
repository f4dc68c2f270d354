package registry

import (
	"errors"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Config holds the settings of a registry.
type Config struct {
	// Timeout is for one request to the broker. More than a second means that the broker is in trouble.
	Timeout time.Duration

	// Sync makes what the broker has acknowledged durable, before a write returns. nil: the acknowledgement is durable.
	Sync stream.Syncer

	// Admit refuses what would fill the store, of what only tidies it up. nil = takes all.
	Admit func(bytes int) error

	// Secrets encrypts the secrets of what is stored. nil: they are stored as they are, which is for tests.
	Secrets Vault
}

// Vault encrypts secrets with the first of its keys and opens them with all; see package auth/vault.
type Vault interface {
	events.Sealer
	KeyID() string // names the first key; tells nothing about it
}

// DefaultConfig returns the settings that fit the embedded broker and a cluster alike.
func DefaultConfig() Config { return Config{Timeout: 5 * time.Second} }

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	if c.Timeout <= 0 {
		return errors.New("registry: timeout must be positive")
	}
	return nil
}
