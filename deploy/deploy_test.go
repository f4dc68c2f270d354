// Package deploy has no code: its test holds the files of this directory against the configuration that they set.
package deploy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/hookfleet/hookfleet/config"
)

// settings loads what a process would be told, and fails for anything that it would not know.
func settings(t *testing.T, environ, args []string) *config.Config {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.RegisterFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, unknown, err := config.Load(fs, environ)
	if err != nil || unknown != nil {
		t.Fatalf("%v, unknown: %v", err, unknown)
	}
	return cfg
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// find gives the first group of a pattern that must be there.
func find(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("nothing is like %s", pattern)
	}
	return m[1]
}

// imageEnv is what the image sets.
func imageEnv(t *testing.T) []string {
	t.Helper()
	return strings.Fields(find(t, read(t, "Dockerfile"), `(?m)^ENV (.*)$`))
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	cfg := settings(t, imageEnv(t), nil)
	if cfg.Data != "/data" || cfg.API.Listen != "0.0.0.0:8080" || cfg.NATS.Listen != "0.0.0.0:4222" {
		t.Errorf("%+v", cfg)
	}
	file := read(t, "Dockerfile")
	if image, module := find(t, file, `FROM golang:(\S+) `), find(t, read(t, "../go.mod"), `(?m)^go (\d+\.\d+)`); image != module {
		t.Errorf("the image is built with Go %s, the module says %s", image, module)
	}
	for _, want := range []string{"CGO_ENABLED=0", "USER 65532:65532", "-X main.release=", "FROM scratch"} {
		if !strings.Contains(file, want) {
			t.Error("lacks", want)
		}
	}
}

// service is what the test reads of a service in compose.yaml.
type service struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Grace       string            `yaml:"stop_grace_period"`
	Ports       []string          `yaml:"ports"`
}

func services(t *testing.T) map[string]service {
	t.Helper()
	var file struct {
		Services map[string]service `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// interpolate fills in variables as compose does, those without a default with "secret1".
func interpolate(s string) string {
	return regexp.MustCompile(`\$\{[A-Z_]+(:-([^}]*)|:\?[^}]*)?\}`).ReplaceAllStringFunc(s, func(v string) string {
		if _, fallback, ok := strings.Cut(strings.TrimSuffix(v, "}"), ":-"); ok {
			return fallback
		}
		return "secret1"
	})
}

func TestCompose(t *testing.T) {
	t.Parallel()
	ran := map[config.Role]bool{}
	for name, s := range services(t) {
		if s.Image != "hookfleet" {
			continue
		}
		environ := imageEnv(t)
		for key, value := range s.Environment {
			environ = append(environ, key+"="+interpolate(value))
		}
		if len(s.Command) == 0 || s.Command[0] != "serve" {
			t.Fatal(name, "runs", s.Command)
		}
		cfg := settings(t, environ, s.Command[1:])
		for _, r := range cfg.Roles {
			ran[r] = true
		}
		if cfg.Embedded() || cfg.NATS.URL[0] != "nats://hookfleet:secret1@nats:4222" {
			t.Error(name, "stands on", cfg.NATS.URL)
		}
		if cfg.Has(config.RoleAPI) == cfg.OperatorKey.IsZero() {
			t.Error(name, "has the operator key, or lacks it as the API")
		}
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace < 35*time.Second {
			t.Error(name, "is killed after", s.Grace)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Error(name, "is open to everybody at", p)
			}
		}
	}
	if len(ran) != 3 {
		t.Error("only these roles run:", ran)
	}
}

// Everything that compose.yaml asks for is in the example of its .env file, and nothing else.
func TestComposeEnvironment(t *testing.T) {
	t.Parallel()
	wanted, offered := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(read(t, "compose.yaml"), -1) {
		wanted[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=`).FindAllStringSubmatch(read(t, "env.example"), -1) {
		offered[m[1]] = true
	}
	for name := range wanted {
		if !offered[name] {
			t.Error("env.example lacks", name)
		}
	}
	for name := range offered {
		if !wanted[name] {
			t.Error("compose.yaml does not use", name)
		}
	}
}

// The broker of compose.yaml is the version we are built with, reads its file, and keeps what it acknowledges.
func TestComposeBroker(t *testing.T) {
	image := services(t)["nats"].Image
	if version := find(t, read(t, "../go.mod"), `nats-server/v2 v(\S+)`); image != "nats:"+version+"-alpine" {
		t.Errorf("the image is %s, the module %s", image, version)
	}
	t.Setenv("NATS_PASSWORD", "secret1")
	opts, err := server.ProcessConfigFile("nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.SyncAlways || opts.StoreDir != "/data" || opts.MaxPayload < 8_000_000 || opts.HTTPPort != 8222 {
		t.Errorf("sync %t, store %s, payload %d, monitor %d", opts.SyncAlways, opts.StoreDir, opts.MaxPayload, opts.HTTPPort)
	}
	if len(opts.Users) != 1 || opts.Users[0].Username != "hookfleet" || opts.Users[0].Password != "secret1" {
		t.Errorf("users %+v", opts.Users)
	}
}

// unit reads the values of each key of the unit.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	keys := map[string][]string{}
	for s := bufio.NewScanner(strings.NewReader(read(t, "hookfleet.service"))); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(key, "#") {
			keys[key] = append(keys[key], value)
		}
	}
	return keys
}

func TestUnit(t *testing.T) {
	t.Parallel()
	u := unit(t)
	command := strings.Fields(u["ExecStart"][0])
	if command[0] != "/usr/local/bin/hookfleet" || command[1] != "serve" {
		t.Fatal("runs", command)
	}
	args := command[2:]
	for i, arg := range args {
		if arg == "/etc/hookfleet/hookfleet.yaml" { // which is not on this machine
			args[i] = "../hookfleet.example.yaml"
		}
	}
	cfg := settings(t, u["Environment"], args)
	if cfg.Data != "/var/lib/"+u["StateDirectory"][0] {
		t.Error("the data is in", cfg.Data)
	}
	if stop, err := time.ParseDuration(u["TimeoutStopSec"][0]); err != nil || stop < 35*time.Second || u["KillSignal"][0] != "SIGTERM" {
		t.Error("is killed after", stop, err)
	}
}

// systemd reads the unit without a complaint.
func TestUnitIsValid(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here: the unit is not verified")
	}
	text := strings.ReplaceAll(read(t, "hookfleet.service"), "/usr/local/bin/hookfleet", "/bin/true") // the program is not installed here
	file := filepath.Join(t.TempDir(), "hookfleet.service")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "hookfleet.service") {
		t.Errorf("%v:\n%s", err, out)
	}
}
