package conformance

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// rapidPair returns a responder and an initiator on a link of 10 ms, with a
// tap that collects the types of the multicasts on it.
func rapidPair(t *testing.T, o grasp.Objective, opt grasp.RegisterOptions, cfg grasp.Config) (responder, initiator *grasp.ASA) {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{Delay: 10 * time.Millisecond})
	responder = bed.NewASA(t, bed.NewInstance(t, n.NewNode("responder", link)), "responder")
	cfg.Plane = n.NewNode("initiator", link)
	g, err := grasp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	initiator = bed.NewASA(t, g, "initiator")
	require.NoError(t, responder.RegisterObj(o, opt))
	require.NoError(t, initiator.RegisterObj(o, grasp.RegisterOptions{}))
	return responder, initiator
}

// P-02..P-05: a discovery with a value is a request, if the responder is
// registered for rapid mode; the session runs on the connection that brings
// the answer, and costs a round trip less than discovery and request.
func TestP02RapidNegotiation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6, Value: int64(100)}
		responder, initiator := rapidPair(t, o, grasp.RegisterOptions{Rapid: true}, grasp.Config{Rapid: true})
		go func() {
			s, asked, err := responder.ListenNegotiate(t.Context(), o)
			if err != nil {
				return
			}
			asked.Value = int64(40)
			if _, asked, err = s.NegotiateStep(t.Context(), asked, 0); err == nil {
				_ = s.EndNegotiate(true, "")
			}
		}()
		synctest.Wait()
		start := time.Now()
		s, got, err := initiator.ReqNegotiate(t.Context(), o, nil, 0)
		require.NoError(t, err)
		require.Equal(t, int64(40), got.Value)
		require.Equal(t, 40*time.Millisecond, time.Since(start), "multicast, connection, answer")
		got.Value = int64(60)
		s, got, err = s.NegotiateStep(t.Context(), got, 0)
		require.NoError(t, err)
		require.Nil(t, s)
		require.Equal(t, int64(60), got.Value)
		synctest.Wait()
		for _, g := range []*grasp.Instance{responder.Instance(), initiator.Instance()} {
			require.Empty(t, g.Snapshot().Sessions)
			require.Zero(t, g.Snapshot().Streams)
			require.Zero(t, g.Snapshot().SessionIDs)
		}
		require.Zero(t, initiator.Instance().Snapshot().Sent["M_REQ_NEG"])
	})
}

// P-01, P-08, Q-03: it is off by default, on either side: then ordinary
// discovery goes on.
func TestP01RapidIsOffByDefault(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  grasp.RegisterOptions
		cfg  grasp.Config
	}{
		{"neither", grasp.RegisterOptions{}, grasp.Config{}},
		{"responder", grasp.RegisterOptions{Rapid: true}, grasp.Config{}},
		{"initiator", grasp.RegisterOptions{}, grasp.Config{Rapid: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6, Value: int64(100)}
				responder, initiator := rapidPair(t, o, c.opt, c.cfg)
				go func() {
					if s, _, err := responder.ListenNegotiate(t.Context(), o); err == nil {
						_ = s.EndNegotiate(true, "")
					}
				}()
				synctest.Wait()
				s, got, err := initiator.ReqNegotiate(t.Context(), o, nil, 0)
				require.NoError(t, err)
				require.Nil(t, s)
				require.Equal(t, int64(100), got.Value)
				require.EqualValues(t, 1, initiator.Instance().Snapshot().Sent["M_REQ_NEG"])
			})
		})
	}
}

// a relay drops a rapid answer, and the discovery that follows is an
// ordinary one.
func TestQ07RapidThroughARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := chain(t, 3, memory.LinkConfig{Delay: time.Millisecond})
		o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6, Value: int64(100)}
		responder, initiator := bed.NewASA(t, nodes[2], "responder"), bed.NewASA(t, nodes[0], "initiator")
		require.NoError(t, responder.RegisterObj(o, grasp.RegisterOptions{Rapid: true}))
		require.NoError(t, initiator.RegisterObj(o, grasp.RegisterOptions{Rapid: true}))
		go func() {
			for {
				s, _, err := responder.ListenNegotiate(t.Context(), o)
				if err != nil {
					return
				}
				_ = s.EndNegotiate(true, "")
			}
		}()
		synctest.Wait()
		_, got, err := initiator.ReqNegotiate(t.Context(), o, nil, 0)
		require.NoError(t, err)
		require.Equal(t, int64(100), got.Value)
		require.EqualValues(t, 1, nodes[1].Snapshot().Dropped[grasp.ReasonUnsolicited])
		require.EqualValues(t, 1, initiator.Instance().Snapshot().Sent["M_REQ_NEG"])
	})
}

// P-06: M_SYNCH instead of M_RESPONSE is taken for the value.
func TestP06RapidSynch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		raw, err := n.NewNode("raw", link).Open()
		require.NoError(t, err)
		defer func() { require.NoError(t, raw.Close()) }()
		a := bed.NewASA(t, bed.NewInstance(t, n.NewNode("a", link)), "a")
		go func() {
			buf := make([]byte, 2048)
			size, from, err := raw.Receive(buf)
			if err != nil {
				return
			}
			m, err := wire.Parse(buf[:size], wire.Limits{})
			if err != nil {
				return
			}
			s, err := raw.Dial(t.Context(), from.Addr)
			if err != nil {
				return
			}
			defer func() { _ = s.Close() }()
			asked := m.(*wire.Discovery)
			asked.Objective.Value = []byte{7}
			answer, _ := (&wire.Synch{SessionID: asked.SessionID, Objective: asked.Objective}).Append(nil)
			_, _ = s.Write(answer)
		}()
		got, err := a.Synchronize(t.Context(), grasp.Objective{Name: "EX2", Synch: true, LoopCount: 6}, nil, 0)
		require.NoError(t, err)
		require.Equal(t, int64(7), got.Value)
		require.Zero(t, a.Instance().Snapshot().SessionIDs)
	})
}
