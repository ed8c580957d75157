package grasp

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// respondAll has the peer answer each discovery that the ASA under test sends,
// with these locators and a lifetime in milliseconds.
func (b *bed) respondAll(ttl uint32, locators ...arr) {
	b.Helper()
	for _, p := range b.peer.all() {
		m := message[*wire.Discovery](b, p)
		r := arr{2, m.SessionID, m.Initiator.AsSlice(), ttl}
		for _, l := range locators {
			r = append(r, l)
		}
		b.peer.respond(p, r)
	}
}

func ipv6(addr string, port int) arr { return arr{103, ip(addr), 6, port} }

// what is cached comes at once and without a packet; after a flush the
// network is asked.
func TestA20Cache(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		call := b.discover(o, time.Second, DiscoverOptions{})
		b.respondAll(60_000, ipv6("fd00::9", 99))
		require.Len(b, call.within(time.Second).found, 1)

		sent := b.tapped()
		for name, opt := range map[string]DiscoverOptions{
			"plain": {}, "first": {First: true}, "cache only": {CacheOnly: true}, "still long enough": {MinimumTTL: 50 * time.Second},
		} {
			for _, timeout := range []time.Duration{0, time.Second, time.Hour} {
				require.Equal(b, []string{"[fd00::9]:99"}, texts(b.discover(o, timeout, opt).ok().found), name)
			}
		}
		require.Zero(b, sent())
		require.Empty(b, b.discover(neg("EX2", nil), 0, DiscoverOptions{CacheOnly: true}).ok().found)
		require.Zero(b, sent())

		call = b.discover(o, time.Second, DiscoverOptions{Flush: true})
		require.Equal(b, 1, sent())
		b.respondAll(60_000, ipv6("fd00::8", 98))
		require.Equal(b, []string{"[fd00::8]:98"}, texts(call.within(time.Second).found), "the flushed one is gone")
	})
}

// sessions that use a flushed locator go on.
func TestA20FlushAndSessions(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", 1))
		got, _ := k.counter(2)
		_, err := b.asa.Discover(forever, neg("EX1", nil), 0, DiscoverOptions{Flush: true})
		require.NoError(b, err)
		require.NoError(b, got.s.EndNegotiate(true, ""))
	})
}

// minimum_TTL: entries with no more life left go first, and so do all with
// Flush.
func TestA20MinimumTTL(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		call := b.discover(o, 0, DiscoverOptions{})
		heard := b.peer.only()
		m := message[*wire.Discovery](b, heard)
		b.peer.respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 10_000, ipv6("fd00::1", 1)})
		b.peer.respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 20_000, ipv6("fd00::2", 2)})
		b.peer.respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 30_000, ipv6("fd00::3", 3)})
		require.Len(b, call.within(time.Second).found, 3)
		start := b.g.locators.get("EX1")[0].Expire.Add(-10 * time.Second) // when they came
		time.Sleep(time.Until(start.Add(5 * time.Second)))

		sent := b.tapped()
		left := func(min time.Duration) []string {
			return texts(b.discover(o, 0, DiscoverOptions{MinimumTTL: min}).ok().found)
		}
		require.Len(b, left(5*time.Second-1), 3)
		require.Equal(b, []string{"[fd00::2]:2", "[fd00::3]:3"}, left(5*time.Second))
		require.Equal(b, []string{"[fd00::3]:3"}, left(15*time.Second))
		require.Zero(b, sent())
		call = b.discover(o, 0, DiscoverOptions{MinimumTTL: 25 * time.Second})
		require.Equal(b, 1, sent(), "none is left")
		require.Empty(b, call.within(time.Second).found)
	})
}

// results are collected until the timeout, in order of arrival, without
// duplicates.
func TestA21Collects(t *testing.T) {
	inBed(t, func(b *bed) {
		start := time.Now()
		call := b.discover(neg("EX1", nil), 2*time.Second, DiscoverOptions{})
		heard := b.peer.only()
		m := message[*wire.Discovery](b, heard)
		respond := func(ttl int, options ...any) {
			b.peer.respond(heard, append(arr{2, m.SessionID, m.Initiator.AsSlice(), ttl}, options...))
		}
		respond(60_000, ipv6("fd00::1", 1), ipv6("fd00::2", 2))
		time.Sleep(time.Second)
		respond(60_000, ipv6("fd00::3", 3), ipv6("fd00::2", 2), ipv6("fd00::2", 22))
		respond(60_000, arr{104, ip("192.0.2.1"), 6, 4}, arr{105, "example.com", 6, 5}, arr{106, "coap://x/", nil, nil})
		respond(60_000, arr{100, ipv6("fd00::6", 6)})
		a := call.within(time.Second)
		require.NoError(b, a.err)
		require.Equal(b, []string{
			"[fd00::1]:1", "[fd00::2]:2", "[fd00::3]:3", "[fd00::2]:22", "192.0.2.1:4", "example.com:5", "coap://x/", "[fd00::6]:6",
		}, texts(a.found))
		require.Equal(b, 2*time.Second, a.at.Sub(start))
		require.Empty(b, b.peer.all(), "no repetition where there are answers")
		require.Equal(b, texts(a.found), texts(b.g.locators.get("EX1")))
	})
}

// First returns with the first response, a round trip after the call.
func TestA21First(t *testing.T) {
	inBed(t, func(b *bed) {
		b.links[0].SetDelay(10 * time.Millisecond)
		other := b.other("other")
		require.NoError(b, other.RegisterObj(neg("EX1", nil), RegisterOptions{Discoverable: true}))
		var found []Locator
		var err error
		d := took(func() {
			found, err = b.asa.Discover(forever, neg("EX1", nil), time.Hour, DiscoverOptions{First: true})
		})
		require.NoError(b, err)
		require.Equal(b, []string{at(other.g).String()}, texts(found))
		// Multicast there; a connection back, which takes a round trip, and the response.
		require.Equal(b, 40*time.Millisecond, d)
	})
}

// where it came by, and for how long it lives.
func TestA22Fields(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(neg("EX1", nil), time.Second, DiscoverOptions{})
		came := time.Now()
		heard := b.peer.only()
		m := message[*wire.Discovery](b, heard)
		b.peer.respond(heard, arr{2, m.SessionID, m.Initiator.AsSlice(), 5000,
			ipv6("fd00::1", 1), ipv6("fe80::1", 2), arr{104, ip("192.0.2.1"), 17, 3}, arr{105, "example.com", 41, 4},
			arr{106, "coap://x/", nil, nil}, arr{106, "coap://x/", 6, 5}, arr{100, ipv6("fd00::2", 6)}})
		link := b.index(b.links[0])
		expire := came.Add(5 * time.Second)
		require.Equal(b, []Locator{
			{IP: netip.MustParseAddr("fd00::1"), Protocol: TCP, Port: 1, IfIndex: link, Expire: expire},
			{IP: netip.MustParseAddr("fe80::1").WithZone(zone(link)), Protocol: TCP, Port: 2, IfIndex: link, Expire: expire},
			{IP: netip.MustParseAddr("192.0.2.1"), Protocol: UDP, Port: 3, IfIndex: link, Expire: expire},
			{FQDN: "example.com", Protocol: 41, Port: 4, IfIndex: link, Expire: expire},
			{URI: "coap://x/", IfIndex: link, Expire: expire},
			{URI: "coap://x/", Protocol: TCP, Port: 5, IfIndex: link, Expire: expire},
			{IP: netip.MustParseAddr("fd00::2"), Protocol: TCP, Port: 6, IfIndex: link, Expire: expire, Diverted: true},
		}, call.within(time.Second).found)
	})
}

// D-08: a ttl of 0 stands for 600 s. A-23: then the locator never comes back.
func TestA23Expiry(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{LocatorLifetime: 50 * 24 * time.Hour}}, func(b *bed) {
		for ttl, lives := range map[uint32]time.Duration{0: 600 * time.Second, 1: time.Millisecond, math.MaxUint32: math.MaxUint32 * time.Millisecond} {
			o := neg(fmt.Sprintf("EX%d", ttl), nil)
			call := b.discover(o, 0, DiscoverOptions{First: true})
			b.respondAll(ttl, ipv6("fd00::1", 1))
			a := call.ok()
			require.Len(b, a.found, 1)
			require.Equal(b, lives, a.found[0].Expire.Sub(a.at))
			time.Sleep(lives - 1)
			known := func() int { return len(b.discover(o, 0, DiscoverOptions{CacheOnly: true}).ok().found) }
			require.Equal(b, 1, known())
			time.Sleep(time.Nanosecond)
			require.Zero(b, known())
		}
	})
}

// the ttl of a Divert is what is left, and never 0, which would stand for
// much longer.
func TestDivertTTL(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		b.learn(b.far, "EX1", 1000, ipv6("fd00::9", 9))
		for i, c := range []struct {
			left time.Duration
			ttl  uint32
		}{{900 * time.Millisecond, 900}, {time.Microsecond, 1}} {
			time.Sleep(time.Until(b.g.locators.get("EX1")[0].Expire.Add(-c.left)))
			m, ok := b.peer.discover(uint32(i), "EX1")
			require.True(b, ok)
			require.Equal(b, c.ttl, message[*wire.Response](b, m).TTL)
		}
	})
}

// several ASAs look for the same objective at the same time, and each
// finds it.
func TestA24Concurrently(t *testing.T) {
	inBed(t, func(b *bed) {
		second := newASA(b, b.g, "second")
		one := b.discover(neg("EX1", nil), time.Second, DiscoverOptions{})
		two := b.call(func() answer {
			found, err := second.Discover(forever, neg("EX1", nil), time.Second, DiscoverOptions{})
			return answer{found: found, err: err}
		})
		b.respondAll(60_000, ipv6("fd00::1", 1))
		require.Len(b, one.within(time.Second).found, 1)
		require.Len(b, two.within(time.Second).found, 1)
	})
}

// in a DULL instance the loop count is 1 whatever the objective says.
func TestA25DULL(t *testing.T) {
	inBedOf(t, 1, Config{DULL: true, DULLObjectives: []string{"EX1"}}, func(b *bed) {
		start := time.Now()
		a := b.discover(withLoops(neg("EX1", nil), 255), 0, DiscoverOptions{}).within(ever)
		require.NoError(b, a.err)
		require.Equal(b, 100*time.Millisecond, a.at.Sub(start))
		require.EqualValues(b, 1, message[*wire.Discovery](b, b.peer.only()).Objective.LoopCount)
	})
}

// with a loop count of 1 nothing beyond the link is found, with 2 it is.
func TestA26LoopCount(t *testing.T) {
	inBedOf(t, 2, Config{}, func(b *bed) {
		require.NoError(b, newASA(b, instanceWith(b, b.net.NewNode("beyond", b.links[1])), "beyond").
			RegisterObj(neg("EX1", nil), RegisterOptions{Discoverable: true}))
		asker := b.other("asker")
		for loops, want := range map[uint8]int{1: 0, 2: 1} {
			o := neg("EX1", nil)
			o.LoopCount = loops
			b.g.locators.flush("EX1") // the node between answers from its cache, too
			found, err := asker.Discover(forever, o, 0, DiscoverOptions{Flush: true})
			require.NoError(b, err)
			require.Len(b, found, want, "loop count %d", loops)
		}
	})
}

// The default time is 100 ms for each loop count (0: of 6), and the network is asked
// again, each time after twice as long, with a new session ID.
func TestDiscoverTimes(t *testing.T) {
	inBed(t, func(b *bed) {
		for loops, want := range map[uint8]time.Duration{0: 600, 1: 100, 6: 600, 255: 25_500} {
			o := Objective{Name: "EX1", LoopCount: loops}
			start := time.Now()
			a := b.discover(o, 0, DiscoverOptions{}).within(ever)
			require.NoError(b, a.err, "nothing found is no error")
			require.Empty(b, a.found)
			require.Equal(b, want*time.Millisecond, a.at.Sub(start))
			require.Len(b, b.peer.all(), 1)
		}
		start := time.Now()
		a := b.discover(neg("EX1", nil), 10*time.Second, DiscoverOptions{}).within(ever)
		require.Equal(b, 10*time.Second, a.at.Sub(start), "as it is given")
		var at []time.Duration
		ids := make(map[uint32]bool)
		for _, p := range b.peer.all() {
			at = append(at, p.at.Sub(start))
			ids[p.id(b)] = true
		}
		ms := time.Millisecond
		require.Equal(b, []time.Duration{0, 600 * ms, 1800 * ms, 4200 * ms, 9000 * ms}, at)
		require.Len(b, ids, 5)

		start = time.Now()
		a = b.discover(neg("EX1", nil), 50*time.Millisecond, DiscoverOptions{}).within(ever)
		require.Equal(b, 50*ms, a.at.Sub(start), "less than the default, as it is given")
		require.Zero(b, b.discover(neg("EX1", nil), -1, DiscoverOptions{}).within(ever).at.Sub(a.at))
	})
}

// An answer to a repeated question counts, and so does a late one to the
// question before.
func TestDiscoverRepetition(t *testing.T) {
	inBed(t, func(b *bed) {
		call := b.discover(neg("EX1", nil), time.Hour, DiscoverOptions{First: true})
		first := b.peer.only()
		time.Sleep(time.Second)
		require.Len(b, b.peer.all(), 1)
		m := message[*wire.Discovery](b, first)
		b.peer.respond(first, arr{2, m.SessionID, m.Initiator.AsSlice(), 1000, ipv6("fd00::1", 1)})
		require.Len(b, call.ok().found, 1)
		// Now it is over.
		b.peer.respond(first, arr{2, m.SessionID, m.Initiator.AsSlice(), 1000, ipv6("fd00::2", 1)})
		b.wantDrop(ReasonUnsolicited, 1)
		require.Len(b, b.g.locators.get("EX1"), 1)
	})
}

// A name that does not fit a multicast is refused before anything is sent.
func TestDiscoverTooLong(t *testing.T) {
	inBed(t, func(b *bed) {
		sent := b.tapped()
		fits := acp.MaxMulticast - len(encoded(b, arr{1, uint32(math.MaxUint32), b.peer.addr(), arr{string(make([]byte, 1000)), 3, 6, nil}})) + 1000
		name := string(make([]byte, fits+1))
		isCode(b, b.discover(Objective{Name: name, Neg: true, LoopCount: 6}, 0, DiscoverOptions{}).done().err, ErrTooLong)
		require.Zero(b, sent())
		isCode(b, b.requestLong(name), ErrTooLong)
		require.Zero(b, sent())
	})
}

// requestLong asks for an objective whose name is too long for a multicast.
func (b *bed) requestLong(name string) error {
	b.Helper()
	o := Objective{Name: name, Neg: true, LoopCount: 6}
	b.register(o)
	return b.request(o, nil, 0).done().err
}

// ASAs of one instance find each other without the network, even without
// a link or an address, and talk to each other.
func TestDiscoverWithinAnInstance(t *testing.T) {
	for name, prepare := range map[string]func(*bed){
		"on a link":    func(*bed) {},
		"no link":      func(b *bed) { b.node.Detach(b.links[0]) },
		"no address":   func(b *bed) { must(b.node.SetAddr(netip.Addr{})) },
		"neither":      func(b *bed) { b.node.Detach(b.links[0]); must(b.node.SetAddr(netip.Addr{})) },
		"link is down": func(b *bed) { b.links[0].Down() },
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				prepare(b)
				second := newASA(b, b.g, "second")
				o := neg("EX1", 1)
				yes := RegisterOptions{Overlap: true}
				require.NoError(b, b.asa.RegisterObj(o, yes))
				require.NoError(b, second.RegisterObj(o, yes))
				registered(b, syn("EX2", nil), second)
				require.NoError(b, second.ListenSynchronize(syn("EX2", 7)))
				listening := b.listenBy(second, o)
				sent := b.tapped()
				found := b.discover(o, 0, DiscoverOptions{}).ok().found
				require.Len(b, found, 1)
				asked := b.request(o, nil, 0)
				require.NoError(b, listening.ok().s.EndNegotiate(true, ""))
				require.EqualValues(b, 1, asked.ok().o.Value)
				require.EqualValues(b, 7, must1(b.asa.Synchronize(forever, syn("EX2", nil), nil, 0)).Value)
				require.Zero(b, sent())
				b.peer.notDialed()
				// Not with itself, though: nobody else is there.
				require.NoError(b, second.Deregister())
				require.Empty(b, b.discover(o, 0, DiscoverOptions{CacheOnly: true}).ok().found)
				synctest.Wait()
				require.Zero(b, b.g.Snapshot().Streams)
				require.Empty(b, b.g.Snapshot().Sessions)
			})
		})
	}
}

// Two instances on one node find each other as if they were on two.
func TestDiscoverTwoInstancesOnANode(t *testing.T) {
	inBed(t, func(b *bed) {
		a := newASA(b, instanceWith(b, b.node), "second")
		o := neg("EX1", 1)
		registered(b, o, b.asa, a)
		listening := b.listenBy(a, o)
		asked := b.request(o, nil, 0)
		got := listening.ok()
		require.Equal(b, b.node.Addr(), got.s.Source().Addr())
		require.NoError(b, got.s.EndNegotiate(true, ""))
		asked.ok()
		require.NotEqual(b, b.g.ep.Port(), a.g.ep.Port())
		require.Zero(b, a.g.Snapshot().Dropped[ReasonOwn.String()])
		b.wantDrop(ReasonOwn, 1) // its own multicast came back to it, and is known
	})
}
