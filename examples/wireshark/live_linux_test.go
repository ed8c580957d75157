package wireshark

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/capture/capturetest"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wire"
)

// recorder records the messages of instances.
type recorder struct {
	mu             sync.Mutex
	sent, received [][]byte
}

func (r *recorder) trace(e grasp.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case grasp.Sent:
		r.sent = append(r.sent, bytes.Clone(e.Raw))
	case grasp.Received:
		r.received = append(r.received, bytes.Clone(e.Raw))
	}
}

// all returns what was sent so far and, if asked for, received, in order of the
// bytes.
func (r *recorder) all(received bool) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.sent)
	if received {
		all = append(all, r.received...)
	}
	slices.SortFunc(all, bytes.Compare)
	return all
}

// node starts an instance with an ASA on a link of the test's namespace.
func (r *recorder) node(t *testing.T, link string) *grasp.ASA {
	t.Helper()
	g, err := grasp.New(grasp.Config{Plane: &acp.Layer2{Links: []string{link}}, Trace: r.trace})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	netbed.Eventually(t, 30*time.Second, link+" is in use", func() bool { return len(g.Snapshot().Links) == 1 })
	a, err := g.RegisterASA(link)
	require.NoError(t, err)
	return a
}

// captured waits until a capture has this many messages, and returns them in order of
// their bytes. None may be wrong.
func captured(t *testing.T, f *capturetest.File, atLeast int) [][]byte {
	t.Helper()
	var all [][]byte
	netbed.Eventually(t, 30*time.Second, "all is captured", func() bool {
		all = nil
		for _, ms := range dissect(t, f.Copy()) {
			for _, m := range ms {
				require.False(t, m.isWrong(), m.wrong)
				all = append(all, m.raw)
			}
		}
		return len(all) >= atLeast
	})
	slices.SortFunc(all, bytes.Compare)
	return all
}

// negotiated has an ASA ask for a value and accept what it is offered, or not.
func negotiated(t *testing.T, a *grasp.ASA, o grasp.Objective, accept bool) {
	t.Helper()
	s, _, err := a.ReqNegotiate(t.Context(), o, nil, 40*time.Second)
	if errors.Is(err, grasp.ErrDeclined) {
		return
	}
	require.NoError(t, err)
	if s != nil {
		require.NoError(t, s.EndNegotiate(accept, "thank you"))
	}
}

// What instances of this library say on a link is what is captured and shown.
func TestTsharkLive(t *testing.T) {
	tshark(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va", "vb")
	var r recorder
	here, there := r.node(t, "va"), r.node(t, "vb")
	f := capturetest.Live(t, nil, "va")

	ex2 := grasp.Objective{Name: "EX2", Synch: true, Value: strings.Repeat("long ", 380)}
	require.NoError(t, there.RegisterObj(ex2, grasp.RegisterOptions{}))
	require.NoError(t, there.ListenSynchronize(ex2))
	got, err := here.Synchronize(t.Context(), grasp.Objective{Name: "EX2", Synch: true}, nil, 0)
	require.NoError(t, err)
	require.Equal(t, ex2.Value, got.Value)
	require.NoError(t, there.Flood(time.Minute, grasp.TaggedObjective{Objective: grasp.Objective{Name: "EX2", Synch: true, Value: 1}}))

	ex3 := grasp.Objective{Name: "EX3", Neg: true, Value: []any{"NZD", 100}}
	require.NoError(t, here.RegisterObj(ex3, grasp.RegisterOptions{}))
	require.NoError(t, there.RegisterObj(ex3, grasp.RegisterOptions{}))
	banker := make(chan struct{})
	go func() {
		defer close(banker)
		for range 2 {
			s, o, err := there.ListenNegotiate(t.Context(), ex3)
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, s.NegotiateWait(time.Minute))
			o.Value = []any{"NZD", 50}
			_, _, err = s.NegotiateStep(t.Context(), o, 0)
			assert.True(t, err == nil || errors.Is(err, grasp.ErrDeclined), err)
		}
	}()
	negotiated(t, here, ex3, true)
	negotiated(t, here, ex3, false)
	<-banker

	// What was sent is traced afterwards: it may have been received before.
	for _, a := range []*grasp.ASA{here, there} {
		require.NoError(t, a.Instance().Close())
	}
	sent := r.all(false)
	require.Greater(t, len(sent), 12)
	require.Equal(t, sent, captured(t, f, len(sent)))
}

// The same with the prototype's banker: what this library sends to it and hears from
// it is shown, and so is all that it says.
func TestInteropTsharkBriggs(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	tshark(t)
	if !netbed.Enter(t) {
		return
	}
	node := netbed.NewNode(t, "briggs")
	netbed.VethPair(t, "va", "vb")
	node.MoveLink(t, "vb")
	netbed.AddAddr(t, "va", "fd00::1/64")
	node.AddAddr(t, "vb", "fd00::2/64")
	f := capturetest.Live(t, nil, "va")
	briggs := graspybed.RunASA(t, node, "Briggs", true)
	netbed.Eventually(t, time.Minute, "Briggs is ready", func() bool { return strings.Contains(briggs.String(), "Ready to negotiate") })

	var r recorder
	a := r.node(t, "va")
	got, err := a.Synchronize(t.Context(), grasp.Objective{Name: "EX2", Synch: true}, nil, 20*time.Second)
	require.NoError(t, err)
	require.Equal(t, []any{int64(1), "two", int64(3)}, got.Value)
	ex3 := grasp.Objective{Name: "EX3", Neg: true, Value: []any{"NZD", 10}}
	require.NoError(t, a.RegisterObj(ex3, grasp.RegisterOptions{}))
	negotiated(t, a, ex3, true)
	ex3.Value = []any{"NZD", 1000}
	negotiated(t, a, ex3, true)
	negotiated(t, a, ex3, false)

	// It floods a minute after its start.
	netbed.Eventually(t, 2*time.Minute, "a flood", func() bool {
		all, err := a.GetFlood(grasp.Objective{Name: "EX1", Synch: true})
		return err == nil && len(all) > 0
	})
	// Besides, it sends an M_NOOP when it starts, which is not traced.
	said := r.all(true)
	all := captured(t, f, len(said)+1)
	kinds := make(map[wire.Type]int)
	all = slices.DeleteFunc(all, func(raw []byte) bool {
		m, err := wire.Parse(raw, wire.Limits{})
		require.NoError(t, err)
		kinds[m.Type()]++
		return m.Type() == wire.TypeNoop
	})
	t.Log(kinds)
	assert.Equal(t, said, all)
	for _, kind := range []wire.Type{
		wire.TypeNoop, wire.TypeDiscovery, wire.TypeResponse, wire.TypeReqNeg, wire.TypeNegotiate, wire.TypeEnd, wire.TypeFlood,
	} {
		assert.Positive(t, kinds[kind], kind)
	}
}
