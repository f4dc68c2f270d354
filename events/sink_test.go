package events_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
)

// The real guard judges the hosts, as in the product.
func policy(plain bool, allow ...string) events.SinkPolicy {
	cfg := egress.DefaultConfig()
	for _, a := range allow {
		cfg.Allow = append(cfg.Allow, netip.MustParsePrefix(a))
	}
	return events.SinkPolicy{PlainHTTP: plain, HostDenied: egress.NewGuard(cfg).HostDenied}
}

// B39 to B51 of the table of bad inputs, as far as they are about a sink.
func TestSinkRefused(t *testing.T) {
	t.Parallel()
	for _, sink := range []string{
		"http://partner.example/",                                                                                 // B39
		"ftp://partner.example/", "file:///etc/passwd", "gopher://partner.example", "unix:///var/run/docker.sock", // B40
		"javascript:alert(1)", "//partner.example/x", "https:partner.example", "partner.example/x", "/hook", "HTTPS", "",
		"https:///x", "https://:443/", "https://?x", // B41
		"https://user:pass@partner.example/", "https://user@partner.example", "https://@partner.example/", // B42
		"https://partner.example:0/", "https://partner.example:22/", "https://partner.example:25", "https://partner.example:6379", // B43
		"https://partner.example:99999", "https://partner.example:-1", "https://partner.example:65536/", "https://partner.example:/",
		"https://127.1/", "https://2130706433", "https://0x7f000001", "https://0177.0.0.1", "https://①②⑦.⓪.⓪.①", // B44
		"https://0x7f.1", "https://127.0.0.1.", "https://127.0.0.1", "https://10.0.0.1:8443/x", "https://1.2.3", "https://0/",
		"https://169.254.169.254/latest", "https://192.168.1.1", "https://100.64.0.1", "https://255.255.255.255",
		"https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[::]/", "https://[::1]", "https://[64:ff9b::7f00:1]", // B45
		"https://[fd00:ec2::254]/", "https://[2002:7f00:1::1]",
		"https://localhost/", "https://localhost.", "https://LOCALHOST:8443/", "https://x.localhost", "https://metadata.google.internal/", // B46
		"https://partner.example/x#y", "https://partner.example/#", "https://partner.example/" + strings.Repeat("x", 8192), // B47
		"https://partner.example/\r\nx", "https://partner.example/\tx", `https://partner.example\@evil.example/`, "https://partner .example/",
		"https://partner.example/a b", "https://par%0d%0atner.example/", "https://%31%32%37.0.0.1/", "https://partner.example/\x00",
		"https://${host}/", "https://{{data.host}}/", "https://partner.example/{id}", "https://partner.example/}", // B51
		"https://partner.example/$${x}", "https://partner.example/${order id}", "https://partner.example/${x", "https://partner.example/?x={orderId}",
		"https://${host}.example/", "https://partner.example:${port}/", "${url}", "https://${x:-/}/", "https://partner.example${path}", "https://partner.example/%4${x}",
		"https://u${x}@partner.example/", "${scheme}://partner.example/", "https://partner.example/${x}#${y}", "https://partner.example/ ${x}", "https://127.0.0.1/${x}",
	} {
		if why := policy(false).Refuses(sink); len(why) == 0 {
			t.Errorf("%q is taken", sink)
		}
	}
}

func TestSinkTaken(t *testing.T) {
	t.Parallel()
	for _, sink := range []string{
		"https://partner.example", "https://partner.example/hook?x=1&y=%20#"[:35], "https://Partner.Example.:8443/a/b;c",
		"https://partner.example:443/", "https://partner.example:1/", "https://partner.example:65535/", "HTTPS://partner.example/",
		"https://does-not-resolve.invalid/", "https://single-label/", "https://1.1.1.1/", "https://[2606:4700:4700::1111]:8443/",
		"https://partner.example/${subject}", "https://partner.example?x=${a.b[0].c}&y=${d:-#/ ?}", "https://partner.example/a${x?}b/${attributes.x}.json",
		"https://123.partner.example/", "https://xn--bcher-kva.example/", "https://bücher.example/ü", "https://deadbeef.example",
	} {
		if why := policy(false).Refuses(sink); len(why) > 0 {
			t.Errorf("%q %v", sink, why)
		}
	}
	for _, sink := range []string{
		"http://localhost:9000/x", "http://127.0.0.1:9000/", "http://10.1.2.3/", "http://receiver:9000/", "https://[::1]:9000",
	} {
		if why := policy(true, "127.0.0.0/8", "10.0.0.0/8", "::1/128").Refuses(sink); len(why) > 0 {
			t.Errorf("%q %v", sink, why)
		}
	}
	// Never allowed.
	for _, sink := range []string{"http://169.254.169.254/", "http://metadata.google.internal/"} {
		if why := policy(true, "0.0.0.0/0").Refuses(sink); len(why) == 0 {
			t.Errorf("%q is taken", sink)
		}
	}
}

func TestSinkNamesAllFaults(t *testing.T) {
	t.Parallel()
	if why := policy(false).Refuses("http://user@127.0.0.1:0/x#y"); len(why) != 5 {
		t.Errorf("%q", why)
	}
}

// The reason says where.
func TestSinkSaysWhere(t *testing.T) {
	t.Parallel()
	for sink, want := range map[string][]string{
		"https://h.example/?data={orderId}":   {"has { or } outside a placeholder at byte 24"},
		"https://h.example/?data=${order id}": {"has a malformed placeholder at byte 24: ' ' cannot stand here at byte 31"},
		"https://${host}/${x}":                {"has a placeholder before its path at byte 8"},
		"https://h.example/${x}/}":            {"has { or } outside a placeholder at byte 23"},
	} {
		if diff := cmp.Diff(want, policy(false).Refuses(sink)); diff != "" {
			t.Errorf("%s: %s", sink, diff)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"https://Partner.Example./x?y":         "https://partner.example:443",
		"http://partner.example":               "http://partner.example:80",
		"https://partner.example:8443/":        "https://partner.example:8443",
		"HTTPS://partner.example:443":          "https://partner.example:443",
		"https://[2606:4700::1111]/":           "https://[2606:4700::1111]:443",
		"ftp://partner.example":                "",
		"partner.example":                      "",
		"https://Partner.Example/${x:-%}?${y}": "https://partner.example:443",
		"https://partner.example?%":            "https://partner.example:443",
		"https://partner.example:a/":           "",
	}
	for raw, want := range tests {
		if got := events.Origin(raw); got != want {
			t.Errorf("%s: %s", raw, got)
		}
	}
}
