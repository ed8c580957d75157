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

// Sections 2.9.2, 2.9.3 and 2.9.4: Divert occurs in M_RESPONSE only, Accept and
// Decline in M_END only; elsewhere they are ignored.
func TestO01O02MisplacedOptions(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", "value"), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		for i, option := range []arr{{100, b.Peer.Option()}, {101}, {102}, {102, "reason"}, b.Peer.Option()} {
			id := uint32(1000 + 10*i)
			with := func(m arr) arr { return append(m, option) }
			b.Peer.Multicast(with(arr{1, id, b.Peer.Addr(), arr{"EX1", 5, 6, nil}}))
			require.Equal(b, id, b.Peer.Dialed().Next().ID(b))
			b.Peer.Multicast(with(arr{9, id, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, i}, arr{}}}))
			require.Equal(b, []any{int64(i)}, b.Flooded("EX2"))

			s := b.Peer.Dial(b.At())
			s.Send(with(arr{4, id, arr{"EX1", 5, 6, nil}}))
			require.EqualValues(b, 8, s.Next().Items(b)[0])
			call := b.Listen(ex3)
			s = b.Peer.Dial(b.At())
			s.Send(with(arr{3, id + 1, arr{"EX3", 3, 6, 1}}))
			got := call.Ok()
			step := b.Step(got.S, got.O, 0)
			s.Next()
			s.Send(with(arr{7, id + 1, 1000}))
			s.Send(with(arr{5, id + 1, arr{"EX3", 3, 4, 2}}))
			require.EqualValues(b, 2, step.Ok().O.Value)
			require.NoError(b, got.S.EndNegotiate(true, ""))

			sync := b.Synchronize(bed.Syn("EX4", nil), b.Peer.Locator(), 0)
			s = b.Peer.Dialed()
			s.Send(with(arr{8, s.Next().ID(b), arr{"EX4", 5, 6, "value"}}))
			require.Equal(b, "value", sync.Ok().O.Value)
		}
		// In M_END and M_RESPONSE it is the others that are ignored.
		for _, m := range []arr{{b.Peer.Option(), arr{101}}, {arr{101}, arr{100, b.Peer.Option()}}, {arr{107}, arr{101}, arr{103}}} {
			call, s, request := b.Asked(ex3)
			s.Send(append(arr{6, request.ID(b)}, m...))
			call.Ok()
		}
		call := b.Discover(bed.Syn("EX5", nil), time.Minute, grasp.DiscoverOptions{First: true})
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{101}, b.Peer.Option(), arr{102, "reason"}})
		require.Len(b, call.Ok().Found, 1)
	})
}

// locatorOf returns the address of the only locator of a response.
func locatorOf(t *testing.T, m bed.Packet) netip.Addr {
	t.Helper()
	items := m.Items(t)
	require.Len(t, items, 5, m)
	a, ok := netip.AddrFromSlice(items[4].(arr)[1].([]byte))
	require.True(t, ok)
	return a
}

// Section 2.9.5.1: a locator is of global scope, link-local only for objectives
// meant for it, or where there is no other address; then the response leaves by
// the interface that the address belongs to.
func TestO03O04ScopeOfLocators(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX4", nil), grasp.RegisterOptions{Discoverable: true, Local: true}))
		ask := func(p *bed.Peer, name string) netip.Addr {
			m, ok := p.Discover(uint32(time.Now().UnixNano()), name)
			require.True(b, ok)
			time.Sleep(bed.Soon)
			return locatorOf(b.T, m)
		}
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			require.Equal(b, b.Node.Addr(), ask(p, "EX3"))
			require.Equal(b, bed.LinkOf(b.Node, b.Links[i]).Addr.WithZone(""), ask(p, "EX4"))
		}
		require.NoError(b, b.Node.SetAddr(netip.Addr{}))
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			require.Equal(b, bed.LinkOf(b.Node, b.Links[i]).Addr.WithZone(""), ask(p, "EX3"))
		}
	})
}

// A link-local address that an ASA has given goes out on its link only, told by
// its zone or by being this node's own.
func TestO04RegisteredLinkLocalLocator(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		near, far := bed.LinkOf(b.Node, b.Links[0]), bed.LinkOf(b.Node, b.Links[1])
		at := func(addr netip.Addr) grasp.Locator { return grasp.NewLocator(netip.AddrPortFrom(addr, 1)) }
		stranger := netip.MustParseAddr("fe80::1")
		for i, c := range []struct {
			locators  []grasp.Locator
			near, far []netip.Addr
		}{
			{locators: []grasp.Locator{at(stranger.WithZone(near.Name)), at(stranger.WithZone(bed.Zone(far.Index)))}, near: []netip.Addr{stranger}, far: []netip.Addr{stranger}},
			{locators: []grasp.Locator{at(stranger.WithZone(bed.Zone(near.Index))), at(b.Node.Addr())}, near: []netip.Addr{stranger, b.Node.Addr()}, far: []netip.Addr{b.Node.Addr()}},
			{locators: []grasp.Locator{at(far.Addr.WithZone(""))}, far: []netip.Addr{far.Addr.WithZone("")}},
			{locators: []grasp.Locator{at(stranger)}},
		} {
			name := fmt.Sprint("example.com:", i)
			require.NoError(b, b.ASA.RegisterObj(bed.Neg(name, nil), grasp.RegisterOptions{Discoverable: true, Locators: c.locators}))
			for p, want := range map[*bed.Peer][]netip.Addr{b.Peer: c.near, b.Far: c.far} {
				m, ok := p.Discover(uint32(time.Now().UnixNano()), name)
				time.Sleep(bed.Soon)
				require.Equal(b, want != nil, ok, name)
				if !ok {
					continue
				}
				var got []netip.Addr
				for _, l := range m.Items(b.T)[4:] {
					a, _ := netip.AddrFromSlice(l.(arr)[1].([]byte))
					got = append(got, a)
				}
				require.Equal(b, want, got, name)
			}
		}
	})
}

// Nor is a link-local address given to somebody beyond the link, who asked by
// unicast.
func TestO04NoLinkLocalLocatorBeyondTheLink(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX4", nil), grasp.RegisterOptions{Discoverable: true, Local: true}))
		s := b.Peer.Dial(b.At()) // by global addresses: it could be anywhere
		s.Send(arr{1, 7, b.Peer.Addr(), arr{"EX4", 3, 6, nil}})
		m, err := s.NextWithin(bed.Soon)
		if err == nil {
			require.False(b, locatorOf(b.T, m).IsLinkLocalUnicast(), m)
		}
		// On the link it is.
		own := bed.LinkOf(b.Node, b.Links[0]).Addr
		s = b.Peer.Dial(netip.AddrPortFrom(own.WithZone(bed.Zone(bed.LinkOf(b.Peer.Node, b.Links[0]).Index)), b.At().Port()))
		s.Send(arr{1, 8, b.Peer.Addr(), arr{"EX4", 3, 6, nil}})
		require.Equal(b, own.WithZone(""), locatorOf(b.T, s.Next()))
	})
}

// Sections 2.9.5.1, 2.9.5.3 and 2.9.5.4: no link-local address in a Divert, and
// no name that may mean nothing elsewhere. What others send is taken without.
func TestO05O07WhatDivertsHold(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		linkLocal := bed.LinkOf(b.Far.Node, b.Links[1]).Addr.AsSlice()
		b.Learn(b.Far, "EX1", 60000, arr{105, "printer.local", 6, 1}, arr{106, "grasp://printer.local", 6, 1},
			arr{103, linkLocal, 6, 1}, arr{104, bed.IP("169.254.1.1"), 6, 1}, b.Far.Option())
		m, ok := b.Peer.Discover(7, "EX1")
		require.True(b, ok)
		require.Len(b, m.Items(b)[4], 2)
		require.Equal(b, b.Far.Addr(), m.Items(b)[4].(arr)[1].(arr)[1])
		b.Learn(b.Far, "EX2", 60000, arr{105, "printer.local", 6, 1}, arr{103, linkLocal, 6, 1})
		_, ok = b.Peer.Discover(8, "EX2")
		require.False(b, ok)
		b.Far.All()
		b.Peer.All()

		call := b.Discover(bed.Syn("EX3", nil), time.Minute, grasp.DiscoverOptions{First: true})
		m = b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000,
			arr{100, arr{103, linkLocal, 6, 1}, arr{106, "grasp://printer.local"}, b.Far.Option(), "text", arr{100, b.Far.Option()}}})
		found := call.Ok().Found
		require.Len(b, found, 1)
		require.Equal(b, b.Far.Node.Addr(), found[0].IP)
		b.WantDrop(grasp.ReasonBadLocator, 1)
	})
}

// Addresses that lead nowhere, or to the one who asks, are no locators.
func TestO03UselessLocators(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Syn("EX1", nil), time.Minute, grasp.DiscoverOptions{First: true})
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000,
			arr{103, bed.IP("::1"), 6, 1}, arr{104, bed.IP("127.0.0.1"), 6, 1}, arr{103, bed.IP("::"), 6, 1}, arr{103, bed.IP("ff02::13"), 6, 1}, b.Peer.Option()})
		require.Len(b, call.Ok().Found, 1)
		b.WantDrop(grasp.ReasonBadLocator, 4)
	})
}

// Section 2.9.5: other protocols, and null where a number should be, are shown
// to the ASA, but not connected to.
func TestO08O09OtherProtocols(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		b.Learn(b.Peer, "EX3", 60000, arr{103, b.Peer.Addr(), 17, b.Peer.Endpoint.Port()}, arr{103, b.Peer.Addr(), 41, nil},
			arr{103, b.Peer.Addr(), 258, 7017}, arr{104, bed.IP("192.0.2.1"), nil, 1}, arr{106, "coap://example.com", nil, nil})
		var shown []string
		for _, l := range b.Discover(ex3, 0, grasp.DiscoverOptions{}).Ok().Found {
			shown = append(shown, fmt.Sprintf("%v %d %d", l, l.Protocol, l.Port))
		}
		address := "[" + b.Peer.Node.Addr().String() + "]:"
		require.Equal(b, []string{
			fmt.Sprintf("%s%d/udp 17 %d", address, b.Peer.Endpoint.Port(), b.Peer.Endpoint.Port()),
			address + "0/41 41 0", address + "7017/quic 258 7017", "192.0.2.1:1 0 1", "coap://example.com 0 0",
		}, shown)
		for _, l := range b.Discover(ex3, 0, grasp.DiscoverOptions{}).Ok().Found[:3] {
			bed.IsCode(b, b.Request(ex3, &l, 0).Done().Err, grasp.ErrUnusableLocator)
		}
		b.Peer.NotDialed()
	})
}

// Section 2.10.1: names are opaque, and compared byte by byte.
func TestO10NamesAreOpaque(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		names := []string{"EX1", "ex1", "EX1 ", "example.com:EX1", ":", " ", "\u00e9", "e\u0301", "🦊", "a\x00b", "a\x00"}
		for i, name := range names {
			o := bed.Syn(name, i)
			b.Register(o)
			require.NoError(b, b.ASA.ListenSynchronize(o))
		}
		for i, name := range names {
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, i, arr{name, 5, 6, nil}})
			m := s.Next().Items(b)
			require.Equal(b, arr{name, uint64(5), uint64(6), uint64(i)}, m[2])
			b.Peer.Multicast(arr{9, i, b.Peer.Addr(), 0, arr{arr{name, 5, 6, i}, arr{}}})
		}
		for i, name := range names {
			require.Equal(b, []any{int64(i)}, b.Flooded(name))
		}
		bed.IsCode(b, b.ASA.RegisterObj(bed.Syn("", nil), grasp.RegisterOptions{}), grasp.ErrUnspec)
		bed.IsCode(b, b.ASA.RegisterObj(bed.Syn("\xff", nil), grasp.RegisterOptions{}), grasp.ErrUnspec)
		bed.IsCode(b, b.Discover(grasp.NewObjective("\xff"), 0, grasp.DiscoverOptions{}).Done().Err, grasp.ErrUnspec)
	})
}

// Section 2.10.2: flag bits are independent of each other, and unknown ones mean
// nothing.
func TestO11FlagsAreIndependent(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", "value"), bed.Neg("EX3", nil)
		b.Register(ex1, ex3)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		for i, flags := range []uint64{0, 1, 2, 4, 5, 15, 16, 1 << 40} {
			b.Peer.Multicast(arr{1, i, b.Peer.Addr(), arr{"EX1", flags, 6, nil}})
			b.Peer.Dialed()
			b.Peer.Multicast(arr{9, i, b.Peer.Addr(), 0, arr{arr{"EX2", flags, 6, i}, arr{}}})
			if flags == 2 { // section 2.10.3: an objective for negotiation only is not flooded
				require.Equal(b, []any{int64(i - 1)}, b.Flooded("EX2"))
				b.WantDrop(grasp.ReasonUnexpected, 1)
			} else {
				require.Equal(b, []any{int64(i)}, b.Flooded("EX2"))
			}
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, 100 + i, arr{"EX1", flags | 4, 6, nil}})
			require.EqualValues(b, 8, s.Next().Items(b)[0])
		}
		for i, flags := range []uint64{2, 3, 10, 11, 18, 1<<40 | 2} {
			call := b.Listen(ex3)
			s := b.Peer.Dial(b.At())
			s.Send(arr{3, 200 + i, arr{"EX3", flags, 6, nil}})
			a := call.Ok()
			require.Equal(b, flags&8 != 0, a.O.Dry)
			step := b.Step(a.S, a.O, 0)
			require.EqualValues(b, 3|flags&8, s.Next().Items(b)[2].(arr)[1], "unknown ones are not sent")
			s.Send(arr{5, 200 + i, arr{"EX3", flags, 4, nil}})
			step.Ok()
		}
	})
}

// Section 2.10.3: without a value an objective is understood in discovery and
// response, and, leniently, everywhere else; it is never sent so.
func TestO12ValueMayBeMissing(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		b.Register(ex3)
		call := b.Listen(ex3)
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 7, arr{"EX3", 3, 6}})
		a := call.Ok()
		require.Nil(b, a.O.Value)
		step := b.Step(a.S, a.O, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 5, null]]`)
		s.Send(arr{5, 7, arr{"EX3", 3, 4}})
		require.Nil(b, step.Ok().O.Value)
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"SRV.est", 4, 255}, arr{}}})
		require.Equal(b, []any{nil}, b.Flooded("SRV.est"))
	})
}
