package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.8.9: a received M_WAIT replaces the timer, be it longer or shorter,
// and at its expiry the negotiation has failed.
func TestN14N15WaitReplacesTheTimer(t *testing.T) {
	for _, c := range []struct {
		after time.Duration // the waits are sent this long one after the other
		waits []uint32
		want  time.Duration
	}{
		{time.Second, nil, time.Minute},
		{time.Second, []uint32{90000}, 91 * time.Second},
		{time.Second, []uint32{500}, 1500 * time.Millisecond},
		{59 * time.Second, []uint32{60000, 60000, 60000}, (3*59 + 60) * time.Second},
		{time.Second, []uint32{3600000, 1000}, 3 * time.Second},
		{time.Second, []uint32{1<<32 - 1}, time.Second + (1<<32-1)*time.Millisecond},
		{time.Second, []uint32{0}, time.Second}, // expires at once
	} {
		bed.In(t, func(b *bed.Bed) {
			ex3 := bed.Neg("EX3", 1)
			b.Register(ex3)
			start := time.Now()
			call, s, request := b.Asked(ex3)
			for _, ms := range c.waits {
				time.Sleep(c.after)
				s.Send(arr{7, request.ID(b), ms})
			}
			a := call.Within(c.want)
			bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
			require.Equal(b, c.want, a.At.Sub(start), "%v", c.waits)
			s.Closed()
		})
	}
}

// Section 2.8.9: the side that owes an answer sends it, or another M_WAIT,
// before the timer ends.
func TestN15AnswerAfterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{})
		a, b := bed.NewASA(t, bed.NewInstance(t, n.NewNode("a", l)), "A"), bed.NewASA(t, bed.NewInstance(t, n.NewNode("b", l)), "B")
		o := bed.Neg("EX3", 0)
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
		require.NoError(t, b.RegisterObj(o, grasp.RegisterOptions{}))
		var responder sync.WaitGroup
		responder.Go(func() {
			s, o, err := b.ListenNegotiate(t.Context(), o)
			for range 10 {
				if err == nil {
					err = s.NegotiateWait(50 * time.Second)
					time.Sleep(49 * time.Second)
				}
			}
			if err == nil {
				o.Value = "after 490 s"
				_, _, err = s.NegotiateStep(t.Context(), o, time.Minute)
			}
			if !errors.Is(err, grasp.ErrDeclined) {
				t.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		s, got, err := a.ReqNegotiate(t.Context(), o, nil, 0)
		require.NoError(t, err)
		require.Equal(t, "after 490 s", got.Value)
		require.Equal(t, 490*time.Second, time.Since(start))
		// N-16: the initiator may do so, too.
		require.NoError(t, s.NegotiateWait(10*time.Minute))
		time.Sleep(10*time.Minute - time.Second)
		require.NoError(t, s.EndNegotiate(false, ""))
		responder.Wait()
	})
}

// Section 2.8.9 and RFC 8991 section 2.3.5: M_WAIT is taken from either side.
func TestN16WaitFromTheInitiator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		session, o, s := b.Served(ex3, 7, 1)
		step := b.Step(session, o, time.Second)
		s.Next()
		s.Send(arr{7, 7, 90000})
		time.Sleep(89 * time.Second)
		step.Blocks()
		s.Send(arr{6, 7, arr{101}})
		step.Ok()
	})
}

// Section 2.5.5: sessions run side by side: with one peer and with several,
// about one objective and several.
func TestN17ConcurrentSessions(t *testing.T) {
	const peers, perPeer = 4, 8
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		responder := bed.NewASA(t, bed.NewInstance(t, n.NewNode("responder", l)), "responder")
		objs := []grasp.Objective{bed.Neg("EX3", nil), bed.Neg("EX4", nil)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var served sync.WaitGroup
		for _, o := range objs {
			require.NoError(t, responder.RegisterObj(o, grasp.RegisterOptions{}))
			for range 3 {
				served.Go(func() {
					for {
						s, o, err := responder.ListenNegotiate(ctx, o)
						if err != nil {
							return
						}
						served.Go(func() {
							// Each value comes back doubled, twice, with waits.
							for range 2 {
								if err := s.NegotiateWait(0); err != nil {
									t.Error(err)
									return
								}
								time.Sleep(50 * time.Second)
								o.Value = fmt.Sprint(o.Value, o.Name)
								var next *grasp.Session
								if next, o, err = s.NegotiateStep(ctx, o, 0); err != nil || next == nil {
									t.Error(next, o, err)
									return
								}
							}
							if err := s.EndNegotiate(true, ""); err != nil {
								t.Error(err)
							}
						})
					}
				})
			}
		}
		synctest.Wait()
		var all sync.WaitGroup
		for p := range peers {
			asa := bed.NewASA(t, bed.NewInstance(t, n.NewNode(fmt.Sprint("peer", p), l)), "A")
			for _, o := range objs {
				require.NoError(t, asa.RegisterObj(o, grasp.RegisterOptions{}))
			}
			for i := range perPeer {
				o := objs[i%2]
				all.Go(func() {
					o.Value = fmt.Sprintf("%d.%d", p, i)
					want := o.Value.(string)
					s, got, err := asa.ReqNegotiate(ctx, o, nil, 0)
					for range 2 {
						want += o.Name
						if err != nil || s == nil || got.Value != want {
							t.Errorf("%v, %v, %v, want %v", s, got, err, want)
							return
						}
						s, got, err = s.NegotiateStep(ctx, got, 0)
					}
					if err != nil || s != nil || got.Value != want {
						t.Errorf("%v, %v, %v, want %v accepted", s, got, err, want)
					}
				})
			}
		}
		all.Wait()
		cancel()
		served.Wait()
	})
}

// RFC 8991 section 2.2.2: two sessions at once between the same two ASAs, one
// in each direction and about the same objective.
func TestN17BothDirections(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", "mine")
		b.Register(ex3)
		call, own, request := b.Asked(ex3)
		session, o, theirs := b.Served(ex3, 4711, "theirs")
		require.Equal(b, "theirs", o.Value)
		step := b.Step(session, o, 0)
		theirs.Next()
		own.Send(arr{6, request.ID(b), arr{101}})
		require.Equal(b, "mine", call.Ok().O.Value)
		theirs.Send(arr{6, 4711, arr{102, "no"}})
		bed.IsCode(b, step.Done().Err, grasp.ErrDeclined)
	})
}
