package grasp

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

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Close ends every call that blocks, within a second, with a code of its own.
func TestCloseEndsCalls(t *testing.T) {
	blocked(t, func(b *bed, _ context.Context, _ context.CancelCauseFunc, result <-chan error) {
		start := time.Now()
		require.NoError(b, b.g.Close())
		err := <-result
		require.LessOrEqual(b, time.Since(start), time.Second)
		require.Contains(b, []ErrorCode{ErrNoASA, ErrNoSession}, Code(err), "%v", err)
		b.nothingLeft()
	})
}

// So it does with calls that block in other ways than for a peer's answer.
func TestCloseEndsOtherCalls(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(b *bed) func() error
		codes   []ErrorCode
	}{
		"Send to a peer that never reads": {func(b *bed) func() error {
			s, _, _ := b.served(neg("EX1", nil), 7, nil)
			return func() error { return s.Send(make([]byte, 1<<19)) }
		}, []ErrorCode{ErrNoASA, ErrNoSession}},
		"WaitForLink": {func(b *bed) func() error {
			b.node.Detach(b.links[0])
			return func() error { return b.g.WaitForLink(forever) }
		}, []ErrorCode{ErrNoASA}},
		"ListenNegotiate of several": {func(b *bed) func() error {
			for range 10 {
				go func() { _, _, _ = b.asa.ListenNegotiate(forever, neg("EX1", nil)) }()
			}
			return func() error { return third(b.asa.ListenNegotiate(forever, neg("EX1", nil))) }
		}, []ErrorCode{ErrNoASA}},
		"a session within the instance": {func(b *bed) func() error {
			second := newASA(b, b.g, "second")
			registered(b, neg("EX3", nil), b.asa)
			require.NoError(b, b.asa.DeregisterObj(neg("EX3", nil)))
			require.NoError(b, second.RegisterObj(neg("EX3", nil), RegisterOptions{Overlap: true}))
			require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Overlap: true}))
			listening := b.listenBy(second, neg("EX3", nil))
			return func() error {
				err := third(b.asa.ReqNegotiate(forever, neg("EX3", nil), nil, time.Hour))
				require.NoError(b, (<-listening.ch).err)
				return err
			}
		}, []ErrorCode{ErrNoASA, ErrNoSession}},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", nil))
				call := c.prepare(b)
				result := make(chan error, 1)
				go func() { result <- call() }()
				synctest.Wait()
				require.Empty(b, result, "it does not block")
				start := time.Now()
				require.NoError(b, b.g.Close())
				err := <-result
				require.LessOrEqual(b, time.Since(start), time.Second)
				require.Contains(b, c.codes, Code(err), "%v", err)
				b.nothingLeft()
			})
		})
	}
}

// after Close, and after Deregister, every call has its code, and none
// panics or hangs.
func TestCallsAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*bed) error{
		"Close":      func(b *bed) error { return b.g.Close() },
		"Deregister": func(b *bed) error { return b.asa.Deregister() },
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				o, s := neg("EX1", nil), syn("EX2", nil)
				b.register(o, s)
				session, offer, _ := b.served(o, 7, nil)
				require.NoError(b, end(b))
				b.peer.all()
				f := TaggedObjective{Objective: s}
				for call, err := range map[string]error{
					"RegisterObj":       b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{}),
					"DeregisterObj":     b.asa.DeregisterObj(o),
					"Discover":          second(b.asa.Discover(forever, o, 0, DiscoverOptions{})),
					"ReqNegotiate":      third(b.asa.ReqNegotiate(forever, o, b.peer.locator(), 0)),
					"OpenSession":       second(b.asa.OpenSession(forever, o, nil, 0)),
					"ListenNegotiate":   third(b.asa.ListenNegotiate(forever, o)),
					"StopNegotiate":     b.asa.StopNegotiate(o),
					"Synchronize":       second(b.asa.Synchronize(forever, s, nil, 0)),
					"ListenSynchronize": b.asa.ListenSynchronize(s),
					"StopSynchronize":   b.asa.StopSynchronize(s),
					"Flood":             b.asa.Flood(0, f),
					"GetFlood":          second(b.asa.GetFlood(s)),
					"ExpireFlood":       b.asa.ExpireFlood(f),
					"Deregister":        b.asa.Deregister(),
					"NegotiateStep":     third(session.NegotiateStep(forever, offer, 0)),
					"NegotiateWait":     session.NegotiateWait(0),
					"EndNegotiate":      session.EndNegotiate(true, ""),
					"SendInvalid":       session.SendInvalid(nil),
					"Send":              session.Send(1),
					"Recv":              second(session.Recv(forever, 0)),
				} {
					require.Equal(b, ErrNoASA, Code(err), "%s: %v", call, err)
					require.Equal(b, name == "Close", errors.Is(err, net.ErrClosed), "%s: %v", call, err)
				}
				require.NoError(b, session.Close())
				b.asa.Ttprint("still there")
				require.Equal(b, "ASA under test", b.asa.Name())
				require.Same(b, b.g, b.asa.Instance())
				b.peer.none()
				b.peer.notDialed()
			})
		})
	}
	inBed(t, func(b *bed) {
		require.NoError(b, b.g.Close())
		isCode(b, second(b.g.RegisterASA("late")), ErrNoASA)
		isCode(b, b.g.WaitForLink(forever), ErrNoASA)
		require.Empty(b, b.g.Snapshot().Sessions)
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// Close may be called more than once, and concurrently: every call returns when
// all is over.
func TestCloseConcurrently(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, o, _ := b.served(neg("EX1", nil), 7, nil)
		waiting := b.step(s, o, 0)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := b.g.Close(); err != nil {
					t.Error(err)
				}
				if n := b.g.streams.len(); n != 0 {
					t.Errorf("Close returned before all was over: %d streams", n)
				}
			})
		}
		all.Wait()
		isCode(b, waiting.done().err, ErrNoSession)
		require.NoError(b, b.g.Close())
	})
}

// Close waits for what goes on: when it has returned, nothing of the instance
// runs, and nothing is traced any more.
func TestCloseWaits(t *testing.T) {
	inBed(t, func(b *bed) {
		var mu sync.Mutex
		busy, over := 0, false
		a := b.other("other", func(c *Config) {
			c.Trace = func(e Event) {
				mu.Lock()
				if over {
					t.Errorf("after Close: %v", e)
				}
				busy++
				mu.Unlock()
				time.Sleep(300 * time.Millisecond) // slower than it should be
				mu.Lock()
				busy--
				mu.Unlock()
			}
		})
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, 7}, arr{}}})
		b.peer.dial(netip.AddrPortFrom(a.g.ep.Addr(), a.g.ep.Port())).send(arr{4, 7, arr{"EX1", 5, 6, nil}})
		mu.Lock()
		require.Equal(b, 2, busy)
		mu.Unlock()
		require.NoError(b, a.g.Close())
		mu.Lock()
		require.Zero(b, busy)
		over = true
		mu.Unlock()
		b.peer.multicast(arr{9, 2, b.peer.addr(), 0, arr{arr{"EX1", 5, 6, 7}, arr{}}})
		time.Sleep(time.Minute)
	})
}

// An instance that was never used, and one of which the node is dead.
func TestCloseAtOnce(t *testing.T) {
	inBed(t, func(b *bed) {
		g := instanceWith(b, b.net.NewNode("x", b.links[0]))
		require.NoError(b, g.Close())
		b.node.Kill()
		require.NoError(b, b.g.Close())
	})
}

// An endpoint that cannot be closed is an error of Close, which does its work
// all the same.
func TestCloseError(t *testing.T) {
	inBed(t, func(b *bed) {
		g, err := New(Config{Plane: stubborn{b.net.NewNode("x", b.links[0])}})
		require.NoError(b, err)
		err = g.Close()
		isCode(b, err, ErrSockErr)
		require.ErrorIs(b, err, errBroken)
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

func (e stubbornEndpoint) Close() error { return errors.Join(errBroken, e.Endpoint.Close()) }

// The peers of sessions see them end, those of requests that wait in the queue
// as well; connections that have said nothing are closed.
func TestCloseAndPeers(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		_, _, conn := b.served(o, 7, nil)
		queued, silent := b.peer.dial(b.at()), b.peer.dial(b.at())
		queued.send(arr{3, 8, arr{"EX1", 3, 6, nil}})
		require.NoError(b, b.g.Close())
		for _, s := range []*rawStream{conn, queued, silent} {
			s.closed()
		}
		_, err := b.peer.ep.Dial(forever, b.at())
		require.Error(b, err)
		// The same node can have another instance.
		instanceWith(b, b.node)
	})
}

// Close at any moment, while everything goes on at once.
func TestCloseAtAnyMoment(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		inBed(t, func(b *bed) {
			b.links[0].SetDelay(time.Millisecond)
			o, s := neg("EX1", nil), syn("EX2", nil)
			other := b.other("other")
			for _, a := range []*ASA{b.asa, other} {
				require.NoError(b, a.RegisterObj(o, RegisterOptions{}))
				require.NoError(b, a.RegisterObj(s, RegisterOptions{Discoverable: true}))
			}
			var all sync.WaitGroup
			run := func(f func(a *ASA) error) {
				for _, a := range []*ASA{b.asa, other} {
					for range 3 {
						all.Go(func() {
							for n := 0; n < 500; n++ {
								err := f(a)
								if Code(err) == ErrNoASA {
									return
								}
								time.Sleep(time.Millisecond)
							}
						})
					}
				}
			}
			run(func(a *ASA) error {
				s, o, err := a.ListenNegotiate(forever, o)
				if err == nil && s != nil {
					_, _, _ = s.NegotiateStep(forever, o, time.Second)
				}
				return err
			})
			run(func(a *ASA) error {
				s, o, err := a.ReqNegotiate(forever, o, nil, time.Second)
				if s != nil {
					_, _, _ = s.NegotiateStep(forever, o, time.Second)
					_ = s.EndNegotiate(false, "")
				}
				return err
			})
			run(func(a *ASA) error { return second(a.Synchronize(forever, s, nil, time.Second)) })
			run(func(a *ASA) error { return a.ListenSynchronize(syn("EX2", 1)) })
			run(func(a *ASA) error { return a.Flood(time.Second, TaggedObjective{Objective: s}) })
			run(func(a *ASA) error { return second(a.Discover(forever, o, 0, DiscoverOptions{Flush: true})) })
			time.Sleep(time.Duration(i*i) * 100 * time.Microsecond)
			require.LessOrEqual(b, took(func() { require.NoError(b, b.g.Close()) }), time.Second)
			require.LessOrEqual(b, took(func() { require.NoError(b, other.g.Close()) }), time.Second)
			all.Wait()
			b.nothingLeft()
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
	g, err := New(Config{Plane: memory.NewNetwork(1).NewNode("x")})
	require.NoError(t, err)
	netbed.Eventually(t, 10*time.Second, "an instance has goroutines", func() bool { return goroutines() > before })
	require.NoError(t, g.Close())
	netbed.Eventually(t, 10*time.Second, "they are gone after Close", func() bool { return goroutines() <= before })
}
