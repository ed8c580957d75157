package conformance

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

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// tag returns an objective to be flooded, with a source or without.
func tag(o grasp.Objective, source *grasp.Locator) grasp.TaggedObjective {
	return grasp.TaggedObjective{Objective: o, Source: source}
}

// one message for all objectives, one copy on each link, all with one
// session ID; ttl in ms, 0 for ever.
func TestA56Flood(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil), bed.Syn("EX2", nil))
		for ttl, want := range map[time.Duration]uint32{0: 0, 1: 1, time.Minute: 60_000, math.MaxUint32 * time.Millisecond: math.MaxUint32} {
			require.NoError(b, b.ASA.Flood(ttl, tag(bed.Syn("EX1", 1), nil), tag(bed.Syn("EX2", "x"), bed.At(b.G))))
			near, far := b.Peer.Only(), b.Far.Only()
			require.Equal(b, near.Raw, far.Raw)
			near.Is(b, fmt.Sprintf(`[9, %%d, %s, %d, [["EX1", 5, 6, 1], []], [["EX2", 5, 6, "x"], [103, %s, 6, %d]]]`,
				bed.Hex(b.Node.Addr().AsSlice()), want, bed.Hex(b.Node.Addr().AsSlice()), b.G.Snapshot().Port))
		}
		for _, ttl := range []time.Duration{-1, math.MaxInt64, math.MinInt64} {
			bed.IsCode(b, b.ASA.Flood(ttl, tag(bed.Syn("EX1", 1), nil)), grasp.ErrUnspec)
		}
		bed.IsCode(b, b.ASA.Flood(0), grasp.ErrUnspec)
		b.Peer.None()
	})
}

// every objective must be registered by the caller, for synchronization;
// if one is not, nothing is flooded.
func TestA57EveryObjective(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil), bed.Neg("EX2", nil))
		for _, c := range []struct {
			bad  grasp.TaggedObjective
			code grasp.ErrorCode
		}{
			{tag(bed.Syn("EX3", nil), nil), grasp.ErrNotYourObj},
			{tag(bed.Neg("EX2", nil), nil), grasp.ErrNotSynch},
			{tag(bed.Syn("EX2", nil), nil), grasp.ErrNotSynch},
			{tag(grasp.Objective{Name: "EX1", Synch: true, Neg: true}, nil), grasp.ErrNotBoth},
			{tag(bed.Syn("EX1", make(chan int)), nil), grasp.ErrCBORFail},
			{tag(bed.Syn("EX1", nil), &grasp.Locator{FQDN: "a", URI: "b"}), grasp.ErrInvalidLoc},
		} {
			err := b.ASA.Flood(0, tag(bed.Syn("EX1", 1), nil), c.bad)
			bed.IsCode(b, err, c.code)
			require.ErrorContains(b, err, fmt.Sprintf("%q", c.bad.Objective.Name), "it says which")
		}
		b.Peer.None()
		require.Empty(b, b.Floods("EX1"))
	})
}

// the locator by its kind, or the empty array.
func TestA58Sources(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		other := b.Other("other")
		link := bed.LinkOf(b.NodeOf(other.Instance()), b.Links[0]).Index
		for _, c := range []struct {
			source *grasp.Locator
			want   string
			got    grasp.Locator
		}{
			{nil, "[]", grasp.Locator{}},
			{&grasp.Locator{}, "[]", grasp.Locator{}},
			{&grasp.Locator{IP: netip.MustParseAddr("fd00::9"), Port: 9}, "[103, " + bed.Hex(bed.IP("fd00::9")) + ", 6, 9]",
				grasp.Locator{IP: netip.MustParseAddr("fd00::9"), Protocol: grasp.TCP, Port: 9}},
			{&grasp.Locator{IP: netip.MustParseAddr("192.0.2.1"), Protocol: grasp.UDP, Port: 9}, "[104, h'c0000201', 17, 9]",
				grasp.Locator{IP: netip.MustParseAddr("192.0.2.1"), Protocol: grasp.UDP, Port: 9}},
			{&grasp.Locator{IP: netip.MustParseAddr("fd00::9"), Protocol: 41}, "[103, " + bed.Hex(bed.IP("fd00::9")) + ", 41, 0]",
				grasp.Locator{IP: netip.MustParseAddr("fd00::9"), Protocol: 41}},
			{&grasp.Locator{FQDN: "example.com", Port: 9}, `[105, "example.com", 6, 9]`, grasp.Locator{FQDN: "example.com", Protocol: grasp.TCP, Port: 9}},
			{&grasp.Locator{URI: "coap://x/"}, `[106, "coap://x/", null, null]`, grasp.Locator{URI: "coap://x/"}},
			{&grasp.Locator{URI: "coap://x/", Protocol: grasp.UDP, Port: 9}, `[106, "coap://x/", 17, 9]`, grasp.Locator{URI: "coap://x/", Protocol: grasp.UDP, Port: 9}},
		} {
			require.NoError(b, b.ASA.Flood(0, tag(bed.Syn("EX1", 1), c.source)))
			b.Peer.Only().Is(b, `[9, %d, `+bed.Hex(b.Node.Addr().AsSlice())+`, 0, [["EX1", 5, 6, 1], `+c.want+`]]`)
			got := bed.Must1(other.GetFlood(bed.Syn("EX1", nil)))
			c.got.IfIndex = link
			require.Equal(b, &c.got, got[len(got)-1].Source)
			require.NoError(b, other.ExpireFlood(got[len(got)-1]))
			require.Empty(b, bed.Must1(other.GetFlood(bed.Syn("EX1", nil))))
		}
		for _, bad := range []grasp.Locator{
			{IP: netip.MustParseAddr("fd00::9"), FQDN: "a"}, {IP: netip.MustParseAddr("fd00::9"), Port: -1},
			{FQDN: "a", Port: 65536}, {FQDN: "a", Protocol: -1}, {FQDN: "\xff", Port: 9},
		} {
			bed.IsCode(b, b.ASA.Flood(0, tag(bed.Syn("EX1", 1), &bad)), grasp.ErrInvalidLoc)
			bed.IsCode(b, b.ASA.ExpireFlood(tag(bed.Syn("EX1", 1), &bad)), grasp.ErrInvalidLoc)
		}
		b.Peer.None()
	})
}

// with ::, each copy carries the link-local address of its own link, and
// a loop count of 1; the caller's objects stay as they are.
func TestA59Unspecified(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil), bed.Syn("EX2", nil))
		source := grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.UDP, Port: 9}
		objs := []grasp.TaggedObjective{tag(bed.Syn("EX1", 1), nil), tag(bed.Syn("EX2", 2), &source)}
		before := slices.Clone(objs)
		require.NoError(b, b.ASA.Flood(time.Minute, objs...))
		require.Equal(b, before, objs)
		require.Equal(b, grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.UDP, Port: 9}, source)
		var ids []uint32
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			m := bed.Message[*wire.Flood](b, p.Only())
			ids = append(ids, m.SessionID)
			require.EqualValues(b, 1, m.Objectives[0].Objective.LoopCount)
			require.EqualValues(b, 1, m.Objectives[1].Objective.LoopCount)
			require.Zero(b, m.Objectives[0].Locator)
			require.Equal(b, bed.LinkOf(b.Node, b.Links[i]).Addr.WithZone(""), m.Objectives[1].Locator.Addr)
			require.Equal(b, 9, m.Objectives[1].Locator.Port)
		}
		require.Equal(b, ids[0], ids[1])
		// In the own cache there is one for each link, and of the other one.
		require.Len(b, b.Floods("EX1"), 1)
		own := b.Floods("EX2")
		require.Len(b, own, 2)
		for i, o := range own {
			l := bed.LinkOf(b.Node, b.Links[i])
			require.Equal(b, l.Addr, o.Source.IP)
			require.Equal(b, l.Index, o.Source.IfIndex)
		}
	})
}

// a receiver gets the address with its own name for the link, and can
// connect to it.
func TestA59Received(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", "asked for")))
		other := b.Other("other")
		require.NoError(b, b.ASA.Flood(0, tag(bed.Syn("EX1", "flooded"), &grasp.Locator{IP: netip.IPv6Unspecified(), Port: int(b.G.Snapshot().Port)})))
		synctest.Wait()
		got := bed.Must1(other.GetFlood(bed.Syn("EX1", nil)))
		require.Len(b, got, 1)
		link := bed.LinkOf(b.NodeOf(other.Instance()), b.Links[0])
		require.Equal(b, bed.Zone(link.Index), got[0].Source.IP.Zone())
		require.Equal(b, link.Index, got[0].Source.IfIndex)
		o, err := other.Synchronize(bed.Forever, bed.Syn("EX1", nil), got[0].Source, 0)
		require.NoError(b, err)
		require.Equal(b, "asked for", o.Value)
	})
}

// What receivers would discard is not sent: a link-local locator goes with a
// loop count of 1 only.
func TestFloodOfALinkLocalLocator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		other := b.Other("other")
		err := b.ASA.Flood(0, tag(bed.Syn("EX1", 1), &grasp.Locator{IP: bed.LinkOf(b.Node, b.Links[0]).Addr, Port: 9}))
		synctest.Wait()
		if err != nil {
			bed.IsCode(b, err, grasp.ErrInvalidLoc)
			b.Peer.None()
			return
		}
		require.Len(b, bed.Must1(other.GetFlood(bed.Syn("EX1", nil))), 1)
		require.Len(b, b.Floods("EX1"), 1)
	})
}

// own floods are in the own cache, also without a link.
func TestA60OwnFloods(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		require.NoError(b, b.ASA.Flood(time.Second, tag(bed.Syn("EX1", 1), nil)))
		require.EqualValues(b, 1, b.Floods("EX1")[0].Objective.Value)
		b.WantDrop(grasp.ReasonOwn, 1)
		b.Node.Detach(b.Links[0])
		require.NoError(b, b.ASA.Flood(time.Second, tag(bed.Syn("EX1", 2), nil)))
		require.EqualValues(b, 2, b.Floods("EX1")[0].Objective.Value)
		time.Sleep(time.Second)
		require.Empty(b, b.Floods("EX1"))
	})
}

// A flood that fails on every link says so; one link that works is enough.
func TestFloodSendErrors(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		plane := &failingPlane{Plane: b.Net.NewNode("failing", b.Links[0])}
		a := bed.NewASA(b, bed.InstanceWith(b, plane), "failing")
		bed.Registered(b, bed.Syn("EX1", nil), a)
		plane.fail = true
		err := a.Flood(0, tag(bed.Syn("EX1", 1), nil))
		bed.IsCode(b, err, grasp.ErrSockErr)
		require.ErrorIs(b, err, bed.ErrBroken)
		require.EqualValues(b, 1, a.Instance().Snapshot().Dropped[grasp.ReasonSendFailed])
		// So does a discovery, after it has waited for what may come all the same.
		found, err := a.Discover(bed.Forever, bed.Syn("EX2", nil), 0, grasp.DiscoverOptions{})
		bed.IsCode(b, err, grasp.ErrSockErr)
		require.ErrorIs(b, err, bed.ErrBroken)
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
		return bed.ErrBroken
	}
	return e.Endpoint.Send(link, msg)
}

// T-08: what does not fit one packet is refused before anything is sent.
func TestFloodTooLong(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		overhead := len(bed.Encoded(b, arr{9, uint32(1 << 31), b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, strings.Repeat("x", 1000)}, arr{}}})) - 1000
		require.NoError(b, b.ASA.Flood(0, tag(bed.Syn("EX1", strings.Repeat("x", acp.MaxMulticast-overhead)), nil)))
		require.LessOrEqual(b, len(b.Peer.Only().Raw), acp.MaxMulticast)
		for _, source := range []*grasp.Locator{nil, bed.At(b.G), {IP: netip.IPv6Unspecified(), Port: 1}} {
			bed.IsCode(b, b.ASA.Flood(0, tag(bed.Syn("EX1", strings.Repeat("x", acp.MaxMulticast-overhead+5)), source)), grasp.ErrTooLong)
		}
		b.Peer.None()
		require.Len(b, b.Floods("EX1"), 1)
		require.Len(b, b.Floods("EX1")[0].Objective.Value, acp.MaxMulticast-overhead, "the cache has the old one")
	})
}

// one entry for each name and locator, oldest first, each with its own
// expiry.
func TestA62GetFlood(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		bed.Registered(b, bed.Syn("EX1", nil), other)
		start := time.Now()
		one, two := &grasp.Locator{FQDN: "one", Port: 1}, &grasp.Locator{FQDN: "two", Port: 1}
		require.NoError(b, other.Flood(10*time.Second, tag(bed.Syn("EX1", 1), one)))
		require.NoError(b, other.Flood(0, tag(bed.Syn("EX1", 2), two)))
		require.NoError(b, other.Flood(time.Second, tag(bed.Syn("EX1", 3), nil)))
		synctest.Wait()
		see := func() (values []any, expire []time.Duration) {
			for _, f := range b.Floods("EX1") {
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
		require.NoError(b, other.Flood(10*time.Second, tag(bed.Syn("EX1", 4), one)))
		synctest.Wait()
		values, expire = see()
		require.Equal(b, []any{int64(2), int64(4)}, values)
		require.Equal(b, []time.Duration{0, 11 * time.Second}, expire)
		require.Empty(b, b.Floods("EX2"))
	})
}

// an entry without locator is listed; its source has no address.
func TestA63WithoutLocator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 0, arr{arr{"EX1", 4, 6}, arr{}}})
		got := b.Floods("EX1")
		require.Len(b, got, 1)
		require.True(b, got[0].Source.IsZero())
		require.Equal(b, "no locator", got[0].Source.String())
		require.Nil(b, got[0].Objective.Value)
	})
}

// an entry that was expired is gone until it is flooded again, those that
// live for ever too; what is not there is no error.
func TestA64ExpireFlood(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		bed.Registered(b, bed.Syn("EX1", nil), other)
		sources := []*grasp.Locator{nil, {FQDN: "one", Port: 1}, {IP: netip.IPv6Unspecified(), Port: 1}, bed.At(b.G)}
		for range 2 {
			for i, s := range sources {
				require.NoError(b, other.Flood(0, tag(bed.Syn("EX1", i), s)))
			}
			synctest.Wait()
			all := b.Floods("EX1")
			require.Len(b, all, len(sources))
			for i, f := range all {
				require.NoError(b, b.ASA.ExpireFlood(f))
				require.Len(b, b.Floods("EX1"), len(sources)-1-i)
				require.NoError(b, b.ASA.ExpireFlood(f), "twice")
			}
			a := b.Synchronize(bed.Syn("EX1", nil), nil, time.Second).Within(bed.Ever)
			bed.IsCode(b, a.Err, grasp.ErrNotFloodDisc)
			b.Peer.All()
		}
		require.Len(b, bed.Must1(other.GetFlood(bed.Syn("EX1", nil))), len(sources), "another instance's cache")
		require.NoError(b, b.ASA.ExpireFlood(tag(grasp.Objective{Name: "never heard of"}, nil)))
		require.NoError(b, b.ASA.ExpireFlood(grasp.TaggedObjective{}))
	})
}

// Flooded values are there without security, which may be lost meanwhile.
func TestGetFloodWithoutSecurity(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, 7}, arr{}}})
		b.Node.SetStatus(acp.Status{Reason: "test"})
		require.Len(b, b.Floods("EX1"), 1)
		require.EqualValues(b, 7, b.Synchronize(bed.Syn("EX1", nil), nil, 0).Ok().O.Value)
		bed.IsCode(b, b.Synchronize(bed.Syn("EX2", nil), nil, 0).Done().Err, grasp.ErrNoSecurity)
		b.Peer.Multicast(arr{9, 2, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, 8}, arr{}}})
		require.EqualValues(b, 7, b.Floods("EX1")[0].Objective.Value)
		b.WantDrop(grasp.ReasonNoSecurity, 1)
		require.NoError(b, b.ASA.ExpireFlood(b.Floods("EX1")[0]))
	})
}

// Tag 24 in floods, nested too.
func TestA06Tag24InFloods(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		raw := grasp.EncodedCBOR{0x82, 0x01, 0x02}
		for _, v := range []any{raw, []any{raw}} {
			require.NoError(b, b.ASA.Flood(0, tag(bed.Syn("EX1", v), nil)))
			require.Equal(b, v, b.Floods("EX1")[0].Objective.Value)
		}
		b.Peer.All()
		other := b.Other("other")
		require.NoError(b, b.ASA.Flood(0, tag(bed.Syn("EX1", raw), nil)))
		synctest.Wait()
		require.Equal(b, raw, bed.Must1(other.GetFlood(bed.Syn("EX1", nil)))[0].Objective.Value)
		require.Contains(b, b.Peer.Only().String(), "24(h'820102')")
	})
}

// T-12: two instances on one node both hear a flood.
func TestFloodTwoInstancesOnANode(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		second := bed.NewASA(b, bed.InstanceWith(b, b.Node), "second")
		b.Register(bed.Syn("EX1", nil))
		require.NoError(b, b.ASA.Flood(0, tag(bed.Syn("EX1", 1), nil)))
		synctest.Wait()
		require.Len(b, bed.Must1(second.GetFlood(bed.Syn("EX1", nil))), 1)
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}})
		require.Len(b, bed.Must1(second.GetFlood(bed.Syn("EX2", nil))), 1)
		require.Len(b, b.Floods("EX2"), 1)
	})
}

// Drain withdraws a flood with the address of each link on that link alone (RFC 8990
// section 2.9.5.1), and from the own cache.
func TestDrainWithdrawsOnEachLink(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		o := bed.Syn("EX1", 7)
		b.Register(o)
		reader := bed.NewASA(b, b.G, "reader")
		everywhere := grasp.Locator{IP: netip.IPv6Unspecified(), Protocol: grasp.TCP, Port: 4000}
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: o, Source: &everywhere}))
		b.Peer.Only()
		b.Far.Only()
		require.NoError(b, b.ASA.Drain(bed.Forever))
		for i, p := range []*bed.Peer{b.Peer, b.Far} {
			m := bed.Message[*wire.Flood](b, p.Only())
			require.EqualValues(b, 1, m.TTL)
			require.Len(b, m.Objectives, 1)
			require.Equal(b, bed.LinkOf(b.Node, b.Links[i]).Addr.WithZone(""), m.Objectives[0].Locator.Addr)
		}
		time.Sleep(time.Second)
		left, err := reader.GetFlood(o)
		require.NoError(b, err)
		require.Empty(b, left)
	})
}
