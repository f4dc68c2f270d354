package fleettest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builds are the binaries of this test run.
var builds = struct {
	mu  sync.Mutex
	dir string
	all map[string]func() (string, error)
}{all: map[string]func() (string, error){}}

// parallel is how many tests of such a package run at a time: they wait far more than they compute.
const parallel = "16"

// Main runs the tests of a package that starts processes, and removes what was built for them.
func Main(m *testing.M) int {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(parallel); err != nil {
			panic(err)
		}
	}
	defer func() {
		builds.mu.Lock()
		defer builds.mu.Unlock()
		if builds.dir != "" {
			_ = os.RemoveAll(builds.dir) // a leftover in the temporary directory is no failure
		}
	}()
	return m.Run()
}

// Binary is the path of the hookfleet binary, built with these tags when it is asked for first.
func Binary(t testing.TB, tags ...string) string {
	t.Helper()
	builds.mu.Lock()
	key := strings.Join(tags, ",")
	build, ok := builds.all[key]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return compile(key) })
		builds.all[key] = build
	}
	builds.mu.Unlock()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func compile(tags string) (string, error) {
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "hookfleet"+strings.ReplaceAll(tags, ",", "-"))
	args := []string{"build", "-o", path}
	if tags != "" {
		args = append(args, "-tags", tags)
	}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/hookfleet/hookfleet/cmd/hookfleet")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build hookfleet: %w\n%s", err, out)
	}
	return path, nil
}

func buildDir() (string, error) {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if builds.dir != "" {
		return builds.dir, nil
	}
	dir, err := os.MkdirTemp("", "hookfleet-test-*")
	builds.dir = dir
	return dir, err
}
