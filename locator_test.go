package grasp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

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

// option returns a locator option with an address.
func addressOption(s string) arr {
	addr := netip.MustParseAddr(s)
	if addr.Is4() {
		return arr{104, addr.AsSlice(), 6, 1}
	}
	return arr{103, addr.AsSlice(), 6, 1}
}

// RFC 8990 section 2.9.5: an IPv4 address in the form of an IPv6 one is judged
// like the IPv4 address that a socket takes it for, in a response and in a
// Divert.
func TestUselessLocatorsInResponses(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(syn("EX1", nil), time.Minute, DiscoverOptions{First: true})
		m := b.peer.only()
		bad := append(append([]string{}, useless...), loopbacks...)
		response, divert := arr{2, m.id(b), m.items(b)[2], 60000}, arr{100}
		for _, s := range bad {
			response = append(response, addressOption(s))
			divert = append(divert, addressOption(s))
		}
		response = append(response, addressOption("::ffff:192.0.2.1"), addressOption("192.0.2.1"))
		divert = append(divert, addressOption("fe80::1"), addressOption("::ffff:169.254.1.1"), addressOption("::ffff:192.0.2.2"))
		b.peer.respond(m, append(response, divert))
		found := call.ok().found
		require.Equal(b, []string{"[::ffff:192.0.2.1]:1", "192.0.2.1:1", "[::ffff:192.0.2.2]:1"}, texts(found))
		b.wantDrop(ReasonBadLocator, 2*len(bad)+2)
	})
}

// RFC 8990 section 2.8.11: what a flood gives as a locator leads to its
// objective. Addresses that cannot are not cached, and the others of the same
// message are; it is relayed bit for bit.
func TestUselessLocatorsInFloods(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		bad := append(append([]string{}, useless...), loopbacks...)
		for i, s := range bad {
			b.peer.multicast(arr{9, 100 + i, b.peer.addr(), 60000,
				arr{arr{"EX1", 5, 6, s}, addressOption(s)}, arr{arr{"EX2", 5, 6, s}, arr{}}})
			require.Empty(b, b.flooded("EX1"), s)
			require.Equal(b, []any{s}, b.flooded("EX2"))
			b.wantDrop(ReasonBadLocator, i+1)
			b.far.only().is(b, fmt.Sprintf(`[9, %%d, %s, 60000, [["EX1", 5, 5, %q], [%d, %s, 6, 1]], [["EX2", 5, 6, %q], []]]`,
				hx(b.peer.addr()), s, addressOption(s)[0], hx(addressOption(s)[1].([]byte)), s))
		}
		b.peer.multicast(arr{9, 7, b.peer.addr(), 60000, arr{arr{"EX1", 5, 6, "v4"}, addressOption("::ffff:192.0.2.1")}})
		got, err := b.asa.GetFlood(syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, got, 1)
		require.Equal(b, "[::ffff:192.0.2.1]:1", got[0].Source.String())
		require.NoError(b, b.asa.ExpireFlood(got[0]))
		require.Empty(b, b.flooded("EX1"))
	})
}

// What leads nowhere is refused from callers, too, with an error that says why:
// but :: in a flood means the link.
func TestUselessLocatorsOfCallers(t *testing.T) {
	inBed(t, func(b *bed) {
		o := syn("EX1", "value")
		b.register(o)
		for _, s := range useless {
			l := Locator{IP: netip.MustParseAddr(s), Port: 1}
			_, err := b.asa.Synchronize(forever, syn("EX9", nil), &l, 0)
			isCode(b, err, ErrUnusableLocator)
			isCode(b, b.asa.RegisterObj(syn("EX2", nil), RegisterOptions{Locators: []Locator{l}}), ErrInvalidLoc)
			err = b.asa.Flood(0, TaggedObjective{Objective: o, Source: &l})
			if s == "::" {
				require.NoError(b, err)
				b.peer.only()
				continue
			}
			isCode(b, err, ErrInvalidLoc)
			require.ErrorContains(b, err, "address")
		}
		b.peer.none()
	})
}
