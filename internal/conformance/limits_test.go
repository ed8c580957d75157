package conformance

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// limited runs a test with limits.
func limited(t *testing.T, l grasp.Limits, test func(b *bed.Bed)) {
	t.Helper()
	bed.InLinks(t, 1, grasp.Config{Limits: l}, test)
}

func TestLimitMaxNestingAndMaxItems(t *testing.T) {
	limited(t, grasp.Limits{MaxNesting: 8, MaxItems: 64}, func(b *bed.Bed) {
		flood := func(value any) { b.Peer.Multicast(arr{9, 7, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 1, value}, arr{}}}) }
		nested := func(levels int) any {
			var v any = 1
			for range levels {
				v = arr{v}
			}
			return v
		}
		flood(nested(5)) // the message, its objectives and the objective are three
		require.Len(b, b.Flooded("EX1"), 1)
		flood(nested(6))
		b.WantDrop(grasp.ReasonTooDeep, 1)

		// With an empty array for its value the flood has 12 items.
		flood(make(arr, 52))
		require.Len(b, b.Flooded("EX1")[0], 52)
		flood(make(arr, 53))
		b.WantDrop(grasp.ReasonTooManyItems, 1)
		require.Len(b, b.Flooded("EX1")[0], 52)
	})
}

func TestLimitMaxTransfer(t *testing.T) {
	limited(t, grasp.Limits{MaxTransfer: 100}, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, _, raw := b.Served(bed.Neg("EX1", nil), 1, nil)
		bed.IsCode(b, s.Send(make([]byte, 99)), grasp.ErrTooLong)
		require.NoError(b, s.Send(make([]byte, 98)))
		raw.Next()
		raw.Send(make([]byte, 0), append([]byte{0x58, 98}, make([]byte, 98)...))
		got, err := s.Recv(bed.Forever, 0)
		require.NoError(b, err)
		require.Len(b, got, 98)
		raw.Send(append([]byte{0x58, 99}, make([]byte, 99)...))
		_, err = s.Recv(bed.Forever, 0)
		bed.IsCode(b, err, grasp.ErrCBORFail)
		b.WantDrop(grasp.ReasonTooLong, 1)
	})
}

// An insider who floods names without end displaces its own, and nothing of
// what others flooded.
func TestLimitCachedFloodsPerSource(t *testing.T) {
	limited(t, grasp.Limits{MaxCached: 100, CachedPerSource: 60}, func(b *bed.Bed) {
		honest := b.NewPeer("honest", b.Links[0])
		b.Register(bed.Syn("own", 1))
		b.Flood(0, bed.Syn("own", 1))
		for i := range 30 {
			honest.Flood(uint32(i+1), fmt.Sprint("honest", i), 1, i)
		}
		for i := range 500 {
			b.Peer.Flood(uint32(i+1000), fmt.Sprint("mine", i), 1, i)
		}
		require.Len(b, b.G.Snapshot().Floods, 1+30+60)
		b.WantDrop(grasp.ReasonCacheFull, 500-60)

		// Another one beside it: the two share what is left.
		accomplice := b.NewPeer("accomplice", b.Links[0])
		for i := range 500 {
			accomplice.Flood(uint32(i+2000), fmt.Sprint("ours", i), 1, i)
		}
		require.Len(b, b.G.Snapshot().Floods, 100)
		require.Equal(b, []any{int64(1)}, b.Flooded("own"))
		for i := range 30 {
			require.Equal(b, []any{int64(i)}, b.Flooded(fmt.Sprint("honest", i)))
		}
	})
}

// The same for the values of one objective.
func TestLimitFloodsPerObjective(t *testing.T) {
	limited(t, grasp.Limits{FloodsPerObjective: 10}, func(b *bed.Bed) {
		honest := b.NewPeer("honest", b.Links[0])
		for i := range 4 {
			honest.Flood(uint32(i+1), "EX1", 100+i, "honest")
		}
		for i := range 100 {
			b.Peer.Flood(uint32(i+1000), "EX1", 1000+i, i)
		}
		got := b.Flooded("EX1")
		require.Len(b, got, 10)
		require.Equal(b, []any{"honest", "honest", "honest", "honest", int64(94), int64(95)}, got[:6])
		b.WantDrop(grasp.ReasonCacheFull, 94)
		// Others are not concerned.
		b.Peer.Flood(5000, "EX2", 1, 1)
		require.Len(b, b.Flooded("EX1"), 10)
	})
}

// Who overwrites a value answers for the room it takes.
func TestLimitCountsWhoFloodedLast(t *testing.T) {
	limited(t, grasp.Limits{MaxCached: 100, CachedPerSource: 2}, func(b *bed.Bed) {
		other := b.NewPeer("other", b.Links[0])
		b.Peer.Flood(1, "EX1", 1, "peer's")
		b.Peer.Flood(2, "EX2", 1, "peer's")
		other.Flood(3, "EX1", 1, "other's")
		b.Peer.Flood(4, "EX3", 1, "peer's")
		require.Equal(b, []any{"other's"}, b.Flooded("EX1"))
		require.Equal(b, []any{"peer's"}, b.Flooded("EX2"))
		b.WantDrop(grasp.ReasonCacheFull, 0)
	})
}

// Discovered locators: of one objective, of one source and in all.
func TestLimitCachedLocators(t *testing.T) {
	limits := grasp.Limits{MaxCached: 20, CachedPerSource: 12, LocatorsPerObjective: 4}
	limited(t, limits, func(b *bed.Bed) {
		honest := b.NewPeer("honest", b.Links[0])
		learn := func(from *bed.Peer, name string, options ...any) {
			call := b.Discover(bed.Syn(name, nil), time.Hour, grasp.DiscoverOptions{First: true, Flush: true})
			var m bed.Packet
			for _, p := range []*bed.Peer{b.Peer, honest} {
				if heard := p.Only(); p == from {
					m = heard
				}
			}
			from.Respond(m, append(arr{2, m.ID(b), m.Items(b)[2], 60_000}, options...))
			require.NotEmpty(b, call.Ok().Found)
		}
		for i := range 5 {
			learn(honest, fmt.Sprint("honest", i), honest.Option())
		}
		var many arr
		for i := range 10 {
			many = append(many, bed.IPv6("fd00::abcd", i+1))
		}
		for i := range 10 {
			learn(b.Peer, fmt.Sprint("mine", i), many...)
			require.LessOrEqual(b, len(bed.CachedIn(b.G, fmt.Sprint("mine", i))), 4)
		}
		require.Len(b, b.G.Snapshot().Locators, 5+12)
		b.WantDrop(grasp.ReasonCacheFull, 10*10-12)
		for i := range 5 {
			require.Len(b, bed.CachedIn(b.G, fmt.Sprint("honest", i)), 1)
		}
	})
}

func TestLimitLifetimes(t *testing.T) {
	limited(t, grasp.Limits{LocatorLifetime: time.Minute, FloodLifetime: time.Hour}, func(b *bed.Bed) {
		b.Learn(b.Peer, "EX1", 1<<31-1, b.Peer.Option())
		b.WantDrop(grasp.ReasonLifetime, 1)
		b.Learn(b.Peer, "EX2", 59_000, b.Peer.Option())
		b.WantDrop(grasp.ReasonLifetime, 1)
		for i, ttl := range []uint32{0, 1<<32 - 1, 3_600_000} {
			b.Peer.Multicast(arr{9, 7 + i, b.Peer.Addr(), ttl, arr{arr{fmt.Sprint("EX", i), 5, 1, 1}, arr{}}})
		}
		b.WantDrop(grasp.ReasonLifetime, 3)
		time.Sleep(59 * time.Second)
		require.Len(b, b.G.Snapshot().Locators, 1)
		time.Sleep(time.Second)
		require.Empty(b, b.G.Snapshot().Locators)
		time.Sleep(59*time.Minute - time.Nanosecond)
		require.Len(b, b.G.Snapshot().Floods, 3)
		time.Sleep(time.Nanosecond)
		require.Empty(b, b.G.Snapshot().Floods)
	})
}

// A peer that has its share of the sessions leaves room for others, and gets
// new ones for those that end.
func TestLimitSessionsPerPeer(t *testing.T) {
	limited(t, grasp.Limits{SessionsPerPeer: 2}, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		one, _, _ := b.Served(o, 1, nil)
		b.Served(o, 2, nil)
		waiting := b.Listen(o)
		s := b.Peer.Dial(b.At())
		s.Send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		s.Closed()
		b.WantDrop(grasp.ReasonPeerSessions, 1)
		waiting.Blocks()
		s = b.NewPeer("other", b.Links[0]).Dial(b.At())
		s.Send(arr{3, 3, arr{"EX1", 3, 6, nil}})
		waiting.Ok()
		require.NoError(b, one.EndNegotiate(true, ""))
		b.Served(o, 4, nil)
		require.NoError(b, b.ASA.Deregister())
		// Nothing is left of them.
		b.ASA = bed.NewASA(b, b.G, "its successor")
		b.Register(o)
		b.Served(o, 5, nil)
		b.Served(o, 6, nil)
	})
}

// A peer that fills the queue keeps nobody out, and the others have their turn.
func TestLimitBacklogIsShared(t *testing.T) {
	limited(t, grasp.Limits{Backlog: 4}, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		b.Served(o, 1, nil)
		honest := b.NewPeer("honest", b.Links[0])
		ask := func(by *bed.Peer, id uint32) *bed.Stream {
			s := by.Dial(b.At())
			s.Send(arr{3, id, arr{"EX1", 3, 6, id}})
			return s
		}
		var mine []*bed.Stream
		for id := range uint32(4) {
			mine = append(mine, ask(b.Peer, 10+id))
		}
		ask(b.Peer, 20).Closed()
		b.WantDrop(grasp.ReasonBacklogFull, 1)
		ask(honest, 30)
		mine[3].Closed() // the youngest of who has most
		b.WantDrop(grasp.ReasonBacklogFull, 2)
		require.EqualValues(b, 13, b.Dropped(grasp.ReasonBacklogFull)[1].SessionID)
		for _, want := range []uint32{10, 30, 11, 12} {
			require.EqualValues(b, want, b.Listen(o).Ok().O.Value)
		}
		b.Listen(o).Blocks()
	})
}

// Connections that say nothing: of one peer, and for how long.
func TestLimitIdlePerPeerAndIdleTimeout(t *testing.T) {
	limited(t, grasp.Limits{MaxIdle: 7, IdlePerPeer: 3, IdleTimeout: time.Minute}, func(b *bed.Bed) {
		honest := b.NewPeer("honest", b.Links[0])
		slow := []*bed.Stream{honest.Dial(b.At()), honest.Dial(b.At())}
		var idle []*bed.Stream
		for range 10 {
			idle = append(idle, b.Peer.Dial(b.At()))
			synctest.Wait()
		}
		b.WantDrop(grasp.ReasonTooManyIdle, 7)
		accomplice := b.NewPeer("accomplice", b.Links[0])
		for range 10 {
			accomplice.Dial(b.At())
			synctest.Wait()
		}
		b.WantDrop(grasp.ReasonTooManyIdle, 15)
		for _, s := range slow {
			s.Silent(time.Second)
		}
		for _, s := range idle[:8] {
			s.Closed()
		}
		time.Sleep(57 * time.Second)
		b.WantDrop(grasp.ReasonIdle, 0)
		time.Sleep(time.Second)
		b.WantDrop(grasp.ReasonIdle, 7)
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// The lines of the log, and of the diagnosis, are bounded; each for itself.
func TestLimitLogRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		var log, printed strings.Builder
		node := n.NewNode("under test", link)
		g := bed.InstanceWith(t, node, func(c *grasp.Config) {
			c.LogRate = 5
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c.Dialogue = grasp.Dialogue{Diagnosing: true, Output: &printed}
		})
		lines := func(b *strings.Builder) int {
			synctest.Wait()
			defer b.Reset()
			return strings.Count(b.String(), "\n")
		}
		refused := func() int { return int(g.Snapshot().Dropped[grasp.ReasonLogRate]) }
		require.Equal(t, 1, lines(&log), "the link")
		time.Sleep(time.Second)
		for i := range 20 { // each change is worth a line
			node.SetStatus(acp.Status{Secure: i%2 == 1, Reason: "come and gone"})
			synctest.Wait()
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
		require.EqualValues(t, 20, g.Snapshot().Dropped[grasp.ReasonMalformed], "counted all the same")
		time.Sleep(time.Second)
		node.SetStatus(acp.Status{Reason: "gone"})
		synctest.Wait()
		require.NoError(t, peer.Send(peer.Links()[0].Index, []byte{0xff}))
		require.Equal(t, 1, lines(&log))
		require.Equal(t, 1, lines(&printed))
	})
}

// Who sets all limits as high as they go has none, and no trouble either.
func TestLimitsAsHighAsTheyGo(t *testing.T) {
	var all grasp.Limits
	for _, f := range reflect.VisibleFields(reflect.TypeFor[grasp.Limits]()) {
		v := reflect.ValueOf(&all).Elem().FieldByIndex(f.Index)
		if v.SetInt(math.MaxInt64); v.Kind() == reflect.Int {
			v.SetInt(math.MaxInt)
		}
	}
	all.MaxNesting, all.MaxMessage = 0, 64<<20
	for _, wait := range []time.Duration{0, time.Millisecond} {
		var out bytes.Buffer
		bed.InLinks(t, 2, grasp.Config{Limits: all, RelayWait: wait, Logger: slog.New(slog.NewTextHandler(&out, nil))}, func(b *bed.Bed) {
			b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
			b.Peer.Flood(1, "EX3", 1, 7)
			require.Len(b, b.Flooded("EX3"), 1)
			b.Peer.Multicast(arr{9, 2, b.Peer.Addr(), 0, arr{arr{"EX3", 5, 6, 8}, arr{}}})
			time.Sleep(time.Second)
			b.Far.Only()
			s, o, conn := b.Served(bed.Neg("EX1", nil), 7, 1)
			o.Value = 2
			step := b.Step(s, o, math.MaxInt64)
			conn.Next()
			conn.Send(arr{7, 7, uint32(math.MaxUint32)})
			conn.Send(arr{6, 7, arr{101}})
			step.Ok()
			require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX2", 1)))
			ctx, stop := context.WithCancel(bed.Forever)
			served := make(chan error, 1)
			go func() {
				served <- b.ASA.Serve(ctx, bed.Neg("EX1", nil), func(context.Context, *grasp.Session, grasp.Objective) error { return nil },
					grasp.ServeOptions{Concurrency: math.MaxInt, Grace: math.MaxInt64})
			}()
			synctest.Wait()
			stop()
			require.NoError(b, <-served)
			for i := range 3 {
				c := b.Peer.Dial(b.At())
				defer c.Close()
				c.Send(arr{4, i, arr{"EX2", 5, 6, nil}})
				c.Next()
			}
			idle := b.Peer.Dial(b.At())
			time.Sleep(time.Hour)
			synctest.Wait()
			idle.Silent(time.Hour)
			found := b.Discover(bed.Syn("EX9", nil), math.MaxInt64, grasp.DiscoverOptions{First: true})
			b.RespondAll(math.MaxUint32, b.Peer.Option())
			require.Len(b, found.Done().Found, 1)
		})
		require.NotEmpty(t, out.String())
	}
}

// What an ASA's function, or Config.Authorize, is asked for a peer that was evicted
// meanwhile ends, so that a peer cannot make any number of them wait.
func TestLimitMaxIdleBoundsFunctions(t *testing.T) {
	const limit = 3
	for _, name := range []string{"AnswerSynchronize", "Authorize"} {
		t.Run(name, func(t *testing.T) {
			var waiting atomic.Int64
			wait := func(ctx context.Context) {
				waiting.Add(1)
				defer waiting.Add(-1)
				<-ctx.Done()
			}
			cfg := grasp.Config{Limits: grasp.Limits{MaxIdle: limit}}
			if name == "Authorize" {
				cfg.Authorize = func(ctx context.Context, _ grasp.Request) error { wait(ctx); return ctx.Err() }
			}
			bed.InLinks(t, 1, cfg, func(b *bed.Bed) {
				b.Register(bed.Syn("EX1", nil))
				require.NoError(b, b.ASA.AnswerSynchronize(bed.Syn("EX1", nil), func(ctx context.Context, _ grasp.SynchRequest) (any, error) {
					wait(ctx)
					return nil, ctx.Err()
				}))
				for i := range 10 {
					b.Peer.Dial(b.At()).Send(arr{4, i, arr{"EX1", 5, 6, nil}})
				}
				require.EqualValues(b, limit, waiting.Load())
				b.WantDrop(grasp.ReasonTooManyIdle, 10-limit)
				time.Sleep(grasp.DefaultTimeout)
				synctest.Wait()
				require.Zero(b, waiting.Load())
				require.Zero(b, b.G.Snapshot().Streams)
			})
		})
	}
}

// In rapid mode the connection is this node's, and the peer makes it wait all the same.
func TestLimitMaxIdleBoundsRapidRequests(t *testing.T) {
	const limit = 3
	for _, name := range []string{"Authorize", "ID clash"} {
		t.Run(name, func(t *testing.T) {
			var waiting atomic.Int64
			cfg := grasp.Config{Limits: grasp.Limits{MaxIdle: limit}}
			if name == "Authorize" {
				cfg.Authorize = func(ctx context.Context, _ grasp.Request) error {
					waiting.Add(1)
					defer waiting.Add(-1)
					<-ctx.Done()
					return ctx.Err()
				}
			}
			bed.InLinks(t, 1, cfg, func(b *bed.Bed) {
				o := bed.Neg("EX3", 1)
				require.NoError(b, b.ASA.RegisterObj(o, grasp.RegisterOptions{Rapid: true}))
				b.Listen(o)
				sessions := 0
				if name == "ID clash" {
					sessions = 1 // the first request, which the others clash with
				}
				for i := range 10 {
					id, initiator := 1000+i, b.Peer.Addr()
					if name == "ID clash" {
						id, initiator[15] = 1000, byte(i+100)
					}
					b.Peer.Multicast(arr{1, id, initiator, arr{"EX3", 3, 6, 1}})
					b.Peer.Dialed()
				}
				require.LessOrEqual(b, waiting.Load(), int64(limit))
				require.LessOrEqual(b, b.G.Snapshot().Streams, limit+sessions)
				b.WantDrop(grasp.ReasonTooManyIdle, 10-sessions-limit)
				time.Sleep(grasp.DefaultTimeout)
				synctest.Wait()
				require.Zero(b, waiting.Load())
				require.Equal(b, sessions, b.G.Snapshot().Streams)
			})
		})
	}
}
