package events

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeLimits(t *testing.T) {
	t.Parallel()
	day := Duration(24 * time.Hour)
	tests := map[string]DeliveryConfig{
		`{"rate":{}}`:           {Rate: &Rate{100, Duration(time.Second), 100}},
		`{"rate":{"permit":5}}`: {Rate: &Rate{5, Duration(time.Second), 5}},
		`{"rate":{"permit":5,"per":"1d","burst":1}}`:      {Rate: &Rate{5, day, 1}},
		`{"rate":{"burst":null,"permit":7}}`:              {Rate: &Rate{7, Duration(time.Second), 7}},
		`{"rate":null,"pause":null}`:                      {},
		`{"pause":{}}`:                                    {Pause: &Pause{20, "hold"}},
		`{"pause":{"after":1,"then":"deadletter"}}`:       {Pause: &Pause{1, "deadletter"}},
		`{"breaker":{"failures":3}}`:                      {Breaker: Breaker{3, Duration(30 * time.Second)}},
		`{"breaker":{"failures":0,"cooldown":"1d"}}`:      {Breaker: Breaker{0, day}},
		`{"breaker":{"cooldown":"1ms"},"concurrency":64}`: {Breaker: Breaker{10, Duration(time.Millisecond)}},
	}
	for text, want := range tests {
		s, err := DecodeSubscription([]byte(`{"sink":"https://a.example","config":`+text+`}`), "", SinkPolicy{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if want.Breaker == (Breaker{}) {
			want.Breaker = DefaultBreaker()
		}
		got := DeliveryConfig{Rate: s.Config.Rate, Pause: s.Config.Pause, Breaker: s.Config.Breaker}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestDecodeLimitsFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		`"config":{"rate":{"permit":0,"per":"0s","burst":0},"pause":{"after":0,"then":"drop"},"breaker":{"failures":-1,"cooldown":"0s"}}`: "" +
			"/config/rate/permit /config/rate/per /config/rate/burst /config/pause/after /config/pause/then /config/breaker/failures /config/breaker/cooldown",
		`"config":{"rate":{"permit":1.5,"per":5,"burst":1000001,"unit":"s"}}`:            "/config/rate/permit /config/rate/per /config/rate/burst /config/rate/unit",
		`"config":{"rate":{"permit":1,"per":"1d","burst":31}}`:                           "/config/rate/burst",
		`"config":{"rate":10,"pause":5,"breaker":true}`:                                  "/config/rate /config/pause /config/breaker",
		`"config":{"pause":{"after":"5","then":null}}`:                                   "/config/pause/after",
		`"protocolsettings":{"handshake":{}}`:                                            "",
		`"protocolsettings":{"handshake":{"mode":"off"}}`:                                "",
		`"protocolsettings":{"handshake":{"mode":"required","origin":"Events.Example"}}`: "",
		`"protocolsettings":{"handshake":{"mode":"required"}}`:                           "/protocolsettings/handshake/origin",
		`"protocolsettings":{"handshake":{"mode":"on","origin":"a..b","rate":0}}`: "/protocolsettings/handshake/mode " +
			"/protocolsettings/handshake/origin /protocolsettings/handshake/rate",
		`"protocolsettings":{"handshake":{"mode":"optional","origin":"https://a.example","rate":"600"}}`: "/protocolsettings/handshake/origin /protocolsettings/handshake/rate",
		`"protocolsettings":{"handshake":"required"}`:                                                    "/protocolsettings/handshake",
	}
	for text, pointers := range tests {
		if !strings.HasPrefix(text, `"sink":`) {
			text = `"sink":"https://a.example",` + text
		}
		_, err := DecodeSubscription([]byte("{"+text+"}"), "", SinkPolicy{})
		var at []string
		if err != nil {
			for _, f := range faultsOf(t, err).Faults {
				at = append(at, f.Pointer)
			}
		}
		if got := strings.Join(at, " "); got != pointers {
			t.Errorf("%s: faults at %q, want %q", text, got, pointers)
		}
	}
}

func TestHandshakeOrigin(t *testing.T) {
	t.Parallel()
	for origin, ok := range map[string]bool{
		"events.example.com": true, "localhost": true, "a-b.c1": true, "A.B": true, strings.Repeat("a", 63) + ".b": true,
		"": false, ".": false, "a.": false, ".a": false, "a b": false, "a:80": false, "-a": false, "a-.b": false, "*": false, "a/b": false,
		"ä.example": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 127): false,
	} {
		if got := wrongOrigin(origin) == ""; got != ok {
			t.Errorf("%q: taken %t", origin, got)
		}
	}
	s, err := DecodeSubscription([]byte(`{"sink":"https://a.example","protocolsettings":{"handshake":{"mode":"optional"}}}`), "", SinkPolicy{Origin: "us.example"})
	if err != nil || s.ProtocolSettings.Handshake.Origin != "us.example" {
		t.Errorf("%+v, %v", s, err)
	}
}
