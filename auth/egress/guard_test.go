package egress_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookfleet/hookfleet/auth/egress"
)

func guard(t testing.TB, allow, deny string) *egress.Guard {
	t.Helper()
	return egress.NewGuard(egress.Config{Allow: cidrs(t, allow), Deny: cidrs(t, deny)})
}

func cidrs(t testing.TB, text string) []netip.Prefix {
	t.Helper()
	if text == "" {
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return []netip.Prefix{p}
}

// denied are the special addresses that an operator may allow; each line is a row of the table of attacks, first and last address of its range.
var denied = []string{
	"127.0.0.1", "127.255.255.254", "127.0.0.0", "127.255.255.255",
	"0.0.0.0", "0.1.2.3", "0.255.255.255",
	"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
	"100.64.0.0", "100.127.255.255", "100.100.100.199",
	"192.0.0.0", "192.0.0.255",
	"192.0.2.0", "192.0.2.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255",
	"192.88.99.0", "192.88.99.255",
	"198.18.0.0", "198.19.255.255",
	"224.0.0.0", "239.255.255.255",
	"240.0.0.0", "255.255.255.254", "255.255.255.255",
	"::", "::1",
	"::7f00:1", "::808:808", // IPv4-compatible
	"::ffff:0:7f00:1", "::ffff:0:808:808", // SIIT
	"::5efe:7f00:1", "2600::5efe:7f00:1", "2600::200:5efe:7f00:1", // ISATAP
	"64:ff9b::7f00:1", "64:ff9b::a00:1", // NAT64 of what is denied
	"64:ff9b:1::1", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", // local NAT64
	"2002:7f00:1::1", "2002:808:808::1", // 6to4
	"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", // Teredo, IETF
	"100::1", "100:0:0:1::1", // discard
	"2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::1", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
	"5f00::1",                                            // SRv6
	"fc00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", // ULA
	"fe80::1", "febf:ffff::1", "fec0::1", "ff02::1", "ff0e::1",
	"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", // either side of 2000::/3
}

// forbidden are the addresses that no setting opens.
var forbidden = []string{
	"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.1.1",
	"100.100.100.200", "192.0.0.192", "168.63.129.16",
	"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
	"::ffff:169.254.169.254", "::a9fe:a9fe", "::ffff:0:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2600::5efe:a9fe:a9fe",
	"::ffff:168.63.129.16", "64:ff9b::a83f:8110",
	"::ffff:127.0.0.1", "::ffff:8.8.8.8", // as a literal: nobody honest writes that
	"fe80::1%eth0", "2606:4700:4700::1111%1",
}

var public = []string{
	"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "192.88.98.255", "192.88.100.0", "168.63.129.15", "168.63.129.17",
	"9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
	"192.167.255.255", "192.169.0.0", "192.0.1.0", "192.0.3.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "203.0.114.0", "223.255.255.255",
	"2000::1", "2001:200::1", "2606:4700:4700::1111", "2001:db7::1", "2001:db9::1", "2003::1", "3ffe::1", "3fff:1000::1", "3fff:ffff::1",
	"64:ff9b::808:808",
}

func TestGuardTable(t *testing.T) {
	t.Parallel()
	none, all4, all6 := guard(t, "", ""), guard(t, "0.0.0.0/0", ""), guard(t, "::/0", "")
	for _, text := range public {
		if err := none.Check(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range denied {
		addr := netip.MustParseAddr(text)
		if kind := kindOf(none.Check(addr)); kind != egress.Blocked {
			t.Errorf("%s: kind %q, want blocked", text, kind)
		}
		if all4.Check(addr) != nil && all6.Check(addr) != nil {
			t.Errorf("%s stays blocked although allowed", text)
		}
	}
	for _, text := range forbidden {
		for name, g := range map[string]*egress.Guard{"no list": none, "all of IPv4": all4, "all of IPv6": all6} {
			if g.Check(netip.MustParseAddr(text)) == nil {
				t.Errorf("%s passes with %s allowed", text, name)
			}
		}
	}
	if none.Check(netip.Addr{}) == nil {
		t.Error("the zero address passes")
	}
}

func TestGuardLists(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, allow, deny, addr string
		pass                    bool
	}{
		{"allow beats special", "10.0.0.0/8", "", "10.1.2.3", true},
		{"allow is exact", "10.0.0.0/8", "", "11.0.0.1", true},
		{"allow opens no more", "10.0.0.0/9", "", "10.128.0.1", false},
		{"host bits do not matter", "10.1.2.3/8", "", "10.200.0.1", true},
		{"deny beats allow", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", false},
		{"deny beats public", "", "8.8.8.0/24", "8.8.8.8", false},
		{"deny reaches into NAT64", "", "8.8.8.0/24", "64:ff9b::808:808", false},
		{"allow reaches into NAT64", "10.0.0.0/8", "", "64:ff9b::a00:1", true},
		{"allow does not reach into mapped", "10.0.0.0/8", "", "::ffff:10.0.0.1", false},
		{"allow does not reach into 6to4", "10.0.0.0/8", "", "2002:a00:1::1", false},
		{"loopback", "127.0.0.0/8", "", "127.0.0.1", true},
		{"IPv6 loopback is another", "127.0.0.0/8", "", "::1", false},
		{"metadata stays", "169.254.0.0/16", "", "169.254.169.254", false},
		{"metadata in a public range stays", "168.63.129.16/32", "", "168.63.129.16", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := guard(t, tt.allow, tt.deny).Check(netip.MustParseAddr(tt.addr)); (err == nil) != tt.pass {
				t.Errorf("%s: %v, want pass %v", tt.addr, err, tt.pass)
			}
		})
	}
}

// oracle says in arithmetic what the guard says in prefixes.
func oracle(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return oracle4(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if hi == 0x0064_ff9b_0000_0000 && lo>>32 == 0 {
		return oracle4(uint32(lo))
	}
	top := hi >> 32
	switch {
	case hi>>61 != 1,
		top >= 0x2001_0000 && top <= 0x2001_01ff,
		top == 0x2001_0db8,
		top>>16 == 0x2002,
		top >= 0x3fff_0000 && top <= 0x3fff_0fff,
		lo>>32 == 0x0000_5efe, lo>>32 == 0x0200_5efe:
		return false
	}
	return true
}

func oracle4(v uint32) bool {
	for _, r := range [][2]uint32{
		{0x00000000, 0x00ffffff}, {0x0a000000, 0x0affffff}, {0x64400000, 0x647fffff}, {0x7f000000, 0x7fffffff}, {0xa83f8110, 0xa83f8110},
		{0xa9fe0000, 0xa9feffff}, {0xac100000, 0xac1fffff}, {0xc0000000, 0xc00000ff}, {0xc0000200, 0xc00002ff}, {0xc0586300, 0xc05863ff},
		{0xc0a80000, 0xc0a8ffff}, {0xc6120000, 0xc613ffff}, {0xc6336400, 0xc63364ff}, {0xcb007100, 0xcb0071ff}, {0xe0000000, 0xffffffff},
	} {
		if v >= r[0] && v <= r[1] {
			return false
		}
	}
	return true
}

// addresses draws addresses near the borders of the ranges, and anywhere.
func addresses() *rapid.Generator[netip.Addr] {
	known := append(append(append([]string{}, denied...), public...), forbidden[:len(forbidden)-2]...)
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		case 1:
			return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		}
		b := netip.MustParseAddr(rapid.SampledFrom(known).Draw(t, "near")).AsSlice()
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		a, _ := netip.AddrFromSlice(b)
		return a
	})
}

func TestGuardAgainstOracle(t *testing.T) {
	t.Parallel()
	g := guard(t, "", "")
	rapid.Check(t, func(t *rapid.T) {
		a := addresses().Draw(t, "address")
		if got, want := g.Check(a) == nil, oracle(a); got != want {
			t.Fatalf("%s: pass %v, want %v", a, got, want)
		}
	})
}

func TestGuardListProperties(t *testing.T) {
	t.Parallel()
	plain := guard(t, "", "")
	rapid.Check(t, func(t *rapid.T) {
		a, near := addresses().Draw(t, "address"), addresses().Draw(t, "listed")
		p := netip.PrefixFrom(near, rapid.IntRange(0, near.BitLen()).Draw(t, "bits"))
		list := []netip.Prefix{p}
		allowed := egress.NewGuard(egress.Config{Allow: list}).Check(a) == nil
		refused := egress.NewGuard(egress.Config{Allow: list, Deny: list}).Check(a) != nil
		if plain.Check(a) == nil && !allowed {
			t.Fatalf("allowing %s closed %s", p, a)
		}
		if p.Masked().Contains(a) && !refused {
			t.Fatalf("%s passes although %s denies it", a, p)
		}
	})
}

func TestHostDenied(t *testing.T) {
	t.Parallel()
	none, local := guard(t, "", ""), guard(t, "127.0.0.0/8", "")
	for _, host := range []string{
		"", ".", "..", "a..b", ".a", "localhost", "LOCALHOST", "localhost.", "x.localhost", "a.b.LocalHost.", "ip6-localhost", "localhost.localdomain",
		"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "fe80::1%25eth0", "1.1.1.1%eth0",
		"127.1", "127.0.1", "0x7f.1", "0x7f000001", "0x7F.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "127.0.0.1.", "1.1.1.1.", "0x", "a.0x1", "a.b.1",
		"0xffffffffffffffffffffffff", "99999999999999999999", "256.256.256.256", "1.2.3.4.5",
		"１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "𝟏𝟐𝟕.0.0.1",
		"metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data", "169.254.169.254",
		"a b", "a%41", "a/b", "a\\b", "a:b", "a@b", "{host}", "a\x00b", "a\nb", "x\u00ad\u202e",
	} {
		if why, denied := none.HostDenied(host); !denied || why == "" {
			t.Errorf("%q passes (%q)", host, why)
		}
	}
	for _, host := range []string{
		"partner.example", "PARTNER.example.", "a_b.example", "1.example", "1and1.com", "0x7f.example", "xn--bcher-kva.example", "bücher.example",
		"1.1.1.1", "2606:4700:4700::1111", "intranet", "localhost.example", "notlocalhost", "metadata.example",
	} {
		if why, denied := none.HostDenied(host); denied || why != "" {
			t.Errorf("%q is denied: %s", host, why)
		}
	}
	for _, host := range []string{"localhost", "x.localhost", "127.0.0.1"} {
		if why, denied := local.HostDenied(host); denied {
			t.Errorf("%q is denied with loopback allowed: %s", host, why)
		}
	}
	for _, host := range []string{"127.1", "2130706433", "metadata.google.internal", "::ffff:127.0.0.1"} {
		if _, denied := local.HostDenied(host); !denied {
			t.Errorf("%q passes with loopback allowed", host)
		}
	}
}

func FuzzHostDenied(f *testing.F) {
	for _, seed := range []string{"127.1", "0x7f.1", "localhost", "１２７.1", "a.example", "[::1]", "fe80::1%1"} {
		f.Add(seed)
	}
	g := guard(f, "", "")
	f.Fuzz(func(t *testing.T, host string) {
		why, denied := g.HostDenied(host)
		if denied != (why != "") {
			t.Fatalf("%q: denied %v with reason %q", host, denied, why)
		}
		if addr, err := netip.ParseAddr(host); err == nil && (g.Check(addr) != nil) != denied {
			t.Fatalf("%q: the literal is judged otherwise by Check", host)
		}
	})
}
