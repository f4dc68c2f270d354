package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/config"
	"github.com/hookfleet/hookfleet/test/partners"
)

// newDemo runs one of the systems of deploy/examples on the spot.
func newDemo() *cobra.Command {
	var (
		length time.Duration
		level  string
	)
	names := sceneNames()
	cmd := &cobra.Command{
		Use:   "demo NAME",
		Short: "Run one of five partner systems on the spot: " + strings.Join(names, ", "),
		Long: `Run one of five partner systems on the spot: a fleet of its own in a temporary directory, the subscription of
deploy/examples/NAME with short times in place of long ones, the partner's receiver, which checks every request as
strictly as the partner would, and data that looks like the real thing. What is published, sent and answered is shown
as it happens. It ends with Ctrl-C, or after --for; the exit code is 1 when the receiver found anything wrong.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if length > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, length)
				defer cancel()
			}
			st := &stage{scene: scenes[args[0]](), name: args[0], view: newView(cmd.OutOrStdout())}
			return st.run(ctx, level, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "end by itself after so long; 0: run until Ctrl-C")
	cmd.Flags().StringVar(&level, "log-level", "error", "what the fleet says of itself on standard error")
	return cmd
}

func sceneNames() []string {
	names := make([]string, 0, len(scenes))
	for name := range scenes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// stage is one run of a demo: a fleet, a partner and a producer.
type stage struct {
	name  string
	scene *scene
	view  *view

	fleet  *fleet
	client *client
	base   string // of the partner's server
}

// run plays the scene until ctx ends.
func (st *stage) run(ctx context.Context, level string, stderr io.Writer) (err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("the partner's address: %w", err)
	}
	st.base = "http://" + listener.Addr().String()
	dir, err := os.MkdirTemp("", "hookfleet-demo-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := st.prepare(dir, level, stderr); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	play := newLayer(ctx, func(error) { cancel() }) // its stop gives the error
	server := &http.Server{Handler: st.scene.server, ReadHeaderTimeout: 5 * time.Second}
	play.run("partner", func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = server.Close() })() // its end is seen by Serve
		if err := server.Serve(listener); ctx.Err() == nil {
			return err
		}
		return nil
	})
	st.scene.watch(st.view.call)
	err = st.fleet.run(ctx, func() {
		play.run("producer", func(end context.Context) error {
			err := st.play(ctx)
			if err == nil {
				<-end.Done() // it has nothing to do while the fleet drains
			}
			return err
		})
	})
	err = errors.Join(err, play.stop())
	return errors.Join(err, st.close())
}

// prepare makes the fleet, which is not started yet.
func (st *stage) prepare(dir, level string, stderr io.Writer) error {
	cfg := config.Default()
	cfg.Data, cfg.API.Listen, cfg.NATS.Listen = dir, "127.0.0.1:0", ""
	cfg.Log.Level = level
	cfg.Egress.PlainHTTP = true
	cfg.Egress.Allow = append(cfg.Egress.Allow, netip.MustParsePrefix("127.0.0.0/8"))
	if st.scene.proxied {
		cfg.Egress.Proxy = secret.New(st.base)
	}
	if err := cfg.Validate(); err != nil {
		return usagef("the settings are wrong:\n%w", err)
	}
	keys, err := openKeys(cfg)
	if err != nil {
		return err
	}
	log := zerolog.Nop()
	if level != "" {
		log = newLogger(cfg.Log, stderr)
	}
	st.fleet = &fleet{cfg: cfg, log: log, secrets: keys}
	return nil
}

// play subscribes the partner and publishes until ctx ends.
func (st *stage) play(ctx context.Context) error {
	st.client = newClient("http://"+st.fleet.api.Addr().String(), st.fleet.operator.Text)
	docs, err := partners.Examples(st.name)
	if err != nil {
		return err
	}
	for _, adapt := range st.scene.documents {
		path, doc := adapt(docs, st.base)
		if err := st.put(ctx, path, doc); err != nil {
			return err
		}
	}
	st.view.begin(st.name, st.client.base, st.base)
	beat := time.NewTicker(st.scene.beat)
	defer beat.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if err := st.scene.next(ctx, st, n); err != nil && ctx.Err() == nil {
				return err
			}
			n++
		case <-look.C:
			st.look(ctx)
		}
	}
}

func (st *stage) put(ctx context.Context, path string, doc any) error {
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	if _, err := st.client.do(ctx, http.MethodPut, path, "application/json", text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// publish publishes one event of the scene.
func (st *stage) publish(ctx context.Context, said string, event map[string]any) error {
	event["specversion"] = "1.0"
	event["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	text, err := json.Marshal(event)
	if err != nil {
		return err
	}
	st.view.published(said)
	_, err = st.client.do(ctx, http.MethodPost, eventsPath, typeEvent, text)
	return err
}

// look shows the state of the subscription.
func (st *stage) look(ctx context.Context) {
	a, err := st.client.do(ctx, http.MethodGet, subscriptions+path(st.scene.id), "", nil)
	if err != nil {
		return // the next look says it
	}
	var s subscription
	if json.Unmarshal(a.body, &s) == nil {
		st.view.state(s.Status.State, s.Status.Waiting)
	}
}

// close says what came of it.
func (st *stage) close() error {
	faults := st.scene.faults()
	calls, taken, repeats, _ := st.scene.counts()
	st.view.end(calls, taken, repeats, faults)
	if len(faults) > 0 {
		return fmt.Errorf("the partner found %d faults", len(faults))
	}
	return nil
}
