package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestKilledWorkerIsTakenForAlive: the heartbeats of a process that was killed with its broker counted for 5 s in the next one, which had
// half of each limit and no lane so long. Those of workers elsewhere, and of releases that do not say where they are, still count.
func TestKilledWorkerIsTakenForAlive(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	_, js := connect(t, s.BrokerURL(s.Key))
	buckets := []string{"hookfleet_workers", "hookfleet_pollers"}
	var before []string
	for _, bucket := range buckets {
		before = append(before, awaitBeats(t, js, bucket, 1)...)
	}
	beat := func(id, text string) {
		t.Helper()
		msg := &nats.Msg{Subject: "$KV." + id, Header: nats.Header{"Nats-TTL": {"1h"}}, Data: []byte(text)}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	for _, bucket := range buckets {
		beat(bucket+".killed", `{"at":"2026-01-02T03:04:05Z","sender":{},"broker":true}`)
		beat(bucket+".elsewhere", `{"at":"2026-01-02T03:04:05Z","sender":{}}`)
		beat(bucket+".unsaid", "")
	}
	s.Kill()
	s.Start(t)
	_, js = connect(t, s.BrokerURL(s.Key))
	for _, bucket := range buckets {
		for _, id := range awaitBeats(t, js, bucket, 3) { // those two, and this process
			if id == "killed" || slices.Contains(before, id) {
				t.Errorf("%s: %s is taken for alive", bucket, id)
			}
		}
	}
	if !strings.Contains(s.Log(), "did not sign off") {
		t.Errorf("it is not said:\n%s", s.Log())
	}
	s.MustStop(t)
}

// awaitBeats waits until so many are alive, by their heartbeats.
func awaitBeats(t *testing.T, js jetstream.JetStream, bucket string, n int) (ids []string) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, fmt.Sprintf("%d heartbeats in %s", n, bucket), func() (bool, any) {
		ids, err = kv.Keys(t.Context())
		return len(ids) == n, fmt.Sprint(ids, err)
	})
	return ids
}
