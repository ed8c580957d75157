package bed

import (
	"context"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

// Register registers objectives of the ASA under test.
func (b *Bed) Register(objs ...grasp.Objective) {
	b.Helper()
	for _, o := range objs {
		require.NoError(b, b.ASA.RegisterObj(o, grasp.RegisterOptions{}))
	}
}

// Answer is what a call returned, and when.
type Answer struct {
	S     *grasp.Session
	O     grasp.Objective
	Found []grasp.Locator
	Err   error
	At    time.Time
}

// Pending is a call under way.
type Pending struct {
	b  *Bed
	Ch chan Answer
}

// Call starts a call in the background and waits until it blocks or is done.
func (b *Bed) Call(f func() Answer) Pending {
	p := Pending{b, make(chan Answer, 1)}
	go func() {
		a := f()
		a.At = time.Now()
		p.Ch <- a
	}()
	synctest.Wait()
	return p
}

// Done returns what the call returned, which it has to do without a timer.
func (p Pending) Done() Answer {
	p.b.Helper()
	return p.Within(0)
}

// Within returns what the call returns within a time.
func (p Pending) Within(d time.Duration) Answer {
	p.b.Helper()
	select {
	case a := <-p.Ch:
		return a
	case <-time.After(d + Soon):
		require.Fail(p.b, "the call does not return", "within %v", d)
		return Answer{}
	}
}

// Ok is done for a call that must not fail.
func (p Pending) Ok() Answer {
	p.b.Helper()
	a := p.Done()
	require.NoError(p.b, a.Err)
	return a
}

// Blocks checks that the call waits.
func (p Pending) Blocks() {
	p.b.Helper()
	synctest.Wait()
	require.Empty(p.b, p.Ch, "the call returned")
}

// Request starts ReqNegotiate, listen ListenNegotiate, step NegotiateStep,
// synchronize Synchronize and discover Discover.
func (b *Bed) Request(o grasp.Objective, peer *grasp.Locator, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		s, o, err := b.ASA.ReqNegotiate(context.Background(), o, peer, timeout)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) Listen(o grasp.Objective) Pending {
	return b.Call(func() Answer {
		s, o, err := b.ASA.ListenNegotiate(context.Background(), o)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) Step(s *grasp.Session, o grasp.Objective, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		s, o, err := s.NegotiateStep(context.Background(), o, timeout)
		return Answer{S: s, O: o, Err: err}
	})
}

func (b *Bed) Synchronize(o grasp.Objective, peer *grasp.Locator, timeout time.Duration) Pending {
	return b.Call(func() Answer {
		o, err := b.ASA.Synchronize(context.Background(), o, peer, timeout)
		return Answer{O: o, Err: err}
	})
}

func (b *Bed) Discover(o grasp.Objective, timeout time.Duration, opt grasp.DiscoverOptions) Pending {
	return b.Call(func() Answer {
		found, err := b.ASA.Discover(context.Background(), o, timeout, opt)
		return Answer{Found: found, Err: err}
	})
}

// Asked is a ReqNegotiate of the ASA under test that has reached the peer: the
// call, the peer's end of the stream and the request.
func (b *Bed) Asked(o grasp.Objective) (Pending, *Stream, Packet) {
	b.Helper()
	call := b.Request(o, b.Peer.Locator(), 0)
	s := b.Peer.Dialed()
	return call, s, s.Next()
}

// Served is a request of the peer that a listener of the ASA under test got.
func (b *Bed) Served(o grasp.Objective, id uint32, value any) (*grasp.Session, grasp.Objective, *Stream) {
	b.Helper()
	call := b.Listen(o)
	s := b.Peer.Dial(b.At())
	s.Send(Arr{3, id, Arr{o.Name, flagsOf(o), o.LoopCount, value}})
	a := call.Ok()
	return a.S, a.O, s
}

// Discover checks whether the instance answers the peer's discovery of an
// objective, and returns the answer if it does.
func (p *Peer) Discover(id uint32, name string) (Packet, bool) {
	p.t.Helper()
	p.Multicast(Arr{1, id, p.Addr(), Arr{name, 1, 6, nil}})
	select {
	case c := <-p.accepted:
		s := p.stream(c)
		m := s.Next()
		s.Closed()
		return m, true
	default:
		return Packet{}, false
	}
}

// Respond answers a discovery that the peer heard, as a responder does.
func (p *Peer) Respond(to Packet, m any) {
	p.t.Helper()
	s := p.Dial(to.From)
	s.Send(m)
	require.NoError(p.t, s.Close())
	synctest.Wait()
}

// Learn has the instance discover an objective, and a peer respond with
// options, so that they are in the cache.
func (b *Bed) Learn(from *Peer, name string, ttl int, options ...any) {
	b.Helper()
	for _, p := range []*Peer{b.Peer, b.Far} {
		if p != nil {
			p.All()
		}
	}
	call := b.Discover(Syn(name, nil), time.Hour, grasp.DiscoverOptions{First: true, Flush: true})
	var m Packet
	for _, p := range []*Peer{b.Peer, b.Far} {
		if p == nil {
			continue
		}
		if heard := p.Only(); p == from {
			m = heard
		}
	}
	from.Respond(m, append(Arr{2, m.ID(b), m.Items(b)[2], ttl}, options...))
	require.NotEmpty(b, call.Ok().Found)
}
