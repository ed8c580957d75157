package grasp

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
	"github.com/stretchr/testify/require"
)

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

func (p *sinkPlane) Status() acp.Status { return acp.Status{Secure: true} }

func (p *sinkPlane) Open() (acp.Endpoint, error) { return p, nil }

func (p *sinkPlane) Port() uint16 { return 4000 }

func (p *sinkPlane) Links() []acp.Link { return p.links }

func (p *sinkPlane) Addr() netip.Addr { return netip.MustParseAddr("fd00::1") }

func (p *sinkPlane) Changed() <-chan struct{} { return nil }

func (p *sinkPlane) MaxMulticast() int { return acp.MaxMulticast }

func (p *sinkPlane) Send(int, []byte) error { return nil }

func (p *sinkPlane) Close() error { close(p.done); return nil }

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

func (c sinkConn) Read([]byte) (int, error) { return 0, io.EOF }

func (c sinkConn) Write(b []byte) (int, error) { return len(b), nil }

func (c sinkConn) Close() error { c.p.closed <- struct{}{}; return nil }

func (c sinkConn) LocalAddr() net.Addr { return nil }

func (c sinkConn) RemoteAddr() net.Addr { return nil }

func (c sinkConn) SetDeadline(time.Time) error { return nil }

func (c sinkConn) SetReadDeadline(time.Time) error { return nil }

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
		relayed := g.Snapshot().Relayed["M_FLOOD"]
		sent := uint64(0)
		oneByOne(b, func() error {
			g.handleDatagram(next(), from, time.Now())
			sent++
			return nil
		})
		require.Equal(b, sent, g.Snapshot().Relayed["M_FLOOD"]-relayed, "relayed to the other link")
	})
	b.Run("FloodSeenBefore", func(b *testing.B) {
		raw := renumbered(b, flood)()
		g.handleDatagram(raw, from, time.Now())
		oneByOne(b, func() error {
			g.handleDatagram(raw, from, time.Now())
			return nil
		})
	})
	b.Run("FloodAgain", func(b *testing.B) { // of a value that is cached, for one link only
		again := *flood
		again.Initiator = netip.MustParseAddr("fe80::9")
		again.Objectives = []wire.Flooded{{Objective: wire.Objective{
			Name: "example.com:weather", Flags: wire.FlagSynch, LoopCount: 1, Value: null,
		}}}
		next := renumbered(b, &again)
		oneByOne(b, func() error {
			g.handleDatagram(next(), from, time.Now())
			return nil
		})
	})
	b.Run("RelayDiscovery", func(b *testing.B) {
		next := renumbered(b, discovery("elsewhere"))
		oneByOne(b, func() error {
			g.handleDatagram(next(), from, time.Now())
			return nil
		})
	})
	b.Run("AnswerDiscovery", func(b *testing.B) {
		next := renumbered(b, discovery("here"))
		var askers [256]acp.Origin // one alone may not ask so often: see internal/target
		for i := range askers {
			addr := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: 1, 15: byte(i)}).WithZone("1")
			askers[i] = acp.Origin{Link: 1, Addr: netip.AddrPortFrom(addr, 5000)}
		}
		asked := 0
		stuck := time.NewTimer(time.Minute)
		defer stuck.Stop()
		oneByOne(b, func() error {
			g.handleDatagram(next(), askers[asked%len(askers)], time.Now())
			asked++
			stuck.Reset(time.Minute)
			select {
			case <-plane.closed: // the answer was sent
				return nil
			case <-stuck.C:
				return fmt.Errorf("discovery %d was not answered; dropped: %v", asked, g.Snapshot().Dropped)
			}
		})
	})
}

// oneByOne runs f again and again.
func oneByOne(b *testing.B, f func() error) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}
