package grasp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// blocking are the calls that block, each with what has it block.
var blocking = map[string]func(b *bed) func(ctx context.Context) error{
	"Discover": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return second(b.asa.Discover(ctx, neg("EX1", nil), time.Hour, DiscoverOptions{}))
		}
	},
	"ReqNegotiate, discovering": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return third(b.asa.ReqNegotiate(ctx, neg("EX1", nil), nil, time.Hour))
		}
	},
	"ReqNegotiate, connecting": func(b *bed) func(context.Context) error {
		b.links[0].SetDelay(time.Hour)
		return func(ctx context.Context) error {
			return third(b.asa.ReqNegotiate(ctx, neg("EX1", nil), b.peer.locator(), time.Hour))
		}
	},
	"ReqNegotiate, waiting": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return third(b.asa.ReqNegotiate(ctx, neg("EX1", nil), b.peer.locator(), time.Hour))
		}
	},
	"OpenSession": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return second(b.asa.OpenSession(ctx, neg("EX1", nil), nil, time.Hour))
		}
	},
	"ListenNegotiate": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error { return third(b.asa.ListenNegotiate(ctx, neg("EX1", nil))) }
	},
	"NegotiateStep": func(b *bed) func(context.Context) error {
		s, o, _ := b.served(neg("EX1", nil), 7, nil)
		return func(ctx context.Context) error { return third(s.NegotiateStep(ctx, o, time.Hour)) }
	},
	"Recv": func(b *bed) func(context.Context) error {
		s, _, conn := b.served(neg("EX1", nil), 7, nil)
		conn.send([]byte{0x82, 0x01}) // half an item
		return func(ctx context.Context) error { return second(s.Recv(ctx, time.Hour)) }
	},
	"Synchronize, discovering": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return second(b.asa.Synchronize(ctx, syn("EX2", nil), nil, time.Hour))
		}
	},
	"Synchronize, connecting": func(b *bed) func(context.Context) error {
		b.links[0].SetDelay(time.Hour)
		return func(ctx context.Context) error {
			return second(b.asa.Synchronize(ctx, syn("EX2", nil), b.peer.locator(), time.Hour))
		}
	},
	"Synchronize, waiting": func(b *bed) func(context.Context) error {
		return func(ctx context.Context) error {
			return second(b.asa.Synchronize(ctx, syn("EX2", nil), b.peer.locator(), time.Hour))
		}
	},
	"Synchronize with a name": func(b *bed) func(context.Context) error {
		b.g.cfg.Resolver = slow{}
		return func(ctx context.Context) error {
			return second(b.asa.Synchronize(ctx, syn("EX2", nil), &Locator{FQDN: "slow.example", Port: 1}, time.Hour))
		}
	},
}

// third returns the error of a call with three results.
func third[S, T any](_ S, _ T, err error) error { return err }

// blocked runs a test with each call that blocks, while it does.
func blocked(t *testing.T, test func(b *bed, ctx context.Context, cancel context.CancelCauseFunc, result <-chan error)) {
	for name, prepare := range blocking {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", nil), syn("EX2", nil))
				call := prepare(b)
				ctx, cancel := context.WithCancelCause(forever)
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
	blocked(t, func(b *bed, _ context.Context, cancel context.CancelCauseFunc, result <-chan error) {
		start := time.Now()
		cancel(why)
		err := <-result
		require.Zero(b, time.Since(start))
		isCode(b, err, ErrCancelled)
		require.ErrorIs(b, err, why)
		require.ErrorContains(b, err, "EX")
		b.nothingLeft()
	})
	blocked(t, func(b *bed, _ context.Context, cancel context.CancelCauseFunc, result <-chan error) {
		cancel(nil)
		err := <-result
		isCode(b, err, ErrCancelled)
		require.ErrorIs(b, err, context.Canceled)
	})
}

// nothingLeft checks that no session and no stream is left, and no ID in use.
func (b *bed) nothingLeft() {
	b.Helper()
	synctest.Wait()
	require.Empty(b, b.g.Snapshot().Sessions)
	require.Zero(b, b.g.Snapshot().Streams)
	require.Zero(b, b.g.sessions.Len())
	require.Empty(b, b.g.searches.byID)
}

// So does the deadline of a context; the GRASP timer is another matter.
func TestDeadline(t *testing.T) {
	for name, prepare := range blocking {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", nil), syn("EX2", nil))
				call := prepare(b)
				ctx, cancel := context.WithTimeout(forever, 3*time.Second)
				defer cancel()
				start := time.Now()
				err := call(ctx)
				require.Equal(b, 3*time.Second, time.Since(start))
				isCode(b, err, ErrCancelled)
				require.ErrorIs(b, err, context.DeadlineExceeded)
				b.nothingLeft()
			})
		})
	}
}

// Deregistering the ASA ends them, too.
func TestDeregisterEndsCalls(t *testing.T) {
	blocked(t, func(b *bed, _ context.Context, _ context.CancelCauseFunc, result <-chan error) {
		require.NoError(b, b.asa.Deregister())
		start := time.Now()
		err := <-result
		require.Zero(b, time.Since(start))
		require.Contains(b, []ErrorCode{ErrNoASA, ErrNoSession}, Code(err), "%v", err)
		b.nothingLeft()
	})
}

// A call that ends by itself at the moment its context does leaves the session
// alone: the next call is not disturbed.
func TestCancelAfterTheCall(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, o, conn := b.served(neg("EX1", nil), 7, nil)
		for loops := uint8(100); loops > 50; loops-- {
			ctx, cancel := context.WithCancel(forever)
			o.LoopCount = loops
			call := b.call(func() answer {
				s, o, err := s.NegotiateStep(ctx, o, 0)
				cancel()
				return answer{s: s, o: o, err: err}
			})
			conn.read()
			conn.send(arr{5, 7, arr{"EX1", 3, loops - 1, nil}})
			call.ok()
		}
	})
}

// slow is a resolver that finds nothing for as long as it may.
type slow struct{}

func (slow) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}
