package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/config"
)

// serveOptions are what serve is told beside its settings.
type serveOptions struct {
	demo       bool      // also run demo partners and a flow of demo events
	pprof      string    // where to serve Go's profiles; "" = nowhere
	lost       bool      // start although keys of stored secrets are missing
	unknownEnv []string  // HOOKFLEET_ variables that are no settings, to be warned about
	stdout     io.Writer // for the one line that says it is ready
	stderr     io.Writer // for the log
}

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the fleet, or some of its roles",
		Long: `Run the fleet: API, worker and scheduler in one process with an embedded broker in --data, unless told otherwise.

Settings come from flags, then HOOKFLEET_ environment variables, then a YAML file. SIGTERM drains: no new work is
taken, attempts in flight end or are handed back, and the exit code is 0 within 30 seconds.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, unknown, err := config.Load(cmd.Flags(), os.Environ())
			if err = errors.Join(err, checkKeys(cfg)); err != nil {
				return usagef("the settings are wrong:\n%w", err)
			}
			o.unknownEnv, o.stdout, o.stderr = unknown, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runServe(cmd.Context(), cfg, o)
		},
	}
	config.RegisterFlags(cmd.Flags())
	cmd.Flags().BoolVar(&o.demo, "demo", false, "also run demo partners and a steady flow of demo events")
	cmd.Flags().BoolVar(&o.lost, "lost-secrets", false, "start although a key of stored secrets is lost: what needs them is held until they are sent again")
	registerProfiling(cmd.Flags(), &o.pprof)
	return cmd
}

// runServe runs the roles of cfg until ctx ends, drains, and gives nil when that was in order.
func runServe(ctx context.Context, cfg *config.Config, o serveOptions) error {
	log := newLogger(cfg.Log, o.stderr)
	for _, name := range o.unknownEnv {
		log.Warn().Str("variable", name).Msg("environment variable is no setting of ours")
	}
	if o.demo {
		if err := prepareDemo(cfg); err != nil {
			return err
		}
	}
	keys, err := openKeys(cfg)
	if err != nil {
		return err
	}
	f := &fleet{cfg: cfg, log: log, demo: o.demo, pprofListen: o.pprof, secrets: keys, lostSecrets: o.lost}
	return f.run(ctx, func() { fmt.Fprintln(o.stdout, f.readyLine()) })
}

// newLogger writes JSON, or for people when it writes to a terminal.
func newLogger(c config.Log, w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // config has checked it
	}
	format := c.Format
	if file, ok := w.(*os.File); ok && format == "" && isatty.IsTerminal(file.Fd()) {
		format = "console"
	}
	if format == "console" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// readyLine says where the fleet can be reached.
func (f *fleet) readyLine() string {
	parts := []string{"hookfleet is ready: roles " + joinRoles(f.cfg.Roles)}
	if f.api != nil {
		name := "api"
		if !f.cfg.Has(config.RoleAPI) {
			name = "status"
		}
		parts = append(parts, name+" http://"+f.api.Addr().String())
	}
	if f.broker != nil {
		parts = append(parts, "nats "+cmp.Or(f.broker.ClientURL(), "in process"))
	}
	if f.operator.Path != "" {
		parts = append(parts, "operator key in "+f.operator.Path)
	}
	if f.pprof != nil {
		parts = append(parts, "pprof http://"+f.pprof.String())
	}
	return strings.Join(parts, ", ")
}

func joinRoles(roles []config.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, "+")
}

// run starts the fleet's parts from the bottom up, and ends them from the top down.
func (f *fleet) run(ctx context.Context, ready func()) (err error) {
	told := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) { cancel(err) }
	f.base, f.support, f.roles = newLayer(ctx, fail), newLayer(ctx, fail), newLayer(ctx, fail)
	defer func() {
		err = errors.Join(err, f.roles.stop(), f.support.stop())
		f.disconnect()
		if f.ids != nil {
			err = errors.Join(err, f.ids.Close())
		}
		err = errors.Join(err, f.base.stop())
		f.log.Info().Msg("hookfleet has stopped")
	}()
	if err := f.start(ctx); err != nil {
		if told.Err() != nil {
			return nil //nolint:nilerr // told to stop while starting; what failed by itself is joined above
		}
		return err
	}
	ready()
	<-ctx.Done()
	f.log.Info().Msg("draining")
	return nil
}
