package grasp

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
)

// Section 2.8.4: M_DISCOVERY goes out on each interface, all copies alike, with
// one objective and a sensible loop count.
func TestD01D02D03DiscoveryOnEveryLink(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		for _, c := range []struct {
			o    Objective
			want string
		}{
			{NewObjective("EX1"), `["EX1", 1, 6, null]`},
			{syn("EX1", nil), `["EX1", 5, 6, null]`},
			{neg("EX3", nil), `["EX3", 3, 6, null]`},
			{Objective{Name: "EX3", Neg: true, Dry: true, LoopCount: 255}, `["EX3", 11, 255, null]`},
			{Objective{Name: "EX3", Neg: true, LoopCount: 1}, `["EX3", 3, 1, null]`},
			// The value is the ASA's affair: a rapid request is not meant.
			{neg("EX3", []any{"NZD", 100}), `["EX3", 3, 6, null]`},
		} {
			call := b.discover(c.o, time.Millisecond, DiscoverOptions{})
			want := fmt.Sprintf(`[1, %%d, %s, %s]`, hx(b.node.Addr().AsSlice()), c.want)
			near, far := b.peer.only(), b.far.only()
			near.is(b, want)
			require.Equal(b, near.raw, far.raw)
			require.NoError(b, call.within(time.Second).err)
		}
	})
}

// Section 2.5.4.3: the initiator limits discovery in time, 100 ms for each
// count of the loop count being suggested.
func TestD04DiscoveryEnds(t *testing.T) {
	inBed(t, func(b *bed) {
		for loops, want := range map[uint8]time.Duration{
			1: 100 * time.Millisecond, 6: 600 * time.Millisecond, 20: 2 * time.Second, 255: 25500 * time.Millisecond,
		} {
			o := Objective{Name: "EX1", LoopCount: loops}
			start := time.Now()
			a := b.discover(o, 0, DiscoverOptions{}).within(time.Minute)
			require.NoError(b, a.err)
			require.Empty(b, a.found)
			require.Equal(b, want, a.at.Sub(start))
			require.Len(b, b.peer.all(), 1)

			start = time.Now()
			a = b.discover(o, 50*time.Millisecond, DiscoverOptions{}).within(time.Minute)
			require.Equal(b, 50*time.Millisecond, a.at.Sub(start), "the caller's own limit")
			b.peer.all()
		}
	})
}

// Section 2.5.4.3: without an answer discovery may be repeated with a new
// session ID, at exponentially growing intervals. An answer ends that.
func TestD05RepeatsBackOff(t *testing.T) {
	inBed(t, func(b *bed) {
		start := time.Now()
		call := b.discover(syn("EX1", nil), 10*time.Minute, DiscoverOptions{})
		time.Sleep(time.Minute)
		var at []time.Duration
		ids := make(map[uint32]bool)
		sent := b.peer.all()
		for _, p := range sent {
			at = append(at, p.at.Sub(start))
			ids[p.id(b)] = true
		}
		const step = 600 * time.Millisecond
		require.Equal(b, []time.Duration{0, step, 3 * step, 7 * step, 15 * step, 31 * step, 63 * step}, at)
		require.Len(b, ids, len(sent))

		// An answer to an early round is as good as any.
		b.peer.respond(sent[2], arr{2, sent[2].id(b), b.node.Addr().AsSlice(), 3600_000, b.peer.option()})
		a := call.within(ever)
		require.Len(b, a.found, 1)
		require.Equal(b, 10*time.Minute, a.at.Sub(start), "others may answer until the timeout")
		b.peer.none()
	})
}

// Section 2.5.4.3: a node with an ASA that supports the objective answers, and
// one that cannot answer does not.
func TestD06D15WhoAnswers(t *testing.T) {
	inBed(t, func(b *bed) {
		id := uint32(0)
		answers := func(name string) bool {
			id++
			_, ok := b.peer.discover(id, name)
			b.peer.none()
			return ok
		}
		require.False(b, answers("EX3"), "unknown")
		b.wantDrop(ReasonNoOtherLink, 1)
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		require.False(b, answers("EX3"), "registered, but nobody listens")
		require.False(b, answers("EX1"), "registered, but nobody listens")

		listening := b.listen(ex3)
		require.True(b, answers("EX3"))
		require.NoError(b, b.asa.StopNegotiate(ex3))
		isCode(b, listening.done().err, ErrStopped)
		require.False(b, answers("EX3"), "stopped")
		b.listen(ex3)
		require.True(b, answers("EX3"))
		require.NoError(b, b.asa.DeregisterObj(ex3))
		require.False(b, answers("EX3"), "deregistered")

		require.NoError(b, b.asa.ListenSynchronize(ex1))
		require.True(b, answers("EX1"))
		require.NoError(b, b.asa.StopSynchronize(ex1))
		require.False(b, answers("EX1"), "stopped")

		require.NoError(b, b.asa.RegisterObj(NewObjective("EX0"), RegisterOptions{Discoverable: true}))
		require.True(b, answers("EX0"))
		require.False(b, answers("ex0"), "another name")
		require.NoError(b, b.asa.Deregister())
		require.False(b, answers("EX0"), "the ASA is gone")
	})
}

// Section 2.8.5: the response repeats session ID and initiator as they came.
func TestD07ResponseRepeatsSessionAndInitiator(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		for i, initiator := range [][]byte{
			b.peer.addr(), ip("192.0.2.1"), ip("::ffff:192.0.2.1"), ip("fe80::1"), ip("::"), ip("2001:db8::1"),
		} {
			id := uint32(i) << 28
			b.peer.multicast(arr{1, id, initiator, arr{"EX3", 3, 6, nil}})
			m := b.peer.dialed().read()
			m.is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, hx(initiator), hx(b.node.Addr().AsSlice()), b.at().Port()))
			require.Equal(b, id, m.id(b))
		}
	})
}

// Section 2.8.5: a response has a ttl; 0 stands for something much longer than
// 60 s and is not sent.
func TestD08TTLOfResponses(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{LocatorLifetime: 50 * 24 * time.Hour}}, func(b *bed) {
		for name, ttl := range map[string]time.Duration{"EX1": 0, "EX2": time.Nanosecond, "EX3": 90 * time.Second, "EX4": 1500 * time.Microsecond} {
			require.NoError(b, b.asa.RegisterObj(NewObjective(name), RegisterOptions{Discoverable: true, TTL: ttl}))
			want := map[string]uint64{"EX1": 60000, "EX2": 1, "EX3": 90000, "EX4": 2}[name]
			m, ok := b.peer.discover(7, name)
			require.True(b, ok)
			require.Equal(b, want, m.items(b)[3])
		}

		for _, c := range []struct {
			ttl  uint32
			want time.Duration
		}{{0, 600 * time.Second}, {1, time.Millisecond}, {60000, time.Minute}, {1<<32 - 1, (1<<32 - 1) * time.Millisecond}} {
			call := b.discover(syn("EX5", nil), time.Minute, DiscoverOptions{First: true, Flush: true})
			m := b.peer.only()
			b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], c.ttl, b.peer.option()})
			a := call.ok()
			require.Equal(b, c.want, a.found[0].Expire.Sub(a.at))
		}
	})
}

// Section 2.8.5: a supporter gives its own locator, or others of any kind.
func TestD09LocatorsOfResponses(t *testing.T) {
	inBed(t, func(b *bed) {
		locators := []Locator{
			{URI: "coap://[2001:db8::1]/g"},
			{IP: netip.MustParseAddr("192.0.2.1"), Port: 4000, Protocol: UDP},
			{FQDN: "grasp.example.com", Port: 7017},
			{IP: netip.MustParseAddr("2001:db8::1"), Port: 4000},
		}
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true, Locators: locators}))
		m, ok := b.peer.discover(7, "EX3")
		require.True(b, ok)
		options := fmt.Sprintf(`[106, "coap://[2001:db8::1]/g", null, null], [104, %s, 17, 4000], `+
			`[105, "grasp.example.com", 6, 7017], [103, %s, 6, 4000]`, hx(ip("192.0.2.1")), hx(ip("2001:db8::1")))
		m.is(b, `[2, %d, `+hx(b.peer.addr())+`, 60000, `+options+`]`)

		// The other way round: all of them reach the ASA.
		call := b.discover(syn("EX1", nil), time.Minute, DiscoverOptions{First: true})
		asked := b.peer.only()
		b.peer.respond(asked, append(arr{2, asked.id(b), asked.items(b)[2], 60000}, m.items(b)[4:]...))
		found := call.ok().found
		require.Len(b, found, len(locators))
		for i, l := range locators {
			require.Equal(b, b.index(b.links[0]), found[i].IfIndex)
			require.False(b, found[i].Diverted)
			require.Equal(b, time.Minute, found[i].Expire.Sub(asked.at))
			found[i].IfIndex, found[i].Expire = 0, time.Time{}
			if l.Protocol == 0 && l.URI == "" {
				l.Protocol = TCP
			}
			require.Equal(b, l, found[i])
		}
	})
}

// Section 2.8.5: a copy of the objective may follow the locators.
func TestD10ObjectiveInResponse(t *testing.T) {
	for _, o := range []arr{
		{"EX1", 5, 6}, {"EX1", 5, 6, nil}, {"EX1", 5, 6, 0}, {"EX1", 1, 255, "value"}, {"EX2", 5, 6, "another objective"},
	} {
		inBed(t, func(b *bed) {
			call := b.discover(syn("EX1", nil), time.Minute, DiscoverOptions{First: true})
			m := b.peer.only()
			b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option(), o})
			require.Len(b, call.ok().found, 1)
		})
	}
}

// Section 2.8.5: the response goes to the source address and port of the
// discovery, by the interface it came in on.
func TestD11ResponseGoesWhereTheDiscoveryCameFrom(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		for i, p := range []*rawPeer{b.peer, b.far} {
			p.multicast(arr{1, i, ip("2001:db8::1"), arr{"EX3", 3, 6, nil}})
			s := p.dialed()
			link, _ := p.node.Link(p.link)
			require.Equal(b, link.Index, s.Link)
			own, _ := b.node.Link(b.links[i])
			require.Equal(b, own.Addr.WithZone(zone(link.Index)), s.Peer.Addr())
			require.Equal(b, link.Addr, netip.MustParseAddrPort(s.LocalAddr().String()).Addr())
			s.read()
		}
		b.peer.notDialed()
		b.far.notDialed()
	})
}

// Section 2.5.4.3: the connection is closed after the response, and one that
// fails counts as no response.
func TestD12ConnectionsOfResponses(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		_, ok := b.peer.discover(7, "EX3") // which checks the end of the stream
		require.True(b, ok)
		require.Zero(b, b.g.Snapshot().Streams)
		// A peer that is gone before it is answered: refused.
		gone := b.newPeer("gone", b.links[0])
		require.NoError(b, gone.ep.Send(linkOf(gone.node, gone.link).Index, encoded(b, arr{1, 8, gone.addr(), arr{"EX3", 3, 6, nil}})))
		require.NoError(b, gone.ep.Close())
		b.wantDrop(ReasonSendFailed, 1)
		b.peer.only()

		// As initiator: connections that bring nothing whole.
		call := b.discover(syn("EX1", nil), 0, DiscoverOptions{})
		m := b.peer.only()
		whole := encoded(b, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		require.NoError(b, b.peer.dial(m.from).Close())
		b.peer.respond(m, whole[:len(whole)-1])
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000})
		a := call.within(time.Second)
		require.NoError(b, a.err)
		require.Empty(b, a.found)
		// The initiator closes, too.
		call = b.discover(syn("EX1", nil), time.Minute, DiscoverOptions{First: true})
		m = b.peer.only()
		s := b.peer.dial(m.from)
		s.send(arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		require.Len(b, call.ok().found, 1)
		s.closed()
	})
}

// Section 2.5.4.3: a node that has cached locators only answers with a Divert
// of all of them, but not on the interface it has them from.
func TestD13D14Diverts(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		b.learn(b.far, "EX1", 60000, b.far.option(), arr{103, ip("fd00::77"), 6, 7017}, arr{104, ip("192.0.2.1"), 6, 7017})
		time.Sleep(10 * time.Second)
		m, ok := b.peer.discover(7, "EX1")
		require.True(b, ok)
		want := fmt.Sprintf(`[2, 7, %s, 50000, [100, [103, %s, 6, %d], [103, %s, 6, 7017], [104, %s, 6, 7017]]]`,
			hx(b.peer.addr()), hx(b.far.addr()), b.far.ep.Port(), hx(ip("fd00::77")), hx(ip("192.0.2.1")))
		require.Equal(b, want, m.String())
		require.Empty(b, b.far.all(), "it is answered: there is nothing to relay")

		// On its own link: as if there was nothing in the cache.
		m, ok = b.far.discover(8, "EX1")
		require.False(b, ok, m)
		b.peer.only().is(b, `[1, %d, `+hx(b.far.addr())+`, ["EX1", 1, 5, null]]`)

		// The shortest life counts, and no entry lives on in the cache of others.
		b.learn(b.far, "EX2", 60000, b.far.option())
		call := b.discover(syn("EX2", nil), time.Second, DiscoverOptions{Flush: true})
		b.peer.all()
		asked := b.far.only()
		b.far.respond(asked, arr{2, asked.id(b), asked.items(b)[2], 60000, b.far.option()})
		b.far.respond(asked, arr{2, asked.id(b), asked.items(b)[2], 30000, arr{103, ip("fd00::77"), 6, 7017}})
		require.Len(b, call.within(time.Second).found, 2)
		m, ok = b.peer.discover(9, "EX2")
		require.True(b, ok)
		require.EqualValues(b, 29000, m.items(b)[3])

		// Less than a millisecond left: not 0, which would mean much longer.
		time.Sleep(29*time.Second - 500*time.Microsecond)
		m, ok = b.peer.discover(10, "EX2")
		require.True(b, ok)
		require.EqualValues(b, 1, m.items(b)[3])
	})
}

// An objective that is registered here is answered with locators, whatever is
// cached.
func TestD13OwnObjectiveComesFirst(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		b.learn(b.far, "EX3", 60000, b.far.option())
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		m, ok := b.peer.discover(7, "EX3")
		require.True(b, ok)
		require.Len(b, m.items(b), 5)
		require.EqualValues(b, 103, m.items(b)[4].(arr)[0])
	})
}

// Section 2.5.4.3: the ASA can choose among several responders; by default it
// is the first that answered.
func TestD20ChoiceOfResponders(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		second := b.newPeer("second", b.links[0])
		call := b.discover(ex3, 0, DiscoverOptions{})
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		second.respond(second.only(), arr{2, m.id(b), m.items(b)[2], 60000, second.option()})
		found := call.within(time.Second).found
		require.Len(b, found, 2)
		require.Equal(b, second.node.Addr(), found[1].IP)

		b.request(ex3, &found[1], 0)
		second.dialed().read()
		b.peer.notDialed()
		b.request(ex3, nil, 0)
		b.peer.dialed().read()
		second.notDialed()
	})
}

// If the first cannot be reached the next is tried, and what is out of date is
// forgotten.
func TestD20UnreachableResponders(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		dead := netip.AddrPortFrom(b.peer.node.Addr(), 1)
		b.learn(b.peer, "EX3", 60000, arr{103, dead.Addr().AsSlice(), 6, dead.Port()}, b.peer.option())
		b.request(ex3, nil, 0)
		b.peer.dialed().read()
		b.peer.none()
		require.Len(b, b.g.Snapshot().Locators, 1)
	})
}

// Section 2.5.4.2: discovery may be unicast; over TCP the answer takes the same
// connection.
func TestD21UnicastDiscovery(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		b.learn(b.far, "EX1", 60000, b.far.option())
		link := linkOf(b.peer.node, b.links[0])
		linkLocal := netip.AddrPortFrom(linkOf(b.node, b.links[0]).Addr.WithZone(zone(link.Index)), b.at().Port())
		for _, to := range []netip.AddrPort{b.at(), linkLocal} {
			s := b.peer.dial(to)
			s.send(arr{1, 7, ip("2001:db8::1"), arr{"EX3", 3, 6, nil}})
			s.read().is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, hx(ip("2001:db8::1")), hx(b.node.Addr().AsSlice()), b.at().Port()))
			s.closed()
			s = b.peer.dial(to)
			s.send(arr{1, 8, ip("2001:db8::1"), arr{"EX1", 3, 6, nil}})
			s.read().is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [100, [103, %s, 6, %d]]]`, hx(ip("2001:db8::1")), hx(b.far.addr()), b.far.ep.Port()))
			s.closed()
			s = b.peer.dial(to)
			s.send(arr{1, 9, ip("2001:db8::1"), arr{"EX9", 3, 1, nil}})
			s.closed()
		}
		b.peer.notDialed()
		b.peer.none()
	})
}

// Section 2.9.2: an initiator may ignore a Divert: it is told which locators
// came in one.
func TestD22DivertsCanBeTold(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(syn("EX1", nil), time.Minute, DiscoverOptions{First: true})
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000,
			arr{103, ip("fd00::1"), 6, 1}, arr{100, arr{103, ip("fd00::2"), 6, 2}, arr{103, ip("fd00::3"), 6, 3}}})
		var told []string
		for _, l := range call.ok().found {
			told = append(told, fmt.Sprint(l, l.Diverted))
		}
		require.Equal(b, []string{"[fd00::1]:1 false", "[fd00::2]:2 true", "[fd00::3]:3 true"}, told)
	})
}

// Section 2.5.4.1: an initiator need not support the objective itself.
func TestD23InitiatorNeedNotSupportIt(t *testing.T) {
	inBed(t, func(b *bed) {
		for _, o := range []Objective{neg("EX3", nil), syn("EX1", nil), NewObjective("EX0")} {
			b.learn(b.peer, o.Name, 60000, b.peer.option())
			require.Len(b, b.discover(o, 0, DiscoverOptions{}).ok().found, 1)
		}
	})
}

// Section 3: a host behind an FQDN or URI must not be taken for a node of the
// secure domain, as an address is: an ASA can tell them apart, even where a name
// looks like an address, and nobody is told of them.
func TestD24NamesAreNotAddresses(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		address := b.peer.node.Addr().String()
		b.learn(b.peer, "EX3", 60000, arr{105, address, 6, 7017}, arr{106, "grasp://[" + address + "]", 6, 7017}, arr{103, b.peer.addr(), 6, 7017})
		found := b.discover(neg("EX3", 1), 0, DiscoverOptions{}).ok().found
		require.Len(b, found, 3)
		require.Equal(b, address, found[0].FQDN)
		require.Equal(b, "grasp://["+address+"]", found[1].URI)
		require.Equal(b, []bool{false, false, true}, []bool{found[0].IP.IsValid(), found[1].IP.IsValid(), found[2].IP.IsValid()})
		m, ok := b.far.discover(7, "EX3")
		require.True(b, ok)
		require.Len(b, m.items(b)[4], 2, "the option's number and one locator")
	})
}

// Responses for sessions that are over, or never were, are ignored.
func TestD25UnsolicitedResponses(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", nil)
		b.discover(ex1, 100*time.Millisecond, DiscoverOptions{}).within(time.Second)
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, b.peer.option()})
		b.peer.respond(m, arr{2, 4711, m.items(b)[2], 60000, b.peer.option()})
		b.wantDrop(ReasonUnsolicited, 2)
		require.Empty(b, b.g.Snapshot().Locators)
		// Nor do those of a discovery that has what it wanted.
		b.learn(b.peer, "EX1", 60000, b.peer.option())
		require.Len(b, b.g.Snapshot().Locators, 1)
		// Other messages on the port of the responses are no responses.
		call := b.discover(syn("EX2", nil), 500*time.Millisecond, DiscoverOptions{})
		m = b.peer.only()
		for _, other := range []arr{
			{8, m.id(b), arr{"EX2", 5, 6, "rapid"}}, {5, m.id(b), arr{"EX2", 3, 5, "rapid"}}, {6, m.id(b), arr{101}},
		} {
			b.peer.respond(m, other)
		}
		require.Empty(b, call.within(time.Second).found)
	})
}

// X and D on a link with a delay: a cold request costs a round trip or two, not
// a timeout.
func TestD20FirstAnswerIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: 10 * time.Millisecond})
		a, b := newASA(t, newInstance(t, n.NewNode("a", l)), "A"), newASA(t, newInstance(t, n.NewNode("b", l)), "B")
		ex1 := syn("EX1", "value")
		require.NoError(t, b.RegisterObj(ex1, RegisterOptions{}))
		require.NoError(t, b.ListenSynchronize(ex1))
		start := time.Now()
		o, err := a.Synchronize(t.Context(), syn("EX1", nil), nil, 0)
		require.NoError(t, err)
		require.Equal(t, "value", o.Value)
		// Discovery, a connection for the response, another for the request:
		// one way, a round trip and a way, a round trip and there and back.
		require.Equal(t, 80*time.Millisecond, time.Since(start))
	})
}
