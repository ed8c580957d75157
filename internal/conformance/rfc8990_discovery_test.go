package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.8.4: M_DISCOVERY goes out on each interface, all copies alike, with
// one objective and a sensible loop count.
func TestD01D02D03DiscoveryOnEveryLink(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		for _, c := range []struct {
			o    grasp.Objective
			want string
		}{
			{grasp.NewObjective("EX1"), `["EX1", 1, 6, null]`},
			{bed.Syn("EX1", nil), `["EX1", 5, 6, null]`},
			{bed.Neg("EX3", nil), `["EX3", 3, 6, null]`},
			{grasp.Objective{Name: "EX3", Neg: true, Dry: true, LoopCount: 255}, `["EX3", 11, 255, null]`},
			{grasp.Objective{Name: "EX3", Neg: true, LoopCount: 1}, `["EX3", 3, 1, null]`},
			// The value is the ASA's affair: a rapid request is not meant.
			{bed.Neg("EX3", []any{"NZD", 100}), `["EX3", 3, 6, null]`},
		} {
			call := b.Discover(c.o, time.Millisecond, grasp.DiscoverOptions{})
			want := fmt.Sprintf(`[1, %%d, %s, %s]`, bed.Hex(b.Node.Addr().AsSlice()), c.want)
			near, far := b.Peer.Only(), b.Far.Only()
			near.Is(b, want)
			require.Equal(b, near.Raw, far.Raw)
			require.NoError(b, call.Within(time.Second).Err)
		}
	})
}

// Section 2.5.4.3: the initiator limits discovery in time, 100 ms for each
// count of the loop count being suggested.
func TestD04DiscoveryEnds(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for loops, want := range map[uint8]time.Duration{
			1: 100 * time.Millisecond, 6: 600 * time.Millisecond, 20: 2 * time.Second, 255: 25500 * time.Millisecond,
		} {
			o := grasp.Objective{Name: "EX1", LoopCount: loops}
			start := time.Now()
			a := b.Discover(o, 0, grasp.DiscoverOptions{}).Within(time.Minute)
			require.NoError(b, a.Err)
			require.Empty(b, a.Found)
			require.Equal(b, want, a.At.Sub(start))
			require.Len(b, b.Peer.All(), 1)

			start = time.Now()
			a = b.Discover(o, 50*time.Millisecond, grasp.DiscoverOptions{}).Within(time.Minute)
			require.Equal(b, 50*time.Millisecond, a.At.Sub(start), "the caller's own limit")
			b.Peer.All()
		}
	})
}

// Section 2.5.4.3: without an answer discovery may be repeated with a new
// session ID, at exponentially growing intervals. An answer ends that.
func TestD05RepeatsBackOff(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		start := time.Now()
		call := b.Discover(bed.Syn("EX1", nil), 10*time.Minute, grasp.DiscoverOptions{})
		time.Sleep(time.Minute)
		var at []time.Duration
		ids := make(map[uint32]bool)
		sent := b.Peer.All()
		for _, p := range sent {
			at = append(at, p.At.Sub(start))
			ids[p.ID(b)] = true
		}
		const step = 600 * time.Millisecond
		require.Equal(b, []time.Duration{0, step, 3 * step, 7 * step, 15 * step, 31 * step, 63 * step}, at)
		require.Len(b, ids, len(sent))

		// An answer to an early round is as good as any.
		b.Peer.Respond(sent[2], arr{2, sent[2].ID(b), b.Node.Addr().AsSlice(), 3600_000, b.Peer.Option()})
		a := call.Within(bed.Ever)
		require.Len(b, a.Found, 1)
		require.Equal(b, 10*time.Minute, a.At.Sub(start), "others may answer until the timeout")
		b.Peer.None()
	})
}

// Section 2.5.4.3: a node with an ASA that supports the objective answers, and
// one that cannot answer does not.
func TestD06D15WhoAnswers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		id := uint32(0)
		answers := func(name string) bool {
			id++
			_, ok := b.Peer.Discover(id, name)
			b.Peer.None()
			return ok
		}
		require.False(b, answers("EX3"), "unknown")
		b.WantDrop(grasp.ReasonNoOtherLink, 1)
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		require.False(b, answers("EX3"), "registered, but nobody listens")
		require.False(b, answers("EX1"), "registered, but nobody listens")

		listening := b.Listen(ex3)
		require.True(b, answers("EX3"))
		require.NoError(b, b.ASA.StopNegotiate(ex3))
		bed.IsCode(b, listening.Done().Err, grasp.ErrStopped)
		require.False(b, answers("EX3"), "stopped")
		b.Listen(ex3)
		require.True(b, answers("EX3"))
		require.NoError(b, b.ASA.DeregisterObj(ex3))
		require.False(b, answers("EX3"), "deregistered")

		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		require.True(b, answers("EX1"))
		require.NoError(b, b.ASA.StopSynchronize(ex1))
		require.False(b, answers("EX1"), "stopped")

		require.NoError(b, b.ASA.RegisterObj(grasp.NewObjective("EX0"), grasp.RegisterOptions{Discoverable: true}))
		require.True(b, answers("EX0"))
		require.False(b, answers("ex0"), "another name")
		require.NoError(b, b.ASA.Deregister())
		require.False(b, answers("EX0"), "the ASA is gone")
	})
}

// Section 2.8.5: the response repeats session ID and initiator as they came.
func TestD07ResponseRepeatsSessionAndInitiator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		for i, initiator := range [][]byte{
			b.Peer.Addr(), bed.IP("192.0.2.1"), bed.IP("::ffff:192.0.2.1"), bed.IP("fe80::1"), bed.IP("::"), bed.IP("2001:db8::1"),
		} {
			id := uint32(i) << 28
			b.Peer.Multicast(arr{1, id, initiator, arr{"EX3", 3, 6, nil}})
			m := b.Peer.Dialed().Next()
			m.Is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, bed.Hex(initiator), bed.Hex(b.Node.Addr().AsSlice()), b.At().Port()))
			require.Equal(b, id, m.ID(b))
		}
	})
}

// Section 2.8.5: a response has a ttl; 0 stands for something much longer than
// 60 s and is not sent.
func TestD08TTLOfResponses(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{LocatorLifetime: 50 * 24 * time.Hour}}, func(b *bed.Bed) {
		for name, ttl := range map[string]time.Duration{"EX1": 0, "EX2": time.Nanosecond, "EX3": 90 * time.Second, "EX4": 1500 * time.Microsecond} {
			require.NoError(b, b.ASA.RegisterObj(grasp.NewObjective(name), grasp.RegisterOptions{Discoverable: true, TTL: ttl}))
			want := map[string]uint64{"EX1": 60000, "EX2": 1, "EX3": 90000, "EX4": 2}[name]
			m, ok := b.Peer.Discover(7, name)
			require.True(b, ok)
			require.Equal(b, want, m.Items(b)[3])
		}

		for _, c := range []struct {
			ttl  uint32
			want time.Duration
		}{{0, 600 * time.Second}, {1, time.Millisecond}, {60000, time.Minute}, {1<<32 - 1, (1<<32 - 1) * time.Millisecond}} {
			call := b.Discover(bed.Syn("EX5", nil), time.Minute, grasp.DiscoverOptions{First: true, Flush: true})
			m := b.Peer.Only()
			b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], c.ttl, b.Peer.Option()})
			a := call.Ok()
			require.Equal(b, c.want, a.Found[0].Expire.Sub(a.At))
		}
	})
}

// Section 2.8.5: a supporter gives its own locator, or others of any kind.
func TestD09LocatorsOfResponses(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		locators := []grasp.Locator{
			{URI: "coap://[2001:db8::1]/g"},
			{IP: netip.MustParseAddr("192.0.2.1"), Port: 4000, Protocol: grasp.UDP},
			{FQDN: "grasp.example.com", Port: 7017},
			{IP: netip.MustParseAddr("2001:db8::1"), Port: 4000},
		}
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true, Locators: locators}))
		m, ok := b.Peer.Discover(7, "EX3")
		require.True(b, ok)
		options := fmt.Sprintf(`[106, "coap://[2001:db8::1]/g", null, null], [104, %s, 17, 4000], `+
			`[105, "grasp.example.com", 6, 7017], [103, %s, 6, 4000]`, bed.Hex(bed.IP("192.0.2.1")), bed.Hex(bed.IP("2001:db8::1")))
		m.Is(b, `[2, %d, `+bed.Hex(b.Peer.Addr())+`, 60000, `+options+`]`)

		// The other way round: all of them reach the ASA.
		call := b.Discover(bed.Syn("EX1", nil), time.Minute, grasp.DiscoverOptions{First: true})
		asked := b.Peer.Only()
		b.Peer.Respond(asked, append(arr{2, asked.ID(b), asked.Items(b)[2], 60000}, m.Items(b)[4:]...))
		found := call.Ok().Found
		require.Len(b, found, len(locators))
		for i, l := range locators {
			require.Equal(b, b.Index(b.Links[0]), found[i].IfIndex)
			require.False(b, found[i].Diverted)
			require.Equal(b, time.Minute, found[i].Expire.Sub(asked.At))
			found[i].IfIndex, found[i].Expire = 0, time.Time{}
			if l.Protocol == 0 && l.URI == "" {
				l.Protocol = grasp.TCP
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
		bed.In(t, func(b *bed.Bed) {
			call := b.Discover(bed.Syn("EX1", nil), time.Minute, grasp.DiscoverOptions{First: true})
			m := b.Peer.Only()
			b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option(), o})
			require.Len(b, call.Ok().Found, 1)
		})
	}
}

// Section 2.8.5: the response goes to the source address and port of the
// discovery, by the interface it came in on.
func TestD11ResponseGoesWhereTheDiscoveryCameFrom(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			p.Multicast(arr{1, i, bed.IP("2001:db8::1"), arr{"EX3", 3, 6, nil}})
			s := p.Dialed()
			link, _ := p.Node.Link(p.Link)
			require.Equal(b, link.Index, s.Link)
			own, _ := b.Node.Link(b.Links[i])
			require.Equal(b, own.Addr.WithZone(bed.Zone(link.Index)), s.Peer.Addr())
			require.Equal(b, link.Addr, netip.MustParseAddrPort(s.LocalAddr().String()).Addr())
			s.Next()
		}
		b.Peer.NotDialed()
		b.Far.NotDialed()
	})
}

// Section 2.5.4.3: the connection is closed after the response, and one that
// fails counts as no response.
func TestD12ConnectionsOfResponses(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		_, ok := b.Peer.Discover(7, "EX3") // which checks the end of the stream
		require.True(b, ok)
		require.Zero(b, b.G.Snapshot().Streams)
		// A peer that is gone before it is answered: refused.
		gone := b.NewPeer("gone", b.Links[0])
		require.NoError(b, gone.Endpoint.Send(bed.LinkOf(gone.Node, gone.Link).Index, bed.Encoded(b, arr{1, 8, gone.Addr(), arr{"EX3", 3, 6, nil}})))
		require.NoError(b, gone.Endpoint.Close())
		b.WantDrop(grasp.ReasonSendFailed, 1)
		b.Peer.Only()

		// As initiator: connections that bring nothing whole.
		call := b.Discover(bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{})
		m := b.Peer.Only()
		whole := bed.Encoded(b, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		require.NoError(b, b.Peer.Dial(m.From).Close())
		b.Peer.Respond(m, whole[:len(whole)-1])
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000})
		a := call.Within(time.Second)
		require.NoError(b, a.Err)
		require.Empty(b, a.Found)
		// The initiator closes, too.
		call = b.Discover(bed.Syn("EX1", nil), time.Minute, grasp.DiscoverOptions{First: true})
		m = b.Peer.Only()
		s := b.Peer.Dial(m.From)
		s.Send(arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		require.Len(b, call.Ok().Found, 1)
		s.Closed()
	})
}

// Section 2.5.4.3: a node that has cached locators only answers with a Divert
// of all of them, but not on the interface it has them from.
func TestD13D14Diverts(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		b.Learn(b.Far, "EX1", 60000, b.Far.Option(), arr{103, bed.IP("fd00::77"), 6, 7017}, arr{104, bed.IP("192.0.2.1"), 6, 7017})
		time.Sleep(10 * time.Second)
		m, ok := b.Peer.Discover(7, "EX1")
		require.True(b, ok)
		want := fmt.Sprintf(`[2, 7, %s, 50000, [100, [103, %s, 6, %d], [103, %s, 6, 7017], [104, %s, 6, 7017]]]`,
			bed.Hex(b.Peer.Addr()), bed.Hex(b.Far.Addr()), b.Far.Endpoint.Port(), bed.Hex(bed.IP("fd00::77")), bed.Hex(bed.IP("192.0.2.1")))
		require.Equal(b, want, m.String())
		require.Empty(b, b.Far.All(), "it is answered: there is nothing to relay")

		// On its own link: as if there was nothing in the cache.
		m, ok = b.Far.Discover(8, "EX1")
		require.False(b, ok, m)
		b.Peer.Only().Is(b, `[1, %d, `+bed.Hex(b.Far.Addr())+`, ["EX1", 1, 5, null]]`)

		// The shortest life counts, and no entry lives on in the cache of others.
		b.Learn(b.Far, "EX2", 60000, b.Far.Option())
		call := b.Discover(bed.Syn("EX2", nil), time.Second, grasp.DiscoverOptions{Flush: true})
		b.Peer.All()
		asked := b.Far.Only()
		b.Far.Respond(asked, arr{2, asked.ID(b), asked.Items(b)[2], 60000, b.Far.Option()})
		b.Far.Respond(asked, arr{2, asked.ID(b), asked.Items(b)[2], 30000, arr{103, bed.IP("fd00::77"), 6, 7017}})
		require.Len(b, call.Within(time.Second).Found, 2)
		m, ok = b.Peer.Discover(9, "EX2")
		require.True(b, ok)
		require.EqualValues(b, 29000, m.Items(b)[3])

		// Less than a millisecond left: not 0, which would mean much longer.
		time.Sleep(29*time.Second - 500*time.Microsecond)
		m, ok = b.Peer.Discover(10, "EX2")
		require.True(b, ok)
		require.EqualValues(b, 1, m.Items(b)[3])
	})
}

// An objective that is registered here is answered with locators, whatever is
// cached.
func TestD13OwnObjectiveComesFirst(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		b.Learn(b.Far, "EX3", 60000, b.Far.Option())
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		m, ok := b.Peer.Discover(7, "EX3")
		require.True(b, ok)
		require.Len(b, m.Items(b), 5)
		require.EqualValues(b, 103, m.Items(b)[4].(arr)[0])
	})
}

// Section 2.5.4.3: the ASA can choose among several responders; by default it
// is the first that answered.
func TestD20ChoiceOfResponders(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		second := b.NewPeer("second", b.Links[0])
		call := b.Discover(ex3, 0, grasp.DiscoverOptions{})
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		second.Respond(second.Only(), arr{2, m.ID(b), m.Items(b)[2], 60000, second.Option()})
		found := call.Within(time.Second).Found
		require.Len(b, found, 2)
		require.Equal(b, second.Node.Addr(), found[1].IP)

		b.Request(ex3, &found[1], 0)
		second.Dialed().Next()
		b.Peer.NotDialed()
		b.Request(ex3, nil, 0)
		b.Peer.Dialed().Next()
		second.NotDialed()
	})
}

// If the first cannot be reached the next is tried, and what is out of date is
// forgotten.
func TestD20UnreachableResponders(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		dead := netip.AddrPortFrom(b.Peer.Node.Addr(), 1)
		b.Learn(b.Peer, "EX3", 60000, arr{103, dead.Addr().AsSlice(), 6, dead.Port()}, b.Peer.Option())
		b.Request(ex3, nil, 0)
		b.Peer.Dialed().Next()
		b.Peer.None()
		require.Len(b, b.G.Snapshot().Locators, 1)
	})
}

// Section 2.5.4.2: discovery may be unicast; over TCP the answer takes the same
// connection.
func TestD21UnicastDiscovery(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		b.Learn(b.Far, "EX1", 60000, b.Far.Option())
		link := bed.LinkOf(b.Peer.Node, b.Links[0])
		linkLocal := netip.AddrPortFrom(bed.LinkOf(b.Node, b.Links[0]).Addr.WithZone(bed.Zone(link.Index)), b.At().Port())
		for _, to := range []netip.AddrPort{b.At(), linkLocal} {
			s := b.Peer.Dial(to)
			s.Send(arr{1, 7, bed.IP("2001:db8::1"), arr{"EX3", 3, 6, nil}})
			s.Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [103, %s, 6, %d]]`, bed.Hex(bed.IP("2001:db8::1")), bed.Hex(b.Node.Addr().AsSlice()), b.At().Port()))
			s.Closed()
			s = b.Peer.Dial(to)
			s.Send(arr{1, 8, bed.IP("2001:db8::1"), arr{"EX1", 3, 6, nil}})
			s.Next().Is(b, fmt.Sprintf(`[2, %%d, %s, 60000, [100, [103, %s, 6, %d]]]`, bed.Hex(bed.IP("2001:db8::1")), bed.Hex(b.Far.Addr()), b.Far.Endpoint.Port()))
			s.Closed()
			s = b.Peer.Dial(to)
			s.Send(arr{1, 9, bed.IP("2001:db8::1"), arr{"EX9", 3, 1, nil}})
			s.Closed()
		}
		b.Peer.NotDialed()
		b.Peer.None()
	})
}

// Section 2.9.2: an initiator may ignore a Divert: it is told which locators
// came in one.
func TestD22DivertsCanBeTold(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		call := b.Discover(bed.Syn("EX1", nil), time.Minute, grasp.DiscoverOptions{First: true})
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000,
			arr{103, bed.IP("fd00::1"), 6, 1}, arr{100, arr{103, bed.IP("fd00::2"), 6, 2}, arr{103, bed.IP("fd00::3"), 6, 3}}})
		var told []string
		for _, l := range call.Ok().Found {
			told = append(told, fmt.Sprint(l, l.Diverted))
		}
		require.Equal(b, []string{"[fd00::1]:1 false", "[fd00::2]:2 true", "[fd00::3]:3 true"}, told)
	})
}

// Section 2.5.4.1: an initiator need not support the objective itself.
func TestD23InitiatorNeedNotSupportIt(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for _, o := range []grasp.Objective{bed.Neg("EX3", nil), bed.Syn("EX1", nil), grasp.NewObjective("EX0")} {
			b.Learn(b.Peer, o.Name, 60000, b.Peer.Option())
			require.Len(b, b.Discover(o, 0, grasp.DiscoverOptions{}).Ok().Found, 1)
		}
	})
}

// Section 3: a host behind an FQDN or URI must not be taken for a node of the
// secure domain, as an address is: an ASA can tell them apart, even where a name
// looks like an address, and nobody is told of them.
func TestD24NamesAreNotAddresses(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		address := b.Peer.Node.Addr().String()
		b.Learn(b.Peer, "EX3", 60000, arr{105, address, 6, 7017}, arr{106, "grasp://[" + address + "]", 6, 7017}, arr{103, b.Peer.Addr(), 6, 7017})
		found := b.Discover(bed.Neg("EX3", 1), 0, grasp.DiscoverOptions{}).Ok().Found
		require.Len(b, found, 3)
		require.Equal(b, address, found[0].FQDN)
		require.Equal(b, "grasp://["+address+"]", found[1].URI)
		require.Equal(b, []bool{false, false, true}, []bool{found[0].IP.IsValid(), found[1].IP.IsValid(), found[2].IP.IsValid()})
		m, ok := b.Far.Discover(7, "EX3")
		require.True(b, ok)
		require.Len(b, m.Items(b)[4], 3, "the option's number, the URI and the address: the FQDN is no name")
	})
}

// Responses for sessions that are over, or never were, are ignored.
func TestD25UnsolicitedResponses(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", nil)
		b.Discover(ex1, 100*time.Millisecond, grasp.DiscoverOptions{}).Within(time.Second)
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, b.Peer.Option()})
		b.Peer.Respond(m, arr{2, 4711, m.Items(b)[2], 60000, b.Peer.Option()})
		b.WantDrop(grasp.ReasonUnsolicited, 2)
		require.Empty(b, b.G.Snapshot().Locators)
		// Nor do those of a discovery that has what it wanted.
		b.Learn(b.Peer, "EX1", 60000, b.Peer.Option())
		require.Len(b, b.G.Snapshot().Locators, 1)
		// Other messages on the port of the responses are no responses.
		call := b.Discover(bed.Syn("EX2", nil), 500*time.Millisecond, grasp.DiscoverOptions{})
		m = b.Peer.Only()
		for _, other := range []arr{
			{8, m.ID(b), arr{"EX2", 5, 6, "rapid"}}, {5, m.ID(b), arr{"EX2", 3, 5, "rapid"}}, {6, m.ID(b), arr{101}},
		} {
			b.Peer.Respond(m, other)
		}
		require.Empty(b, call.Within(time.Second).Found)
	})
}

// X and D on a link with a delay: a cold request costs a round trip or two, not
// a timeout.
func TestD20FirstAnswerIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: 10 * time.Millisecond})
		a, b := bed.NewASA(t, bed.NewInstance(t, n.NewNode("a", l)), "A"), bed.NewASA(t, bed.NewInstance(t, n.NewNode("b", l)), "B")
		ex1 := bed.Syn("EX1", "value")
		require.NoError(t, b.RegisterObj(ex1, grasp.RegisterOptions{}))
		require.NoError(t, b.ListenSynchronize(ex1))
		start := time.Now()
		o, err := a.Synchronize(t.Context(), bed.Syn("EX1", nil), nil, 0)
		require.NoError(t, err)
		require.Equal(t, "value", o.Value)
		// Discovery, a connection for the response, another for the request:
		// one way, a round trip and a way, a round trip and there and back.
		require.Equal(t, 80*time.Millisecond, time.Since(start))
	})
}
