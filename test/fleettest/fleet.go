package fleettest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Options say how a Server is run.
type Options struct {
	Data   string   // "" = a directory of its own
	Roles  string   // "" = all
	Broker string   // nats.url; "" = embedded
	Key    string   // HOOKFLEET_OPERATOR_KEY; "" = the one that the first start makes
	Keys   string   // secrets.keys; "" = SharedKeys with a shared Key, else what the first start makes
	Args   []string // further flags of serve
	Env    []string // further variables
	Binary string   // "" = the one of this tree
}

// Server is a `hookfleet serve` that may be stopped, killed and started again over the same data at the same addresses.
type Server struct {
	*Process // the present run

	Data string
	API  string // http://host:port; "" = it has none
	NATS string // host:port of its broker; "" = it has none
	Key  string // of the operator

	opts            Options
	apiAddr, broker string
}

// New prepares a server with addresses of its own. Start starts it.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{Data: o.Data, Key: o.Key, opts: o}
	if s.Data == "" {
		s.Data = filepath.Join(t.TempDir(), "data")
	}
	if o.Roles == "" || strings.Contains(o.Roles, "api") {
		s.apiAddr = FreeAddress(t)
	}
	if o.Broker == "" {
		s.broker = FreeAddress(t)
	}
	return s
}

// Start starts a server, and returns when it is ready.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := New(t, o)
	s.Start(t)
	return s
}

// Start starts it (again), and returns when it is ready.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.Launch(t)
	s.AwaitReady(t)
}

// Launch starts it (again), and does not wait for it to be ready.
func (s *Server) Launch(t testing.TB) {
	t.Helper()
	args := []string{"serve", "--data", s.Data, "--egress-allow", "127.0.0.0/8", "--egress-plainhttp", "--nats-listen", s.broker}
	if s.opts.Roles != "" {
		args = append(args, "--roles", s.opts.Roles)
	}
	if s.apiAddr != "" {
		args = append(args, "--api-listen", s.apiAddr)
	}
	if s.opts.Broker != "" {
		args = append(args, "--nats-url", s.opts.Broker)
	}
	args = append(args, s.opts.Args...)
	env := s.opts.Env
	if s.opts.Key != "" {
		env = append(slices.Clip(env), "HOOKFLEET_OPERATOR_KEY="+s.opts.Key)
	}
	if keys := cmp.Or(s.opts.Keys, s.sharedKeys()); keys != "" {
		env = append(slices.Clip(env), "HOOKFLEET_SECRETS_KEYS="+keys)
	}
	binary := s.opts.Binary
	if binary == "" {
		binary = Binary(t)
	}
	s.Process = Exec(t, binary, env, args...)
}

// SharedKeys are the secrets.keys of fleets of several processes.
const SharedKeys = "c2hhcmVkIGJ5IHRoZSBwcm9jZXNzZXMgb2YgYSBmbGU="

func (s *Server) sharedKeys() string {
	if s.opts.Key != "" || s.opts.Broker != "" {
		return SharedKeys
	}
	return ""
}

// readyLine is the one line on standard output (API.md 6).
var (
	readyAPI  = regexp.MustCompile(`\bapi (http://[^ ,]+)`)
	readyNATS = regexp.MustCompile(`\bnats nats://([^ ,]+)`)
)

// AwaitReady returns when it has said that it is ready.
func (s *Server) AwaitReady(t testing.TB) {
	t.Helper()
	line, ok := s.Line(t)
	if !ok {
		t.Fatalf("hookfleet serve ended (exit code %d) before it was ready; its log:\n%s", s.Exit(t), tail(s.Log(), 60))
	}
	s.setReady(t, line)
}

// TryReady is AwaitReady for one that may be killed before; it gives false then.
func (s *Server) TryReady(t testing.TB) bool {
	t.Helper()
	line, ok := s.Line(t)
	if ok {
		s.setReady(t, line)
	}
	return ok
}

func (s *Server) setReady(t testing.TB, line string) {
	t.Helper()
	if !strings.Contains(line, "is ready") {
		t.Fatalf("the line of a ready server is %q", line)
	}
	if m := readyAPI.FindStringSubmatch(line); m != nil {
		s.API = m[1]
	}
	if m := readyNATS.FindStringSubmatch(line); m != nil {
		s.NATS = m[1]
	}
	if s.Key == "" && s.opts.Broker == "" {
		s.Key = ReadKey(t, s.Data)
	}
}

// ReadKey is the operator key that a server made in its data directory.
func ReadKey(t testing.TB, data string) string {
	t.Helper()
	path := filepath.Join(data, "operator.key")
	b, err := os.ReadFile(path)
	info, err2 := os.Stat(path)
	if err := errors.Join(err, err2); err != nil {
		t.Fatalf("operator key: %v", err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("operator key has mode %v, want 0600", info.Mode())
	}
	return strings.TrimSpace(string(b))
}

// Restart ends it with SIGTERM, which must be in order, and starts it again.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.MustStop(t)
	s.Start(t)
}

// MustStop ends it with SIGTERM, which must be in order.
func (s *Server) MustStop(t testing.TB) {
	t.Helper()
	if code := s.Stop(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0; its log:\n%s", code, tail(s.Log(), 60))
	}
}

// Deny adds addresses that it may not send to, from its next start on.
func (s *Server) Deny(cidr string) { s.opts.Args = append(s.opts.Args, "--egress-deny", cidr) }

// SetKeys says what secrets.keys are from its next start on.
func (s *Server) SetKeys(keys string) { s.opts.Keys = keys }

// AddArgs adds flags, from its next start on.
func (s *Server) AddArgs(args ...string) { s.opts.Args = append(slices.Clip(s.opts.Args), args...) }

// DropArgs takes flags of AddArgs away, from its next start on.
func (s *Server) DropArgs(args ...string) {
	s.opts.Args = slices.DeleteFunc(slices.Clone(s.opts.Args), func(a string) bool { return slices.Contains(args, a) })
}

// SetRoles says what it runs from its next start on.
func (s *Server) SetRoles(roles string) { s.opts.Roles = roles }

// BrokerURL is where other processes reach its broker, with a key.
func (s *Server) BrokerURL(key string) string { return fmt.Sprintf("nats://%s@%s", key, s.NATS) }

// Client is a client of its API with the operator's key.
func (s *Server) Client() *Client { return NewClient(s.API, s.Key) }
