package grasp

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// names are unique in an instance, and free again afterwards.
func TestA09NamesOfASAs(t *testing.T) {
	inBed(t, func(b *bed) {
		a := newASA(b, b.g, "Briggs")
		_, err := b.g.RegisterASA("Briggs")
		isCode(b, err, ErrDupASA)
		newASA(b, b.g, "briggs") // another name
		b.other("Briggs")        // another instance
		require.NoError(b, a.Deregister())
		isCode(b, a.Deregister(), ErrNoASA)
		again := newASA(b, b.g, "Briggs")
		isCode(b, a.Deregister(), ErrNoASA)
		require.Contains(b, b.g.Snapshot().ASAs, "Briggs", "the old handle does nothing to the new one")
		require.NoError(b, again.RegisterObj(neg("EX1", nil), RegisterOptions{}))
		isCode(b, a.RegisterObj(neg("EX2", nil), RegisterOptions{}), ErrNoASA)
	})
}

// names of objectives are compared byte by byte.
func TestA03NamesAreExact(t *testing.T) {
	inBed(t, func(b *bed) {
		names := []string{"EX1", "ex1", "EX1 ", "", "EX1\x00", "caf\u00e9", "cafe\u0301", "example.com:EX1"}
		for i, name := range names {
			b.register(syn(name, nil))
			require.NoError(b, b.asa.ListenSynchronize(syn(name, i)))
		}
		other := b.other("other")
		for i, name := range names {
			o, err := other.Synchronize(forever, syn(name, nil), nil, 0)
			require.NoError(b, err, "%q", name)
			require.EqualValues(b, i, o.Value, "%q", name)
			require.Equal(b, name, o.Name)
		}
	})
}

// an instance has copies of what it is given, and gives copies.
func TestA02NothingIsShared(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		o, s := neg("EX1", nil), syn("EX2", nil)
		registered(b, o, b.asa, other)
		registered(b, s, b.asa)

		value := []any{"NZD", []byte{1, 2, 3}, map[string]any{"a": 1}}
		spoil := func() {
			value[0] = "XXX"
			value[1].([]byte)[0] = 99
			value[2].(map[string]any)["a"] = 99
		}
		want := []any{"NZD", []byte{1, 2, 3}, map[any]any{"a": int64(1)}}
		s.Value = value
		require.NoError(b, b.asa.ListenSynchronize(s))
		source := *at(b.g)
		require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: s, Source: &source}))
		synctest.Wait()
		spoil()
		source.Port = 1
		for range 2 { // what the first gets, it spoils
			for name, read := range map[string]func() Objective{
				"Synchronize": func() Objective { return must1(other.Synchronize(forever, s, at(b.g), 0)) },
				"flooded":     func() Objective { return must1(other.Synchronize(forever, s, nil, 0)) },
				"GetFlood": func() Objective {
					tagged := must1(other.GetFlood(s))
					require.Equal(b, b.g.ep.Port(), uint16(tagged[0].Source.Port))
					tagged[0].Source.Port = 2
					return tagged[0].Objective
				},
				"own GetFlood": func() Objective { return must1(b.asa.GetFlood(s))[0].Objective },
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
		listening := b.listenBy(other, o)
		asked := b.request(o, at(other.g), 0)
		spoil()
		got := listening.ok()
		require.Equal(b, want, got.o.Value)
		got.o.Value.([]any)[1].([]byte)[0] = 77
		require.NoError(b, got.s.EndNegotiate(true, ""))
		require.Equal(b, want, asked.ok().o.Value)
	})
}

// the settings of a registration are copied, its locators too.
func TestA02RegistrationIsCopied(t *testing.T) {
	inBed(t, func(b *bed) {
		ls := []Locator{{IP: netip.MustParseAddr("fd00::99"), Port: 99}}
		o := neg("EX1", nil)
		require.NoError(b, b.asa.RegisterObj(o, RegisterOptions{Discoverable: true, Locators: ls}))
		ls[0].Port = 1
		m, ok := b.peer.discover(1, "EX1")
		require.True(b, ok)
		require.Equal(b, 99, message[*wire.Response](b, m).Locators[0].Port)
	})
}

// the flags on the wire are F_DISC and those of the objective.
func TestA05Flags(t *testing.T) {
	inBed(t, func(b *bed) {
		dry := neg("EX1", nil)
		dry.Dry = true
		b.register(neg("EX1", nil), syn("EX2", nil))
		for _, c := range []struct {
			o     Objective
			flags int
		}{{neg("EX1", nil), 3}, {dry, 11}} {
			_, _, m := b.asked(c.o)
			m.is(b, fmt.Sprintf(`[3, %%d, ["EX1", %d, 6, null]]`, c.flags))
		}
		require.NoError(b, b.asa.Flood(0, TaggedObjective{Objective: syn("EX2", 1)}))
		b.peer.only().is(b, `[9, %d, `+hx(b.node.Addr().AsSlice())+`, 0, [["EX2", 5, 6, 1], []]]`)

		// Received ones give them back, with and without F_DISC.
		for flags, want := range map[int]Objective{
			2: neg("EX1", int64(7)), 3: neg("EX1", int64(7)),
			10: {Name: "EX1", Neg: true, Dry: true, LoopCount: 6, Value: int64(7)},
			// A peer may say anything: unknown flags are ignored.
			16 + 3: neg("EX1", int64(7)),
		} {
			listening := b.listen(neg("EX1", nil))
			s := b.peer.dial(b.at())
			s.send(arr{3, flags, arr{"EX1", flags, 6, 7}})
			require.Equal(b, want, listening.ok().o)
		}
	})
}

// with an ASA go its objectives, listeners and sessions.
func TestA11Deregister(t *testing.T) {
	inBed(t, func(b *bed) {
		o, s := neg("EX1", nil), syn("EX2", 1)
		b.register(o, s)
		require.NoError(b, b.asa.ListenSynchronize(s))
		session, _, conn := b.served(o, 1, nil)
		listening := b.listen(o)
		_, ok := b.peer.discover(2, "EX1")
		require.True(b, ok)

		require.NoError(b, b.asa.Deregister())
		require.Contains(b, []ErrorCode{ErrNoASA, ErrStopped}, Code(listening.done().err))
		conn.closed()
		isCode(b, session.EndNegotiate(true, ""), ErrNoASA)
		for i, name := range []string{"EX1", "EX2"} {
			_, ok := b.peer.discover(uint32(3+i), name)
			require.False(b, ok, name)
		}
		for _, m := range []arr{{3, 9, arr{"EX1", 3, 6, 0}}, {4, 10, arr{"EX2", 5, 6, nil}}} {
			conn = b.peer.dial(b.at())
			conn.send(m)
			conn.closed()
		}
		snap := b.g.Snapshot()
		require.Empty(b, snap.ASAs)
		require.Empty(b, snap.Objectives)
		require.Empty(b, snap.Sessions)
		require.Zero(b, snap.Streams)
	})
}

// what is only read needs no registration, nor does discovery.
func TestA12WithoutRegistration(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		registered(b, syn("EX1", nil), other)
		require.NoError(b, other.ListenSynchronize(syn("EX1", 7)))
		found, err := b.asa.Discover(forever, neg("EX1", nil), 0, DiscoverOptions{})
		require.NoError(b, err)
		require.Len(b, found, 1)
		o, err := b.asa.Synchronize(forever, syn("EX1", nil), nil, 0)
		require.NoError(b, err)
		require.EqualValues(b, 7, o.Value)
		require.NoError(b, other.Flood(0, TaggedObjective{Objective: syn("EX1", 8)}))
		synctest.Wait()
		require.Len(b, flooded(b, "EX1"), 1)
	})
}

// the lifetime in responses, in milliseconds, 60 s by default.
func TestA13TTL(t *testing.T) {
	inBed(t, func(b *bed) {
		id := uint32(0)
		for ttl, want := range map[time.Duration]uint32{
			0: 60_000, 1: 1, time.Second: 1000, 1500 * time.Microsecond: 2, math.MaxUint32 * time.Millisecond: math.MaxUint32,
		} {
			id++
			name := fmt.Sprintf("EX%d", id)
			require.NoError(b, b.asa.RegisterObj(neg(name, nil), RegisterOptions{TTL: ttl, Discoverable: true}))
			m, ok := b.peer.discover(id, name)
			require.True(b, ok)
			require.Equal(b, want, message[*wire.Response](b, m).TTL, "%v", ttl)
		}
		for _, ttl := range []time.Duration{-1, -time.Hour, math.MaxInt64, math.MaxUint32*time.Millisecond + 1} {
			isCode(b, b.asa.RegisterObj(neg("bad", nil), RegisterOptions{TTL: ttl}), ErrUnspec)
		}
	})
}

// a discoverable objective is found at once, another from the first
// call for listening on, and neither when that is over.
func TestA14Discoverable(t *testing.T) {
	inBed(t, func(b *bed) {
		id := uint32(0)
		found := func(name string) bool {
			id++
			_, ok := b.peer.discover(id, name)
			return ok
		}
		require.NoError(b, b.asa.RegisterObj(neg("EX1", nil), RegisterOptions{Discoverable: true}))
		require.True(b, found("EX1"))
		require.NoError(b, b.asa.RegisterObj(Objective{Name: "EX4"}, RegisterOptions{Discoverable: true}))
		require.True(b, found("EX4"), "one that is only for discovery")

		b.register(neg("EX2", nil), syn("EX3", nil))
		require.False(b, found("EX2"))
		listening := b.listen(neg("EX2", nil))
		require.True(b, found("EX2"))
		require.NoError(b, b.asa.StopNegotiate(neg("EX2", nil)))
		isCode(b, listening.done().err, ErrStopped)
		require.False(b, found("EX2"), "Q-21")

		require.False(b, found("EX3"))
		require.NoError(b, b.asa.ListenSynchronize(syn("EX3", 1)))
		require.True(b, found("EX3"))
		require.NoError(b, b.asa.StopSynchronize(syn("EX3", 1)))
		require.False(b, found("EX3"))
	})
}

// overlap needs that both say so, and the first's settings hold.
func TestA15Overlap(t *testing.T) {
	inBed(t, func(b *bed) {
		yes := RegisterOptions{Overlap: true, Discoverable: true, TTL: time.Second}
		first, second := b.asa, newASA(b, b.g, "second")
		s := syn("EX1", nil)
		require.NoError(b, first.RegisterObj(s, yes))
		isCode(b, first.RegisterObj(s, yes), ErrObjReg)
		isCode(b, second.RegisterObj(s, RegisterOptions{}), ErrObjReg)
		isCode(b, second.RegisterObj(neg("EX1", nil), yes), ErrObjReg)
		require.NoError(b, second.RegisterObj(s, RegisterOptions{Overlap: true, TTL: time.Hour}))
		require.Equal(b, []string{"ASA under test", "second"}, b.g.Snapshot().Objectives[0].ASAs)
		m, ok := b.peer.discover(1, "EX1")
		require.True(b, ok)
		require.EqualValues(b, 1000, message[*wire.Response](b, m).TTL)

		b.register(syn("EX2", nil))
		isCode(b, second.RegisterObj(syn("EX2", nil), yes), ErrObjReg)

		// The last value counts.
		require.NoError(b, first.ListenSynchronize(syn("EX1", 1)))
		require.NoError(b, second.ListenSynchronize(syn("EX1", 2)))
		reader := b.other("reader")
		require.EqualValues(b, 2, must1(reader.Synchronize(forever, s, at(b.g), 0)).Value)

		// It stays while one registrant is left.
		require.NoError(b, first.Deregister())
		require.EqualValues(b, 2, must1(reader.Synchronize(forever, s, at(b.g), 0)).Value)
		require.NoError(b, second.DeregisterObj(s))
		_, err := reader.Synchronize(forever, s, at(b.g), 0)
		isCode(b, err, ErrNoListener)
	})
}

// requests go to whoever listens; one who leaves takes only his own
// listeners with him.
func TestA15OverlapOfListeners(t *testing.T) {
	inBed(t, func(b *bed) {
		o, yes := neg("EX1", nil), RegisterOptions{Overlap: true}
		second, asker := newASA(b, b.g, "second"), b.other("asker")
		require.NoError(b, b.asa.RegisterObj(o, yes))
		require.NoError(b, second.RegisterObj(o, yes))
		registered(b, o, asker)
		one, two := b.listen(o), b.listenBy(second, o)
		ask := func() pending { return b.requestBy(asker, o, at(b.g), 0) }
		a := ask()
		require.NoError(b, one.ok().s.EndNegotiate(true, ""))
		a.ok()
		two.blocks()
		one = b.listen(o)
		require.NoError(b, b.asa.Deregister())
		isCode(b, one.done().err, ErrNoASA)
		two.blocks()
		a = ask()
		require.NoError(b, two.ok().s.EndNegotiate(true, ""))
		a.ok()
	})
}

// the link-local address of the interface that the question came by.
func TestA16Local(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX1", nil), RegisterOptions{Local: true, Discoverable: true}))
		for i, p := range []*rawPeer{b.peer, b.far} {
			m, ok := p.discover(uint32(i), "EX1")
			require.True(b, ok)
			link, _ := b.node.Link(b.links[i])
			require.Equal(b, []wire.Locator{{
				Kind: wire.LocatorIPv6, Addr: link.Addr.WithZone(""), Protocol: TCP, Port: int(b.g.ep.Port()),
			}}, message[*wire.Response](b, m).Locators)
		}
	})
}

// without a global address responses give the link-local one, and it can
// be connected to.
func TestA16WithoutGlobalAddress(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.node.SetAddr(netip.Addr{}))
		b.register(syn("EX1", nil))
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", 7)))
		other := b.other("other")
		found, err := other.Discover(forever, syn("EX1", nil), 0, DiscoverOptions{First: true})
		require.NoError(b, err)
		require.Len(b, found, 1)
		require.True(b, found[0].IP.IsLinkLocalUnicast())
		require.Equal(b, zone(found[0].IfIndex), found[0].IP.Zone())
		o, err := other.Synchronize(forever, syn("EX1", nil), nil, 0)
		require.NoError(b, err)
		require.EqualValues(b, 7, o.Value)
	})
}

// locators of the ASA's own, all of them and in order, instead of the
// instance's.
func TestA18Locators(t *testing.T) {
	inBed(t, func(b *bed) {
		mine := []Locator{
			{IP: netip.MustParseAddr("fd00::99"), Port: 99},
			{IP: netip.MustParseAddr("192.0.2.1"), Protocol: UDP, Port: 100},
			{IP: netip.MustParseAddr("::ffff:192.0.2.2"), Port: 101},
			{FQDN: "example.com", Port: 102},
			{URI: "coap://example.com/g"},
			{URI: "coap://example.com/h", Protocol: TCP, Port: 103},
			{IP: netip.MustParseAddr("fd00::98"), Protocol: 41, Port: 0},
		}
		require.NoError(b, b.asa.RegisterObj(neg("EX1", nil), RegisterOptions{Discoverable: true, Locators: mine}))
		m, ok := b.peer.discover(1, "EX1")
		require.True(b, ok)
		m.is(b, `[2, %d, `+hx(b.peer.addr())+`, 60000, [103, `+hx(ip("fd00::99"))+`, 6, 99], [104, h'c0000201', 17, 100], `+
			`[104, h'c0000202', 6, 101], [105, "example.com", 6, 102], [106, "coap://example.com/g", null, null], `+
			`[106, "coap://example.com/h", 6, 103], [103, `+hx(ip("fd00::98"))+`, 41, 0]]`)

		for _, bad := range []Locator{
			{}, {FQDN: "a", URI: "b"}, {FQDN: "a", Port: 65536}, {FQDN: "a", Port: -1}, {FQDN: "a", Protocol: -1},
			{FQDN: "\xff", Port: 1}, {FQDN: strings.Repeat("x", 2048), Port: 1},
		} {
			isCode(b, b.asa.RegisterObj(neg("EX2", nil), RegisterOptions{Locators: []Locator{bad}}), ErrInvalidLoc)
		}
	})
}

// only the name counts.
func TestA19DeregisterObj(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		isCode(b, b.asa.DeregisterObj(neg("EX2", 1)), ErrNotObj)
		require.NoError(b, b.asa.DeregisterObj(Objective{Name: "EX1", Synch: true, Dry: true, LoopCount: 200, Value: make(chan int)}))
		isCode(b, b.asa.DeregisterObj(neg("EX1", 1)), ErrNotObj)
		b.register(syn("EX1", 1)) // as something else
	})
}

// running sessions go on, listeners do not.
func TestA19DeregisterObjAndSessions(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		s, _, conn := b.served(o, 1, nil)
		listening := b.listen(o)
		require.NoError(b, b.asa.DeregisterObj(o))
		isCode(b, listening.done().err, ErrStopped)
		require.NoError(b, s.EndNegotiate(true, ""))
		conn.read().is(b, `[6, %d, [101]]`)
	})
}

// A registration does not survive its ASA, however the two calls cross.
func TestA11RegisterWhileDeregistering(t *testing.T) {
	g := instanceWith(t, memory.NewNetwork(1).NewNode("x"))
	for i := range 200 {
		a := newASA(t, g, "x")
		done := make(chan error, 1)
		go func() { done <- a.RegisterObj(neg("EX1", nil), RegisterOptions{}) }()
		require.NoError(t, a.Deregister())
		if err := <-done; err != nil {
			isCode(t, err, ErrNoASA)
		}
		require.Empty(t, g.Snapshot().Objectives, "round %d", i)
	}
	// In the midst of Deregister, when it has taken note of the objectives.
	a := newASA(t, g, "x")
	a.left = true
	isCode(t, a.RegisterObj(neg("EX1", nil), RegisterOptions{}), ErrNoASA)
	require.Empty(t, g.Snapshot().Objectives)
}

// with overlap only this ASA's share goes, its listeners with it.
func TestA19DeregisterObjOverlap(t *testing.T) {
	inBed(t, func(b *bed) {
		o, yes := neg("EX1", nil), RegisterOptions{Overlap: true}
		second, asker := newASA(b, b.g, "second"), b.other("asker")
		require.NoError(b, b.asa.RegisterObj(o, yes))
		require.NoError(b, second.RegisterObj(o, yes))
		registered(b, o, asker)
		one, two := b.listen(o), b.listenBy(second, o)
		require.NoError(b, b.asa.DeregisterObj(o))
		isCode(b, one.done().err, ErrStopped)
		two.blocks()
		asked := b.requestBy(asker, o, at(b.g), 0)
		require.NoError(b, two.ok().s.EndNegotiate(true, ""))
		asked.ok()
	})
}
