package tlsplane_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/acptest"
	"github.com/go-grasp/grasp/internal/wire"
)

func TestConformance(t *testing.T) {
	for _, cfg := range []memory.LinkConfig{{}, {Delay: 2 * time.Millisecond, Jitter: time.Millisecond}} {
		for _, test := range acptest.Tests {
			t.Run(fmt.Sprintf("delay %v/%s", cfg.Delay, test.Name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBed(t, cfg)
					one, _ := newPlane(t, b.domain, "a", b.network.NewNode("a", b.link))
					two, _ := newPlane(t, b.domain, "b", b.network.NewNode("b", b.link))
					test.Run(t, one, two)
				})
			})
		}
	}
}

func TestConformanceOfOneNode(t *testing.T) {
	for _, test := range acptest.Tests {
		t.Run(test.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				p, _ := newPlane(b, b.domain, "a", b.network.NewNode("a", b.link))
				test.Run(t, p, p)
			})
		})
	}
}

// Who all are on a stream, and as a neighbour, is what their certificates say.
func TestX02Identity(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		briggs, gray := b.join("briggs"), b.join("gray")
		dialed, accepted := dial(t, briggs, gray)
		assert.Equal(t, "gray", dialed.Identity)
		assert.Equal(t, "briggs", accepted.Identity)
		state := accepted.Conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
		assert.EqualValues(t, tls.VersionTLS13, state.Version)
		assert.False(t, state.DidResume)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"gray"}, identities(briggs.Plane))
		assert.Equal(t, []string{"briggs"}, identities(gray.Plane))
		assert.Equal(t, addrOf(gray, briggs), briggs.Stats().Neighbours[0].Addr)
		assert.Equal(t, "TLS 1.3, as briggs until 2000-01-01T01:00:00Z", briggs.Status().Reason)
	})
}

// Nothing of a multicast, and nothing but announcements, goes over the link as
// one.
func TestX02NothingInClear(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		var mu sync.Mutex
		var packets []memory.Packet
		defer b.link.Tap(func(p memory.Packet) {
			mu.Lock()
			defer mu.Unlock()
			packets = append(packets, p)
		})()
		one, two := b.join("one"), b.join("two")
		msg := one.send(t)
		hear(t, two.Heard, msg)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.NotEmpty(t, packets)
		assert.Less(t, len(packets), 50, "one a minute from each, and some more at first")
		for _, p := range packets {
			m, err := wire.Parse(p.Data, wire.Limits{})
			require.NoError(t, err)
			flood := m.(*wire.Flood)
			require.Len(t, flood.Objectives, 1)
			assert.Equal(t, "AN_ACP", flood.Objectives[0].Objective.Name)
			assert.EqualValues(t, 1, flood.Objectives[0].Objective.LoopCount)
			assert.EqualValues(t, 210_000, flood.TTL)
			assert.Equal(t, p.Source.Addr(), flood.Initiator)
			assert.Equal(t, wire.Locator{
				Kind: wire.LocatorIPv6, Addr: p.Source.Addr(), Protocol: wire.ProtoTCP, Port: int(p.Source.Port()),
			}, flood.Objectives[0].Locator)
		}
	})
}

// What somebody else multicasts in clear is not heard.
func TestX02ForgedMulticastIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one := b.join("one")
		forger := endpointOf(t, b.network.NewNode("forger", b.link))
		for _, msg := range []string{
			nonce(), "", "\x81\x00", // M_NOOP
			flood(t, "EX1", forger.Links()[0].Addr, "forged"),
			flood(t, "AN_ACP", netip.MustParseAddr("fe80::99"), "GRASP-TLS"), // another's address
			flood(t, "AN_ACP", forger.Links()[0].Addr, "IKEv2"),
		} {
			require.NoError(t, forger.Send(forger.Links()[0].Index, []byte(msg)))
		}
		time.Sleep(time.Second)
		assert.Empty(t, heardBy(one))
		assert.EqualValues(t, 6, one.Stats().Clear)
		assert.Zero(t, one.Stats().Announcements)

		msg := one.send(t)
		assert.Equal(t, []string{msg}, heardBy(one), "its own")
	})
}

// flood returns an M_FLOOD with a locator at an address.
func flood(t testing.TB, name string, at netip.Addr, value string) string {
	t.Helper()
	at = at.WithZone("")
	m := &wire.Flood{SessionID: 1, Initiator: at, TTL: 60_000, Objectives: []wire.Flooded{{
		Objective: wire.Objective{Name: name, Flags: wire.FlagSynch, LoopCount: 1, Value: append([]byte{0x60 + byte(len(value))}, value...)},
		Locator:   wire.Locator{Kind: wire.LocatorIPv6, Addr: at, Protocol: wire.ProtoTCP, Port: 4242},
	}}}
	raw, err := m.Append(nil)
	require.NoError(t, err)
	return string(raw)
}

func endpointOf(t *testing.T, p acp.Plane) acp.Endpoint {
	t.Helper()
	e, err := p.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.Close()) })
	return e
}

func TestDatagramsAreNotSupported(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		one, two := b.join("one"), b.join("two")
		require.ErrorIs(t, acp.SendTo(one, addrOf(two, one), []byte("x")), errors.ErrUnsupported)
	})
}

func TestSettings(t *testing.T) {
	for _, p := range []*tlsplane.Plane{
		{Interval: -1}, {CheckInterval: -1}, {HandshakeTimeout: -1}, {MaxHandshakes: -1}, {MaxNeighbours: -1},
		{Interval: 25 * time.Hour},
	} {
		p.Underlay = memory.NewNetwork(1).NewNode("x")
		_, err := p.Open()
		require.ErrorContains(t, err, "tlsplane: Plane.")
	}
	failing := errors.New("no sockets")
	_, err := (&tlsplane.Plane{Underlay: noSockets{failing}}).Open()
	require.ErrorIs(t, err, failing)
}

type noSockets struct{ error }

func (noSockets) Status() acp.Status            { return acp.Status{} }
func (n noSockets) Open() (acp.Endpoint, error) { return nil, n.error }

// Nothing is left of endpoints that were closed, with all kinds of connections
// open. (In a bubble, that is checked for every test.)
func TestCloseEndsGoroutines(t *testing.T) {
	b := newBed(t, memory.LinkConfig{})
	before := runtime.NumGoroutine()
	for range 3 {
		var planes []*tlsplane.Plane
		var ends []acp.Endpoint
		for _, name := range []string{"a", "a", "b"} {
			p, _ := newPlane(t, b.domain, name, b.network.NewNode(name, b.link))
			e, err := p.Open()
			require.NoError(t, err)
			planes, ends = append(planes, p), append(ends, e)
		}
		require.Eventually(t, func() bool {
			return len(planes[0].Stats().Neighbours)+len(planes[1].Stats().Neighbours)+len(planes[2].Stats().Neighbours) == 6
		}, patience, time.Millisecond)
		stranger, err := b.network.NewNode("stranger", b.link).Open()
		require.NoError(t, err)
		to := ends[0].Links()[0].Addr.WithZone(fmt.Sprint(stranger.Links()[0].Index))
		_, err = stranger.Dial(t.Context(), netip.AddrPortFrom(to, ends[0].Port())) // and says nothing
		require.NoError(t, err)
		start := time.Now()
		for _, e := range append(ends, stranger) {
			require.NoError(t, e.Close())
		}
		assert.Less(t, time.Since(start), patience)
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; {
		require.True(t, time.Now().Before(deadline), "goroutines left")
		time.Sleep(time.Millisecond)
	}
}
