package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/events/stream"
)

const egressText = "The addresses are those of all live workers, or of this process when there is none: egress.source where it is set, else the " +
	"local addresses that the system sends from. Behind an address translation (NAT), receivers see its address instead; by a proxy, the proxy's. " +
	"Subscriptions that say proxy: none do without the proxy."

// egressView is where requests come from.
type egressView struct {
	Addresses []string `json:"addresses" doc:"IPv4 and IPv6"`
	Proxy     *string  `json:"proxy" doc:"URL of the forward proxy, without credentials; null = none. Of workers with several, all, separated by commas" null:"true"`
}

func (a *API) egressRoutes() []route {
	return []route{{
		method: "GET", path: "/v1/egress", id: "getEgress", tag: "fleet", summary: "Where requests come from, for receivers' allow-lists",
		text: egressText, roles: managers, handle: a.getEgress,
		answers: []answer{{status: 200, text: "addresses and proxy", value: typeOf[egressView]()}},
	}}
}

func (a *API) getEgress(c *call) error {
	senders, err := stream.Senders(c.r.Context(), a.deps.JetStream)
	if err != nil {
		return err
	}
	if len(senders) == 0 && a.deps.Sender != nil {
		senders = []stream.Sender{a.deps.Sender(c.r.Context())}
	}
	return c.json(http.StatusOK, viewEgress(senders))
}

// viewEgress joins what the workers say.
func viewEgress(senders []stream.Sender) egressView {
	var addresses []netip.Addr
	var proxies []string
	for _, s := range senders {
		addresses = append(addresses, s.Addresses...)
		if s.Proxy != "" {
			proxies = append(proxies, s.Proxy)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	v := egressView{Addresses: []string{}}
	for _, addr := range slices.Compact(addresses) {
		v.Addresses = append(v.Addresses, addr.String())
	}
	if slices.Sort(proxies); proxies != nil {
		v.Proxy = new(strings.Join(slices.Compact(proxies), ","))
	}
	return v
}
