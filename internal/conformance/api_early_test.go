package conformance

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// early is a plane that opens streams with messages, in the network in memory.
type early struct {
	acp.Plane

	mu   sync.Mutex // guards all following fields
	all  []netip.Addr
	fate map[netip.Addr]fate
}

// fate is what becomes of an opening with a message.
type fate int

const (
	accepted   fate = iota
	refused         // at once, and the peer has nothing
	unanswered      // the peer has the message, and nothing comes back
	late            // accepted after a second
)

type earlyEndpoint struct {
	acp.Endpoint
	plane *early
}

func (p *early) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return earlyEndpoint{ep, p}, err
}

// DialWith implements acp.Requester.
func (e earlyEndpoint) DialWith(ctx context.Context, to netip.AddrPort, msg []byte) (*acp.Stream, error) {
	e.plane.mu.Lock()
	e.plane.all = append(e.plane.all, to.Addr())
	what := e.plane.fate[to.Addr().WithZone("")]
	e.plane.mu.Unlock()
	if what == refused {
		return nil, errors.Join(syscall.ECONNREFUSED, acp.ErrUndelivered)
	}
	s, err := e.Endpoint.Dial(ctx, to)
	if err != nil {
		return nil, errors.Join(err, acp.ErrUndelivered)
	}
	if _, err := s.Write(msg); err != nil {
		return nil, err
	}
	switch what {
	case unanswered:
		<-ctx.Done()
		return nil, errors.Join(ctx.Err(), s.Close())
	case late:
		time.Sleep(time.Second)
	}
	return s, nil
}

// takeAll returns where messages went with openings since the last call.
func (p *early) takeAll() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all = nil
	return all
}

func (p *early) set(to *bed.Peer, what fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fate[to.Node.Addr()] = what
	p.fate[bed.LinkOf(to.Node, to.Link).Addr.WithZone("")] = what
}

// inEarlyBed runs a test with an instance whose plane opens streams with messages. Its
// peer and the other one stand for two addresses of one peer, too, which an instance
// cannot tell from two peers.
func inEarlyBed(t *testing.T, cfg grasp.Config, test func(b *bed.Bed, p *early, other *bed.Peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed.Bed{T: t, Net: memory.NewNetwork(1), Events: &bed.EventLog{}}
		b.Links = append(b.Links, b.Net.NewLink(memory.LinkConfig{}))
		b.Node = b.Net.NewNode("under test", b.Links...)
		p := &early{Plane: b.Node, fate: make(map[netip.Addr]fate)}
		cfg.Plane, cfg.Trace = p, b.Events.Add
		g, err := grasp.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		b.G, b.ASA = g, bed.NewASA(t, g, "ASA under test")
		b.Peer = b.NewPeer("peer", b.Links[0])
		test(b, p, b.NewPeer("other", b.Links[0]))
	})
}

// longLived are settings with which locators live for as long as they say.
var longLived = grasp.Config{Limits: grasp.Limits{LocatorLifetime: 2 * time.Hour}}

// acceptOne has a peer accept the one request that it gets by a call.
func acceptOne(b *bed.Bed, call bed.Pending, by *bed.Peer) {
	b.Helper()
	s := by.Dialed()
	m := s.Next()
	s.Send(arr{6, m.ID(b), arr{101}})
	call.Ok()
	s.Closed()
	by.NotDialed()
}

// A request goes with the opening of the stream to a cached locator which was connected
// to lately, be there one or several, and be it by its first address or a later one.
func TestEarlyToCached(t *testing.T) {
	inEarlyBed(t, longLived, func(b *bed.Bed, p *early, other *bed.Peer) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		b.Learn(b.Peer, "EX1", 3_600_000, b.Peer.Option(), other.Option())
		acceptOne(b, b.Request(o, nil, 0), b.Peer)
		require.Empty(t, p.takeAll(), "nobody was connected to before")
		acceptOne(b, b.Request(o, nil, 0), b.Peer)
		require.Equal(t, []netip.Addr{b.Peer.Node.Addr()}, p.takeAll())
		other.NotDialed()
		time.Sleep(3 * time.Minute)
		acceptOne(b, b.Request(o, nil, 0), b.Peer)
		require.Empty(t, p.takeAll(), "it may have gone meanwhile, and others would have to wait")

		b.Peer.Node.Kill()
		acceptOne(b, b.Request(o, nil, 0), other)
		p.takeAll()
		acceptOne(b, b.Request(o, nil, 0), other)
		require.Equal(t, []netip.Addr{other.Node.Addr()}, p.takeAll())
	})
}

// The same holds for the addresses of a name, and for a peer that takes its time.
func TestEarlyToName(t *testing.T) {
	known := make(names)
	inEarlyBed(t, grasp.Config{Resolver: known}, func(b *bed.Bed, p *early, other *bed.Peer) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		known["peer.example"] = []netip.Addr{b.Peer.Node.Addr(), other.Node.Addr()}
		named := &grasp.Locator{FQDN: "peer.example", Port: int(b.Peer.Endpoint.Port())}
		acceptOne(b, b.Request(o, named, 0), b.Peer)
		require.Empty(t, p.takeAll())
		acceptOne(b, b.Request(o, named, 0), b.Peer)
		require.Equal(t, known["peer.example"][:1], p.takeAll())
		p.set(b.Peer, late)
		call := b.Request(o, named, 0)
		s := b.Peer.Dialed()
		m := s.Next()
		time.Sleep(2 * time.Second)
		s.Send(arr{6, m.ID(b), arr{101}})
		call.Ok()
		other.NotDialed()
		require.Len(t, p.takeAll(), 1)
	})
}

// Nobody else gets a request that a peer may have which does not answer: another address
// may be that peer's, too. The call fails. The next one does not go early to that peer.
func TestEarlyUnanswered(t *testing.T) {
	known := make(names)
	inEarlyBed(t, grasp.Config{Resolver: known, Limits: longLived.Limits}, func(b *bed.Bed, p *early, other *bed.Peer) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		known["peer.example"] = []netip.Addr{b.Peer.Node.Addr(), other.Node.Addr()}
		named := &grasp.Locator{FQDN: "peer.example", Port: int(b.Peer.Endpoint.Port())}
		for _, peer := range []*grasp.Locator{named, nil} {
			if peer == nil {
				b.Learn(b.Peer, "EX1", 3_600_000, b.Peer.Option(), other.Option())
			}
			p.set(b.Peer, accepted)
			acceptOne(b, b.Request(o, peer, 0), b.Peer)
			p.takeAll()
			p.set(b.Peer, unanswered)
			call := b.Request(o, peer, 0)
			s := b.Peer.Dialed()
			s.Next()
			err := call.Within(dialTimeout).Err
			bed.IsCode(t, err, grasp.ErrSockErrNegRq)
			require.ErrorContains(t, err, "nobody else is asked, because the request may have got there")
			require.ErrorContains(t, err, b.Peer.Node.Addr().String())
			s.Closed()
			b.Peer.NotDialed()
			other.NotDialed()
			require.Len(t, p.takeAll(), 1)
			by := other // the first one is in doubt
			if peer != nil {
				by = b.Peer
			}
			acceptOne(b, b.Request(o, peer, 0), by)
			require.Empty(t, p.takeAll())
			time.Sleep(time.Minute)
		}

		// Nor is anybody else looked for meanwhile, who might get it in rapid mode.
		b.Learn(b.Peer, "EX1", 3_600_000, b.Peer.Option())
		p.set(b.Peer, accepted)
		acceptOne(b, b.Request(o, nil, 0), b.Peer)
		p.set(b.Peer, unanswered)
		call := b.Request(o, nil, 0)
		bed.IsCode(t, call.Within(dialTimeout).Err, grasp.ErrSockErrNegRq)
		b.Peer.None()
	})
}

// A peer that refused has nothing: the next address gets the request at once.
func TestEarlyRefused(t *testing.T) {
	inEarlyBed(t, longLived, func(b *bed.Bed, p *early, other *bed.Peer) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		b.Learn(b.Peer, "EX1", 3_600_000, b.Peer.Option(), other.Option())
		acceptOne(b, b.Request(o, nil, 0), b.Peer)
		p.set(b.Peer, refused)
		acceptOne(b, b.Request(o, nil, 0), other)
		b.Peer.NotDialed()
		require.Len(t, p.takeAll(), 1)
	})
}

// Of one that has just answered the search the request goes early to the only address,
// also the first time; of several none may be known to work.
func TestEarlyToFound(t *testing.T) {
	for _, c := range []struct {
		name    string
		several bool
		rapid   bool
	}{{"one address", false, false}, {"two", true, false}, {"one, in rapid mode", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			inEarlyBed(t, grasp.Config{Rapid: c.rapid}, func(b *bed.Bed, p *early, other *bed.Peer) {
				o := bed.Neg("EX1", 1)
				b.Register(o)
				for first := true; ; first = false {
					bed.Flush(t, b.ASA, "EX1")
					b.Peer.All()
					call := b.Request(o, nil, 0)
					m := b.Peer.Only()
					response := arr{2, m.ID(b), m.Items(b)[2], 60_000, b.Peer.Option()}
					if c.several {
						response = append(response, other.Option())
					}
					b.Peer.Respond(m, response)
					acceptOne(b, call, b.Peer)
					other.NotDialed()
					// Who heard a search in rapid mode may have the request already.
					want := !c.rapid && (!first || !c.several)
					require.Equal(t, want, len(p.takeAll()) == 1, "first: %v", first)
					if !first {
						return
					}
				}
			})
		})
	}
}

// RFC 8990 section 2.8.5: a response goes early, too, to the initiator of the discovery,
// and what a relay passes back.
func TestEarlyResponse(t *testing.T) {
	inEarlyBed(t, grasp.Config{}, func(b *bed.Bed, p *early, other *bed.Peer) {
		o := bed.Syn("EX2", 7)
		b.Register(o)
		require.NoError(t, b.ASA.ListenSynchronize(o))
		m, ok := b.Peer.Discover(17, "EX2")
		require.True(t, ok)
		require.EqualValues(t, 17, m.ID(b))
		b.Peer.NotDialed()
		require.Len(t, p.takeAll(), 1)
		require.EqualValues(t, 1, b.G.Snapshot().Sent["M_RESPONSE"])

		p.set(b.Peer, refused)
		_, ok = b.Peer.Discover(18, "EX2")
		require.False(t, ok)
		b.WantDrop(grasp.ReasonSendFailed, 1)
	})
}

// A response that comes twice does no harm: who looks for an objective, be it for
// another node, has the locator once, and a late copy is for nobody.
func TestResponseComesTwice(t *testing.T) {
	bed.InLinks(t, 2, grasp.Config{}, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		call := b.Discover(o, time.Second, grasp.DiscoverOptions{})
		m := b.Peer.Only()
		response := arr{2, m.ID(b), m.Items(b)[2], 60_000, b.Peer.Option()}
		b.Peer.Respond(m, response)
		b.Peer.Respond(m, response)
		require.Len(t, call.Within(time.Second).Found, 1)
		require.Len(t, bed.CachedIn(b.G, "EX1"), 1)
		bed.Flush(t, b.ASA, "EX1")
		b.Peer.Respond(m, response)
		b.WantDrop(grasp.ReasonUnsolicited, 1)
		require.Empty(t, bed.CachedIn(b.G, "EX1"))

		b.Far.All()
		b.Peer.Multicast(arr{1, 17, b.Peer.Addr(), arr{"EX3", 1, 6, nil}})
		asked := b.Far.Only()
		response = arr{2, asked.ID(b), asked.Items(b)[2], 60_000, b.Far.Option()}
		b.Far.Respond(asked, response)
		b.Far.Respond(asked, response)
		for range 2 { // the initiator has it twice, and keeps it once, as above
			s := b.Peer.Dialed()
			require.EqualValues(t, 17, s.Next().ID(b))
			s.Closed()
		}
		require.Len(t, bed.CachedIn(b.G, "EX3"), 1)
	})
}
