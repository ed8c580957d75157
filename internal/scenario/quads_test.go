package scenario

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/internal/bed"
)

var (
	quadsKey = []byte("QUADS key of 32 bytes, for tests")
	otherKey = []byte("QUADS key of another test domain")
)

// onQUADS is a plane of the tests' domain.
func onQUADS(under acp.Plane) acp.Plane { return &quads.Plane{Key: quadsKey, Under: under} }

func TestQUADSScenario(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		a, b := n.NewLink(memory.LinkConfig{Delay: time.Millisecond}), n.NewLink(memory.LinkConfig{Delay: 2 * time.Millisecond})
		runScenario(t, onQUADS(n.NewNode("left", a)), onQUADS(n.NewNode("middle", a, b)), onQUADS(n.NewNode("right", b)), time.Second, thoughts)
	})
}

// quadsBed is a link with two members of a domain, who negotiate when told to,
// and room for others.
type quadsBed struct {
	*testing.T
	net            *memory.Network
	link           *memory.Link
	server, client *grasp.ASA
}

func inQUADSBed(t *testing.T, test func(b *quadsBed)) {
	synctest.Test(t, func(t *testing.T) {
		b := &quadsBed{T: t, net: memory.NewNetwork(1)}
		b.link = b.net.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		b.server, b.client = bed.StressPair(t, onQUADS(b.node()), onQUADS(b.node()))
		stop := bed.Serve(t.Context(), b.server, 1, bed.Respond)
		test(b)
		b.negotiate()
		require.NoError(t, stop())
	})
}

func (b *quadsBed) node() *memory.Node { return b.net.NewNode("", b.link) }

// negotiate has the members agree.
func (b *quadsBed) negotiate() {
	b.Helper()
	o := bed.Stressed
	o.Value = 0 // accepted at once
	s, _, err := b.client.ReqNegotiate(b.Context(), o, bed.At(b.server.Instance()), 0)
	require.NoError(b, err)
	require.Nil(b, s)
}

// arrive waits until all that was sent has arrived.
func (b *quadsBed) arrive() {
	time.Sleep(2 * time.Millisecond) // the link's delay
	synctest.Wait()
}

// dropped returns how much the server has dropped for a reason.
func (b *quadsBed) dropped(reason grasp.Reason) int {
	b.arrive()
	return int(b.server.Instance().Snapshot().Dropped[reason])
}

// droppedInAll returns how much an instance has dropped, for whatever reason.
func droppedInAll(g *grasp.Instance) int {
	n := 0
	for _, k := range g.Snapshot().Dropped {
		n += int(k)
	}
	return n
}

// Those who have another password, and those who have none, hear nothing of the
// domain and are not heard in it. What they send is counted.
func TestQUADSForeigners(t *testing.T) {
	for name, plane := range map[string]func(under acp.Plane) acp.Plane{
		"OtherKey": func(under acp.Plane) acp.Plane { return &quads.Plane{Key: otherKey, Under: under} },
		"InClear":  func(under acp.Plane) acp.Plane { return under },
	} {
		t.Run(name, func(t *testing.T) {
			inQUADSBed(t, func(b *quadsBed) {
				g := bed.NewInstance(b, plane(b.node()))
				stranger := bed.NewASA(b, g, "stranger")
				weather := grasp.Objective{Name: "weather", Synch: true, LoopCount: 3, Value: "fine"}
				for _, o := range []grasp.Objective{bed.Stressed, weather} {
					require.NoError(b, stranger.RegisterObj(o, grasp.RegisterOptions{}))
				}

				require.NoError(b, stranger.Flood(0, grasp.TaggedObjective{Objective: weather}))
				require.Equal(b, 1, b.dropped(grasp.ReasonForeign))
				floods, err := b.client.GetFlood(weather)
				require.NoError(b, err)
				require.Empty(b, floods)

				found, err := stranger.Discover(b.Context(), bed.Stressed, time.Second, grasp.DiscoverOptions{})
				require.NoError(b, err)
				require.Empty(b, found)
				multicasts := b.dropped(grasp.ReasonForeign)
				require.Greater(b, multicasts, 1)
				require.Empty(b, b.server.Instance().Snapshot().Received)

				const requests = 50
				for range requests {
					_, _, err = stranger.ReqNegotiate(b.Context(), bed.Stressed, bed.At(b.server.Instance()), time.Minute)
					require.Error(b, err)
				}
				// Some look like the beginning of what never comes.
				require.Greater(b, b.dropped(grasp.ReasonForeign)-multicasts, requests/2)
				require.Equal(b, requests, b.dropped(grasp.ReasonForeign)-multicasts+b.dropped(grasp.ReasonIdle))
				require.Empty(b, b.server.Instance().Snapshot().Received)
				require.Empty(b, b.server.Instance().Snapshot().Sessions)

				b.negotiate()
				require.NoError(b, b.server.RegisterObj(weather, grasp.RegisterOptions{}))
				unheard := droppedInAll(g)
				require.NoError(b, b.server.Flood(0, grasp.TaggedObjective{Objective: weather}))
				b.arrive()
				require.Empty(b, g.Snapshot().Received)
				require.Equal(b, unheard+1, droppedInAll(g))
			})
		})
	}
}

// However much outsiders send, members are heard at once.
func TestQUADSForeignersDoNotDelay(t *testing.T) {
	inQUADSBed(t, func(b *quadsBed) {
		outsider, err := b.node().Open()
		require.NoError(b, err)
		defer outsider.Close()
		const datagrams = 400
		garbage, random := make([]byte, 160), rand.NewChaCha8([32]byte{}) // one in 65,536 may pass for an altered message
		for range datagrams {
			_, _ = random.Read(garbage) // never fails
			require.NoError(b, outsider.Send(outsider.Links()[0].Index, garbage))
		}
		weather := grasp.Objective{Name: "weather", Synch: true, LoopCount: 3, Value: "fine"}
		require.NoError(b, b.client.RegisterObj(weather, grasp.RegisterOptions{}))
		require.NoError(b, b.client.Flood(0, grasp.TaggedObjective{Objective: weather}))
		b.arrive()
		floods, err := b.server.GetFlood(weather)
		require.NoError(b, err)
		require.Len(b, floods, 1)
		require.Equal(b, datagrams, b.dropped(grasp.ReasonForeign))
	})
}

// A peer that answers with what makes no sense ends the session, and is
// counted.
func TestQUADSForeignAnswers(t *testing.T) {
	inQUADSBed(t, func(b *quadsBed) {
		far, err := b.node().Open()
		require.NoError(b, err)
		defer far.Close()
		var all sync.WaitGroup
		defer all.Wait()
		all.Go(func() {
			for range 3 {
				s, err := far.Accept()
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = s.Read(make([]byte, 100)) // the request, in one piece
				_, _ = io.WriteString(s, strings.Repeat("in clear, of 32 bytes, not CBOR.", 3))
				all.Go(func() { _, _ = io.Copy(io.Discard, s) })
			}
		})
		peer := grasp.NewLocator(netip.AddrPortFrom(far.Addr(), far.Port()))
		before := b.client.Instance().Snapshot().Dropped[grasp.ReasonForeign]
		_, _, err = b.client.ReqNegotiate(b.Context(), bed.Stressed, &peer, 0)
		bed.IsCode(b, err, grasp.ErrCBORFail)
		weather := grasp.Objective{Name: "weather", Synch: true, LoopCount: 3}
		require.NoError(b, b.client.RegisterObj(weather, grasp.RegisterOptions{}))
		_, err = b.client.Synchronize(b.Context(), weather, &peer, 0)
		bed.IsCode(b, err, grasp.ErrCBORFail)
		s, err := b.client.OpenSession(b.Context(), bed.Stressed, &peer, 0)
		require.NoError(b, err)
		_, err = s.Recv(b.Context(), 0)
		bed.IsCode(b, err, grasp.ErrCBORFail)
		require.ErrorIs(b, err, acp.ErrForeign)
		require.Equal(b, before+3, b.client.Instance().Snapshot().Dropped[grasp.ReasonForeign])
		require.Empty(b, b.client.Instance().Snapshot().Sessions)
	})
}

// Messages of all sizes go through, up to the limit that holds at the moment:
// 1 MiB in Recv, Config.MaxMessage else.
func TestQUADSMessageSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		larger := func(c *grasp.Config) { c.MaxMessage = 5000 }
		server := bed.NewASA(t, bed.InstanceWith(t, onQUADS(n.NewNode("server", link)), larger), "server")
		client := bed.NewASA(t, bed.InstanceWith(t, onQUADS(n.NewNode("client", link)), larger), "client")
		for _, a := range []*grasp.ASA{server, client} {
			require.NoError(t, a.RegisterObj(bed.Stressed, grasp.RegisterOptions{}))
		}
		stop := bed.Serve(t.Context(), server, 1, func(ctx context.Context, s *grasp.Session, o grasp.Objective) error {
			if o.Value != nil {
				return s.EndNegotiate(true, "")
			}
			for { // an echo
				v, err := s.Recv(ctx, 0)
				if errors.Is(err, grasp.ErrNoPeer) {
					return nil
				}
				if err == nil {
					err = s.Send(v)
				}
				if err != nil {
					return err
				}
			}
		})
		o := bed.Stressed
		for size := 4000; size < 4900; size += 7 {
			o.Value = strings.Repeat("x", size)
			s, _, err := client.ReqNegotiate(t.Context(), o, bed.At(server.Instance()), 0)
			require.NoError(t, err)
			require.Nil(t, s)
		}
		o.Value = nil
		s, err := client.OpenSession(t.Context(), o, bed.At(server.Instance()), 0)
		require.NoError(t, err)
		for _, size := range []int{0, 1, 14, 15, 16, 17, 1000, 2048, 5000, 65_536, 70_000, 1<<20 - 5} {
			v := strings.Repeat("x", size)
			require.NoError(t, s.Send(v))
			got, err := s.Recv(t.Context(), 0)
			require.NoError(t, err)
			require.Equal(t, v, got)
		}
		require.NoError(t, s.Close())
		require.NoError(t, stop())
		require.Empty(t, server.Instance().Snapshot().Dropped[grasp.ReasonForeign])

		// One that is longer, from a member who has set another limit.
		longer := bed.NewASA(t, bed.InstanceWith(t, onQUADS(n.NewNode("longer", link)), func(c *grasp.Config) { c.MaxMessage = 6000 }), "longer")
		require.NoError(t, longer.RegisterObj(bed.Stressed, grasp.RegisterOptions{}))
		o.Value = strings.Repeat("x", 5500)
		_, _, err = longer.ReqNegotiate(t.Context(), o, bed.At(server.Instance()), 0)
		require.Error(t, err)
		require.EqualValues(t, 1, server.Instance().Snapshot().Dropped[grasp.ReasonForeign])
	})
}

// Multicasts have to leave room for the padding.
func TestQUADSMulticastTooLong(t *testing.T) {
	inQUADSBed(t, func(b *quadsBed) {
		flood := func(size int) error {
			o := grasp.Objective{Name: "weather", Synch: true, LoopCount: 3, Value: strings.Repeat("x", size)}
			return b.client.Flood(0, grasp.TaggedObjective{Objective: o})
		}
		require.NoError(b, b.client.RegisterObj(grasp.Objective{Name: "weather", Synch: true, LoopCount: 3}, grasp.RegisterOptions{}))
		var sizes []int
		b.link.Tap(func(p memory.Packet) { sizes = append(sizes, len(p.Data)) })
		size := 1100
		for ; flood(size) == nil; size++ {
			require.Less(b, size, acp.MaxMulticast)
		}
		bed.IsCode(b, flood(size), grasp.ErrTooLong)
		require.Equal(b, acp.MaxMulticast, sizes[len(sizes)-1])
	})
}
