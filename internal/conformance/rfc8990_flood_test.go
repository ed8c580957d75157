package conformance

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Sections 2.5.6.2 and 2.8.11: M_FLOOD holds one or more objectives, with their
// loop counts, a ttl for all of them, and goes out on every interface.
func TestF01F02F03Flood(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		ex1, ex2 := bed.Syn("EX1", []any{100, "NZD"}), bed.Syn("EX2", nil)
		ex2.LoopCount = 255
		b.Register(ex1, ex2)
		for ttl, want := range map[time.Duration]string{
			0: "0", time.Nanosecond: "1", 1500 * time.Millisecond: "1500", (1<<32 - 1) * time.Millisecond: "4294967295",
		} {
			b.Flood(ttl, ex1, ex2)
			near := b.Peer.Only()
			near.Is(b, fmt.Sprintf(`[9, %%d, %s, %s, [["EX1", 5, 6, [100, "NZD"]], []], [["EX2", 5, 255, null], []]]`, bed.Hex(b.Node.Addr().AsSlice()), want))
			require.Equal(b, near.Raw, b.Far.Only().Raw)
		}
		for _, ttl := range []time.Duration{-1, 1 << 32 * time.Millisecond} {
			bed.IsCode(b, b.ASA.Flood(ttl, grasp.TaggedObjective{Objective: ex1}), grasp.ErrUnspec)
		}
		b.Peer.None()
	})
}

// Section 2.8.11: each objective has a locator beside it, or the empty array.
func TestF04LocatorsOfFloods(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", 1)
		b.Register(ex1)
		for _, c := range []struct {
			source *grasp.Locator
			option string
			heard  grasp.Locator
		}{
			{nil, `[]`, grasp.Locator{}},
			{&grasp.Locator{}, `[]`, grasp.Locator{}},
			{
				&grasp.Locator{IP: netip.MustParseAddr("fd00::1"), Port: 7017},
				`[103, h'fd000000000000000000000000000001', 6, 7017]`,
				grasp.Locator{IP: netip.MustParseAddr("fd00::1"), Port: 7017, Protocol: grasp.TCP},
			},
			{
				&grasp.Locator{IP: netip.MustParseAddr("192.0.2.1"), Port: 1, Protocol: grasp.UDP},
				`[104, h'c0000201', 17, 1]`,
				grasp.Locator{IP: netip.MustParseAddr("192.0.2.1"), Port: 1, Protocol: grasp.UDP},
			},
			{
				&grasp.Locator{IP: netip.MustParseAddr("::ffff:192.0.2.2"), Port: 1},
				`[104, h'c0000202', 6, 1]`,
				grasp.Locator{IP: netip.MustParseAddr("192.0.2.2"), Port: 1, Protocol: grasp.TCP},
			},
			{
				&grasp.Locator{FQDN: "example.com", Port: 7017},
				`[105, "example.com", 6, 7017]`,
				grasp.Locator{FQDN: "example.com", Port: 7017, Protocol: grasp.TCP},
			},
			{
				&grasp.Locator{URI: "grasp://example.com"},
				`[106, "grasp://example.com", null, null]`,
				grasp.Locator{URI: "grasp://example.com"},
			},
			{
				&grasp.Locator{URI: "grasp://example.com", Protocol: grasp.TCP, Port: 7017},
				`[106, "grasp://example.com", 6, 7017]`,
				grasp.Locator{URI: "grasp://example.com", Protocol: grasp.TCP, Port: 7017},
			},
		} {
			require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1, Source: c.source}))
			m := b.Peer.Only()
			m.Is(b, `[9, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, 0, [["EX1", 5, 6, 1], `+c.option+`]]`)
			// What it was comes out of the cache of whoever hears it.
			b.Peer.Multicast(append(arr{9, 7, b.Peer.Addr()}, m.Items(b)[3:]...))
			all, err := b.ASA.GetFlood(ex1)
			require.NoError(b, err)
			require.Len(b, all, 1, "that of the peer has replaced the own one")
			c.heard.IfIndex = b.Index(b.Links[0])
			require.Equal(b, c.heard, *all[0].Source)
			require.NoError(b, b.ASA.ExpireFlood(all[0]))
			require.Empty(b, b.Flooded("EX1"))
		}
		bed.IsCode(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1, Source: &grasp.Locator{FQDN: "a", URI: "b"}}), grasp.ErrInvalidLoc)
		b.Peer.None()
	})
}

// Section 2.8.11: a receiver caches every objective, whether an ASA here knows
// it or not.
func TestF05EveryObjectiveIsCached(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 60000,
			arr{arr{"EX1", 5, 6, "one"}, arr{}},
			arr{arr{"unheard-of:object", 4, 255, arr{1, 2}}, b.Peer.Option()},
			arr{arr{"EX3", 0, 1, "no flags at all"}, arr{}},
		})
		require.Equal(b, []any{"one"}, b.Flooded("EX1"))
		require.Equal(b, []any{[]any{int64(1), int64(2)}}, b.Flooded("unheard-of:object"))
		require.Equal(b, []any{"no flags at all"}, b.Flooded("EX3"))
		all, err := b.ASA.GetFlood(bed.Syn("unheard-of:object", nil))
		require.NoError(b, err)
		source := all[0].Source
		require.Equal(b, b.Peer.Locator().IP, source.IP)
		require.Equal(b, b.Peer.Locator().Port, source.Port)
		require.Equal(b, time.Minute, time.Until(source.Expire))
		require.Equal(b, grasp.Objective{Name: "unheard-of:object", Synch: true, LoopCount: 255, Value: []any{int64(1), int64(2)}}, all[0].Objective)
	})
}

// Section 2.8.11: the same name and tag is overwritten, another tag is one more
// entry.
func TestF06FloodsOverwrite(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		id := uint32(0)
		hear := func(value any, locator arr) {
			id++
			b.Peer.Multicast(arr{9, id, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, value}, locator}})
		}
		tags := []arr{
			{},
			{103, bed.IP("fd00::1"), 6, 7017}, {103, bed.IP("fd00::2"), 6, 7017}, {103, bed.IP("fd00::1"), 6, 7018}, {103, bed.IP("fd00::1"), 17, 7017},
			{104, bed.IP("192.0.2.1"), 6, 7017}, {103, bed.IP("::ffff:192.0.2.1"), 6, 7017},
			{105, "fd00::1", 6, 7017}, {106, "fd00::1", 6, 7017}, {106, "fd00::1", nil, 7017}, {106, "fd00::1", 6, nil}, {106, "fd00::1", nil, nil},
			{103, bed.IP("fd00::1"), 41, nil},
		}
		var want []any
		for i, tag := range tags {
			hear(i, tag)
			want = append(want, int64(i))
		}
		require.Equal(b, want, b.Flooded("EX1"))
		// Again, from the last to the first: each is replaced, and the youngest.
		want = nil
		for i := len(tags) - 1; i >= 0; i-- {
			hear(i+100, tags[i])
			want = append(want, int64(i+100))
		}
		require.Equal(b, want, b.Flooded("EX1"))
		// The same tag under another name is something else.
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, "other"}, arr{}}})
		require.Equal(b, []any{"other"}, b.Flooded("EX2"))
		require.Equal(b, want, b.Flooded("EX1"))
	})
}

// Section 2.8.11: expired entries are never used; with a ttl of 0 they live for
// ever.
func TestF07ExpiredFloods(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 1000, arr{arr{"EX1", 5, 6, "second"}, arr{}}})
		b.Peer.Multicast(arr{9, 2, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "for ever"}, b.Peer.Option()}})
		b.Peer.Multicast(arr{9, 3, b.Peer.Addr(), 1, arr{arr{"EX2", 5, 6, "millisecond"}, arr{}}})
		b.Register(bed.Syn("EX3", nil))
		b.Flood(1500*time.Millisecond, bed.Syn("EX3", "own"))
		b.Peer.Only()
		require.Equal(b, []any{"millisecond"}, b.Flooded("EX2"))
		time.Sleep(time.Second - time.Nanosecond)
		require.Equal(b, []any{"second", "for ever"}, b.Flooded("EX1"))
		require.Equal(b, "second", b.Synchronize(bed.Syn("EX1", nil), nil, 0).Ok().O.Value)
		require.Empty(b, b.Flooded("EX2"))
		time.Sleep(time.Nanosecond)
		require.Equal(b, []any{"for ever"}, b.Flooded("EX1"))
		require.Equal(b, "for ever", b.Synchronize(bed.Syn("EX1", nil), nil, 0).Ok().O.Value)
		require.Len(b, b.G.Snapshot().Floods, 2)
		time.Sleep(time.Second)
		require.Empty(b, b.Flooded("EX3"))
		b.Peer.None()
		// Without a living value the network is asked.
		bed.IsCode(b, b.Synchronize(bed.Syn("EX3", nil), nil, 100*time.Millisecond).Within(time.Second).Err, grasp.ErrNotFloodDisc)
		require.EqualValues(b, 1, b.Peer.Only().Items(b)[0])
		time.Sleep(1000 * time.Hour)
		require.Equal(b, []any{"for ever"}, b.Flooded("EX1"))
	})
}

// The cache is bounded: what was least recently flooded or read gives way.
func TestF05CacheIsBounded(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxCached: 3}}, func(b *bed.Bed) {
		hear := func(name string) {
			b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{name, 5, 6, name}, arr{}}})
		}
		hear("EX1")
		hear("EX2")
		hear("EX3")
		b.Flooded("EX1")
		hear("EX2")
		hear("EX4")
		require.Len(b, b.G.Snapshot().Floods, 3)
		require.Empty(b, b.Flooded("EX3"))
	})
}

// Section 2.5.6.2: a flood with a link-local source and a loop count other than
// 1 is discarded: the source being the initiator, since the IP source of a
// multicast is always link-local.
func TestF13LinkLocalSource(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		own := bed.LinkOf(b.Peer.Node, b.Links[0]).Addr.AsSlice()
		for i, c := range []struct {
			initiator []byte
			loops     int
			taken     bool
		}{
			{own, 1, true},
			{own, 6, false},
			{own, 2, false},
			{own, 0, false},
			{own, 255, false},
			{bed.IP("fe80::1"), 6, false},
			{bed.IP("169.254.1.1"), 6, false},
			{bed.IP("169.254.1.1"), 1, true},
			{b.Peer.Addr(), 6, true},
			{bed.IP("192.0.2.1"), 6, true},
			{bed.IP("2001:db8:f000:baaa:f000:baaa:1:2"), 255, true},
		} {
			name := fmt.Sprint("EX1:", i)
			b.Peer.Multicast(arr{9, i, c.initiator, 0, arr{arr{name, 5, c.loops, "value"}, arr{}}})
			require.Equal(b, c.taken, len(b.Flooded(name)) == 1, "%v", c)
		}
		b.WantDrop(grasp.ReasonLinkLocalSource, 6)
		// A link-local address in a locator is of use on this link only.
		for i, c := range []struct {
			loops int
			taken bool
		}{{1, true}, {6, false}} {
			name := fmt.Sprint("EX2:", i)
			b.Peer.Multicast(arr{9, i + 100, b.Peer.Addr(), 0, arr{arr{name, 5, c.loops, "value"}, arr{103, own, 6, 7017}}})
			require.Equal(b, c.taken, len(b.Flooded(name)) == 1, "%v", c)
		}
	})
}

// The same locator, link-local, on two links is two places.
func TestF06LinkLocalTags(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			p.Multicast(arr{9, i, p.Addr(), 0, arr{arr{"EX1", 5, 1, i}, arr{103, bed.IP("fe80::1"), 6, 7017}}})
		}
		all, err := b.ASA.GetFlood(bed.Syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, all, 2)
		for i, f := range all {
			require.Equal(b, b.Index(b.Links[i]), f.Source.IfIndex)
			require.Equal(b, "fe80::1%"+bed.Zone(b.Index(b.Links[i])), f.Source.IP.String())
			require.NoError(b, b.ASA.ExpireFlood(f))
			require.Len(b, b.Flooded("EX1"), 1-i)
		}
	})
}

// Section 2.5.6.2: without a secure substrate floods are neither sent nor
// accepted.
func TestF14FloodsNeedSecurity(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", 1)
		b.Register(ex1)
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "before"}, arr{}}})
		b.Node.SetStatus(acp.Status{Reason: "no keys"})
		bed.IsCode(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex1}), grasp.ErrNoSecurity)
		b.Peer.Multicast(arr{9, 2, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "during"}, arr{}}})
		b.WantDrop(grasp.ReasonNoSecurity, 1)
		b.Peer.None()
		require.Equal(b, []any{"before"}, b.Flooded("EX1"), "reading needs none")
		require.Equal(b, "before", b.Synchronize(ex1, nil, 0).Ok().O.Value)
		b.Node.SetStatus(acp.Status{Secure: true})
		b.Peer.Multicast(arr{9, 3, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "after"}, arr{}}})
		require.Equal(b, []any{"after"}, b.Flooded("EX1"))
		b.Flood(0, ex1)
		b.Peer.Only()
	})
}

// RFC 8991 section 2.3.6: a locator of :: becomes the link-local address of the
// interface, in each copy its own, and makes the loop count 1.
func TestF15UnspecifiedLocator(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		ex1, ex2 := bed.Syn("EX1", 1), bed.Syn("EX2", 2)
		b.Register(ex1, ex2)
		source := grasp.Locator{IP: netip.IPv6Unspecified(), Port: 4443}
		for _, at := range []int{0, 1} { // wherever it is in the message
			tagged := []grasp.TaggedObjective{{Objective: ex2}, {Objective: ex2, Source: b.Peer.Locator()}}
			tagged[at] = grasp.TaggedObjective{Objective: ex1, Source: &source}
			require.NoError(b, b.ASA.Flood(time.Minute, tagged...))
			near, far := b.Peer.Only(), b.Far.Only()
			require.Equal(b, near.ID(b), far.ID(b))
			for i, m := range []bed.Packet{near, far} {
				own := bed.LinkOf(b.Node, b.Links[i]).Addr
				items := m.Items(b)
				require.Equal(b, arr{arr{"EX1", uint64(5), uint64(1), uint64(1)}, arr{uint64(103), own.AsSlice(), uint64(6), uint64(4443)}}, items[4+at])
				require.Equal(b, uint64(1), items[5-at].(arr)[0].(arr)[2], "the other objective's loop count")
			}
			all, err := b.ASA.GetFlood(ex1)
			require.NoError(b, err)
			require.Len(b, all, 2, "the own cache has both")
		}
		require.Equal(b, grasp.Locator{IP: netip.IPv6Unspecified(), Port: 4443}, source, "the caller's is left alone")
		require.EqualValues(b, 6, ex1.LoopCount)
	})
}

// Without a global address the initiator is link-local: what is flooded then
// goes no further than the link.
func TestF13OwnFloodsWithoutGlobalAddress(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.Node.SetAddr(netip.Addr{}))
		ex1, ex2 := bed.Syn("EX1", 1), bed.Syn("EX2", 2)
		b.Register(ex1, ex2)
		b.Flood(0, ex1, ex2)
		items := b.Peer.Only().Items(b)
		require.Equal(b, []any{uint64(1), uint64(1)}, []any{items[4].(arr)[0].(arr)[2], items[5].(arr)[0].(arr)[2]})
		require.Equal(b, []any{int64(1)}, b.Flooded("EX1"))
	})
}

// Trap 22: floods seen in the wild. A source that uses one session ID for ever
// refreshes the values here, though its floods are not relayed again.
func TestTrap22FloodsInTheWild(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		id := 1
		hear := func(ttl int, objectives ...any) {
			b.Peer.Multicast(append(arr{9, id, b.Peer.Addr(), ttl}, objectives...))
		}
		option := arr{103, bed.IP("fd00::1"), 6, 8443}
		for i := range 10 {
			hear(180000, arr{arr{"AN_join_registrar", 4, 255, fmt.Sprint("EST-TLS", i)}, option})
			time.Sleep(10 * time.Second)
		}
		require.Equal(b, []any{"EST-TLS9"}, b.Flooded("AN_join_registrar"))
		require.Len(b, b.Far.All(), 1)
		require.Equal(b, 170*time.Second, time.Until(b.G.Snapshot().Floods[0].Source.Expire))

		id++
		hear(210000, arr{arr{"SRV.est", 4, 255}, option}) // no value
		require.Equal(b, []any{nil}, b.Flooded("SRV.est"))
		id++
		hear(0, arr{arr{"AN_Proxy", 0, 1, ""}, arr{103, bed.IP("fe80::1"), 6, 4443}}) // no flags
		require.Equal(b, []any{""}, b.Flooded("AN_Proxy"))
		id++
		hear(1, arr{arr{"EX1", 5, 6, "short"}, arr{}})
		time.Sleep(time.Millisecond)
		require.Empty(b, b.Flooded("EX1"))
		id++
		hear(0, arr{arr{"EX2", 5, 6, 1}, option}, arr{arr{"EX2", 5, 6, 2}, option}, arr{arr{"EX2", 5, 6, 3}, arr{}})
		require.Equal(b, []any{int64(1), int64(2), int64(3)}, b.Flooded("EX2"), "one message may give several values")
		id++
		hear(0, arr{arr{"EX2", 5, 6, 4}, option})
		require.Equal(b, []any{int64(3), int64(4)}, b.Flooded("EX2"), "the next message replaces them")
		synctest.Wait()
		require.Zero(b, len(b.Dropped(grasp.ReasonInvalid)))
	})
}

// Trap 23: every multicast has a link-local IP source; it is none of the reasons
// to drop a flood or a discovery.
func TestTrap23LinkLocalIPSource(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, "value"}, arr{}}})
		_, ok := b.Peer.Discover(8, "EX3")
		require.True(b, ok)
		require.Equal(b, []any{"value"}, b.Flooded("EX1"))
		for _, e := range b.Traced() {
			if e.Kind == grasp.Received {
				require.True(b, e.Peer.Addr().IsLinkLocalUnicast())
			}
		}
		require.Empty(b, b.G.Snapshot().Dropped)
	})
}

// Trap 24: peers panic on an objective of three items: whatever is sent has
// four.
func TestTrap24ObjectivesHaveFourItems(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", nil), bed.Neg("EX3", nil)
		b.Register(ex3)
		require.NoError(b, b.ASA.RegisterObj(ex1, grasp.RegisterOptions{Rapid: true}))
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		var objectives []any
		b.Flood(0, ex1)
		objectives = append(objectives, b.Peer.Only().Items(b)[4].(arr)[0])
		b.Discover(grasp.NewObjective("EX2"), 0, grasp.DiscoverOptions{}).Within(time.Second)
		objectives = append(objectives, b.Peer.Only().Items(b)[3])
		_, _, request := b.Asked(ex3)
		objectives = append(objectives, request.Items(b)[2])
		b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 0)
		objectives = append(objectives, b.Peer.Dialed().Next().Items(b)[2])
		session, o, s := b.Served(ex3, 7, nil)
		b.Step(session, o, 0)
		objectives = append(objectives, s.Next().Items(b)[2])
		s = b.Peer.Dial(b.At())
		s.Send(arr{4, 8, arr{"EX1", 5, 6}})
		objectives = append(objectives, s.Next().Items(b)[2])
		m, ok := b.Peer.Discover(7, "EX1")
		require.True(b, ok)
		objectives = append(objectives, m.Items(b)[5])
		for _, o := range objectives {
			require.Len(b, o, 4)
			require.Nil(b, o.(arr)[3])
		}
	})
}

// Trap 25: options and protocols that experimental drafts use are skipped
// silently, and passed on by a relay.
func TestTrap25ExperimentalOptions(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		flood := arr{9, 7, b.Peer.Addr(), 0,
			arr{arr{"EX1", 5, 6, "unknown option"}, arr{107, "something", arr{1, 2}}},
			arr{arr{"EX1", 5, 6, "QUIC"}, arr{103, bed.IP("fd00::1"), 258, 7017}},
			arr{arr{"EX1", 5, 6, "none"}, arr{}},
		}
		b.Peer.Multicast(flood)
		require.Equal(b, []any{"QUIC", "none"}, b.Flooded("EX1"))
		all, err := b.ASA.GetFlood(bed.Syn("EX1", nil))
		require.NoError(b, err)
		require.Equal(b, 258, all[0].Source.Protocol)
		flood[4].(arr)[0].(arr)[2] = 5
		require.Equal(b, bed.Encoded(b, flood), b.Far.Only().Raw)
		require.Equal(b, map[grasp.Reason]uint64{grasp.ReasonOwn: 1}, b.G.Snapshot().Dropped)

		call := b.Discover(bed.Syn("EX2", nil), time.Minute, grasp.DiscoverOptions{First: true})
		b.Far.All()
		m := b.Peer.Only()
		b.Peer.Respond(m, arr{2, m.ID(b), m.Items(b)[2], 60000, arr{107, 1}, arr{103, bed.IP("fd00::1"), 259, 7017}, arr{200}, b.Peer.Option(), arr{100, arr{109, 1}}})
		found := call.Ok().Found
		require.Len(b, found, 2)
		require.Equal(b, 259, found[0].Protocol)
	})
}
