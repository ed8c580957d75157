package wire

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestO09ProtocolsAndNullsAreKept(t *testing.T) {
	for _, c := range []struct {
		raw  arr
		want Locator
	}{
		{raw6, loc6},
		{raw4, loc4},
		{arr{103, v6, 41, nil}, Locator{Kind: LocatorIPv6, Addr: ip6, Protocol: 41, Port: Null}},
		{arr{104, v4, nil, nil}, Locator{Kind: LocatorIPv4, Addr: ip4, Protocol: Null, Port: Null}},
		{arr{103, v6, 256, 443}, Locator{Kind: LocatorIPv6, Addr: ip6, Protocol: 256, Port: 443}},
		{arr{103, v6, math.MaxInt32, 0}, Locator{Kind: LocatorIPv6, Addr: ip6, Protocol: math.MaxInt32}},
		{arr{105, "grasp.example.com", 6, 7017}, Locator{Kind: LocatorFQDN, Name: "grasp.example.com", Protocol: 6, Port: 7017}},
		{arr{105, "", 0, nil}, Locator{Kind: LocatorFQDN, Port: Null}},
		{arr{106, "coap://[2001:db8::1]:7017/g", nil, nil}, Locator{Kind: LocatorURI, Name: "coap://[2001:db8::1]:7017/g", Protocol: Null, Port: Null}},
		{arr{106, "x", 17, 5}, Locator{Kind: LocatorURI, Name: "x", Protocol: ProtoUDP, Port: 5}},
		// An IPv4-mapped address stays an IPv6 locator.
		{arr{103, unhex(t, "00000000000000000000ffffc0000201"), 6, 1}, Locator{Kind: LocatorIPv6, Addr: benchAddr("::ffff:192.0.2.1"), Protocol: 6, Port: 1}},
	} {
		b := encode(t, arr{2, sid, v6, 1, c.raw})
		m := parsedBytes(t, b)
		require.Equal(t, []Locator{c.want}, m.(*Response).Locators)
		require.True(t, c.want == m.(*Response).Locators[0])
		require.Equal(t, b, mustAppend(t, m))
		b = encode(t, arr{9, sid, v6, 1, arr{raw1, c.raw}})
		require.Equal(t, b, mustAppend(t, parsedBytes(t, b)))
	}
}

// The lines of the annex.
func TestO08LocatorsByName(t *testing.T) {
	for line, want := range map[string]Locator{
		"8418697167726173702e6578616d706c652e636f6d06191b69":                   {Kind: LocatorFQDN, Name: "grasp.example.com", Protocol: 6, Port: 7017},
		"84186a781b636f61703a2f2f5b323030313a6462383a3a315d3a373031372f67f6f6": {Kind: LocatorURI, Name: "coap://[2001:db8::1]:7017/g", Protocol: Null, Port: Null},
	} {
		m := parsedBytes(t, append(unhex(t, "85020044c000020100"), unhex(t, line)...))
		require.Equal(t, []Locator{want}, m.(*Response).Locators)
	}
}

func TestZonesAreNotSent(t *testing.T) {
	l := Locator{Kind: LocatorIPv6, Addr: benchAddr("fe80::1%eth0"), Protocol: 6, Port: 1}
	m := parsedBytes(t, mustAppend(t, &Response{Initiator: benchAddr("fe80::2%7"), Locators: []Locator{l}})).(*Response)
	require.Equal(t, benchAddr("fe80::2"), m.Initiator)
	require.Equal(t, benchAddr("fe80::1"), m.Locators[0].Addr)
}

func TestLocatorsThatAreNotSent(t *testing.T) {
	for _, l := range []Locator{
		{Kind: LocatorIPv6}, {Kind: LocatorIPv4}, {Kind: LocatorIPv6, Addr: ip4}, {Kind: LocatorIPv4, Addr: ip6},
		{Kind: LocatorIPv4, Addr: benchAddr("::ffff:192.0.2.1")}, {Kind: LocatorIPv6, Addr: ip6, Name: "x"},
		{Kind: LocatorFQDN, Addr: ip6}, {Kind: LocatorURI, Addr: ip4, Name: "x"}, {Kind: LocatorFQDN, Name: "\xff"}, {Kind: LocatorURI, Name: "\xc3"},
		{Kind: 1}, {Kind: 100, Addr: ip6}, {Kind: 107, Name: "x"}, {Kind: 255}, {Addr: ip6}, {Name: "x"}, {Port: 5}, {Protocol: 6},
		{Kind: LocatorIPv6, Addr: ip6, Port: 65536}, {Kind: LocatorIPv6, Addr: ip6, Port: -2},
		{Kind: LocatorIPv6, Addr: ip6, Protocol: -2}, {Kind: LocatorURI, Name: "x", Protocol: math.MinInt},
	} {
		notSent(t, response([]Locator{loc6, l}, nil))
		notSent(t, response([]Locator{loc6}, []Locator{loc6, l}))
		notSent(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{ex1, loc6}, {ex1, l}}})
	}
	notSent(t, response([]Locator{{}}, nil))
}

func TestLocatorKindNames(t *testing.T) {
	for kind, name := range map[LocatorKind]string{
		0: "no locator", 103: "O_IPv6_LOCATOR", 104: "O_IPv4_LOCATOR", 105: "O_FQDN_LOCATOR", 106: "O_URI_LOCATOR", 9: "option 9",
	} {
		require.Equal(t, name, kind.String())
	}
}
