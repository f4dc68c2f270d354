package partners_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m)) }

// rows are the tests of one system, by the row of its table in deploy/examples/<system>/README.md.
type rows map[string]func(*row)

// systems are the five.
var systems = map[string]rows{
	"steadfast": steadfastRows, "caf": cafRows, "raas": raasRows, "secutix": secutixRows, "idpay": idpayRows,
}

// TestRows holds every row of the five systems against one running fleet: their subscriptions are those of
// deploy/examples, with the sink of a simulator and short times in place of long ones.
func TestRows(t *testing.T) {
	s := fleettest.Start(t, fleettest.Options{})
	for system, rows := range systems {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			for name, test := range rows {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(newRow(t, s, system, name))
				})
			}
		})
	}
}

// row is one row under test. It has a tenant of its own, so that it sees nothing of the others.
type row struct {
	*testing.T
	server *fleettest.Server
	client *fleettest.Client
	system string
	tenant string
	n      atomic.Int64
}

func newRow(t *testing.T, s *fleettest.Server, system, name string) *row {
	return &row{T: t, server: s, client: s.Client(), system: system, tenant: strings.ToLower(name)}
}

// settings are the members of an example.
type settings = partners.Settings

// example reads a document of deploy/examples by its id.
func (r *row) example(id string) settings {
	r.Helper()
	docs, err := partners.Examples(r.system)
	if err != nil {
		r.Fatal(err)
	}
	if docs[id] == nil {
		r.Fatalf("no example %s of %s", id, r.system)
	}
	return docs[id]
}

// put makes or replaces a subscription of the row's tenant, and gives its id.
func (r *row) put(d settings) string {
	r.Helper()
	id := r.own(d)
	text, err := json.Marshal(d)
	if err != nil {
		r.Fatal(err)
	}
	r.client.Subscribe(r, id, string(text))
	return id
}

// own makes a document the row's.
func (r *row) own(d settings) string {
	id := d["id"].(string)
	if !strings.HasPrefix(id, r.tenant+"-") {
		id = r.tenant + "-" + id
	}
	d.Set("id", id).Set("tenant", r.tenant)
	return id
}

// refused puts what has to be refused, and gives the pointers with their details.
func (r *row) refused(d settings) string {
	r.Helper()
	p := r.client.Do(r, http.MethodPut, "/v1/subscriptions/"+r.own(d), d).Refused(r, http.StatusUnprocessableEntity, "invalid_subscription")
	var all []string
	for _, e := range p.Errors {
		all = append(all, e.Pointer+" "+e.Detail)
	}
	return strings.Join(all, "\n")
}

// serve runs a partner until the row ends, which fails for what the partner found wrong.
func (r *row) serve(p interface {
	http.Handler
	Faults() []string
}) (url string) {
	r.Helper()
	url = sinktest.Serve(r, p)
	r.Cleanup(func() {
		for _, fault := range p.Faults() {
			r.Error(fault)
		}
	})
	return url
}

// publish publishes an event of the row's tenant with a new id. attributes are members as JSON, with a comma behind each.
func (r *row) publish(typ, subject, attributes, data string) fleettest.Receipt {
	r.Helper()
	return r.client.Publish(r, r.event(typ, subject, attributes, data))
}

func (r *row) event(typ, subject, attributes, data string) string {
	if subject != "" {
		attributes += fmt.Sprintf(`"subject":%q,`, subject)
	}
	return fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d","source":"https://%s.example","type":%q,"tenant":%q,%s"data":%s}`,
		r.tenant, r.n.Add(1), r.system, typ, r.tenant, attributes, data)
}

// wait returns the calls when there are n that which accepts, nil = all.
func (r *row) wait(p waiter, n int, which func(*partners.Call) bool) []partners.Call {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), fleettest.Patience)
	defer cancel()
	if err := p.Wait(ctx, n, which); err != nil {
		r.Fatalf("%v; faults: %q", err, p.Faults())
	}
	return p.Calls()
}

type waiter interface {
	Wait(ctx context.Context, n int, which func(*partners.Call) bool) error
	Calls() []partners.Call
	Faults() []string
}

// await waits for the delivery of an event to be in a state.
func (r *row) await(receipt fleettest.Receipt, state string) *fleettest.Delivery {
	r.Helper()
	return r.client.AwaitDelivery(r, receipt.Sequence, state)
}

// ended waits until nothing of a subscription waits, and checks how many calls the partner took, each once.
func (r *row) ended(id string, p interface {
	Counts() (calls, taken, repeats, peak int)
}, want int) {
	r.Helper()
	r.client.AwaitSubscription(r, id, "has nothing that waits", func(s *fleettest.Subscription) bool { return s.Status.Waiting == 0 })
	if _, taken, repeats, _ := p.Counts(); taken != want || repeats != 0 {
		r.Errorf("%d calls were taken, %d of them again; want %d", taken, repeats, want)
	}
}

// taken says that a call was taken.
func taken(c *partners.Call) bool { return c.Taken() }

// said are what calls were about.
func said(calls []partners.Call) (all []string) {
	for _, c := range calls {
		all = append(all, strings.TrimSpace(c.Key+" "+c.Text))
	}
	return all
}

// sorted joins texts in order.
func sorted(all []string) string {
	slices.Sort(all)
	return strings.Join(all, " ")
}

// keys are the names in a header.
func keys(h http.Header) iter.Seq[string] { return maps.Keys(h) }
