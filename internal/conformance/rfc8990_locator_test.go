package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// uselessAddrs are addresses that no locator may have, whoever gives it: they lead
// nowhere, to many, or on the host that takes them to itself.
var uselessAddrs = []string{
	"::", "0.0.0.0", "::ffff:0.0.0.0", "0.1.2.3", "::ffff:0.1.2.3", "::127.0.0.1", "::c000:201",
	"ff02::1", "ff02::13", "ff0e::1", "224.0.0.119", "::ffff:224.0.0.1", "255.255.255.255", "::ffff:255.255.255.255",
}

// loopbackAddrs lead to the host that takes them: no other can mean them.
var loopbackAddrs = []string{"::1", "127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1"}

// addressOption returns a locator option with an address.
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
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Syn("EX1", nil), time.Minute, grasp.DiscoverOptions{First: true})
		m := b.Peer.Only()
		bad := append(append([]string{}, uselessAddrs...), loopbackAddrs...)
		response, divert := arr{2, m.ID(b), m.Items(b)[2], 60000}, arr{100}
		for _, s := range bad {
			response = append(response, addressOption(s))
			divert = append(divert, addressOption(s))
		}
		response = append(response, addressOption("::ffff:192.0.2.1"), addressOption("192.0.2.1"))
		divert = append(divert, addressOption("fe80::1"), addressOption("::ffff:169.254.1.1"), addressOption("::ffff:192.0.2.2"))
		b.Peer.Respond(m, append(response, divert))
		found := call.Ok().Found
		require.Equal(b, []string{"[::ffff:192.0.2.1]:1", "192.0.2.1:1", "[::ffff:192.0.2.2]:1"}, bed.Texts(found))
		b.WantDrop(grasp.ReasonBadLocator, 2*len(bad)+2)
	})
}

// RFC 8990 section 2.8.11: what a flood gives as a locator leads to its
// objective. Addresses that cannot are not cached, and the others of the same
// message are; it is relayed bit for bit.
func TestUselessLocatorsInFloods(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		bad := append(append([]string{}, uselessAddrs...), loopbackAddrs...)
		for i, s := range bad {
			b.Peer.Multicast(arr{9, 100 + i, b.Peer.Addr(), 60000,
				arr{arr{"EX1", 5, 6, s}, addressOption(s)}, arr{arr{"EX2", 5, 6, s}, arr{}}})
			require.Empty(b, b.Flooded("EX1"), s)
			require.Equal(b, []any{s}, b.Flooded("EX2"))
			b.WantDrop(grasp.ReasonBadLocator, i+1)
			b.Far.Only().Is(b, fmt.Sprintf(`[9, %%d, %s, 60000, [["EX1", 5, 5, %q], [%d, %s, 6, 1]], [["EX2", 5, 6, %q], []]]`,
				bed.Hex(b.Peer.Addr()), s, addressOption(s)[0], bed.Hex(addressOption(s)[1].([]byte)), s))
		}
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 60000, arr{arr{"EX1", 5, 6, "v4"}, addressOption("::ffff:192.0.2.1")}})
		got, err := b.ASA.GetFlood(bed.Syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, got, 1)
		require.Equal(b, "[::ffff:192.0.2.1]:1", got[0].Source.String())
		require.NoError(b, b.ASA.ExpireFlood(got[0]))
		require.Empty(b, b.Flooded("EX1"))
	})
}

// What leads nowhere is refused from callers, too, with an error that says why:
// but :: in a flood means the link.
func TestUselessLocatorsOfCallers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Syn("EX1", "value")
		b.Register(o)
		for _, s := range uselessAddrs {
			l := grasp.Locator{IP: netip.MustParseAddr(s), Port: 1}
			_, err := b.ASA.Synchronize(bed.Forever, bed.Syn("EX9", nil), &l, 0)
			bed.IsCode(b, err, grasp.ErrUnusableLocator)
			bed.IsCode(b, b.ASA.RegisterObj(bed.Syn("EX2", nil), grasp.RegisterOptions{Locators: []grasp.Locator{l}}), grasp.ErrInvalidLoc)
			err = b.ASA.Flood(0, grasp.TaggedObjective{Objective: o, Source: &l})
			if s == "::" {
				require.NoError(b, err)
				b.Peer.Only()
				continue
			}
			bed.IsCode(b, err, grasp.ErrInvalidLoc)
			require.ErrorContains(b, err, "address")
		}
		b.Peer.None()
	})
}
