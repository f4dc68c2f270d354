package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// profile takes profiles of the fleet from now on for as long as the load lasts, and returns what waits for them. They
// cost some percent of CPU, so figures of a run with profiles are not for comparing.
func (s *benchStage) profile(ctx context.Context, name string, lasting time.Duration) (wait func()) {
	if s.profiles == "" || s.fleet == nil || s.fleet.pprof == "" {
		return func() {}
	}
	seconds := max(1, int(lasting.Seconds()))
	var all sync.WaitGroup
	for kind, file := range map[string]string{"profile": "cpu", "allocs": "allocs"} {
		all.Go(func() {
			from := fmt.Sprintf("%s/debug/pprof/%s?seconds=%d", s.fleet.pprof, kind, seconds)
			to := filepath.Join(s.profiles, name+"."+file+".pprof")
			if err := fetch(ctx, from, to); err != nil {
				s.report.say("%s: no profile: %v", name, err)
			}
		})
	}
	return all.Wait
}

// fetch writes what a URL gives into a file.
func fetch(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", from, resp.Status)
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(resp.Body)
	return errors.Join(err, f.Close())
}
