package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"": 0, "1": 1, "1000000": 1e6, "5B": 5, "10GB": 1e10, "10 gb": 1e10, "1.5KiB": 1536, "512MiB": 512 << 20, "2TiB": 2 << 40, "3kb": 3000,
		"0": -1, "0GB": -1, "-1": -1, "1e6": -1, "GB": -1, "1G": -1, "inf": -1, "nanB": -1, "0x10": -1, "9999999TiB": -1, "1 2": -1, "+1": -1,
	} {
		got, err := size(text)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "127.0.0.1/8": "127.0.0.0/8", "127.0.0.1": "127.0.0.1/32", "::1": "::1/128", "fd00::/8": "fd00::/8",
		"::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:10.1.2.3": "10.1.2.3/32", "0.0.0.0/0": "0.0.0.0/0",
		"::ffff:0.0.0.0/90": "", "fe80::1%eth0": "", "10.0.0.0/33": "", "10.0.0": "", "example.com": "", "010.0.0.1": "",
	} {
		got, err := prefix(text)
		if want == "" && err == nil || want != "" && (err != nil || got != netip.MustParsePrefix(want)) {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "  ": "", "a": "a", "a, b ,c": "a|b|c"} {
		if got, err := list(text); err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{",", "a,,b", "a,"} {
		if got, err := list(text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": true, " http://proxy.example:3128 ": true, "https://user:p%40ss@proxy.example/": true, "proxy.example:3128": false, "socks5://proxy.example": false,
		"http://": false, "http://a/path": false, "http://a?b": false, "http://a#b": false, "http://user:hush@a:b": false,
	} {
		got, err := proxy(text)
		if (err == nil) != want || want && got.Reveal() != strings.TrimSpace(text) || err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, %v", text, got.Reveal(), err)
		}
	}
}
