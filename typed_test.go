package grasp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/grasptest"
)

// limits is a value with names of its own on the wire.
type limits struct {
	MTU  int    `cbor:"1,keyasint"`
	Name string `cbor:"2,keyasint,omitempty"`
}

// Values of a type go out and come in by each call.
func TestTyped(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		a, b := nodes[0].ASA("a"), nodes[1].ASA("b")
		shared := grasp.Typed[limits]{Objective: grasp.Objective{Name: "example.com:limits", Synch: true}}
		want := limits{MTU: 1500, Name: "ethernet"}
		grasptest.Objective(t, a, shared.Objective)

		require.NoError(t, a.ListenSynchronize(shared.With(want)))
		got, err := shared.Synchronize(t.Context(), b, nil, 0)
		require.NoError(t, err)
		assert.Equal(t, want, got)

		w := watch(n, shared.WatchFloods(t.Context(), b), func(e grasp.TypedFloodEvent[limits]) string {
			return fmt.Sprint(e.Change, e.Flood.Value.MTU, e.Err)
		})
		want.MTU = 9000
		require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: shared.With(want)}))
		n.Settle()
		floods, err := shared.GetFlood(b)
		require.NoError(t, err)
		require.Len(t, floods, 1)
		assert.Equal(t, want, floods[0].Value)
		assert.NotNil(t, floods[0].Source)
		assert.Equal(t, []string{"added 9000 <nil>"}, w.next())

		deal := grasp.Typed[limits]{Objective: grasp.Objective{Name: "example.com:deal", Neg: true}}
		grasptest.Objective(t, a, deal.Objective)
		grasptest.Objective(t, b, deal.Objective)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- a.Serve(ctx, deal.Objective, grasp.Policy[limits]{
				Decide: func(_ context.Context, asked limits, _ bool) (grasp.Decision[limits], error) {
					if asked.MTU > 1500 {
						return grasp.Counter(limits{MTU: 1500, Name: asked.Name}), nil
					}
					return grasp.Accept[limits](), nil
				},
			}.Handle, grasp.ServeOptions{})
		}()
		n.Settle()
		s, offer, err := deal.ReqNegotiate(t.Context(), b, limits{MTU: 9000, Name: "x"}, nil, 0)
		require.NoError(t, err)
		require.NotNil(t, s)
		assert.Equal(t, limits{MTU: 1500, Name: "x"}, offer)
		s, offer, err = s.NegotiateStep(t.Context(), limits{MTU: 1400}, 0)
		require.NoError(t, err)
		assert.Nil(t, s, "accepted")
		assert.Equal(t, limits{MTU: 1400}, offer)
		stop()
		require.NoError(t, <-served)
		require.NoError(t, b.Deregister())
		assert.Len(t, w.next(), 2, "the error, and the end")
	})
}

// What is of another type is an error that says what came, by each call.
func TestTypedRefuses(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		a, b := nodes[0].ASA("a"), nodes[1].ASA("b")
		o := grasp.Objective{Name: "example.com:number", Synch: true, Value: "a text"}
		numbers := grasp.Typed[int]{Objective: o}
		grasptest.Objective(t, a, o)
		require.NoError(t, a.ListenSynchronize(o))
		_, err := numbers.Synchronize(t.Context(), b, nil, 0)
		require.ErrorIs(t, err, grasp.ErrCBORFail)
		assert.ErrorContains(t, err, `"a text" is no int`)

		require.NoError(t, a.Flood(time.Minute, grasp.TaggedObjective{Objective: o}))
		n.Settle()
		floods, err := numbers.GetFlood(b)
		require.NoError(t, err)
		require.Len(t, floods, 1)
		assert.ErrorIs(t, floods[0].Err, grasp.ErrCBORFail)

		deal := grasp.Typed[int]{Objective: grasp.Objective{Name: "example.com:deal", Neg: true}}
		grasptest.Objective(t, a, deal.Objective)
		grasptest.Objective(t, b, deal.Objective)
		declined := make(chan error, 1)
		go func() {
			_ = a.Serve(t.Context(), deal.Objective, func(ctx context.Context, s *grasp.Session, o grasp.Objective) error {
				o.Value = "much"
				_, _, err := s.NegotiateStep(ctx, o, 0)
				declined <- err
				return err
			}, grasp.ServeOptions{})
		}()
		n.Settle()
		s, _, err := deal.ReqNegotiate(t.Context(), b, 5, nil, 0)
		require.ErrorIs(t, err, grasp.ErrCBORFail)
		assert.Nil(t, s)
		assert.ErrorContains(t, <-declined, "the offer is no int")
	})
}

// An offer that is refused before it is sent leaves the session as it was; and no
// session is one that can be ended.
func TestTypedSession(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("a", "b")
		a, b := nodes[0].ASA("a"), nodes[1].ASA("b")
		deal := grasp.Typed[string]{Objective: grasp.Objective{Name: "example.com:deal", Neg: true}}
		grasptest.Objective(t, a, deal.Objective)
		grasptest.Objective(t, b, deal.Objective)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- a.Serve(ctx, deal.Objective, grasp.Policy[string]{
				Decide: func(_ context.Context, asked string, _ bool) (grasp.Decision[string], error) {
					if asked == "ask" {
						return grasp.Counter("offer"), nil
					}
					return grasp.Accept[string](), nil
				},
			}.Handle, grasp.ServeOptions{})
		}()
		n.Settle()
		s, offer, err := deal.ReqNegotiate(t.Context(), b, "ask", nil, 0)
		require.NoError(t, err)
		assert.Equal(t, "offer", offer)
		same, _, err := s.NegotiateStep(t.Context(), strings.Repeat("x", 3000), 0)
		require.ErrorIs(t, err, grasp.ErrTooLong)
		require.Same(t, s, same)
		s, _, err = s.NegotiateStep(t.Context(), "take it", 0)
		require.NoError(t, err)
		require.Nil(t, s, "accepted")

		_, _, err = s.NegotiateStep(t.Context(), "more", 0)
		require.ErrorIs(t, err, grasp.ErrNoSession)
		require.ErrorIs(t, s.EndNegotiate(true, ""), grasp.ErrNoSession)
		require.NoError(t, s.Close())
		stop()
		require.NoError(t, <-served)
	})
}
