package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m)) }

// TestFleet runs the tests that share one process. They are told apart by the types of their events, so that they can
// run side by side.
func TestFleet(t *testing.T) {
	s := fleettest.Start(t, fleettest.Options{})
	for name, test := range map[string]func(*testing.T, *fleettest.Server){
		"bytes": testBytes, "headers": testHeaders, "sizes": testSizes,
		"duplicates": testDuplicates, "duplicates in a batch": testDuplicatesInBatch,
		"retry gaps": testRetryGaps, "retry after": testRetryAfter, "retry ends": testRetryEnds,
		"responses": testResponses, "network": testNetwork, "rules": testRules, "every": testEvery,
		"batch": testBatch, "batch bounds": testBatchBounds, "batch retries": testBatchRetries, "batch ends": testBatchEnds,
		"batch beside others": testBatchBesideOthers, "batch settings": testBatchSettings, "batch held": testBatchHeld,
		"batch javascript": testBatchJavaScript, "attempts": testAttempts,
		"dead letters": testDeadLetters, "gone": testGone, "pause": testPause, "delete": testDelete, "subscription test": testSubscriptionTest,
		"schedule": testScheduleTick, "schedule batch": testScheduleBatch, "schedule overlap": testTicksDoNotOverlap, "schedule paused": testSchedulePaused,
		"schedule changes": testScheduleChanges, "schedule dead": testScheduleDead,
		"dedupe": testDedupe, "cancelled is no duplicate": testCancelledIsNoDuplicate, "terminal": testTerminal, "latest only": testLatestOnly,
		"skips in order": testSkipsInOrder, "status paths": testStatusPaths, "lifecycle ends": testLifecycleEnds,
		"ordering": testOrdering, "failing key": testFailingKey, "dead frees key": testDeadFreesKey, "no key": testNoKey, "becomes ordered": testBecomesOrdered,
		"throttled": testThrottled, "hanging": testHanging,
		"retry now": testRetryNow, "cancel": testCancel,
		"filters": testFilters, "refused filters": testRefusedFilters,
		"keys": testKeys, "partner": testPartner, "limits": testRefusedMembers, "ingest refusals": testIngestRefusals,
		"nats": testNATS, "nats permissions": testNATSPermissions, "nats key deleted": testConnectionOutlivesItsKey, "nats invalid event": testInvalidEvent, "nats javascript": testJavaScript,
		"publish command": testPublishCommand, "subscription command": testSubscriptionCommand, "delivery command": testDeliveryCommand,
		"round trip": testRoundTrip, "binary fallback": testFallback, "omit": testOmit, "template": testTemplate, "get": testGet,
		"test of a template": testTestOfTemplate, "shown settings": testShownSettings, "receivers": testReceivers,
		"override": testOverride, "override hold": testOverrideHold, "override beside hold": testOverrideBesideHold,
		"signing": testSigning, "rotation": testRotation, "tls": testTLS, "tls changes": testTLSChanges, "tls override": testTLSOverride,
		"credentials": testCredentials, "credential changes": testCredentialChanges, "access token": testAccessToken,
		"token server": testTokenServer, "token ends": testTokenEnds, "token 401": testToken401, "token 401 always": testAlways401,
		"token server down": testTokenServerDown, "token server mended": testTokenServerMended, "token server hangs": testTokenServerHangs, "oauth2": testOAuth2,
		"source": testSource, "source schedule": testSourceSchedule, "source credential": testSourceCredential,
		"replay events": testReplayEvents, "replay range": testReplayRange, "replay dead letters": testReplayDeadLetters,
		"replay ordered": testReplayOrdered, "replay lifecycle": testReplayLifecycle, "replay scheduled": testReplayScheduled,
		"replay control": testReplayControl, "replay retries": testReplayRetries, "refused replays": testRefusedReplays, "replay command": testReplayCommand,
		"statuses": testStatuses, "expirytime": testExpirytime, "expirytime batch": testExpirytimeBatch,
		"maxage": testMaxage, "maxage open": testMaxageOpen, "tracing": testTracing,
		"lane view": testLaneView, "lane delete": testLaneDelete,
		"listen command": testListenCommand, "openapi": testOpenAPI, "metrics": testMetrics,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
	t.Cleanup(func() { // after the parallel tests; the process's own clean-up comes later
		s.MustStop(t)
		for line := range strings.Lines(s.Log()) {
			// What a client of the broker did wrong is in its log too, with the connection's number.
			if strings.Contains(line, `"level":"error"`) && !strings.Contains(line, " cid:") {
				t.Errorf("in the log: %s", line)
			}
		}
	})
}

// counter makes names that no other test of this run uses.
var counter struct {
	sync.Mutex
	n int
}

// unique is a name that may be an id, a type and a path's last segment.
func unique(prefix string) string {
	counter.Lock()
	defer counter.Unlock()
	counter.n++
	return fmt.Sprintf("%s-%d", prefix, counter.n)
}

// event is a structured event with data.
func event(id, typ, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"datacontenttype":"application/json","data":%s}`, id, typ, data)
}

// testSecret signs in tests.
var testSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// flow is a subscription of its own type, with its own path of a sink.
type flow struct {
	t      *testing.T
	server *fleettest.Server
	client *fleettest.Client
	sink   *sinktest.Sink
	name   string // of the subscription, the type and, with a slash, the path
	path   string
}

// newFlow subscribes a sink of its own. settings are the members of config, or "" for the defaults.
func newFlow(t *testing.T, s *fleettest.Server, settings string, answers ...sinktest.Answer) *flow {
	t.Helper()
	f := &flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("flow")}
	f.path = "/" + f.name
	if len(answers) > 0 {
		f.sink.On(f.path, answers...)
	}
	f.subscribe(settings)
	return f
}

func (f *flow) subscribe(settings string) *fleettest.Subscription {
	f.t.Helper()
	return f.client.Subscribe(f.t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{%s}}`, f.name, f.sink.URL(f.path), settings))
}

// publish publishes an event of the flow with a new id.
func (f *flow) publish() fleettest.Receipt {
	f.t.Helper()
	return f.client.Publish(f.t, event(unique("event"), f.name, `{"n":1}`))
}

// publishMany publishes n events of the flow in one batch.
func (f *flow) publishMany(n int) []fleettest.Receipt {
	f.t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = event(unique("event"), f.name, fmt.Sprintf(`{"n":%d}`, i))
	}
	return f.client.PublishBatch(f.t, "["+strings.Join(all, ",")+"]")
}

// await waits for the event's delivery to be in a state.
func (f *flow) await(r fleettest.Receipt, state string) *fleettest.Delivery {
	f.t.Helper()
	return f.client.AwaitDelivery(f.t, r.Sequence, state)
}

// awaitAll waits for the deliveries of many events to be in a state.
func (f *flow) awaitAll(rs []fleettest.Receipt, state string) []fleettest.Delivery {
	f.t.Helper()
	return f.client.AwaitAll(f.t, f.name, rs, state)
}

// do makes a request that has to be answered with status.
func (f *flow) do(status int, method, path string) {
	f.t.Helper()
	f.client.Must(f.t, status, method, path, nil, nil)
}

// once checks that n requests came, each with a webhook-id of its own.
func (f *flow) once(n int) {
	f.t.Helper()
	seen := map[string]bool{}
	got := f.sink.Got(f.path)
	for _, r := range got {
		if seen[r.ID()] {
			f.t.Errorf("%s came twice", r.ID())
		}
		seen[r.ID()] = true
	}
	if len(got) != n {
		f.t.Errorf("%d requests, want %d", len(got), n)
	}
}

// binary is the header of a binary event.
func binary(id, typ, contentType string) http.Header {
	return http.Header{
		"Content-Type": {contentType}, "Ce-Specversion": {"1.0"}, "Ce-Id": {id}, "Ce-Source": {"/e2e"}, "Ce-Type": {typ},
	}
}

// soon is what a loaded machine may add to a delay before a test calls it wrong.
const soon = 8 * time.Second

var structuredHeader = http.Header{"Content-Type": {fleettest.Structured}}

// eventID is the id of a structured event.
func eventID(body []byte) string {
	var e struct{ ID string }
	if err := json.Unmarshal(body, &e); err != nil {
		return ""
	}
	return e.ID
}
