package conformance

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// blocking are the calls that block, each with what has it block.
var blocking = map[string]func(b *bed.Bed) func(ctx context.Context) error{
	"Discover": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Second(b.ASA.Discover(ctx, bed.Neg("EX1", nil), time.Hour, grasp.DiscoverOptions{}))
		}
	},
	"ReqNegotiate, discovering": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Third(b.ASA.ReqNegotiate(ctx, bed.Neg("EX1", nil), nil, time.Hour))
		}
	},
	"ReqNegotiate, connecting": func(b *bed.Bed) func(context.Context) error {
		b.Links[0].SetDelay(time.Hour)
		return func(ctx context.Context) error {
			return bed.Third(b.ASA.ReqNegotiate(ctx, bed.Neg("EX1", nil), b.Peer.Locator(), time.Hour))
		}
	},
	"ReqNegotiate, waiting": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Third(b.ASA.ReqNegotiate(ctx, bed.Neg("EX1", nil), b.Peer.Locator(), time.Hour))
		}
	},
	"OpenSession": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Second(b.ASA.OpenSession(ctx, bed.Neg("EX1", nil), nil, time.Hour))
		}
	},
	"ListenNegotiate": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error { return bed.Third(b.ASA.ListenNegotiate(ctx, bed.Neg("EX1", nil))) }
	},
	"NegotiateStep": func(b *bed.Bed) func(context.Context) error {
		s, o, _ := b.Served(bed.Neg("EX1", nil), 7, nil)
		return func(ctx context.Context) error { return bed.Third(s.NegotiateStep(ctx, o, time.Hour)) }
	},
	"Recv": func(b *bed.Bed) func(context.Context) error {
		s, _, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		conn.Send([]byte{0x82, 0x01}) // half an item
		return func(ctx context.Context) error { return bed.Second(s.Recv(ctx, time.Hour)) }
	},
	"Synchronize, discovering": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Second(b.ASA.Synchronize(ctx, bed.Syn("EX2", nil), nil, time.Hour))
		}
	},
	"Synchronize, connecting": func(b *bed.Bed) func(context.Context) error {
		b.Links[0].SetDelay(time.Hour)
		return func(ctx context.Context) error {
			return bed.Second(b.ASA.Synchronize(ctx, bed.Syn("EX2", nil), b.Peer.Locator(), time.Hour))
		}
	},
	"Synchronize, waiting": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Second(b.ASA.Synchronize(ctx, bed.Syn("EX2", nil), b.Peer.Locator(), time.Hour))
		}
	},
	"Synchronize with a name": func(b *bed.Bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return bed.Second(b.ASA.Synchronize(ctx, bed.Syn("EX2", nil), &grasp.Locator{FQDN: "slow.example", Port: 1}, time.Hour))
		}
	},
}

// blocked runs a test with each call that blocks, while it does.
func blocked(t *testing.T, test func(b *bed.Bed, ctx context.Context, cancel context.CancelCauseFunc, result <-chan error)) {
	for name, prepare := range blocking {
		t.Run(name, func(t *testing.T) {
			bed.InLinks(t, 1, grasp.Config{Resolver: slow{}}, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
				call := prepare(b)
				ctx, cancel := context.WithCancelCause(bed.Forever)
				defer cancel(nil)
				result := make(chan error, 1)
				go func() { result <- call(ctx) }()
				synctest.Wait()
				require.Empty(b, result, "it does not block")
				time.Sleep(time.Second) // in the midst of it
				test(b, ctx, cancel, result)
			})
		})
	}
}

// Cancelling a context ends every call that blocks, at once, with its cause,
// and leaves nothing behind.
func TestCancel(t *testing.T) {
	why := errors.New("changed my mind")
	blocked(t, func(b *bed.Bed, _ context.Context, cancel context.CancelCauseFunc, result <-chan error) {
		start := time.Now()
		cancel(why)
		err := <-result
		require.Zero(b, time.Since(start))
		bed.IsCode(b, err, grasp.ErrCancelled)
		require.ErrorIs(b, err, why)
		require.ErrorContains(b, err, "EX")
		b.NothingLeft()
	})
	blocked(t, func(b *bed.Bed, _ context.Context, cancel context.CancelCauseFunc, result <-chan error) {
		cancel(nil)
		err := <-result
		bed.IsCode(b, err, grasp.ErrCancelled)
		require.ErrorIs(b, err, context.Canceled)
	})
}

// So does the deadline of a context; the GRASP timer is another matter.
func TestDeadline(t *testing.T) {
	for name, prepare := range blocking {
		t.Run(name, func(t *testing.T) {
			bed.InLinks(t, 1, grasp.Config{Resolver: slow{}}, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
				call := prepare(b)
				ctx, cancel := context.WithTimeout(bed.Forever, 3*time.Second)
				defer cancel()
				start := time.Now()
				err := call(ctx)
				require.Equal(b, 3*time.Second, time.Since(start))
				bed.IsCode(b, err, grasp.ErrCancelled)
				require.ErrorIs(b, err, context.DeadlineExceeded)
				b.NothingLeft()
			})
		})
	}
}

// Deregistering the ASA ends them, too.
func TestDeregisterEndsCalls(t *testing.T) {
	blocked(t, func(b *bed.Bed, _ context.Context, _ context.CancelCauseFunc, result <-chan error) {
		require.NoError(b, b.ASA.Deregister())
		start := time.Now()
		err := <-result
		require.Zero(b, time.Since(start))
		require.Contains(b, []grasp.ErrorCode{grasp.ErrNoASA, grasp.ErrNoSession}, grasp.Code(err), "%v", err)
		b.NothingLeft()
	})
}

// A call that ends by itself at the moment its context does leaves the session
// alone: the next call is not disturbed.
func TestCancelAfterTheCall(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, o, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		for loops := uint8(100); loops > 50; loops-- {
			ctx, cancel := context.WithCancel(bed.Forever)
			o.LoopCount = loops
			call := b.Call(func() bed.Answer {
				s, o, err := s.NegotiateStep(ctx, o, 0)
				cancel()
				return bed.Answer{S: s, O: o, Err: err}
			})
			conn.Next()
			conn.Send(arr{5, 7, arr{"EX1", 3, loops - 1, nil}})
			call.Ok()
		}
	})
}

// slow is a resolver that finds nothing for as long as it may.
type slow struct{}

func (slow) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// A call whose context has ended before sends nothing, not even within the instance: a
// peer could agree to what nobody waits for.
func TestCancelledBefore(t *testing.T) {
	ended, cancel := context.WithCancel(bed.Forever)
	cancel()
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
		require.NoError(t, b.ASA.ListenSynchronize(bed.Syn("EX2", 1)))
		listening := b.Listen(bed.Neg("EX1", nil))
		here := bed.At(b.G)
		bed.IsCode(t, bed.Third(b.ASA.ReqNegotiate(ended, bed.Neg("EX1", 1), here, 0)), grasp.ErrCancelled)
		bed.IsCode(t, bed.Second(b.ASA.OpenSession(ended, bed.Neg("EX1", 1), here, 0)), grasp.ErrCancelled)
		bed.IsCode(t, bed.Second(b.ASA.Synchronize(ended, bed.Syn("EX2", nil), here, 0)), grasp.ErrCancelled)
		listening.Blocks()
		for _, e := range b.Traced() {
			require.NotEqual(t, grasp.Sent, e.Kind, "%v", e.Message)
		}
		b.NothingLeft()
	})
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, o, conn := b.Served(bed.Neg("EX1", nil), 7, 1)
		bed.IsCode(t, bed.Third(s.NegotiateStep(ended, o, 0)), grasp.ErrCancelled)
		conn.Closed() // the session is over, as after any cancelled call
		b.NothingLeft()
	})
}

// A call of ListenNegotiate whose context has ended takes no request, and does not have
// the objective be found.
func TestListenCancelledBefore(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		bed.IsCode(b, bed.Third(b.ASA.ListenNegotiate(ended, o)), grasp.ErrCancelled)
		_, found := b.Peer.Discover(1, "EX1")
		require.False(b, found)

		b.ServedBy(b.Listen(o), 2)
		s := b.Peer.Dial(b.At())
		s.Send(bed.Arr{3, 3, bed.Arr{"EX1", 3, 6, nil}}) // waits in the queue
		for range 10 {
			bed.IsCode(b, bed.Third(b.ASA.ListenNegotiate(ended, o)), grasp.ErrCancelled)
		}
		require.NoError(b, b.Listen(o).Ok().S.EndNegotiate(true, ""))
	})
}

// A timeout below 0, such as what is left until a time that has passed, is over at once:
// nothing goes to a peer, and every call returns.
func TestNegativeTimeout(t *testing.T) {
	o := bed.Neg("EX1", 1)
	for name, c := range map[string]struct {
		call func(b *bed.Bed, timeout time.Duration) error
		code grasp.ErrorCode
	}{
		"ReqNegotiate": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Third(b.ASA.ReqNegotiate(bed.Forever, o, nil, timeout))
		}, grasp.ErrNoDiscReply},
		"ReqNegotiate, to": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Third(b.ASA.ReqNegotiate(bed.Forever, o, b.Peer.Locator(), timeout))
		}, grasp.ErrSockErrNegRq},
		"ReqNegotiate, to itself": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Third(b.ASA.ReqNegotiate(bed.Forever, o, bed.At(b.G), timeout))
		}, grasp.ErrSockErrNegRq},
		"OpenSession": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Second(b.ASA.OpenSession(bed.Forever, o, b.Peer.Locator(), timeout))
		}, grasp.ErrSockErrNegRq},
		"Synchronize": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Second(b.ASA.Synchronize(bed.Forever, bed.Syn("EX2", nil), nil, timeout))
		}, grasp.ErrNotFloodDisc},
		"Synchronize, to": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Second(b.ASA.Synchronize(bed.Forever, bed.Syn("EX2", nil), b.Peer.Locator(), timeout))
		}, grasp.ErrSockErrSynRq},
		"Discover, of one node": {func(b *bed.Bed, timeout time.Duration) error {
			return bed.Second(b.ASA.Discover(bed.Forever, o, timeout, grasp.DiscoverOptions{Peer: b.Peer.Locator()}))
		}, grasp.ErrSockErr},
		"NegotiateStep": {func(b *bed.Bed, timeout time.Duration) error {
			s, asked, stream := b.Served(o, 7, 1)
			err := bed.Third(s.NegotiateStep(bed.Forever, asked, timeout))
			stream.Closed()
			return err
		}, grasp.ErrNoNegReply},
		"Recv": {func(b *bed.Bed, timeout time.Duration) error {
			s, _, _ := b.Served(o, 7, 1)
			return bed.Second(s.Recv(bed.Forever, timeout))
		}, grasp.ErrNoReply},
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(o)
				for _, timeout := range []time.Duration{-1, math.MinInt64} {
					var err error
					require.Zero(b, bed.Took(func() { err = c.call(b, timeout) }))
					bed.IsCode(b, err, c.code)
					var timed net.Error
					require.ErrorAs(b, err, &timed)
					require.True(b, timed.Timeout())
					b.Peer.NotDialed()
				}
				b.NothingLeft()
			})
		})
	}
}
