package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/config"
)

// secretsFile is where the key of the secrets is, in the data directory, unless secrets.keys is set.
const secretsFile = "secrets.key"

// secretKeys are what secrets in the store are encrypted with.
type secretKeys struct {
	*vault.Vault
	path string      // the file of them; "" = they were set
	made secret.Text // not in that file yet
}

// checkKeys says what is wrong with the keys that are set.
func checkKeys(cfg *config.Config) error {
	if cfg == nil || len(cfg.Secrets.Keys) == 0 {
		return nil
	}
	if _, err := vault.New(cfg.Secrets.Keys); err != nil {
		return fmt.Errorf("secrets.keys: %s", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return nil
}

// openKeys prepares the keys that are set, else those in the data directory, else a new one. That is written when it is
// certain that the store was not encrypted with another, which would have been lost.
func openKeys(cfg *config.Config) (k secretKeys, err error) {
	if len(cfg.Secrets.Keys) > 0 {
		k.Vault, err = vault.New(cfg.Secrets.Keys)
		return k, err
	}
	k.path = filepath.Join(cfg.Data, secretsFile)
	k.Vault, err = vault.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		k.made = vault.NewKey()
		k.Vault, err = vault.New([]secret.Text{k.made})
	}
	return k, err
}

// save writes a key that was made.
func (k *secretKeys) save() error {
	if k.made.IsZero() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := secret.WriteFile(k.path, k.made); err != nil {
		return fmt.Errorf("write the secrets' key: %w", err)
	}
	k.made = secret.Text{}
	return nil
}

// remedy says what to do about a key that is missing, for people.
func (k *secretKeys) remedy() string {
	switch {
	case k.path == "":
		return "Add it to secrets.keys, which has " + k.KeyID() + " first"
	case !k.made.IsZero():
		return "There is no " + k.path + ", and secrets.keys is not set: put the file back, or set it"
	default:
		return "Add it to " + k.path + ", which has " + k.KeyID() + " first"
	}
}

// checkSecrets refuses to start without a key that the store needs.
func (f *fleet) checkSecrets(ctx context.Context) error {
	lost := f.registry.MissingKeys()
	// Where nothing is lost, the process with the store may change the key of its own; others share it.
	replace := lost == "" && f.cfg.Embedded() || f.lostSecrets
	if lost == "" && !replace {
		err := f.registry.EnsureMark(ctx, false)
		missing, ok := errors.AsType[*vault.MissingKeyError](err)
		if err != nil && !ok {
			return err
		}
		if ok {
			lost = fmt.Sprintf("key %s is missing, with which the fleet encrypts secrets", missing.ID)
		}
	}
	if lost != "" && !f.lostSecrets {
		return fmt.Errorf("%s.\n%s. If it is lost for good, start with --lost-secrets and send those secrets again", lost, f.secrets.remedy())
	}
	if lost != "" {
		f.log.Warn().Msg(lost + ": these subscriptions are held until their secrets are sent again")
	}
	if err := f.secrets.save(); err != nil {
		return err
	}
	if err := f.registry.EnsureMark(ctx, replace); err != nil {
		return err
	}
	f.log.Info().Str("key", f.secrets.KeyID()).Msg("secrets in the store are encrypted")
	if n := f.registry.Unsealed(); n > 0 {
		f.log.Warn().Int("subscriptions", n).Msg("secrets are stored without encryption or with an older key: run hookfleet key rotate-secrets")
	}
	return nil
}

// missingKeys is the readiness of secrets. It shows when another process encrypts with a key that this one lacks.
func (f *fleet) missingKeys() string {
	if f.lostSecrets {
		return ""
	}
	return f.registry.MissingKeys()
}
