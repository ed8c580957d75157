package grasp

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// tag returns an objective to be flooded, with a source or without.
func tag(o Objective, source *Locator) TaggedObjective {
	return TaggedObjective{Objective: o, Source: source}
}

// one message for all objectives, one copy on each link, all with one
// session ID; ttl in ms, 0 for ever.
func TestA56Flood(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		b.register(syn("EX1", nil), syn("EX2", nil))
		for ttl, want := range map[time.Duration]uint32{0: 0, 1: 1, time.Minute: 60_000, math.MaxUint32 * time.Millisecond: math.MaxUint32} {
			require.NoError(b, b.asa.Flood(ttl, tag(syn("EX1", 1), nil), tag(syn("EX2", "x"), at(b.g))))
			near, far := b.peer.only(), b.far.only()
			require.Equal(b, near.raw, far.raw)
			near.is(b, fmt.Sprintf(`[9, %%d, %s, %d, [["EX1", 5, 6, 1], []], [["EX2", 5, 6, "x"], [103, %s, 6, %d]]]`,
				hx(b.node.Addr().AsSlice()), want, hx(b.node.Addr().AsSlice()), b.g.ep.Port()))
		}
		for _, ttl := range []time.Duration{-1, math.MaxInt64, math.MinInt64} {
			isCode(b, b.asa.Flood(ttl, tag(syn("EX1", 1), nil)), ErrUnspec)
		}
		isCode(b, b.asa.Flood(0), ErrUnspec)
		b.peer.none()
	})
}

// every objective must be registered by the caller, for synchronization;
// if one is not, nothing is flooded.
func TestA57EveryObjective(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil), neg("EX2", nil))
		for _, c := range []struct {
			bad  TaggedObjective
			code ErrorCode
		}{
			{tag(syn("EX3", nil), nil), ErrNotYourObj},
			{tag(neg("EX2", nil), nil), ErrNotSynch},
			{tag(syn("EX2", nil), nil), ErrNotSynch},
			{tag(Objective{Name: "EX1", Synch: true, Neg: true}, nil), ErrNotBoth},
			{tag(syn("EX1", make(chan int)), nil), ErrCBORFail},
			{tag(syn("EX1", nil), &Locator{FQDN: "a", URI: "b"}), ErrInvalidLoc},
		} {
			err := b.asa.Flood(0, tag(syn("EX1", 1), nil), c.bad)
			isCode(b, err, c.code)
			require.ErrorContains(b, err, fmt.Sprintf("%q", c.bad.Objective.Name), "it says which")
		}
		b.peer.none()
		require.Empty(b, flooded(b, "EX1"))
	})
}

// the locator by its kind, or the empty array.
func TestA58Sources(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		other := b.other("other")
		link := linkOf(nodeOf(other.g), b.links[0]).Index
		for _, c := range []struct {
			source *Locator
			want   string
			got    Locator
		}{
			{nil, "[]", Locator{}},
			{&Locator{}, "[]", Locator{}},
			{&Locator{IP: netip.MustParseAddr("fd00::9"), Port: 9}, "[103, " + hx(ip("fd00::9")) + ", 6, 9]",
				Locator{IP: netip.MustParseAddr("fd00::9"), Protocol: TCP, Port: 9}},
			{&Locator{IP: netip.MustParseAddr("192.0.2.1"), Protocol: UDP, Port: 9}, "[104, h'c0000201', 17, 9]",
				Locator{IP: netip.MustParseAddr("192.0.2.1"), Protocol: UDP, Port: 9}},
			{&Locator{IP: netip.MustParseAddr("fd00::9"), Protocol: 41}, "[103, " + hx(ip("fd00::9")) + ", 41, 0]",
				Locator{IP: netip.MustParseAddr("fd00::9"), Protocol: 41}},
			{&Locator{FQDN: "example.com", Port: 9}, `[105, "example.com", 6, 9]`, Locator{FQDN: "example.com", Protocol: TCP, Port: 9}},
			{&Locator{URI: "coap://x/"}, `[106, "coap://x/", null, null]`, Locator{URI: "coap://x/"}},
			{&Locator{URI: "coap://x/", Protocol: UDP, Port: 9}, `[106, "coap://x/", 17, 9]`, Locator{URI: "coap://x/", Protocol: UDP, Port: 9}},
		} {
			require.NoError(b, b.asa.Flood(0, tag(syn("EX1", 1), c.source)))
			b.peer.only().is(b, `[9, %d, `+hx(b.node.Addr().AsSlice())+`, 0, [["EX1", 5, 6, 1], `+c.want+`]]`)
			got := must1(other.GetFlood(syn("EX1", nil)))
			c.got.IfIndex = link
			require.Equal(b, &c.got, got[len(got)-1].Source)
			require.NoError(b, other.ExpireFlood(got[len(got)-1]))
			require.Empty(b, must1(other.GetFlood(syn("EX1", nil))))
		}
		for _, bad := range []Locator{
			{IP: netip.MustParseAddr("fd00::9"), FQDN: "a"}, {IP: netip.MustParseAddr("fd00::9"), Port: -1},
			{FQDN: "a", Port: 65536}, {FQDN: "a", Protocol: -1},
		} {
			isCode(b, b.asa.Flood(0, tag(syn("EX1", 1), &bad)), ErrInvalidLoc)
			isCode(b, b.asa.ExpireFlood(tag(syn("EX1", 1), &bad)), ErrInvalidLoc)
		}
		b.peer.none()
	})
}

// with ::, each copy carries the link-local address of its own link, and
// a loop count of 1; the caller's objects stay as they are.
func TestA59Unspecified(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		b.register(syn("EX1", nil), syn("EX2", nil))
		source := Locator{IP: netip.IPv6Unspecified(), Protocol: UDP, Port: 9}
		objs := []TaggedObjective{tag(syn("EX1", 1), nil), tag(syn("EX2", 2), &source)}
		before := slices.Clone(objs)
		require.NoError(b, b.asa.Flood(time.Minute, objs...))
		require.Equal(b, before, objs)
		require.Equal(b, Locator{IP: netip.IPv6Unspecified(), Protocol: UDP, Port: 9}, source)
		var ids []uint32
		for i, p := range []*rawPeer{b.peer, b.far} {
			m := message[*wire.Flood](b, p.only())
			ids = append(ids, m.SessionID)
			require.EqualValues(b, 1, m.Objectives[0].Objective.LoopCount)
			require.EqualValues(b, 1, m.Objectives[1].Objective.LoopCount)
			require.Zero(b, m.Objectives[0].Locator)
			require.Equal(b, linkOf(b.node, b.links[i]).Addr.WithZone(""), m.Objectives[1].Locator.Addr)
			require.Equal(b, 9, m.Objectives[1].Locator.Port)
		}
		require.Equal(b, ids[0], ids[1])
		// In the own cache there is one for each link, and of the other one.
		require.Len(b, flooded(b, "EX1"), 1)
		own := flooded(b, "EX2")
		require.Len(b, own, 2)
		for i, o := range own {
			l := linkOf(b.node, b.links[i])
			require.Equal(b, l.Addr, o.Source.IP)
			require.Equal(b, l.Index, o.Source.IfIndex)
		}
	})
}

// a receiver gets the address with its own name for the link, and can
// connect to it.
func TestA59Received(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		require.NoError(b, b.asa.ListenSynchronize(syn("EX1", "asked for")))
		other := b.other("other")
		require.NoError(b, b.asa.Flood(0, tag(syn("EX1", "flooded"), &Locator{IP: netip.IPv6Unspecified(), Port: int(b.g.ep.Port())})))
		synctest.Wait()
		got := must1(other.GetFlood(syn("EX1", nil)))
		require.Len(b, got, 1)
		link := linkOf(nodeOf(other.g), b.links[0])
		require.Equal(b, zone(link.Index), got[0].Source.IP.Zone())
		require.Equal(b, link.Index, got[0].Source.IfIndex)
		o, err := other.Synchronize(forever, syn("EX1", nil), got[0].Source, 0)
		require.NoError(b, err)
		require.Equal(b, "asked for", o.Value)
	})
}

// What receivers would discard is not sent: a link-local locator goes with a
// loop count of 1 only.
func TestFloodOfALinkLocalLocator(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		other := b.other("other")
		err := b.asa.Flood(0, tag(syn("EX1", 1), &Locator{IP: linkOf(b.node, b.links[0]).Addr, Port: 9}))
		synctest.Wait()
		if err != nil {
			isCode(b, err, ErrInvalidLoc)
			b.peer.none()
			return
		}
		require.Len(b, must1(other.GetFlood(syn("EX1", nil))), 1)
		require.Len(b, flooded(b, "EX1"), 1)
	})
}

// own floods are in the own cache, also without a link.
func TestA60OwnFloods(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		require.NoError(b, b.asa.Flood(time.Second, tag(syn("EX1", 1), nil)))
		require.EqualValues(b, 1, flooded(b, "EX1")[0].Objective.Value)
		b.wantDrop(ReasonOwn, 1)
		b.node.Detach(b.links[0])
		require.NoError(b, b.asa.Flood(time.Second, tag(syn("EX1", 2), nil)))
		require.EqualValues(b, 2, flooded(b, "EX1")[0].Objective.Value)
		time.Sleep(time.Second)
		require.Empty(b, flooded(b, "EX1"))
	})
}

// A flood that fails on every link says so; one link that works is enough.
func TestFloodSendErrors(t *testing.T) {
	inBed(t, func(b *bed) {
		plane := &failingPlane{Plane: b.net.NewNode("failing", b.links[0])}
		a := newASA(b, instanceWith(b, plane), "failing")
		registered(b, syn("EX1", nil), a)
		plane.fail = true
		err := a.Flood(0, tag(syn("EX1", 1), nil))
		isCode(b, err, ErrSockErr)
		require.ErrorIs(b, err, errBroken)
		require.EqualValues(b, 1, a.g.Snapshot().Dropped[ReasonSendFailed.String()])
		// So does discovery go on: it waits for what may come all the same.
		found, err := a.Discover(forever, syn("EX2", nil), 0, DiscoverOptions{})
		require.NoError(b, err)
		require.Empty(b, found)
	})
}

// failingPlane is a plane whose multicasts can be made to fail.
type failingPlane struct {
	acp.Plane
	fail bool
}

type failingEndpoint struct {
	acp.Endpoint
	plane *failingPlane
}

func (p *failingPlane) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return &failingEndpoint{ep, p}, err
}

func (e *failingEndpoint) Send(link int, msg []byte) error {
	if e.plane.fail {
		return errBroken
	}
	return e.Endpoint.Send(link, msg)
}

// T-08: what does not fit one packet is refused before anything is sent.
func TestFloodTooLong(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		overhead := len(encoded(b, arr{9, uint32(1 << 31), b.peer.addr(), 0, arr{arr{"EX1", 5, 6, strings.Repeat("x", 1000)}, arr{}}})) - 1000
		require.NoError(b, b.asa.Flood(0, tag(syn("EX1", strings.Repeat("x", acp.MaxMulticast-overhead)), nil)))
		require.LessOrEqual(b, len(b.peer.only().raw), acp.MaxMulticast)
		for _, source := range []*Locator{nil, at(b.g), {IP: netip.IPv6Unspecified(), Port: 1}} {
			isCode(b, b.asa.Flood(0, tag(syn("EX1", strings.Repeat("x", acp.MaxMulticast-overhead+5)), source)), ErrTooLong)
		}
		b.peer.none()
		require.Len(b, flooded(b, "EX1"), 1)
		require.Len(b, flooded(b, "EX1")[0].Objective.Value, acp.MaxMulticast-overhead, "the cache has the old one")
	})
}

// one entry for each name and locator, oldest first, each with its own
// expiry.
func TestA62GetFlood(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		registered(b, syn("EX1", nil), other)
		start := time.Now()
		one, two := &Locator{FQDN: "one", Port: 1}, &Locator{FQDN: "two", Port: 1}
		require.NoError(b, other.Flood(10*time.Second, tag(syn("EX1", 1), one)))
		require.NoError(b, other.Flood(0, tag(syn("EX1", 2), two)))
		require.NoError(b, other.Flood(time.Second, tag(syn("EX1", 3), nil)))
		synctest.Wait()
		see := func() (values []any, expire []time.Duration) {
			for _, f := range flooded(b, "EX1") {
				values = append(values, f.Objective.Value)
				if f.Source.Expire.IsZero() {
					expire = append(expire, 0)
				} else {
					expire = append(expire, f.Source.Expire.Sub(start))
				}
			}
			return
		}
		values, expire := see()
		require.Equal(b, []any{int64(1), int64(2), int64(3)}, values)
		require.Equal(b, []time.Duration{10 * time.Second, 0, time.Second}, expire)
		time.Sleep(time.Second)
		require.NoError(b, other.Flood(10*time.Second, tag(syn("EX1", 4), one)))
		synctest.Wait()
		values, expire = see()
		require.Equal(b, []any{int64(2), int64(4)}, values)
		require.Equal(b, []time.Duration{0, 11 * time.Second}, expire)
		require.Empty(b, flooded(b, "EX2"))
	})
}

// an entry without locator is listed; its source has no address.
func TestA63WithoutLocator(t *testing.T) {
	inBed(t, func(b *bed) {
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX1", 4, 6}, arr{}}})
		got := flooded(b, "EX1")
		require.Len(b, got, 1)
		require.True(b, got[0].Source.IsZero())
		require.Equal(b, "no locator", got[0].Source.String())
		require.Nil(b, got[0].Objective.Value)
	})
}

// an entry that was expired is gone until it is flooded again, those that
// live for ever too; what is not there is no error.
func TestA64ExpireFlood(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		registered(b, syn("EX1", nil), other)
		sources := []*Locator{nil, {FQDN: "one", Port: 1}, {IP: netip.IPv6Unspecified(), Port: 1}, at(b.g)}
		for range 2 {
			for i, s := range sources {
				require.NoError(b, other.Flood(0, tag(syn("EX1", i), s)))
			}
			synctest.Wait()
			all := flooded(b, "EX1")
			require.Len(b, all, len(sources))
			for i, f := range all {
				require.NoError(b, b.asa.ExpireFlood(f))
				require.Len(b, flooded(b, "EX1"), len(sources)-1-i)
				require.NoError(b, b.asa.ExpireFlood(f), "twice")
			}
			a := b.synchronize(syn("EX1", nil), nil, time.Second).within(ever)
			isCode(b, a.err, ErrNotFloodDisc)
			b.peer.all()
		}
		require.Len(b, must1(other.GetFlood(syn("EX1", nil))), len(sources), "another instance's cache")
		require.NoError(b, b.asa.ExpireFlood(tag(Objective{Name: "never heard of"}, nil)))
		require.NoError(b, b.asa.ExpireFlood(TaggedObjective{}))
	})
}

// Flooded values are there without security, which may be lost meanwhile.
func TestGetFloodWithoutSecurity(t *testing.T) {
	inBed(t, func(b *bed) {
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, 7}, arr{}}})
		b.node.SetStatus(acp.Status{Reason: "test"})
		require.Len(b, flooded(b, "EX1"), 1)
		require.EqualValues(b, 7, b.synchronize(syn("EX1", nil), nil, 0).ok().o.Value)
		isCode(b, b.synchronize(syn("EX2", nil), nil, 0).done().err, ErrNoSecurity)
		b.peer.multicast(arr{9, 2, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, 8}, arr{}}})
		require.EqualValues(b, 7, flooded(b, "EX1")[0].Objective.Value)
		b.wantDrop(ReasonNoSecurity, 1)
		require.NoError(b, b.asa.ExpireFlood(flooded(b, "EX1")[0]))
	})
}

// Tag 24 in floods, nested too.
func TestA06Tag24InFloods(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", nil))
		raw := EncodedCBOR{0x82, 0x01, 0x02}
		for _, v := range []any{raw, []any{raw}} {
			require.NoError(b, b.asa.Flood(0, tag(syn("EX1", v), nil)))
			require.Equal(b, v, flooded(b, "EX1")[0].Objective.Value)
		}
		b.peer.all()
		other := b.other("other")
		require.NoError(b, b.asa.Flood(0, tag(syn("EX1", raw), nil)))
		synctest.Wait()
		require.Equal(b, raw, must1(other.GetFlood(syn("EX1", nil)))[0].Objective.Value)
		require.Contains(b, b.peer.only().String(), "24(h'820102')")
	})
}

// T-12: two instances on one node both hear a flood.
func TestFloodTwoInstancesOnANode(t *testing.T) {
	inBed(t, func(b *bed) {
		second := newASA(b, instanceWith(b, b.node), "second")
		b.register(syn("EX1", nil))
		require.NoError(b, b.asa.Flood(0, tag(syn("EX1", 1), nil)))
		synctest.Wait()
		require.Len(b, must1(second.GetFlood(syn("EX1", nil))), 1)
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}})
		require.Len(b, must1(second.GetFlood(syn("EX2", nil))), 1)
		require.Len(b, flooded(b, "EX2"), 1)
	})
}
