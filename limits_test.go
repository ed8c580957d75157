package grasp

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
)

// limited runs a test with limits.
func limited(t *testing.T, l Limits, test func(b *bed)) {
	t.Helper()
	inBedOf(t, 1, Config{Limits: l}, test)
}

// flood has a neighbour flood a value, with a locator of its own making.
func (p *rawPeer) flood(id uint32, name string, tag int, value any) {
	p.t.Helper()
	p.multicast(arr{9, id, p.addr(), 0, arr{arr{name, 5, 1, value}, ipv6("fd00::abcd", tag)}})
}

func TestLimitMaxNestingAndMaxItems(t *testing.T) {
	limited(t, Limits{MaxNesting: 8, MaxItems: 64}, func(b *bed) {
		flood := func(value any) { b.peer.multicast(arr{9, 7, b.peer.addr(), 0, arr{arr{"EX1", 5, 1, value}, arr{}}}) }
		nested := func(levels int) any {
			var v any = 1
			for range levels {
				v = arr{v}
			}
			return v
		}
		flood(nested(5)) // the message, its objectives and the objective are three
		require.Len(b, b.flooded("EX1"), 1)
		flood(nested(6))
		b.wantDrop(ReasonTooDeep, 1)

		// With an empty array for its value the flood has 12 items.
		flood(make(arr, 52))
		require.Len(b, b.flooded("EX1")[0], 52)
		flood(make(arr, 53))
		b.wantDrop(ReasonTooManyItems, 1)
		require.Len(b, b.flooded("EX1")[0], 52)
	})
}

func TestLimitMaxTransfer(t *testing.T) {
	limited(t, Limits{MaxTransfer: 100}, func(b *bed) {
		b.register(neg("EX1", nil))
		s, _, raw := b.served(neg("EX1", nil), 1, nil)
		isCode(b, s.Send(make([]byte, 99)), ErrTooLong)
		require.NoError(b, s.Send(make([]byte, 98)))
		raw.read()
		raw.send(make([]byte, 0), append([]byte{0x58, 98}, make([]byte, 98)...))
		got, err := s.Recv(forever, 0)
		require.NoError(b, err)
		require.Len(b, got, 98)
		raw.send(append([]byte{0x58, 99}, make([]byte, 99)...))
		_, err = s.Recv(forever, 0)
		isCode(b, err, ErrCBORFail)
		b.wantDrop(ReasonTooLong, 1)
	})
}

// An insider who floods names without end displaces its own, and nothing of
// what others flooded.
func TestLimitCachedFloodsPerSource(t *testing.T) {
	limited(t, Limits{MaxCached: 100, CachedPerSource: 60}, func(b *bed) {
		honest := b.newPeer("honest", b.links[0])
		b.register(syn("own", 1))
		b.flood(0, syn("own", 1))
		for i := range 30 {
			honest.flood(uint32(i+1), fmt.Sprint("honest", i), 1, i)
		}
		for i := range 500 {
			b.peer.flood(uint32(i+1000), fmt.Sprint("mine", i), 1, i)
		}
		require.Len(b, b.g.Snapshot().Floods, 1+30+60)
		b.wantDrop(ReasonCacheFull, 500-60)

		// Another one beside it: the two share what is left.
		accomplice := b.newPeer("accomplice", b.links[0])
		for i := range 500 {
			accomplice.flood(uint32(i+2000), fmt.Sprint("ours", i), 1, i)
		}
		require.Len(b, b.g.Snapshot().Floods, 100)
		require.Equal(b, []any{int64(1)}, b.flooded("own"))
		for i := range 30 {
			require.Equal(b, []any{int64(i)}, b.flooded(fmt.Sprint("honest", i)))
		}
	})
}

// The same for the values of one objective.
func TestLimitFloodsPerObjective(t *testing.T) {
	limited(t, Limits{FloodsPerObjective: 10}, func(b *bed) {
		honest := b.newPeer("honest", b.links[0])
		for i := range 4 {
			honest.flood(uint32(i+1), "EX1", 100+i, "honest")
		}
		for i := range 100 {
			b.peer.flood(uint32(i+1000), "EX1", 1000+i, i)
		}
		got := b.flooded("EX1")
		require.Len(b, got, 10)
		require.Equal(b, []any{"honest", "honest", "honest", "honest", int64(94), int64(95)}, got[:6])
		b.wantDrop(ReasonCacheFull, 94)
		// Others are not concerned.
		b.peer.flood(5000, "EX2", 1, 1)
		require.Len(b, b.flooded("EX1"), 10)
	})
}

// Who overwrites a value answers for the room it takes.
func TestLimitCountsWhoFloodedLast(t *testing.T) {
	limited(t, Limits{MaxCached: 100, CachedPerSource: 2}, func(b *bed) {
		other := b.newPeer("other", b.links[0])
		b.peer.flood(1, "EX1", 1, "peer's")
		b.peer.flood(2, "EX2", 1, "peer's")
		other.flood(3, "EX1", 1, "other's")
		b.peer.flood(4, "EX3", 1, "peer's")
		require.Equal(b, []any{"other's"}, b.flooded("EX1"))
		require.Equal(b, []any{"peer's"}, b.flooded("EX2"))
		b.wantDrop(ReasonCacheFull, 0)
	})
}

// Discovered locators: of one objective, of one source and in all.
func TestLimitCachedLocators(t *testing.T) {
	limits := Limits{MaxCached: 20, CachedPerSource: 12, LocatorsPerObjective: 4}
	limited(t, limits, func(b *bed) {
		honest := b.newPeer("honest", b.links[0])
		learn := func(from *rawPeer, name string, options ...any) {
			call := b.discover(syn(name, nil), time.Hour, DiscoverOptions{First: true, Flush: true})
			var m packet
			for _, p := range []*rawPeer{b.peer, honest} {
				if heard := p.only(); p == from {
					m = heard
				}
			}
			from.respond(m, append(arr{2, m.id(b), m.items(b)[2], 60_000}, options...))
			require.NotEmpty(b, call.ok().found)
		}
		for i := range 5 {
			learn(honest, fmt.Sprint("honest", i), honest.option())
		}
		var many arr
		for i := range 10 {
			many = append(many, ipv6("fd00::abcd", i+1))
		}
		for i := range 10 {
			learn(b.peer, fmt.Sprint("mine", i), many...)
			require.LessOrEqual(b, len(b.g.locators.get(fmt.Sprint("mine", i))), 4)
		}
		require.Len(b, b.g.Snapshot().Locators, 5+12)
		b.wantDrop(ReasonCacheFull, 10*10-12)
		for i := range 5 {
			require.Len(b, b.g.locators.get(fmt.Sprint("honest", i)), 1)
		}
	})
}

func TestLimitLifetimes(t *testing.T) {
	limited(t, Limits{LocatorLifetime: time.Minute, FloodLifetime: time.Hour}, func(b *bed) {
		b.learn(b.peer, "EX1", 1<<31-1, b.peer.option())
		b.wantDrop(ReasonLifetime, 1)
		b.learn(b.peer, "EX2", 59_000, b.peer.option())
		b.wantDrop(ReasonLifetime, 1)
		for i, ttl := range []uint32{0, 1<<32 - 1, 3_600_000} {
			b.peer.multicast(arr{9, 7 + i, b.peer.addr(), ttl, arr{arr{fmt.Sprint("EX", i), 5, 1, 1}, arr{}}})
		}
		b.wantDrop(ReasonLifetime, 3)
		time.Sleep(59 * time.Second)
		require.Len(b, b.g.Snapshot().Locators, 1)
		time.Sleep(time.Second)
		require.Empty(b, b.g.Snapshot().Locators)
		time.Sleep(59*time.Minute - time.Nanosecond)
		require.Len(b, b.g.Snapshot().Floods, 3)
		time.Sleep(time.Nanosecond)
		require.Empty(b, b.g.Snapshot().Floods)
	})
}

// A peer that has its share of the sessions leaves room for others, and gets
// new ones for those that end.
func TestLimitSessionsPerPeer(t *testing.T) {
	limited(t, Limits{SessionsPerPeer: 2}, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		one, _, _ := b.served(o, 1, nil)
		b.served(o, 2, nil)
		waiting := b.listen(o)
		s := b.peer.dial(b.at())
		s.send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		s.closed()
		b.wantDrop(ReasonPeerSessions, 1)
		waiting.blocks()
		s = b.newPeer("other", b.links[0]).dial(b.at())
		s.send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		waiting.ok()
		require.NoError(b, one.EndNegotiate(true, ""))
		b.served(o, 4, nil)
		require.NoError(b, b.asa.Deregister())
		require.Zero(b, b.g.sessions.Len(), "nothing is left of them")
	})
}

// A peer that fills the queue keeps nobody out, and the others have their turn.
func TestLimitBacklogIsShared(t *testing.T) {
	limited(t, Limits{Backlog: 4}, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		b.served(o, 1, nil)
		honest := b.newPeer("honest", b.links[0])
		ask := func(by *rawPeer, id uint32) *rawStream {
			s := by.dial(b.at())
			s.send(arr{3, id, arr{"EX1", 3, 6, id}})
			return s
		}
		var mine []*rawStream
		for id := range uint32(4) {
			mine = append(mine, ask(b.peer, 10+id))
		}
		ask(b.peer, 20).closed()
		b.wantDrop(ReasonBacklogFull, 1)
		ask(honest, 30)
		mine[3].closed() // the youngest of who has most
		b.wantDrop(ReasonBacklogFull, 2)
		require.EqualValues(b, 13, b.log.dropped(ReasonBacklogFull)[1].SessionID)
		for _, want := range []uint32{10, 30, 11, 12} {
			require.EqualValues(b, want, b.listen(o).ok().o.Value)
		}
		b.listen(o).blocks()
	})
}

// Connections that say nothing: of one peer, and for how long.
func TestLimitIdlePerPeerAndIdleTimeout(t *testing.T) {
	limited(t, Limits{MaxIdle: 7, IdlePerPeer: 3, IdleTimeout: time.Minute}, func(b *bed) {
		honest := b.newPeer("honest", b.links[0])
		slow := []*rawStream{honest.dial(b.at()), honest.dial(b.at())}
		var idle []*rawStream
		for range 10 {
			idle = append(idle, b.peer.dial(b.at()))
			synctest.Wait()
		}
		b.wantDrop(ReasonTooManyIdle, 7)
		accomplice := b.newPeer("accomplice", b.links[0])
		for range 10 {
			accomplice.dial(b.at())
			synctest.Wait()
		}
		b.wantDrop(ReasonTooManyIdle, 15)
		for _, s := range slow {
			s.silent(time.Second)
		}
		for _, s := range idle[:8] {
			s.closed()
		}
		time.Sleep(57 * time.Second)
		b.wantDrop(ReasonIdle, 0)
		time.Sleep(time.Second)
		b.wantDrop(ReasonIdle, 7)
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// The lines of the log, and of the diagnosis, are bounded; each for itself.
func TestLimitLogRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		var log, printed strings.Builder
		g := instanceWith(t, n.NewNode("under test", link), func(c *Config) {
			c.LogRate = 5
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c.Dialogue = Dialogue{Diagnosing: true, Output: &printed}
		})
		lines := func(b *strings.Builder) int {
			synctest.Wait()
			defer b.Reset()
			return strings.Count(b.String(), "\n")
		}
		refused := func() int { return int(g.Snapshot().Dropped[ReasonLogRate.String()]) }
		for range 20 {
			g.log.With("a", 1).WithGroup("b").Warn("something")
		}
		require.Equal(t, 5, lines(&log))
		require.Equal(t, 15, refused())

		peer, err := n.NewNode("peer", link).Open()
		require.NoError(t, err)
		defer peer.Close()
		for range 20 {
			require.NoError(t, peer.Send(peer.Links()[0].Index, []byte{0xff}))
			synctest.Wait()
		}
		require.Equal(t, 5, lines(&printed))
		require.Equal(t, 30, refused())
		require.EqualValues(t, 20, g.Snapshot().Dropped[ReasonMalformed.String()], "counted all the same")
		time.Sleep(time.Second)
		g.log.Warn("something")
		require.NoError(t, peer.Send(peer.Links()[0].Index, []byte{0xff}))
		require.Equal(t, 1, lines(&log))
		require.Equal(t, 1, lines(&printed))
	})
}
