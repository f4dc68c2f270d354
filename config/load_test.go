package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// compare sees through addresses and ranges.
var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, secret.Text{}), cmpopts.EquateEmpty()}

// load runs Load with a file of this text, beside no other file.
func load(t *testing.T, file string, environ []string, args ...string) (*Config, []string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	RegisterFlags(fs)
	if err := fs.Parse(append([]string{"--config", path}, args...)); err != nil {
		t.Fatal(err)
	}
	return Load(fs, environ)
}

// faultsOf gives the lines of an error, with the path of the file as FILE.
func faultsOf(err error) []string {
	if err == nil {
		return nil
	}
	text := regexp.MustCompile(`[^ (]*settings\.yaml`).ReplaceAllString(err.Error(), "FILE")
	return strings.Split(text, "\n")
}

func TestDefault(t *testing.T) {
	t.Parallel()
	got, unknown, err := load(t, "", nil)
	if err != nil || unknown != nil {
		t.Fatal(unknown, err)
	}
	want := &Config{
		Data: "./data", Roles: []Role{RoleAPI, RoleWorker, RoleScheduler},
		API:      API{Listen: "127.0.0.1:8080"},
		NATS:     NATS{Listen: "127.0.0.1:4222", Replicas: 1, Sync: SyncGroup},
		Events:   Events{Retention: 72 * time.Hour, Dedupe: 10 * time.Minute},
		Statuses: Statuses{Retention: 30 * 24 * time.Hour},
		Worker:   Worker{Concurrency: 512},
		Log:      Log{Level: "info"},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, Default(), compare); diff != "" {
		t.Error("Default:", diff)
	}
	if err := want.Validate(); err != nil {
		t.Error(err)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const file = "api: {listen: 'file:1'}\nworker: {concurrency: 7}\nlog: {level: debug}\nnats: {listen: 'file:4222'}"
	env := []string{"HOOKFLEET_API_LISTEN=env:2", "HOOKFLEET_WORKER_CONCURRENCY=8", "HOOKFLEET_NATS_LISTEN="}
	got, _, err := load(t, file, env, "--api-listen", "flag:3")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.API.Listen, want.Worker.Concurrency, want.Log.Level, want.NATS.Listen = "flag:3", 8, "debug", ""
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Error(diff)
	}
}

// Each setting is reached by its flag, its variable and its key, whole or nested.
func TestEverySource(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"data": "/var/x", "roles": "api,worker", "api.listen": ":9", "api.publicurl": "https://hooks.example/x",
		"nats.listen": "", "nats.url": "nats://a:4222,tls://b:4222", "nats.creds": "/etc/x.creds", "nats.replicas": "3", "nats.sync": "always",
		"events.retention": "3d", "events.maxsize": "10GB", "events.dedupe": "1m", "worker.concurrency": "9",
		"egress.allow": "10.0.0.0/8,::1", "egress.deny": "192.0.2.0/24", "egress.plainhttp": "true", "egress.source": "192.0.2.1",
		"secrets.keys": "new,old", "log.level": "warn", "log.format": "console",
	}
	want := &Config{
		Data: "/var/x", Roles: []Role{RoleAPI, RoleWorker},
		API:      API{Listen: ":9", PublicURL: "https://hooks.example/x"},
		NATS:     NATS{URL: []string{"nats://a:4222", "tls://b:4222"}, Creds: "/etc/x.creds", Replicas: 3, Sync: SyncAlways},
		Events:   Events{Retention: 72 * time.Hour, MaxSize: 10_000_000_000, Dedupe: time.Minute},
		Statuses: Statuses{Retention: 30 * 24 * time.Hour},
		Worker:   Worker{Concurrency: 9},
		Egress: Egress{
			Allow:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			Deny:      []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			PlainHTTP: true, Source: netip.MustParseAddr("192.0.2.1"),
		},
		Secrets: Secrets{Keys: []secret.Text{secret.New("new"), secret.New("old")}},
		Log:     Log{Level: "warn", Format: "console"},
	}
	var flags, env, whole, nested []string
	for _, s := range Settings() {
		v, ok := values[s.Key]
		if !ok { // not supported yet
			continue
		}
		flags = append(flags, "--"+s.Flag()+"="+v)
		env = append(env, s.Env()+"="+v)
		whole = append(whole, s.Key+": '"+v+"'")
		if section, name, ok := strings.Cut(s.Key, "."); ok {
			if last := section + ":"; !strings.Contains(strings.Join(nested, "\n"), "\n"+last) {
				nested = append(nested, last)
			}
			nested = append(nested, "  "+name+": '"+v+"'")
		} else {
			nested = append(nested, s.Key+": '"+v+"'")
		}
	}
	for name, run := range map[string]func() (*Config, []string, error){
		"flags":  func() (*Config, []string, error) { return load(t, "", nil, flags...) },
		"env":    func() (*Config, []string, error) { return load(t, "", env) },
		"whole":  func() (*Config, []string, error) { return load(t, strings.Join(whole, "\n"), nil) },
		"nested": func() (*Config, []string, error) { return load(t, strings.Join(nested, "\n"), nil) },
	} {
		got, unknown, err := run()
		if err != nil || unknown != nil {
			t.Error(name, unknown, err)
			continue
		}
		if diff := cmp.Diff(want, got, compare); diff != "" {
			t.Error(name, diff)
		}
	}
}

func TestEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	const file = `
nats: {sync: sometimes, replica: 3}
worker: {concurrency: many}
events:
  retention: [1h, {a: b}]
surprise: {}
egress: {allow: [10.0.0.0/8, 10.0.0.0/33, here]}
`
	env := []string{
		"HOOKFLEET_EVENTS_MAXSIZE=10 parsecs", "HOOKFLEET_EGRESS_PROXY=http://user:password@proxy.example/path", "HOOKFLEET_NATS_CREDS=x",
		"HOOKFLEET_OPERATOR_KEY=two words",
	}
	_, _, err := load(t, file, env, "--roles", "api,cook", "--secrets-keys=hunter2,", "--log-level", "loud", "--api-listen", "here")
	want := []string{
		`roles: "cook" is not one of api, worker, scheduler (--roles)`,
		`api.listen: "here" is not host:port (--api-listen)`,
		`nats.creds: is for an external cluster: nats.url is not set (HOOKFLEET_NATS_CREDS)`,
		`nats.sync: "sometimes" is not one of group, always, interval (FILE)`,
		`events.retention: is not a text or a list of texts (FILE)`,
		`events.maxsize: "10 parsecs" is not a size such as 10GB or 512MiB (HOOKFLEET_EVENTS_MAXSIZE)`,
		`worker.concurrency: "many" is not a whole number (FILE)`,
		`egress.allow: "10.0.0.0/33" is not a CIDR, "here" is not a CIDR (FILE)`,
		`egress.proxy: is not the URL of a proxy: http:// or https://, a host, and at most a port and user info (HOOKFLEET_EGRESS_PROXY)`,
		`secrets.keys: an element of the list is empty (--secrets-keys)`,
		`log.level: "loud" is not one of trace, debug, info, warn, error (--log-level)`,
		`nats.replica: is not a known key (FILE)`,
		`surprise: is not a known key (FILE)`,
		`HOOKFLEET_OPERATOR_KEY: has characters that a header cannot carry`,
	}
	if diff := cmp.Diff(want, faultsOf(err)); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownVariablesAreNamed(t *testing.T) {
	t.Parallel()
	env := []string{
		"HOOKFLEET_SERVICE_HOST=10.0.0.1", "HOOKFLEET_PORT=tcp://10.0.0.1:80", "HOOKFLEET_URL=x", "HOOKFLEET_KEY=x",
		"HOOKFLEET_OPERATOR_KEY= hf_key\n", "HOOKFLEET_DATA=/d", "OTHER=1", "HOOKFLEETING=1",
	}
	cfg, unknown, err := load(t, "", env)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"HOOKFLEET_PORT", "HOOKFLEET_SERVICE_HOST"}, unknown); diff != "" {
		t.Error(diff)
	}
	if cfg.OperatorKey.Reveal() != "hf_key" || cfg.Data != "/d" {
		t.Error(cfg.OperatorKey.Reveal(), cfg.Data)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, want string }{
		"empty sections":     {"api:\nnats:\n", ""},
		"keys without value": {"data:\nlog: {level: }", ""},
		"comments only":      {"# nothing\n", ""},
		"json":               {`{"log": {"level": "warn"}, "roles": ["api"]}`, ""},
		"not yaml":           {"a: b: c", "config: FILE: yaml: mapping values are not allowed in this context"},
		"not a map":          {"- a\n- b", "config: FILE: yaml: unmarshal errors:"},
		"same key twice":     {"data: a\ndata: b", "config: FILE: yaml: unmarshal errors:"},
		"same key two ways":  {"api: {listen: ':1'}\napi.listen: ':2'", "api.listen: is there twice (FILE)"},
		"two documents":      {"data: a\n---\ndata: b", "config: FILE: has more than one document"},
		"section with value": {"api: 5", "api: is not a known key (FILE)"},
		"upper case":         {"Data: x", "Data: is not a known key (FILE)"},
		"key with a map":     {"data: {dir: x}", "data: is not a text or a list of texts (FILE)"},
		"list in list":       {"roles: [[api]]", "roles: is not a list of texts (FILE)"},
		"a date":             {"data: 2026-01-01", "data: is not a text or a list of texts (FILE)"},
		"too long":           {"# " + strings.Repeat("x", maxFile), "config: FILE is longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, c.file, nil)
			got := append(faultsOf(err), "")[0]
			if got, _, _ = strings.Cut(got, " at line"); strings.TrimSuffix(got, " (--config)") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A file that was named must be there; the default file need not.
func TestWhichFile(t *testing.T) {
	t.Chdir(t.TempDir())
	parse := func(args ...string) *pflag.FlagSet {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		RegisterFlags(fs)
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	level := func(environ []string, args ...string) string {
		cfg, _, err := Load(parse(args...), environ)
		if err != nil {
			return err.Error()
		}
		return cfg.Log.Level
	}
	if got := level(nil); got != "info" {
		t.Error("no file:", got)
	}
	for name, text := range map[string]string{DefaultFile: "log: {level: warn}", "env.yaml": "log: {level: error}", "flag.yaml": "log: {level: trace}"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := []string{
		level(nil), level([]string{"HOOKFLEET_CONFIG=env.yaml"}), level([]string{"HOOKFLEET_CONFIG=env.yaml"}, "--config=flag.yaml"),
		level(nil, "--config", "missing.yaml", "--log-level", "loud"),
	}
	if diff := cmp.Diff([]string{"warn", "error", "trace", "log.level: \"loud\" is not one of trace, debug, info, warn, error (--log-level)\nconfig: open missing.yaml: no such file or directory (--config)"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownFlag(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	RegisterFlags(fs)
	if err := fs.Parse([]string{"--api-lissen", "x"}); err == nil {
		t.Error("taken")
	}
}

func TestBoolAndListFlags(t *testing.T) {
	t.Parallel()
	cfg, _, err := load(t, "egress: {plainhttp: true}", nil, "--egress-plainhttp=false", "--roles=api", "--roles=worker")
	if err != nil || cfg.Egress.PlainHTTP || !cfg.Has(RoleWorker) || cfg.Has(RoleScheduler) {
		t.Error(cfg, err)
	}
	if cfg, _, err = load(t, "", nil, "--egress-plainhttp"); err != nil || !cfg.Egress.PlainHTTP {
		t.Error(cfg, err)
	}
}

// The example names every key, and with its comment signs taken away it is the default configuration, but for what is
// not supported.
func TestExampleFile(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../hookfleet.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^( *)#( *)([a-z]+:)( |$)`).ReplaceAllString(string(b), "$1$2$3$4")
	for _, s := range Settings() {
		name := s.Key[strings.LastIndex(s.Key, ".")+1:]
		if !regexp.MustCompile(`(?m)^ *` + name + `: `).MatchString(text) {
			t.Error("the example lacks", s.Key)
		}
	}
	got, _, err := load(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, compare); diff != "" {
		t.Error(diff)
	}
	if got, _, err = load(t, string(b), nil); err != nil || !cmp.Equal(Default(), got, compare) {
		t.Error("as it is:", got, err)
	}
}
