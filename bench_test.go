package grasp

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// inParallel runs f, which is one operation, in some 64 goroutines.
func inParallel(b *testing.B, f func() error) {
	b.SetParallelism(max(64/runtime.GOMAXPROCS(0), 1))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// oneByOne runs f again and again.
func oneByOne(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPair measures what two ASAs do with each other. heard receives a value
// for each flood that the client gets.
func benchPair(b *testing.B, server, client *ASA, heard <-chan struct{}) {
	ctx := b.Context()
	weather := Objective{Name: "weather", Synch: true, LoopCount: DefaultLoopCount, Value: "fine"}
	require.NoError(b, server.RegisterObj(weather, RegisterOptions{}))
	require.NoError(b, server.ListenSynchronize(weather))
	stop := serve(ctx, server, stressListeners, respond)
	defer func() { require.NoError(b, stop()) }()
	require.True(b, soonTrue(func() bool { return server.g.objectives.backlogOf(stressed.Name).listening() }))

	peers := func(o Objective) *Locator {
		found, err := client.Discover(ctx, o, 0, DiscoverOptions{First: true})
		require.NoError(b, err)
		require.NotEmpty(b, found)
		return &found[0]
	}
	banker, station := peers(stressed), peers(weather)
	negotiate := func() error {
		o := stressed
		o.Value = 0 // accepted at once
		s, _, err := client.ReqNegotiate(ctx, o, banker, 0)
		if s != nil {
			return fmt.Errorf("it goes on")
		}
		return err
	}
	synchronize := func() error {
		_, err := client.Synchronize(ctx, weather, station, 0)
		return err
	}
	b.Run("Negotiation/1", func(b *testing.B) { oneByOne(b, negotiate) })
	b.Run("Negotiation/64", func(b *testing.B) { inParallel(b, negotiate) })
	b.Run("Synchronization/1", func(b *testing.B) { oneByOne(b, synchronize) })
	b.Run("Synchronization/64", func(b *testing.B) { inParallel(b, synchronize) })
	b.Run("ColdDiscovery", func(b *testing.B) {
		oneByOne(b, func() error {
			found, err := client.Discover(ctx, stressed, 0, DiscoverOptions{First: true, Flush: true})
			if err == nil && len(found) == 0 {
				return ErrNoDiscReply
			}
			return err
		})
	})
	b.Run("Flood", func(b *testing.B) {
		oneByOne(b, func() error {
			if err := server.Flood(time.Minute, TaggedObjective{Objective: weather}); err != nil {
				return err
			}
			<-heard
			return nil
		})
	})
}

// floodTrace returns a trace that tells a channel of the floods that come.
func floodTrace() (func(Event), <-chan struct{}) {
	heard := make(chan struct{}, 1)
	return func(e Event) {
		if e.Kind == Received && e.Message == "M_FLOOD" {
			heard <- struct{}{}
		}
	}, heard
}

// tracedPair is stressPair, and tells of the floods that the client gets.
func tracedPair(b *testing.B, serving, asking acp.Plane) (server, client *ASA, heard <-chan struct{}) {
	b.Helper()
	server = newASA(b, newInstance(b, serving), "server")
	trace, heard := floodTrace()
	g, err := New(Config{Plane: asking, Trace: trace})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, g.Close()) })
	client = newASA(b, g, "client")
	for _, a := range []*ASA{server, client} {
		require.NoError(b, a.RegisterObj(stressed, RegisterOptions{}))
	}
	return server, client, heard
}

// BenchmarkMemory is the cost of the library, on a network that costs little.
func BenchmarkMemory(b *testing.B) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	server, client, heard := tracedPair(b, n.NewNode("server", l), n.NewNode("client", l))
	benchPair(b, server, client, heard)
}

// cached is how many entries the caches have that are measured.
const cached = 10_000

// manyLocators is how many of one objective are measured.
const manyLocators = 64

func benchNames() []string {
	names := make([]string, cached)
	for i := range names {
		names[i] = "example.com:objective-" + strconv.Itoa(i)
	}
	return names
}

func benchLocator(i int) wire.Locator {
	addr := netip.MustParseAddr("fd00::").As16()
	binary.BigEndian.PutUint32(addr[12:], uint32(i)+1)
	return wire.Locator{Kind: wire.LocatorIPv6, Addr: netip.AddrFrom16(addr), Protocol: TCP, Port: 4000}
}

func BenchmarkFloodCache(b *testing.B) {
	names := benchNames()
	entry := func(i int) cache.Flood {
		return cache.Flood{
			Objective: wire.Objective{Name: names[i], Flags: wire.FlagSynch, LoopCount: 1, Value: null},
			Place:     cache.PlaceOf(benchLocator(i), 1), Link: 1, Expire: time.Now().Add(time.Hour),
		}
	}
	full := func() *floodCache {
		c := newFloodCache(cache.Limits{All: cached, PerObjective: cached, PerSource: cached})
		for i := range cached {
			c.put([]cache.Flood{entry(i)})
		}
		return c
	}
	b.Run("Put", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			c.put([]cache.Flood{entry(i)})
			return nil
		})
	})
	b.Run("PutBeyondLimit", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i++
			e := entry(i % cached)
			e.Place.Locator.Port = i // never the same again
			c.put([]cache.Flood{e})
			return nil
		})
	})
	b.Run("Get", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			if len(c.get(names[i])) != 1 {
				return ErrNotObj
			}
			return nil
		})
	})
}

func BenchmarkLocatorCache(b *testing.B) {
	names := benchNames()
	locators := func(i int) []cache.Locator {
		w := benchLocator(i)
		return []cache.Locator{{Wire: w, Link: 1, Expire: time.Now().Add(time.Hour)}}
	}
	full := func() *locatorCache {
		c := newLocatorCache(cache.Limits{All: cached, PerObjective: cached, PerSource: cached}, false)
		for i := range cached {
			c.put(names[i], locators(i))
		}
		return c
	}
	b.Run("Put", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			c.put(names[i], locators(i))
			return nil
		})
	})
	b.Run("Get", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			if len(c.get(names[i])) != 1 {
				return ErrNotObj
			}
			return nil
		})
	})
	b.Run("Divert", func(b *testing.B) {
		c, i := full(), 0
		oneByOne(b, func() error {
			i = (i + 7) % cached
			if out, _ := c.divert(names[i], 2); len(out) != 1 {
				return ErrNotObj
			}
			return nil
		})
	})
	// One objective with as many locators as there may be.
	b.Run("GetMany", func(b *testing.B) {
		c := newLocatorCache(cache.Limits{All: manyLocators, PerObjective: manyLocators, PerSource: manyLocators}, false)
		for i := range manyLocators {
			c.put("many", locators(i))
		}
		oneByOne(b, func() error {
			if len(c.get("many")) != manyLocators {
				return ErrNotObj
			}
			return nil
		})
	})
}

func BenchmarkSessionTable(b *testing.B) {
	t := session.NewTable[*Session](20_000, 20_000)
	for range cached {
		t.Begin()
	}
	beginEnd := func() error {
		t.End(session.Key{ID: t.Begin()})
		return nil
	}
	b.Run("BeginEnd/1", func(b *testing.B) { oneByOne(b, beginEnd) })
	b.Run("BeginEnd/64", func(b *testing.B) { inParallel(b, beginEnd) })
}

// sinkPlane is a plane and its endpoint, with two links, where all that is
// sent disappears and nothing comes.
type sinkPlane struct {
	links  []acp.Link
	done   chan struct{}
	closed chan struct{} // one value for each stream that was closed
}

func newSinkPlane() *sinkPlane {
	p := &sinkPlane{done: make(chan struct{}), closed: make(chan struct{}, 1)}
	for i := 1; i <= 2; i++ {
		zone := strconv.Itoa(i)
		addr := netip.MustParseAddr("fe80::" + zone + "%" + zone)
		p.links = append(p.links, acp.Link{Index: i, Name: "sink" + zone, Addr: addr})
	}
	return p
}

func (p *sinkPlane) Status() acp.Status          { return acp.Status{Secure: true} }
func (p *sinkPlane) Open() (acp.Endpoint, error) { return p, nil }
func (p *sinkPlane) Port() uint16                { return 4000 }
func (p *sinkPlane) Links() []acp.Link           { return p.links }
func (p *sinkPlane) Addr() netip.Addr            { return netip.MustParseAddr("fd00::1") }
func (p *sinkPlane) Changed() <-chan struct{}    { return nil }
func (p *sinkPlane) MaxMulticast() int           { return acp.MaxMulticast }
func (p *sinkPlane) Send(int, []byte) error      { return nil }
func (p *sinkPlane) Close() error                { close(p.done); return nil }

func (p *sinkPlane) SendTo(netip.AddrPort, []byte) error { return nil }

func (p *sinkPlane) Receive([]byte) (int, acp.Origin, error) {
	<-p.done
	return 0, acp.Origin{}, net.ErrClosed
}

func (p *sinkPlane) Accept() (*acp.Stream, error) {
	<-p.done
	return nil, net.ErrClosed
}

func (p *sinkPlane) Dial(_ context.Context, to netip.AddrPort) (*acp.Stream, error) {
	return &acp.Stream{Conn: sinkConn{p}, Peer: to}, nil
}

type sinkConn struct{ p *sinkPlane }

func (c sinkConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (c sinkConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c sinkConn) Close() error                     { c.p.closed <- struct{}{}; return nil }
func (c sinkConn) LocalAddr() net.Addr              { return nil }
func (c sinkConn) RemoteAddr() net.Addr             { return nil }
func (c sinkConn) SetDeadline(time.Time) error      { return nil }
func (c sinkConn) SetReadDeadline(time.Time) error  { return nil }
func (c sinkConn) SetWriteDeadline(time.Time) error { return nil }

// renumbered returns a function that returns a multicast with another session
// ID each time, in the same bytes.
func renumbered(b *testing.B, m wire.Message) func() []byte {
	b.Helper()
	raw, err := m.Append(nil)
	require.NoError(b, err)
	require.EqualValues(b, 0x1a, raw[2], "an ID of four bytes")
	id := uint32(1 << 16)
	return func() []byte {
		id++
		binary.BigEndian.PutUint32(raw[3:], id)
		return raw
	}
}

// BenchmarkMulticast is what it takes to deal with a multicast that comes.
func BenchmarkMulticast(b *testing.B) {
	plane := newSinkPlane()
	g, err := New(Config{Plane: plane, Limits: Limits{RelayRate: 1 << 28}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, g.Close()) })
	asa := newASA(b, g, "asa")
	require.NoError(b, asa.RegisterObj(Objective{Name: "here", Neg: true}, RegisterOptions{Discoverable: true}))

	from := acp.Origin{Link: 1, Addr: netip.MustParseAddrPort("[fe80::9%1]:5000")}
	initiator := netip.MustParseAddr("fd00::9")
	flood := &wire.Flood{SessionID: 1 << 16, Initiator: initiator, TTL: 60_000, Objectives: []wire.Flooded{{
		Objective: wire.Objective{Name: "example.com:weather", Flags: wire.FlagSynch, LoopCount: 6, Value: null},
		Locator:   benchLocator(1),
	}}}
	discovery := func(name string) *wire.Discovery {
		return &wire.Discovery{SessionID: 1 << 16, Initiator: initiator,
			Objective: wire.Objective{Name: name, Flags: wire.FlagNeg, LoopCount: 6, Value: null}}
	}
	b.Run("RelayFlood", func(b *testing.B) {
		next := renumbered(b, flood)
		relayed := g.counters.relayed[wire.TypeFlood].Load()
		sent := uint64(0)
		oneByOne(b, func() error {
			g.takeMulticast(next(), from)
			sent++
			return nil
		})
		require.Equal(b, sent, g.counters.relayed[wire.TypeFlood].Load()-relayed, "relayed to the other link")
	})
	b.Run("FloodSeenBefore", func(b *testing.B) {
		raw := renumbered(b, flood)()
		g.takeMulticast(raw, from)
		oneByOne(b, func() error {
			g.takeMulticast(raw, from)
			return nil
		})
	})
	b.Run("RelayDiscovery", func(b *testing.B) {
		next := renumbered(b, discovery("elsewhere"))
		oneByOne(b, func() error {
			g.takeMulticast(next(), from)
			return nil
		})
	})
	b.Run("AnswerDiscovery", func(b *testing.B) {
		next := renumbered(b, discovery("here"))
		oneByOne(b, func() error {
			g.takeMulticast(next(), from)
			<-plane.closed // the answer was sent
			return nil
		})
	})
}

// BenchmarkMemoryQUADS is BenchmarkMemory in a domain with a password.
func BenchmarkMemoryQUADS(b *testing.B) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	server, client, heard := tracedPair(b, inDomain(n.NewNode("server", l)), inDomain(n.NewNode("client", l)))
	benchPair(b, server, client, heard)
}

// inDomain is a plane of a QUADS domain.
func inDomain(under acp.Plane) acp.Plane {
	return &quads.Plane{Key: []byte("QUADS key of 32 bytes, for tests"), Under: under}
}
