package conformance

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// names are unique in an instance, and free again afterwards.
func TestA09NamesOfASAs(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		a := bed.NewASA(b, b.G, "Briggs")
		_, err := b.G.RegisterASA("Briggs")
		bed.IsCode(b, err, grasp.ErrDupASA)
		bed.NewASA(b, b.G, "briggs") // another name
		b.Other("Briggs")            // another instance
		require.NoError(b, a.Deregister())
		bed.IsCode(b, a.Deregister(), grasp.ErrNoASA)
		again := bed.NewASA(b, b.G, "Briggs")
		bed.IsCode(b, a.Deregister(), grasp.ErrNoASA)
		require.Contains(b, b.G.Snapshot().ASAs, "Briggs", "the old handle does nothing to the new one")
		require.NoError(b, again.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{}))
		bed.IsCode(b, a.RegisterObj(bed.Neg("EX2", nil), grasp.RegisterOptions{}), grasp.ErrNoASA)
	})
}

// names of objectives are compared byte by byte.
func TestA03NamesAreExact(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		names := []string{"EX1", "ex1", "EX1 ", " ", "EX1\x00", "caf\u00e9", "cafe\u0301", "example.com:EX1"}
		for i, name := range names {
			b.Register(bed.Syn(name, nil))
			require.NoError(b, b.ASA.ListenSynchronize(bed.Syn(name, i)))
		}
		other := b.Other("other")
		for i, name := range names {
			o, err := other.Synchronize(bed.Forever, bed.Syn(name, nil), nil, 0)
			require.NoError(b, err, "%q", name)
			require.EqualValues(b, i, o.Value, "%q", name)
			require.Equal(b, name, o.Name)
		}
	})
}

// an instance has copies of what it is given, and gives copies.
func TestA02NothingIsShared(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		o, s := bed.Neg("EX1", nil), bed.Syn("EX2", nil)
		bed.Registered(b, o, b.ASA, other)
		bed.Registered(b, s, b.ASA)

		value := []any{"NZD", []byte{1, 2, 3}, map[string]any{"a": 1}}
		spoil := func() {
			value[0] = "XXX"
			value[1].([]byte)[0] = 99
			value[2].(map[string]any)["a"] = 99
		}
		want := []any{"NZD", []byte{1, 2, 3}, map[any]any{"a": int64(1)}}
		s.Value = value
		require.NoError(b, b.ASA.ListenSynchronize(s))
		source := *bed.At(b.G)
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: s, Source: &source}))
		synctest.Wait()
		spoil()
		source.Port = 1
		for range 2 { // what the first gets, it spoils
			for name, read := range map[string]func() grasp.Objective{
				"Synchronize": func() grasp.Objective { return bed.Must1(other.Synchronize(bed.Forever, s, bed.At(b.G), 0)) },
				"flooded":     func() grasp.Objective { return bed.Must1(other.Synchronize(bed.Forever, s, nil, 0)) },
				"GetFlood": func() grasp.Objective {
					tagged := bed.Must1(other.GetFlood(s))
					require.Equal(b, b.G.Snapshot().Port, uint16(tagged[0].Source.Port))
					tagged[0].Source.Port = 2
					return tagged[0].Objective
				},
				"own GetFlood": func() grasp.Objective { return bed.Must1(b.ASA.GetFlood(s))[0].Objective },
			} {
				got := read()
				require.Equal(b, want, got.Value, name)
				got.Value.([]any)[0] = "YYY"
				got.Value.([]any)[1].([]byte)[0] = 88
				got.Value.([]any)[2].(map[any]any)["a"] = 88
			}
		}

		value = []any{"NZD", []byte{1, 2, 3}, map[string]any{"a": 1}}
		o.Value = value
		listening := b.ListenBy(other, o)
		asked := b.Request(o, bed.At(other.Instance()), 0)
		spoil()
		got := listening.Ok()
		require.Equal(b, want, got.O.Value)
		got.O.Value.([]any)[1].([]byte)[0] = 77
		require.NoError(b, got.S.EndNegotiate(true, ""))
		require.Equal(b, want, asked.Ok().O.Value)
	})
}

// the settings of a registration are copied, its locators too.
func TestA02RegistrationIsCopied(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ls := []grasp.Locator{{IP: netip.MustParseAddr("fd00::99"), Port: 99}}
		o := bed.Neg("EX1", nil)
		require.NoError(b, b.ASA.RegisterObj(o, grasp.RegisterOptions{Discoverable: true, Locators: ls}))
		ls[0].Port = 1
		m, ok := b.Peer.Discover(1, "EX1")
		require.True(b, ok)
		require.Equal(b, 99, bed.Message[*wire.Response](b, m).Locators[0].Port)
	})
}

// the flags on the wire are F_DISC and those of the objective.
func TestA05Flags(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		dry := bed.Neg("EX1", nil)
		dry.Dry = true
		b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
		for _, c := range []struct {
			o     grasp.Objective
			flags int
		}{{bed.Neg("EX1", nil), 3}, {dry, 11}} {
			_, _, m := b.Asked(c.o)
			m.Is(b, fmt.Sprintf(`[3, %%d, ["EX1", %d, 6, null]]`, c.flags))
		}
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX2", 1)}))
		b.Peer.Only().Is(b, `[9, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, 0, [["EX2", 5, 6, 1], []]]`)

		// Received ones give them back, with and without F_DISC.
		for flags, want := range map[int]grasp.Objective{
			2: bed.Neg("EX1", int64(7)), 3: bed.Neg("EX1", int64(7)),
			10: {Name: "EX1", Neg: true, Dry: true, LoopCount: 6, Value: int64(7)},
			// A peer may say anything: unknown flags are ignored.
			16 + 3: bed.Neg("EX1", int64(7)),
		} {
			listening := b.Listen(bed.Neg("EX1", nil))
			s := b.Peer.Dial(b.At())
			s.Send(arr{3, flags, arr{"EX1", flags, 6, 7}})
			require.Equal(b, want, listening.Ok().O)
		}
	})
}

// with an ASA go its objectives, listeners and sessions.
func TestA11Deregister(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o, s := bed.Neg("EX1", nil), bed.Syn("EX2", 1)
		b.Register(o, s)
		require.NoError(b, b.ASA.ListenSynchronize(s))
		session, _, conn := b.Served(o, 1, nil)
		listening := b.Listen(o)
		_, ok := b.Peer.Discover(2, "EX1")
		require.True(b, ok)

		require.NoError(b, b.ASA.Deregister())
		require.Contains(b, []grasp.ErrorCode{grasp.ErrNoASA, grasp.ErrStopped}, grasp.Code(listening.Done().Err))
		conn.Closed()
		bed.IsCode(b, session.EndNegotiate(true, ""), grasp.ErrNoASA)
		for i, name := range []string{"EX1", "EX2"} {
			_, ok := b.Peer.Discover(uint32(3+i), name)
			require.False(b, ok, name)
		}
		for _, m := range []arr{{3, 9, arr{"EX1", 3, 6, 0}}, {4, 10, arr{"EX2", 5, 6, nil}}} {
			conn = b.Peer.Dial(b.At())
			conn.Send(m)
			conn.Closed()
		}
		snap := b.G.Snapshot()
		require.Empty(b, snap.ASAs)
		require.Empty(b, snap.Objectives)
		require.Empty(b, snap.Sessions)
		require.Zero(b, snap.Streams)
	})
}

// what is only read needs no registration, nor does discovery.
func TestA12WithoutRegistration(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		bed.Registered(b, bed.Syn("EX1", nil), other)
		require.NoError(b, other.ListenSynchronize(bed.Syn("EX1", 7)))
		found, err := b.ASA.Discover(bed.Forever, bed.Neg("EX1", nil), 0, grasp.DiscoverOptions{})
		require.NoError(b, err)
		require.Len(b, found, 1)
		o, err := b.ASA.Synchronize(bed.Forever, bed.Syn("EX1", nil), nil, 0)
		require.NoError(b, err)
		require.EqualValues(b, 7, o.Value)
		require.NoError(b, other.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", 8)}))
		synctest.Wait()
		require.Len(b, b.Floods("EX1"), 1)
	})
}

// the lifetime in responses, in milliseconds, 60 s by default.
func TestA13TTL(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		id := uint32(0)
		for ttl, want := range map[time.Duration]uint32{
			0: 60_000, 1: 1, time.Second: 1000, 1500 * time.Microsecond: 2, math.MaxUint32 * time.Millisecond: math.MaxUint32,
		} {
			id++
			name := fmt.Sprintf("EX%d", id)
			require.NoError(b, b.ASA.RegisterObj(bed.Neg(name, nil), grasp.RegisterOptions{TTL: ttl, Discoverable: true}))
			m, ok := b.Peer.Discover(id, name)
			require.True(b, ok)
			require.Equal(b, want, bed.Message[*wire.Response](b, m).TTL, "%v", ttl)
		}
		for _, ttl := range []time.Duration{-1, -time.Hour, math.MaxInt64, math.MaxUint32*time.Millisecond + 1} {
			bed.IsCode(b, b.ASA.RegisterObj(bed.Neg("bad", nil), grasp.RegisterOptions{TTL: ttl}), grasp.ErrUnspec)
		}
	})
}

// a discoverable objective is found at once, another from the first
// call for listening on, and neither when that is over.
func TestA14Discoverable(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		id := uint32(0)
		found := func(name string) bool {
			id++
			_, ok := b.Peer.Discover(id, name)
			return ok
		}
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		require.True(b, found("EX1"))
		require.NoError(b, b.ASA.RegisterObj(grasp.Objective{Name: "EX4"}, grasp.RegisterOptions{Discoverable: true}))
		require.True(b, found("EX4"), "one that is only for discovery")

		b.Register(bed.Neg("EX2", nil), bed.Syn("EX3", nil))
		require.False(b, found("EX2"))
		listening := b.Listen(bed.Neg("EX2", nil))
		require.True(b, found("EX2"))
		require.NoError(b, b.ASA.StopNegotiate(bed.Neg("EX2", nil)))
		bed.IsCode(b, listening.Done().Err, grasp.ErrStopped)
		require.False(b, found("EX2"), "Q-21")

		require.False(b, found("EX3"))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX3", 1)))
		require.True(b, found("EX3"))
		require.NoError(b, b.ASA.StopSynchronize(bed.Syn("EX3", 1)))
		require.False(b, found("EX3"))
	})
}

// the link-local address of the interface that the question came by.
func TestA16Local(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Local: true, Discoverable: true}))
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			m, ok := p.Discover(uint32(i), "EX1")
			require.True(b, ok)
			link, _ := b.Node.Link(b.Links[i])
			require.Equal(b, []wire.Locator{{
				Kind: wire.LocatorIPv6, Addr: link.Addr.WithZone(""), Protocol: grasp.TCP, Port: int(b.G.Snapshot().Port),
			}}, bed.Message[*wire.Response](b, m).Locators)
		}
	})
}

// without a global address responses give the link-local one, and it can
// be connected to.
func TestA16WithoutGlobalAddress(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.Node.SetAddr(netip.Addr{}))
		b.Register(bed.Syn("EX1", nil))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", 7)))
		other := b.Other("other")
		found, err := other.Discover(bed.Forever, bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{First: true})
		require.NoError(b, err)
		require.Len(b, found, 1)
		require.True(b, found[0].IP.IsLinkLocalUnicast())
		require.Equal(b, bed.Zone(found[0].IfIndex), found[0].IP.Zone())
		o, err := other.Synchronize(bed.Forever, bed.Syn("EX1", nil), nil, 0)
		require.NoError(b, err)
		require.EqualValues(b, 7, o.Value)
	})
}

// locators of the ASA's own, all of them and in order, instead of the
// instance's.
func TestA18Locators(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		mine := []grasp.Locator{
			{IP: netip.MustParseAddr("fd00::99"), Port: 99},
			{IP: netip.MustParseAddr("192.0.2.1"), Protocol: grasp.UDP, Port: 100},
			{IP: netip.MustParseAddr("::ffff:192.0.2.2"), Port: 101},
			{FQDN: "example.com", Port: 102},
			{URI: "coap://example.com/g"},
			{URI: "coap://example.com/h", Protocol: grasp.TCP, Port: 103},
			{IP: netip.MustParseAddr("fd00::98"), Protocol: 41, Port: 0},
		}
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Discoverable: true, Locators: mine}))
		m, ok := b.Peer.Discover(1, "EX1")
		require.True(b, ok)
		m.Is(b, `[2, %d, `+bed.Hex(b.Peer.Addr())+`, 60000, [103, `+bed.Hex(bed.IP("fd00::99"))+`, 6, 99], [104, h'c0000201', 17, 100], `+
			`[104, h'c0000202', 6, 101], [105, "example.com", 6, 102], [106, "coap://example.com/g", null, null], `+
			`[106, "coap://example.com/h", 6, 103], [103, `+bed.Hex(bed.IP("fd00::98"))+`, 41, 0]]`)

		for _, bad := range []grasp.Locator{
			{}, {FQDN: "a", URI: "b"}, {FQDN: "a", Port: 65536}, {FQDN: "a", Port: -1}, {FQDN: "a", Protocol: -1},
			{FQDN: "\xff", Port: 1}, {FQDN: strings.Repeat("x", 2048), Port: 1},
		} {
			bed.IsCode(b, b.ASA.RegisterObj(bed.Neg("EX2", nil), grasp.RegisterOptions{Locators: []grasp.Locator{bad}}), grasp.ErrInvalidLoc)
		}
	})
}

// only the name counts.
func TestA19DeregisterObj(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		bed.IsCode(b, b.ASA.DeregisterObj(bed.Neg("EX2", 1)), grasp.ErrNotObj)
		require.NoError(b, b.ASA.DeregisterObj(grasp.Objective{Name: "EX1", Synch: true, Dry: true, LoopCount: 200, Value: make(chan int)}))
		bed.IsCode(b, b.ASA.DeregisterObj(bed.Neg("EX1", 1)), grasp.ErrNotObj)
		b.Register(bed.Syn("EX1", 1)) // as something else
	})
}

// running sessions go on, listeners do not.
func TestA19DeregisterObjAndSessions(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		s, _, conn := b.Served(o, 1, nil)
		listening := b.Listen(o)
		require.NoError(b, b.ASA.DeregisterObj(o))
		bed.IsCode(b, listening.Done().Err, grasp.ErrStopped)
		require.NoError(b, s.EndNegotiate(true, ""))
		conn.Next().Is(b, `[6, %d, [101]]`)
	})
}

// A registration does not survive its ASA, however the two calls cross.
func TestA11RegisterWhileDeregistering(t *testing.T) {
	g := bed.InstanceWith(t, memory.NewNetwork(1).NewNode("x"))
	for i := range 200 {
		a := bed.NewASA(t, g, "x")
		done := make(chan error, 1)
		go func() { done <- a.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{}) }()
		require.NoError(t, a.Deregister())
		if err := <-done; err != nil {
			bed.IsCode(t, err, grasp.ErrNoASA)
		}
		require.Empty(t, g.Snapshot().Objectives, "round %d", i)
	}
}

// RFC 8990 section 2.10.2: F_DISC says that an objective is valid for discovery.
// RFC 8995 sections 4.1.1 and 4.3 flood their objectives without it.
func TestFlagsWithoutDiscovery(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Syn("AN_join_registrar", "EST-TLS")
		o.NoDisc = true
		require.NoError(b, b.ASA.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
		require.NoError(b, b.ASA.ListenSynchronize(o))
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: o}))
		b.Peer.Only().Is(b, `[9, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, 0, [["AN_join_registrar", 4, 6, "EST-TLS"], []]]`)
		_, found := b.Peer.Discover(1, o.Name)
		require.False(b, found)
		require.False(b, b.G.Snapshot().Objectives[0].Discoverable)
		s := b.Peer.Dial(b.At())
		s.Send(arr{4, 2, arr{o.Name, 4, 6, nil}})
		s.Next().Is(b, `[8, %d, ["AN_join_registrar", 4, 6, "EST-TLS"]]`)

		call := b.Discover(bed.Syn("EX1", nil), 0, grasp.DiscoverOptions{})
		b.Peer.Only()
		call.Within(bed.Ever)
		asked := bed.Syn("EX1", nil)
		asked.NoDisc = true
		b.Discover(asked, 0, grasp.DiscoverOptions{})
		require.Equal(b, uint64(5), b.Peer.Only().Items(b)[3].(arr)[1], "a discovery has the flag")
	})
}
