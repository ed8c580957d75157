package conformance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Close ends every call that blocks, within a second, with a code of its own.
func TestCloseEndsCalls(t *testing.T) {
	blocked(t, func(b *bed.Bed, _ context.Context, _ context.CancelCauseFunc, result <-chan error) {
		start := time.Now()
		require.NoError(b, b.G.Close())
		err := <-result
		require.LessOrEqual(b, time.Since(start), time.Second)
		require.Contains(b, []grasp.ErrorCode{grasp.ErrNoASA, grasp.ErrNoSession}, grasp.Code(err), "%v", err)
		b.NothingLeft()
	})
}

// So it does with calls that block in other ways than for a peer's answer.
func TestCloseEndsOtherCalls(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(b *bed.Bed) func() error
		codes   []grasp.ErrorCode
	}{
		"Send to a peer that never reads": {func(b *bed.Bed) func() error {
			s, _, _ := b.Served(bed.Neg("EX1", nil), 7, nil)
			return func() error { return s.Send(make([]byte, 1<<19)) }
		}, []grasp.ErrorCode{grasp.ErrNoASA, grasp.ErrNoSession}},
		"WaitForLink": {func(b *bed.Bed) func() error {
			b.Node.Detach(b.Links[0])
			return func() error { return b.G.WaitForLink(bed.Forever) }
		}, []grasp.ErrorCode{grasp.ErrNoASA}},
		"ListenNegotiate of several": {func(b *bed.Bed) func() error {
			for range 10 {
				go func() { _, _, _ = b.ASA.ListenNegotiate(bed.Forever, bed.Neg("EX1", nil)) }()
			}
			return func() error { return bed.Third(b.ASA.ListenNegotiate(bed.Forever, bed.Neg("EX1", nil))) }
		}, []grasp.ErrorCode{grasp.ErrNoASA}},
		"a session within the instance": {func(b *bed.Bed) func() error {
			second := bed.NewASA(b, b.G, "second")
			bed.Registered(b, bed.Neg("EX3", nil), b.ASA)
			require.NoError(b, b.ASA.DeregisterObj(bed.Neg("EX3", nil)))
			require.NoError(b, second.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Overlap: true}))
			require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Overlap: true}))
			listening := b.ListenBy(second, bed.Neg("EX3", nil))
			return func() error {
				err := bed.Third(b.ASA.ReqNegotiate(bed.Forever, bed.Neg("EX3", nil), nil, time.Hour))
				require.NoError(b, (<-listening.Ch).Err)
				return err
			}
		}, []grasp.ErrorCode{grasp.ErrNoASA, grasp.ErrNoSession}},
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil))
				call := c.prepare(b)
				result := make(chan error, 1)
				go func() { result <- call() }()
				synctest.Wait()
				require.Empty(b, result, "it does not block")
				start := time.Now()
				require.NoError(b, b.G.Close())
				err := <-result
				require.LessOrEqual(b, time.Since(start), time.Second)
				require.Contains(b, c.codes, grasp.Code(err), "%v", err)
				b.NothingLeft()
			})
		})
	}
}

// after Close, and after Deregister, every call has its code, and none
// panics or hangs.
func TestCallsAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*bed.Bed) error{
		"Close":      func(b *bed.Bed) error { return b.G.Close() },
		"Deregister": func(b *bed.Bed) error { return b.ASA.Deregister() },
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				o, s := bed.Neg("EX1", nil), bed.Syn("EX2", nil)
				b.Register(o, s)
				session, offer, _ := b.Served(o, 7, nil)
				require.NoError(b, end(b))
				b.Peer.All()
				f := grasp.TaggedObjective{Objective: s}
				for call, err := range map[string]error{
					"RegisterObj":       b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{}),
					"DeregisterObj":     b.ASA.DeregisterObj(o),
					"Discover":          bed.Second(b.ASA.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{})),
					"ReqNegotiate":      bed.Third(b.ASA.ReqNegotiate(bed.Forever, o, b.Peer.Locator(), 0)),
					"OpenSession":       bed.Second(b.ASA.OpenSession(bed.Forever, o, nil, 0)),
					"ListenNegotiate":   bed.Third(b.ASA.ListenNegotiate(bed.Forever, o)),
					"StopNegotiate":     b.ASA.StopNegotiate(o),
					"Synchronize":       bed.Second(b.ASA.Synchronize(bed.Forever, s, nil, 0)),
					"ListenSynchronize": b.ASA.ListenSynchronize(s),
					"StopSynchronize":   b.ASA.StopSynchronize(s),
					"Flood":             b.ASA.Flood(0, f),
					"GetFlood":          bed.Second(b.ASA.GetFlood(s)),
					"ExpireFlood":       b.ASA.ExpireFlood(f),
					"Deregister":        b.ASA.Deregister(),
					"NegotiateStep":     bed.Third(session.NegotiateStep(bed.Forever, offer, 0)),
					"NegotiateWait":     session.NegotiateWait(0),
					"EndNegotiate":      session.EndNegotiate(true, ""),
					"SendInvalid":       session.SendInvalid(nil),
					"Send":              session.Send(1),
					"Recv":              bed.Second(session.Recv(bed.Forever, 0)),
				} {
					require.Equal(b, grasp.ErrNoASA, grasp.Code(err), "%s: %v", call, err)
					require.Equal(b, name == "Close", errors.Is(err, net.ErrClosed), "%s: %v", call, err)
				}
				require.NoError(b, session.Close())
				b.ASA.Ttprint("still there")
				require.Equal(b, "ASA under test", b.ASA.Name())
				require.Same(b, b.G, b.ASA.Instance())
				b.Peer.None()
				b.Peer.NotDialed()
			})
		})
	}
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.G.Close())
		bed.IsCode(b, bed.Second(b.G.RegisterASA("late")), grasp.ErrNoASA)
		bed.IsCode(b, b.G.WaitForLink(bed.Forever), grasp.ErrNoASA)
		require.Empty(b, b.G.Snapshot().Sessions)
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// Close may be called more than once, and concurrently: every call returns when
// all is over.
func TestCloseConcurrently(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, o, _ := b.Served(bed.Neg("EX1", nil), 7, nil)
		waiting := b.Step(s, o, 0)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := b.G.Close(); err != nil {
					t.Error(err)
				}
				if n := b.G.Snapshot().Streams; n != 0 {
					t.Errorf("Close returned before all was over: %d streams", n)
				}
			})
		}
		all.Wait()
		bed.IsCode(b, waiting.Done().Err, grasp.ErrNoSession)
		require.NoError(b, b.G.Close())
	})
}

// Close waits for what goes on: when it has returned, nothing of the instance
// runs, and nothing is traced any more.
func TestCloseWaits(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		var mu sync.Mutex
		busy, over := 0, false
		a := b.Other("other", func(c *grasp.Config) {
			c.Trace = func(e grasp.Event) {
				mu.Lock()
				if over {
					t.Errorf("after Close: %v", e)
				}
				busy++
				mu.Unlock()
				time.Sleep(100 * time.Millisecond) // it may
				mu.Lock()
				busy--
				mu.Unlock()
			}
		})
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, 7}, arr{}}})
		b.Peer.Dial(netip.AddrPortFrom(a.Instance().Snapshot().Address, a.Instance().Snapshot().Port)).Send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		mu.Lock()
		require.Equal(b, 1, busy, "one call after the other")
		mu.Unlock()
		require.NoError(b, a.Instance().Close())
		mu.Lock()
		require.Zero(b, busy)
		over = true
		mu.Unlock()
		b.Peer.Multicast(arr{9, 2, b.Peer.Addr(), 0, arr{arr{"EX1", 5, 6, 7}, arr{}}})
		time.Sleep(time.Minute)
	})
}

// An instance that was never used, and one of which the node is dead.
func TestCloseAtOnce(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		g := bed.InstanceWith(b, b.Net.NewNode("x", b.Links[0]))
		require.NoError(b, g.Close())
		b.Node.Kill()
		require.NoError(b, b.G.Close())
	})
}

// An endpoint that cannot be closed is an error of Close, which does its work
// all the same.
func TestCloseError(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		g, err := grasp.New(grasp.Config{Plane: stubborn{b.Net.NewNode("x", b.Links[0])}})
		require.NoError(b, err)
		err = g.Close()
		bed.IsCode(b, err, grasp.ErrSockErr)
		require.ErrorIs(b, err, bed.ErrBroken)
		require.NoError(b, g.Close())
	})
}

// stubborn is a plane whose endpoint says that it cannot be closed.
type stubborn struct{ acp.Plane }

type stubbornEndpoint struct{ acp.Endpoint }

func (p stubborn) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return stubbornEndpoint{ep}, err
}

func (e stubbornEndpoint) Close() error { return errors.Join(bed.ErrBroken, e.Endpoint.Close()) }

// The peers of sessions see them end, those of requests that wait in the queue
// as well; connections that have said nothing are closed.
func TestCloseAndPeers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		_, _, conn := b.Served(o, 7, nil)
		queued, silent := b.Peer.Dial(b.At()), b.Peer.Dial(b.At())
		queued.Send(arr{3, 8, arr{"EX1", 3, 6, nil}})
		require.NoError(b, b.G.Close())
		for _, s := range []*bed.Stream{conn, queued, silent} {
			s.Closed()
		}
		_, err := b.Peer.Endpoint.Dial(bed.Forever, b.At())
		require.Error(b, err)
		// The same node can have another instance.
		bed.InstanceWith(b, b.Node)
	})
}

// Close at any moment, while everything goes on at once.
func TestCloseAtAnyMoment(t *testing.T) {
	rounds := 60
	if !longtest.On() {
		rounds = 10
	}
	for i := range rounds {
		bed.In(t, func(b *bed.Bed) {
			b.Links[0].SetDelay(time.Millisecond)
			o, s := bed.Neg("EX1", nil), bed.Syn("EX2", nil)
			other := b.Other("other")
			for _, a := range []*grasp.ASA{b.ASA, other} {
				require.NoError(b, a.RegisterObj(o, grasp.RegisterOptions{}))
				require.NoError(b, a.RegisterObj(s, grasp.RegisterOptions{Discoverable: true}))
			}
			var all sync.WaitGroup
			run := func(f func(a *grasp.ASA) error) {
				for _, a := range []*grasp.ASA{b.ASA, other} {
					for range 3 {
						all.Go(func() {
							for n := 0; n < 500; n++ {
								err := f(a)
								if grasp.Code(err) == grasp.ErrNoASA {
									return
								}
								time.Sleep(time.Millisecond)
							}
						})
					}
				}
			}
			run(func(a *grasp.ASA) error {
				s, o, err := a.ListenNegotiate(bed.Forever, o)
				if err == nil && s != nil {
					_, _, _ = s.NegotiateStep(bed.Forever, o, time.Second)
				}
				return err
			})
			run(func(a *grasp.ASA) error {
				s, o, err := a.ReqNegotiate(bed.Forever, o, nil, time.Second)
				if s != nil {
					_, _, _ = s.NegotiateStep(bed.Forever, o, time.Second)
					_ = s.EndNegotiate(false, "")
				}
				return err
			})
			run(func(a *grasp.ASA) error { return bed.Second(a.Synchronize(bed.Forever, s, nil, time.Second)) })
			run(func(a *grasp.ASA) error { return a.ListenSynchronize(bed.Syn("EX2", 1)) })
			run(func(a *grasp.ASA) error { return a.Flood(time.Second, grasp.TaggedObjective{Objective: s}) })
			run(func(a *grasp.ASA) error {
				return bed.Second(a.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{Flush: true}))
			})
			time.Sleep(time.Duration(i*i) * 100 * time.Microsecond)
			require.LessOrEqual(b, bed.Took(func() { require.NoError(b, b.G.Close()) }), time.Second)
			require.LessOrEqual(b, bed.Took(func() { require.NoError(b, other.Instance().Close()) }), time.Second)
			all.Wait()
			b.NothingLeft()
		})
	}
}

// goroutines returns how many goroutines are of this package's code.
func goroutines() int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Count(string(buf), "grasp.(*Instance)")
}

// No goroutine is left after Close; and the check can fail.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goroutines()
	g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("x")})
	require.NoError(t, err)
	netbed.Eventually(t, 30*time.Second, "an instance has goroutines", func() bool { return goroutines() > before })
	require.NoError(t, g.Close())
	netbed.Eventually(t, 30*time.Second, "they are gone after Close", func() bool { return goroutines() <= before })
}
