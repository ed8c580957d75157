package grasp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// useless are addresses that no locator may have, whoever gives it: they lead
// nowhere, to many, or on the host that takes them to itself.
var useless = []string{
	"::", "0.0.0.0", "::ffff:0.0.0.0", "0.1.2.3", "::ffff:0.1.2.3", "::127.0.0.1", "::c000:201",
	"ff02::1", "ff02::13", "ff0e::1", "224.0.0.119", "::ffff:224.0.0.1", "255.255.255.255", "::ffff:255.255.255.255",
}

// loopbacks lead to the host that takes them: no other can mean them.
var loopbacks = []string{"::1", "127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1"}

func TestFit(t *testing.T) {
	linkLocal := []string{"fe80::1", "169.254.1.1", "::ffff:169.254.1.1"}
	usual := []string{"fd00::1", "2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1", "10.0.0.1", "64:ff9b::c000:201", "240.0.0.1"}
	for _, c := range []struct {
		from      origin
		takes     [][]string
		takesNone [][]string
	}{
		{origin{onLink: true}, [][]string{usual, linkLocal}, [][]string{useless, loopbacks}},
		{origin{}, [][]string{usual, linkLocal[1:]}, [][]string{useless, loopbacks, linkLocal[:1]}},
		{origin{onLink: true, local: true}, [][]string{usual, linkLocal, loopbacks}, [][]string{useless}},
		{origin{onLink: true, diverted: true}, [][]string{usual}, [][]string{useless, loopbacks, linkLocal}},
		{origin{onLink: true, local: true, diverted: true}, [][]string{usual}, [][]string{useless, loopbacks, linkLocal}},
	} {
		for _, all := range c.takes {
			for _, s := range all {
				addr := netip.MustParseAddr(s)
				got, err := c.from.fit(addr)
				require.NoError(t, err, "%+v %v", c.from, s)
				require.Equal(t, addr.Unmap(), got)
			}
		}
		for _, all := range c.takesNone {
			for _, s := range all {
				_, err := c.from.fit(netip.MustParseAddr(s))
				require.Error(t, err, "%+v %v", c.from, s)
			}
		}
	}
}

// Text shows a port as it is, also one that is refused for it.
func TestLocatorTextShowsThePort(t *testing.T) {
	require.Equal(t, "[fe80::1%2]:70000", Locator{IP: netip.MustParseAddr("fe80::1%2"), Port: 70000}.String())
	require.Equal(t, "192.0.2.1:-1/udp", Locator{IP: netip.MustParseAddr("192.0.2.1"), Port: -1, Protocol: UDP}.String())
}
