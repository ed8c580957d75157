package grasp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Sections 2.9.2, 2.9.3 and 2.9.4: Divert occurs in M_RESPONSE only, Accept and
// Decline in M_END only; elsewhere they are ignored.
func TestO01O02MisplacedOptions(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", "value"), neg("EX3", 1)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		for i, option := range []arr{{100, b.peer.option()}, {101}, {102}, {102, "reason"}, b.peer.option()} {
			id := uint32(1000 + 10*i)
			with := func(m arr) arr { return append(m, option) }
			b.peer.multicast(with(arr{1, id, b.peer.addr(), arr{"EX1", 5, 6, nil}}))
			require.Equal(b, id, b.peer.dialed().read().id(b))
			b.peer.multicast(with(arr{9, id, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, i}, arr{}}}))
			require.Equal(b, []any{int64(i)}, b.flooded("EX2"))

			s := b.peer.dial(b.at())
			s.send(with(arr{4, id, arr{"EX1", 5, 6, nil}}))
			require.EqualValues(b, 8, s.read().items(b)[0])
			call := b.listen(ex3)
			s = b.peer.dial(b.at())
			s.send(with(arr{3, id + 1, arr{"EX3", 3, 6, 1}}))
			got := call.ok()
			step := b.step(got.s, got.o, 0)
			s.read()
			s.send(with(arr{7, id + 1, 1000}))
			s.send(with(arr{5, id + 1, arr{"EX3", 3, 4, 2}}))
			require.EqualValues(b, 2, step.ok().o.Value)
			require.NoError(b, got.s.EndNegotiate(true, ""))

			sync := b.synchronize(syn("EX4", nil), b.peer.locator(), 0)
			s = b.peer.dialed()
			s.send(with(arr{8, s.read().id(b), arr{"EX4", 5, 6, "value"}}))
			require.Equal(b, "value", sync.ok().o.Value)
		}
		// In M_END and M_RESPONSE it is the others that are ignored.
		for _, m := range []arr{{b.peer.option(), arr{101}}, {arr{101}, arr{100, b.peer.option()}}, {arr{107}, arr{101}, arr{103}}} {
			call, s, request := b.asked(ex3)
			s.send(append(arr{6, request.id(b)}, m...))
			call.ok()
		}
		call := b.discover(syn("EX5", nil), time.Minute, DiscoverOptions{First: true})
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, arr{101}, b.peer.option(), arr{102, "reason"}})
		require.Len(b, call.ok().found, 1)
	})
}

// locatorOf returns the address of the only locator of a response.
func locatorOf(t *testing.T, m packet) netip.Addr {
	t.Helper()
	items := m.items(t)
	require.Len(t, items, 5, m)
	a, ok := netip.AddrFromSlice(items[4].(arr)[1].([]byte))
	require.True(t, ok)
	return a
}

// Section 2.9.5.1: a locator is of global scope, link-local only for objectives
// meant for it, or where there is no other address; then the response leaves by
// the interface that the address belongs to.
func TestO03O04ScopeOfLocators(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		require.NoError(b, b.asa.RegisterObj(neg("EX4", nil), RegisterOptions{Discoverable: true, Local: true}))
		ask := func(p *rawPeer, name string) netip.Addr {
			m, ok := p.discover(uint32(time.Now().UnixNano()), name)
			require.True(b, ok)
			time.Sleep(soon)
			return locatorOf(b.T, m)
		}
		for i, p := range []*rawPeer{b.peer, b.far} {
			require.Equal(b, b.node.Addr(), ask(p, "EX3"))
			require.Equal(b, linkOf(b.node, b.links[i]).Addr.WithZone(""), ask(p, "EX4"))
		}
		require.NoError(b, b.node.SetAddr(netip.Addr{}))
		for i, p := range []*rawPeer{b.peer, b.far} {
			require.Equal(b, linkOf(b.node, b.links[i]).Addr.WithZone(""), ask(p, "EX3"))
		}
	})
}

// A link-local address that an ASA has given goes out on its link only, told by
// its zone or by being this node's own.
func TestO04RegisteredLinkLocalLocator(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		near, far := linkOf(b.node, b.links[0]), linkOf(b.node, b.links[1])
		at := func(addr netip.Addr) Locator { return NewLocator(netip.AddrPortFrom(addr, 1)) }
		stranger := netip.MustParseAddr("fe80::1")
		for i, c := range []struct {
			locators  []Locator
			near, far []netip.Addr
		}{
			{locators: []Locator{at(stranger.WithZone(near.Name)), at(stranger.WithZone(zone(far.Index)))}, near: []netip.Addr{stranger}, far: []netip.Addr{stranger}},
			{locators: []Locator{at(stranger.WithZone(zone(near.Index))), at(b.node.Addr())}, near: []netip.Addr{stranger, b.node.Addr()}, far: []netip.Addr{b.node.Addr()}},
			{locators: []Locator{at(far.Addr.WithZone(""))}, far: []netip.Addr{far.Addr.WithZone("")}},
			{locators: []Locator{at(stranger)}},
		} {
			name := fmt.Sprint("example.com:", i)
			require.NoError(b, b.asa.RegisterObj(neg(name, nil), RegisterOptions{Discoverable: true, Locators: c.locators}))
			for p, want := range map[*rawPeer][]netip.Addr{b.peer: c.near, b.far: c.far} {
				m, ok := p.discover(uint32(time.Now().UnixNano()), name)
				time.Sleep(soon)
				require.Equal(b, want != nil, ok, name)
				if !ok {
					continue
				}
				var got []netip.Addr
				for _, l := range m.items(b.T)[4:] {
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
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX4", nil), RegisterOptions{Discoverable: true, Local: true}))
		s := b.peer.dial(b.at()) // by global addresses: it could be anywhere
		s.send(arr{1, 7, b.peer.addr(), arr{"EX4", 3, 6, nil}})
		m, err := s.next(soon)
		if err == nil {
			require.False(b, locatorOf(b.T, m).IsLinkLocalUnicast(), m)
		}
		// On the link it is.
		own := linkOf(b.node, b.links[0]).Addr
		s = b.peer.dial(netip.AddrPortFrom(own.WithZone(zone(linkOf(b.peer.node, b.links[0]).Index)), b.at().Port()))
		s.send(arr{1, 8, b.peer.addr(), arr{"EX4", 3, 6, nil}})
		require.Equal(b, own.WithZone(""), locatorOf(b.T, s.read()))
	})
}

// Sections 2.9.5.1, 2.9.5.3 and 2.9.5.4: no link-local address in a Divert, and
// no name that may mean nothing elsewhere. What others send is taken without.
func TestO05O07WhatDivertsHold(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		linkLocal := linkOf(b.far.node, b.links[1]).Addr.AsSlice()
		b.learn(b.far, "EX1", 60000, arr{105, "printer.local", 6, 1}, arr{106, "grasp://printer.local", 6, 1},
			arr{103, linkLocal, 6, 1}, arr{104, ip("169.254.1.1"), 6, 1}, b.far.option())
		m, ok := b.peer.discover(7, "EX1")
		require.True(b, ok)
		require.Len(b, m.items(b)[4], 2)
		require.Equal(b, b.far.addr(), m.items(b)[4].(arr)[1].(arr)[1])
		b.learn(b.far, "EX2", 60000, arr{105, "printer.local", 6, 1}, arr{103, linkLocal, 6, 1})
		_, ok = b.peer.discover(8, "EX2")
		require.False(b, ok)
		b.far.all()
		b.peer.all()

		call := b.discover(syn("EX3", nil), time.Minute, DiscoverOptions{First: true})
		m = b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000,
			arr{100, arr{103, linkLocal, 6, 1}, arr{106, "grasp://printer.local"}, b.far.option(), "text", arr{100, b.far.option()}}})
		found := call.ok().found
		require.Len(b, found, 1)
		require.Equal(b, b.far.node.Addr(), found[0].IP)
		b.wantDrop(ReasonBadLocator, 1)
	})
}

// Addresses that lead nowhere, or to the one who asks, are no locators.
func TestO03UselessLocators(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(syn("EX1", nil), time.Minute, DiscoverOptions{First: true})
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000,
			arr{103, ip("::1"), 6, 1}, arr{104, ip("127.0.0.1"), 6, 1}, arr{103, ip("::"), 6, 1}, arr{103, ip("ff02::13"), 6, 1}, b.peer.option()})
		require.Len(b, call.ok().found, 1)
		b.wantDrop(ReasonBadLocator, 4)
	})
}

// Section 2.9.5: other protocols, and null where a number should be, are shown
// to the ASA, but not connected to.
func TestO08O09OtherProtocols(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		b.learn(b.peer, "EX3", 60000, arr{103, b.peer.addr(), 17, b.peer.ep.Port()}, arr{103, b.peer.addr(), 41, nil},
			arr{103, b.peer.addr(), 258, 7017}, arr{104, ip("192.0.2.1"), nil, 1}, arr{106, "coap://example.com", nil, nil})
		var shown []string
		for _, l := range b.discover(ex3, 0, DiscoverOptions{}).ok().found {
			shown = append(shown, fmt.Sprintf("%v %d %d", l, l.Protocol, l.Port))
		}
		address := "[" + b.peer.node.Addr().String() + "]:"
		require.Equal(b, []string{
			fmt.Sprintf("%s%d/udp 17 %d", address, b.peer.ep.Port(), b.peer.ep.Port()),
			address + "0/41 41 0", address + "7017/258 258 7017", "192.0.2.1:1 0 1", "coap://example.com 0 0",
		}, shown)
		for _, l := range b.discover(ex3, 0, DiscoverOptions{}).ok().found[:3] {
			isCode(b, b.request(ex3, &l, 0).done().err, ErrUnusableLocator)
		}
		b.peer.notDialed()
	})
}

// Section 2.10.1: names are opaque, and compared byte by byte.
func TestO10NamesAreOpaque(t *testing.T) {
	inBed(t, func(b *bed) {
		names := []string{"EX1", "ex1", "EX1 ", "example.com:EX1", ":", "", "\u00e9", "e\u0301", "🦊", "a\x00b", "a\x00"}
		for i, name := range names {
			o := syn(name, i)
			b.register(o)
			require.NoError(b, b.asa.ListenSynchronize(o))
		}
		for i, name := range names {
			s := b.peer.dial(b.at())
			s.send(arr{4, i, arr{name, 5, 6, nil}})
			m := s.read().items(b)
			require.Equal(b, arr{name, uint64(5), uint64(6), uint64(i)}, m[2])
			b.peer.multicast(arr{9, i, b.peer.addr(), 0, arr{arr{name, 5, 6, i}, arr{}}})
		}
		for i, name := range names {
			require.Equal(b, []any{int64(i)}, b.flooded(name))
		}
		isCode(b, b.asa.RegisterObj(syn("\xff", nil), RegisterOptions{}), ErrUnspec)
		isCode(b, b.discover(NewObjective("\xff"), 0, DiscoverOptions{}).done().err, ErrUnspec)
	})
}

// Section 2.10.2: flag bits are independent of each other, and unknown ones mean
// nothing.
func TestO11FlagsAreIndependent(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", "value"), neg("EX3", nil)
		b.register(ex1, ex3)
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		for i, flags := range []uint64{0, 1, 2, 4, 5, 15, 16, 1 << 40} {
			b.peer.multicast(arr{1, i, b.peer.addr(), arr{"EX1", flags, 6, nil}})
			b.peer.dialed()
			b.peer.multicast(arr{9, i, b.peer.addr(), 0, arr{arr{"EX2", flags, 6, i}, arr{}}})
			require.Equal(b, []any{int64(i)}, b.flooded("EX2"))
			s := b.peer.dial(b.at())
			s.send(arr{4, 100 + i, arr{"EX1", flags | 4, 6, nil}})
			require.EqualValues(b, 8, s.read().items(b)[0])
		}
		for i, flags := range []uint64{2, 3, 10, 11, 18, 1<<40 | 2} {
			call := b.listen(ex3)
			s := b.peer.dial(b.at())
			s.send(arr{3, 200 + i, arr{"EX3", flags, 6, nil}})
			a := call.ok()
			require.Equal(b, flags&8 != 0, a.o.Dry)
			step := b.step(a.s, a.o, 0)
			require.EqualValues(b, 3|flags&8, s.read().items(b)[2].(arr)[1], "unknown ones are not sent")
			s.send(arr{5, 200 + i, arr{"EX3", flags, 4, nil}})
			step.ok()
		}
	})
}

// Section 2.10.3: without a value an objective is understood in discovery and
// response, and, leniently, everywhere else; it is never sent so.
func TestO12ValueMayBeMissing(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", nil)
		b.register(ex3)
		call := b.listen(ex3)
		s := b.peer.dial(b.at())
		s.send(arr{3, 7, arr{"EX3", 3, 6}})
		a := call.ok()
		require.Nil(b, a.o.Value)
		step := b.step(a.s, a.o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 5, null]]`)
		s.send(arr{5, 7, arr{"EX3", 3, 4}})
		require.Nil(b, step.ok().o.Value)
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"SRV.est", 4, 255}, arr{}}})
		require.Equal(b, []any{nil}, b.flooded("SRV.est"))
		sync := b.synchronize(syn("EX1", nil), b.peer.locator(), 0)
		s = b.peer.dialed()
		s.send(arr{8, s.read().id(b), arr{"EX1", 5, 6}})
		require.Nil(b, sync.ok().o.Value)
	})
}
