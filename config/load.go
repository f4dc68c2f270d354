package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// DefaultFile is read when it is there and no other file is named.
const DefaultFile = "hookfleet.yaml"

// flagConfig names the file. It is no setting: a file cannot name the file.
const flagConfig = "config"

// maxFile is far above any file of some twenty keys, and keeps a wrong path (a device, a database) out of memory.
const maxFile = 1 << 20

// source is where values come from, below the flags: the key's text, and what to call its origin.
type source struct {
	texts   map[string]any
	origins map[string]string
}

// Load reads the settings from flags (as RegisterFlags made them), environ (as os.Environ gives it) and the file that
// they name. unknown are variables that look like settings and are none: for a warning, since others set such
// variables too. The error names every fault.
func Load(flags *pflag.FlagSet, environ []string) (cfg *Config, unknown []string, err error) {
	env := environment(environ)
	fromEnv, unknown := env.source()
	path, must := env.file(flags)
	fromFile, faults := readFile(path, must)
	v := viper.New()
	for _, s := range []source{fromFile, fromEnv} { // the later wins
		if err := v.MergeConfigMap(s.texts); err != nil {
			return nil, unknown, fmt.Errorf("merge settings: %w", err)
		}
	}
	if err := bind(v, flags); err != nil {
		return nil, unknown, err
	}
	cfg = Default()
	cfg.OperatorKey, faults = env.operatorKey(faults)
	for _, s := range settings {
		if err := s.set(cfg, v.GetString(s.Key)); err != nil {
			faults = append(faults, &fault{key: s.Key, detail: err.Error()})
		}
	}
	faults = append(faults, cfg.faults()...)
	return cfg, unknown, report(faults, flags, fromEnv, fromFile)
}

// bind gives the defaults to v, and the flags that were set.
func bind(v *viper.Viper, flags *pflag.FlagSet) error {
	for _, s := range settings {
		v.SetDefault(s.Key, s.Default)
		if f := flags.Lookup(s.Flag()); f != nil {
			if err := v.BindFlagValue(s.Key, textFlag{f}); err != nil {
				return fmt.Errorf("bind --%s: %w", s.Flag(), err)
			}
		}
	}
	return nil
}

// report joins the faults, each with the origin of its value. The order is that of the settings.
func report(faults []*fault, flags *pflag.FlagSet, sources ...source) error {
	order := map[string]int{}
	for i, s := range settings {
		order[s.Key] = i - len(settings) // before 0, which is what keys that are no settings get
	}
	slices.SortStableFunc(faults, func(a, b *fault) int { return order[a.key] - order[b.key] })
	var errs []error
	for _, f := range faults {
		f.origin = origin(f, flags, sources)
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

func origin(f *fault, flags *pflag.FlagSet, sources []source) string {
	if f.origin != "" {
		return f.origin
	}
	name := strings.ReplaceAll(f.key, ".", "-")
	if flag := flags.Lookup(name); flag != nil && flag.Changed {
		return "--" + name
	}
	for _, s := range sources {
		if o := s.origins[f.key]; o != "" {
			return o
		}
	}
	return ""
}

// variables are those of the environment that start with our prefix.
type variables map[string]string

func environment(environ []string) variables {
	env := variables{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) {
			env[name] = value
		}
	}
	return env
}

// source takes the settings out of the environment, and names the variables that are none. An empty variable is a
// value: HOOKFLEET_NATS_LISTEN= keeps the broker in the process.
func (env variables) source() (s source, unknown []string) {
	s = source{texts: map[string]any{}, origins: map[string]string{}}
	known := map[string]bool{EnvConfig: true, EnvOperatorKey: true, EnvURL: true, EnvKey: true}
	for _, set := range settings {
		name := set.Env()
		known[name] = true
		if value, ok := env[name]; ok {
			s.texts[set.Key], s.origins[set.Key] = value, name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	return s, unknown
}

// file is the path of the configuration file, and whether it must be there.
func (env variables) file(flags *pflag.FlagSet) (path string, must bool) {
	if f := flags.Lookup(flagConfig); f != nil && f.Changed {
		return f.Value.String(), true
	}
	if path := env[EnvConfig]; path != "" {
		return path, true
	}
	return DefaultFile, false
}

// operatorKey refuses a key that no Authorization header could carry. Blanks around it (a file's last newline) are cut.
func (env variables) operatorKey(faults []*fault) (secret.Text, []*fault) {
	key := strings.TrimSpace(env[EnvOperatorKey])
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > unicode.MaxASCII || r == 0x7f }) {
		faults = append(faults, &fault{key: EnvOperatorKey, detail: "has characters that a header cannot carry"})
		key = ""
	}
	return secret.New(key), faults
}

// readFile reads the settings of a YAML file. Keys may be nested (api: {listen: …}) or whole (api.listen: …).
func readFile(path string, must bool) (source, []*fault) {
	s := source{texts: map[string]any{}, origins: map[string]string{}}
	b, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return s, nil
	}
	if err != nil {
		return s, []*fault{{key: flagConfig, detail: err.Error()}}
	}
	doc, err := document(b)
	if err != nil {
		return s, []*fault{{key: flagConfig, detail: path + ": " + err.Error()}}
	}
	return s, s.flatten("", doc, path)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, err
}

// document decodes the one document of a file. An empty file has no settings.
func document(b []byte) (map[string]any, error) {
	var doc, more map[string]any
	d := yaml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more than one document")
	}
	return doc, nil
}

// flatten collects the settings below prefix, and names the keys that are none.
func (s source) flatten(prefix string, doc map[string]any, path string) []*fault {
	var faults []*fault
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		key, value := prefix+name, doc[name]
		known := slices.ContainsFunc(settings, func(s Setting) bool { return s.Key == key })
		section := slices.ContainsFunc(settings, func(s Setting) bool { return strings.HasPrefix(s.Key, key+".") })
		inner, nested := value.(map[string]any)
		switch text, err := asText(value); {
		case section && nested:
			faults = append(faults, s.flatten(key+".", inner, path)...)
		case section && value == nil: // all its keys are commented out
		case !known:
			faults = append(faults, &fault{key: key, origin: path, detail: "is not a known key"})
		case s.origins[key] != "":
			faults = append(faults, &fault{key: key, origin: path, detail: "is there twice"})
		case err != nil:
			faults = append(faults, &fault{key: key, origin: path, detail: err.Error()})
		case value != nil: // a key without a value is as if commented out
			s.texts[key], s.origins[key] = text, path
		}
	}
	return faults
}

// asText gives the text form of a YAML scalar or list of scalars.
func asText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	case []any:
		var out []string
		for _, e := range v {
			if _, ok := e.([]any); ok || e == nil {
				return "", errors.New("is not a list of texts")
			}
			text, err := asText(e)
			if err != nil {
				return "", err
			}
			out = append(out, text)
		}
		return strings.Join(out, ","), nil
	case nil:
		return "", nil
	default:
		return "", errors.New("is not a text or a list of texts")
	}
}
