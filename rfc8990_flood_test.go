package grasp

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// flood floods objectives of the ASA under test without locators.
func (b *bed) flood(ttl time.Duration, objs ...Objective) {
	b.Helper()
	var tagged []TaggedObjective
	for _, o := range objs {
		tagged = append(tagged, TaggedObjective{Objective: o})
	}
	require.NoError(b, b.asa.Flood(ttl, tagged...))
}

// flooded returns the flooded values of an objective.
func (b *bed) flooded(name string) (values []any) {
	b.Helper()
	all, err := b.asa.GetFlood(syn(name, nil))
	require.NoError(b, err)
	for _, f := range all {
		values = append(values, f.Objective.Value)
	}
	return values
}

// Sections 2.5.6.2 and 2.8.11: M_FLOOD holds one or more objectives, with their
// loop counts, a ttl for all of them, and goes out on every interface.
func TestF01F02F03Flood(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		ex1, ex2 := syn("EX1", []any{100, "NZD"}), syn("EX2", nil)
		ex2.LoopCount = 255
		b.register(ex1, ex2)
		for ttl, want := range map[time.Duration]string{
			0: "0", time.Nanosecond: "1", 1500 * time.Millisecond: "1500", (1<<32 - 1) * time.Millisecond: "4294967295",
		} {
			b.flood(ttl, ex1, ex2)
			near := b.peer.only()
			near.is(b, fmt.Sprintf(`[9, %%d, %s, %s, [["EX1", 5, 6, [100, "NZD"]], []], [["EX2", 5, 255, null], []]]`, hx(b.node.Addr().AsSlice()), want))
			require.Equal(b, near.raw, b.far.only().raw)
		}
		for _, ttl := range []time.Duration{-1, 1 << 32 * time.Millisecond} {
			isCode(b, b.asa.Flood(ttl, TaggedObjective{Objective: ex1}), ErrUnspec)
		}
		b.peer.none()
	})
}

// Section 2.8.11: each objective has a locator beside it, or the empty array.
func TestF04LocatorsOfFloods(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", 1)
		b.register(ex1)
		for _, c := range []struct {
			source *Locator
			option string
			heard  Locator
		}{
			{nil, `[]`, Locator{}},
			{&Locator{}, `[]`, Locator{}},
			{
				&Locator{IP: netip.MustParseAddr("fd00::1"), Port: 7017},
				`[103, h'fd000000000000000000000000000001', 6, 7017]`,
				Locator{IP: netip.MustParseAddr("fd00::1"), Port: 7017, Protocol: TCP},
			},
			{
				&Locator{IP: netip.MustParseAddr("192.0.2.1"), Port: 1, Protocol: UDP},
				`[104, h'c0000201', 17, 1]`,
				Locator{IP: netip.MustParseAddr("192.0.2.1"), Port: 1, Protocol: UDP},
			},
			{
				&Locator{IP: netip.MustParseAddr("::ffff:192.0.2.2"), Port: 1},
				`[104, h'c0000202', 6, 1]`,
				Locator{IP: netip.MustParseAddr("192.0.2.2"), Port: 1, Protocol: TCP},
			},
			{
				&Locator{FQDN: "example.com", Port: 7017},
				`[105, "example.com", 6, 7017]`,
				Locator{FQDN: "example.com", Port: 7017, Protocol: TCP},
			},
			{
				&Locator{URI: "grasp://example.com"},
				`[106, "grasp://example.com", null, null]`,
				Locator{URI: "grasp://example.com"},
			},
			{
				&Locator{URI: "grasp://example.com", Protocol: TCP, Port: 7017},
				`[106, "grasp://example.com", 6, 7017]`,
				Locator{URI: "grasp://example.com", Protocol: TCP, Port: 7017},
			},
		} {
			require.NoError(b, b.asa.Flood(0, TaggedObjective{ex1, c.source}))
			m := b.peer.only()
			m.is(b, `[9, %d, `+hx(b.node.Addr().AsSlice())+`, 0, [["EX1", 5, 6, 1], `+c.option+`]]`)
			// What it was comes out of the cache of whoever hears it.
			b.peer.multicast(append(arr{9, 7, b.peer.addr()}, m.items(b)[3:]...))
			all, err := b.asa.GetFlood(ex1)
			require.NoError(b, err)
			require.Len(b, all, 1, "that of the peer has replaced the own one")
			c.heard.IfIndex = b.index(b.links[0])
			require.Equal(b, c.heard, *all[0].Source)
			require.NoError(b, b.asa.ExpireFlood(all[0]))
			require.Empty(b, b.flooded("EX1"))
		}
		isCode(b, b.asa.Flood(0, TaggedObjective{ex1, &Locator{FQDN: "a", URI: "b"}}), ErrInvalidLoc)
		b.peer.none()
	})
}

// Section 2.8.11: a receiver caches every objective, whether an ASA here knows
// it or not.
func TestF05EveryObjectiveIsCached(t *testing.T) {
	inBed(t, func(b *bed) {
		b.peer.multicast(arr{9, 7, b.peer.addr(), 60000,
			arr{arr{"EX1", 5, 6, "one"}, arr{}},
			arr{arr{"unheard-of:object", 4, 255, arr{1, 2}}, b.peer.option()},
			arr{arr{"EX3", 0, 1, "no flags at all"}, arr{}},
		})
		require.Equal(b, []any{"one"}, b.flooded("EX1"))
		require.Equal(b, []any{[]any{int64(1), int64(2)}}, b.flooded("unheard-of:object"))
		require.Equal(b, []any{"no flags at all"}, b.flooded("EX3"))
		all, err := b.asa.GetFlood(syn("unheard-of:object", nil))
		require.NoError(b, err)
		source := all[0].Source
		require.Equal(b, b.peer.locator().IP, source.IP)
		require.Equal(b, b.peer.locator().Port, source.Port)
		require.Equal(b, time.Minute, time.Until(source.Expire))
		require.Equal(b, Objective{Name: "unheard-of:object", Synch: true, LoopCount: 255, Value: []any{int64(1), int64(2)}}, all[0].Objective)
	})
}

// Section 2.8.11: the same name and tag is overwritten, another tag is one more
// entry.
func TestF06FloodsOverwrite(t *testing.T) {
	inBed(t, func(b *bed) {
		id := uint32(0)
		hear := func(value any, locator arr) {
			id++
			b.peer.multicast(arr{9, id, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, value}, locator}})
		}
		tags := []arr{
			{},
			{103, ip("fd00::1"), 6, 7017}, {103, ip("fd00::2"), 6, 7017}, {103, ip("fd00::1"), 6, 7018}, {103, ip("fd00::1"), 17, 7017},
			{104, ip("192.0.2.1"), 6, 7017}, {103, ip("::ffff:192.0.2.1"), 6, 7017},
			{105, "fd00::1", 6, 7017}, {106, "fd00::1", 6, 7017}, {106, "fd00::1", nil, 7017}, {106, "fd00::1", 6, nil}, {106, "fd00::1", nil, nil},
			{103, ip("fd00::1"), 41, nil},
		}
		var want []any
		for i, tag := range tags {
			hear(i, tag)
			want = append(want, int64(i))
		}
		require.Equal(b, want, b.flooded("EX1"))
		// Again, from the last to the first: each is replaced, and the youngest.
		want = nil
		for i := len(tags) - 1; i >= 0; i-- {
			hear(i+100, tags[i])
			want = append(want, int64(i+100))
		}
		require.Equal(b, want, b.flooded("EX1"))
		// The same tag under another name is something else.
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, "other"}, arr{}}})
		require.Equal(b, []any{"other"}, b.flooded("EX2"))
		require.Equal(b, want, b.flooded("EX1"))
	})
}

// Section 2.8.11: expired entries are never used; with a ttl of 0 they live for
// ever.
func TestF07ExpiredFloods(t *testing.T) {
	inBed(t, func(b *bed) {
		b.peer.multicast(arr{9, 1, b.peer.addr(), 1000, arr{arr{"EX1", 5, 6, "second"}, arr{}}})
		b.peer.multicast(arr{9, 2, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "for ever"}, b.peer.option()}})
		b.peer.multicast(arr{9, 3, b.peer.addr(), 1, arr{arr{"EX2", 5, 6, "millisecond"}, arr{}}})
		b.register(syn("EX3", nil))
		b.flood(1500*time.Millisecond, syn("EX3", "own"))
		b.peer.only()
		require.Equal(b, []any{"millisecond"}, b.flooded("EX2"))
		time.Sleep(time.Second - time.Nanosecond)
		require.Equal(b, []any{"second", "for ever"}, b.flooded("EX1"))
		require.Equal(b, "second", b.synchronize(syn("EX1", nil), nil, 0).ok().o.Value)
		require.Empty(b, b.flooded("EX2"))
		time.Sleep(time.Nanosecond)
		require.Equal(b, []any{"for ever"}, b.flooded("EX1"))
		require.Equal(b, "for ever", b.synchronize(syn("EX1", nil), nil, 0).ok().o.Value)
		require.Len(b, b.g.Snapshot().Floods, 2)
		time.Sleep(time.Second)
		require.Empty(b, b.flooded("EX3"))
		b.peer.none()
		// Without a living value the network is asked.
		isCode(b, b.synchronize(syn("EX3", nil), nil, 100*time.Millisecond).within(time.Second).err, ErrNotFloodDisc)
		require.EqualValues(b, 1, b.peer.only().items(b)[0])
		time.Sleep(1000 * time.Hour)
		require.Equal(b, []any{"for ever"}, b.flooded("EX1"))
	})
}

// The cache is bounded: what was least recently flooded or read gives way.
func TestF05CacheIsBounded(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxCached: 3}}, func(b *bed) {
		hear := func(name string) {
			b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{name, 5, 6, name}, arr{}}})
		}
		hear("EX1")
		hear("EX2")
		hear("EX3")
		b.flooded("EX1")
		hear("EX2")
		hear("EX4")
		require.Len(b, b.g.Snapshot().Floods, 3)
		require.Empty(b, b.flooded("EX3"))
	})
}

// Section 2.5.6.2: a flood with a link-local source and a loop count other than
// 1 is discarded: the source being the initiator, since the IP source of a
// multicast is always link-local.
func TestF13LinkLocalSource(t *testing.T) {
	inBed(t, func(b *bed) {
		own := linkOf(b.peer.node, b.links[0]).Addr.AsSlice()
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
			{ip("fe80::1"), 6, false},
			{ip("169.254.1.1"), 6, false},
			{ip("169.254.1.1"), 1, true},
			{b.peer.addr(), 6, true},
			{ip("192.0.2.1"), 6, true},
			{ip("2001:db8:f000:baaa:f000:baaa:1:2"), 255, true},
		} {
			name := fmt.Sprint("EX1:", i)
			b.peer.multicast(arr{9, i, c.initiator, 0, arr{arr{name, 5, c.loops, "value"}, arr{}}})
			require.Equal(b, c.taken, len(b.flooded(name)) == 1, "%v", c)
		}
		b.wantDrop(ReasonLinkLocalSource, 6)
		// A link-local address in a locator is of use on this link only.
		for i, c := range []struct {
			loops int
			taken bool
		}{{1, true}, {6, false}} {
			name := fmt.Sprint("EX2:", i)
			b.peer.multicast(arr{9, i + 100, b.peer.addr(), 0, arr{arr{name, 5, c.loops, "value"}, arr{103, own, 6, 7017}}})
			require.Equal(b, c.taken, len(b.flooded(name)) == 1, "%v", c)
		}
	})
}

// The same locator, link-local, on two links is two places.
func TestF06LinkLocalTags(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		for i, p := range []*rawPeer{b.peer, b.far} {
			p.multicast(arr{9, i, p.addr(), 0, arr{arr{"EX1", 5, 1, i}, arr{103, ip("fe80::1"), 6, 7017}}})
		}
		all, err := b.asa.GetFlood(syn("EX1", nil))
		require.NoError(b, err)
		require.Len(b, all, 2)
		for i, f := range all {
			require.Equal(b, b.index(b.links[i]), f.Source.IfIndex)
			require.Equal(b, "fe80::1%"+zone(b.index(b.links[i])), f.Source.IP.String())
			require.NoError(b, b.asa.ExpireFlood(f))
			require.Len(b, b.flooded("EX1"), 1-i)
		}
	})
}

// Section 2.5.6.2: without a secure substrate floods are neither sent nor
// accepted.
func TestF14FloodsNeedSecurity(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1 := syn("EX1", 1)
		b.register(ex1)
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "before"}, arr{}}})
		b.node.SetStatus(acp.Status{Reason: "no keys"})
		isCode(b, b.asa.Flood(0, TaggedObjective{Objective: ex1}), ErrNoSecurity)
		b.peer.multicast(arr{9, 2, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "during"}, arr{}}})
		b.wantDrop(ReasonNoSecurity, 1)
		b.peer.none()
		require.Equal(b, []any{"before"}, b.flooded("EX1"), "reading needs none")
		require.Equal(b, "before", b.synchronize(ex1, nil, 0).ok().o.Value)
		b.node.SetStatus(acp.Status{Secure: true})
		b.peer.multicast(arr{9, 3, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "after"}, arr{}}})
		require.Equal(b, []any{"after"}, b.flooded("EX1"))
		b.flood(0, ex1)
		b.peer.only()
	})
}

// RFC 8991 section 2.3.6: a locator of :: becomes the link-local address of the
// interface, in each copy its own, and makes the loop count 1.
func TestF15UnspecifiedLocator(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		ex1, ex2 := syn("EX1", 1), syn("EX2", 2)
		b.register(ex1, ex2)
		source := Locator{IP: netip.IPv6Unspecified(), Port: 4443}
		for _, at := range []int{0, 1} { // wherever it is in the message
			tagged := []TaggedObjective{{Objective: ex2}, {Objective: ex2, Source: b.peer.locator()}}
			tagged[at] = TaggedObjective{ex1, &source}
			require.NoError(b, b.asa.Flood(time.Minute, tagged...))
			near, far := b.peer.only(), b.far.only()
			require.Equal(b, near.id(b), far.id(b))
			for i, m := range []packet{near, far} {
				own := linkOf(b.node, b.links[i]).Addr
				items := m.items(b)
				require.Equal(b, arr{arr{"EX1", uint64(5), uint64(1), uint64(1)}, arr{uint64(103), own.AsSlice(), uint64(6), uint64(4443)}}, items[4+at])
				require.Equal(b, uint64(1), items[5-at].(arr)[0].(arr)[2], "the other objective's loop count")
			}
			all, err := b.asa.GetFlood(ex1)
			require.NoError(b, err)
			require.Len(b, all, 2, "the own cache has both")
		}
		require.Equal(b, Locator{IP: netip.IPv6Unspecified(), Port: 4443}, source, "the caller's is left alone")
		require.EqualValues(b, 6, ex1.LoopCount)
	})
}

// Without a global address the initiator is link-local: what is flooded then
// goes no further than the link.
func TestF13OwnFloodsWithoutGlobalAddress(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.node.SetAddr(netip.Addr{}))
		ex1, ex2 := syn("EX1", 1), syn("EX2", 2)
		b.register(ex1, ex2)
		b.flood(0, ex1, ex2)
		items := b.peer.only().items(b)
		require.Equal(b, []any{uint64(1), uint64(1)}, []any{items[4].(arr)[0].(arr)[2], items[5].(arr)[0].(arr)[2]})
		require.Equal(b, []any{int64(1)}, b.flooded("EX1"))
	})
}

// Trap 22: floods seen in the wild. A source that uses one session ID for ever
// refreshes the values here, though its floods are not relayed again.
func TestTrap22FloodsInTheWild(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		id := 1
		hear := func(ttl int, objectives ...any) {
			b.peer.multicast(append(arr{9, id, b.peer.addr(), ttl}, objectives...))
		}
		option := arr{103, ip("fd00::1"), 6, 8443}
		for i := range 10 {
			hear(180000, arr{arr{"AN_join_registrar", 4, 255, fmt.Sprint("EST-TLS", i)}, option})
			time.Sleep(10 * time.Second)
		}
		require.Equal(b, []any{"EST-TLS9"}, b.flooded("AN_join_registrar"))
		require.Len(b, b.far.all(), 1)
		require.Equal(b, 170*time.Second, time.Until(b.g.Snapshot().Floods[0].Source.Expire))

		id++
		hear(210000, arr{arr{"SRV.est", 4, 255}, option}) // no value
		require.Equal(b, []any{nil}, b.flooded("SRV.est"))
		id++
		hear(0, arr{arr{"AN_Proxy", 0, 1, ""}, arr{103, ip("fe80::1"), 6, 4443}}) // no flags
		require.Equal(b, []any{""}, b.flooded("AN_Proxy"))
		id++
		hear(1, arr{arr{"EX1", 5, 6, "short"}, arr{}})
		time.Sleep(time.Millisecond)
		require.Empty(b, b.flooded("EX1"))
		id++
		hear(0, arr{arr{"EX2", 5, 6, 1}, option}, arr{arr{"EX2", 5, 6, 2}, option}, arr{arr{"EX2", 5, 6, 3}, arr{}})
		require.Equal(b, []any{int64(2), int64(3)}, b.flooded("EX2"))
		synctest.Wait()
		require.Zero(b, len(b.log.dropped(ReasonInvalid)))
	})
}

// Trap 23: every multicast has a link-local IP source; it is none of the reasons
// to drop a flood or a discovery.
func TestTrap23LinkLocalIPSource(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, "value"}, arr{}}})
		_, ok := b.peer.discover(8, "EX3")
		require.True(b, ok)
		require.Equal(b, []any{"value"}, b.flooded("EX1"))
		for _, e := range b.log.events {
			if e.Kind == Received {
				require.True(b, e.Peer.Addr().IsLinkLocalUnicast())
			}
		}
		require.Empty(b, b.g.Snapshot().Dropped)
	})
}

// Trap 24: peers panic on an objective of three items: whatever is sent has
// four.
func TestTrap24ObjectivesHaveFourItems(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", nil), neg("EX3", nil)
		b.register(ex3)
		require.NoError(b, b.asa.RegisterObj(ex1, RegisterOptions{Rapid: true}))
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		var objectives []any
		b.flood(0, ex1)
		objectives = append(objectives, b.peer.only().items(b)[4].(arr)[0])
		b.discover(NewObjective("EX2"), 0, DiscoverOptions{}).within(time.Second)
		objectives = append(objectives, b.peer.only().items(b)[3])
		_, _, request := b.asked(ex3)
		objectives = append(objectives, request.items(b)[2])
		b.synchronize(syn("EX2", nil), b.peer.locator(), 0)
		objectives = append(objectives, b.peer.dialed().read().items(b)[2])
		session, o, s := b.served(ex3, 7, nil)
		b.step(session, o, 0)
		objectives = append(objectives, s.read().items(b)[2])
		s = b.peer.dial(b.at())
		s.send(arr{4, 8, arr{"EX1", 5, 6}})
		objectives = append(objectives, s.read().items(b)[2])
		m, ok := b.peer.discover(7, "EX1")
		require.True(b, ok)
		objectives = append(objectives, m.items(b)[5])
		for _, o := range objectives {
			require.Len(b, o, 4)
			require.Nil(b, o.(arr)[3])
		}
	})
}

// Trap 25: options and protocols that experimental drafts use are skipped
// silently, and passed on by a relay.
func TestTrap25ExperimentalOptions(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		flood := arr{9, 7, b.peer.addr(), 0,
			arr{arr{"EX1", 5, 6, "unknown option"}, arr{107, "something", arr{1, 2}}},
			arr{arr{"EX1", 5, 6, "QUIC"}, arr{103, ip("fd00::1"), 258, 7017}},
			arr{arr{"EX1", 5, 6, "none"}, arr{}},
		}
		b.peer.multicast(flood)
		require.Equal(b, []any{"QUIC", "none"}, b.flooded("EX1"))
		all, err := b.asa.GetFlood(syn("EX1", nil))
		require.NoError(b, err)
		require.Equal(b, 258, all[0].Source.Protocol)
		flood[4].(arr)[0].(arr)[2] = 5
		require.Equal(b, encoded(b, flood), b.far.only().raw)
		require.Equal(b, map[string]uint64{"own multicast": 1}, b.g.Snapshot().Dropped)

		call := b.discover(syn("EX2", nil), time.Minute, DiscoverOptions{First: true})
		b.far.all()
		m := b.peer.only()
		b.peer.respond(m, arr{2, m.id(b), m.items(b)[2], 60000, arr{107, 1}, arr{103, ip("fd00::1"), 259, 7017}, arr{200}, b.peer.option(), arr{100, arr{109, 1}}})
		found := call.ok().found
		require.Len(b, found, 2)
		require.Equal(b, 259, found[0].Protocol)
	})
}
