package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// The scenario of the Python prototype's own tests, on two links: an instance
// on the left one, one on both, and one on the right one. It is written against
// planes: see TestScenarioInMemory and TestScenarioOnRealLinks.
type scenario struct {
	*testing.T
	left, middle, right *grasp.Instance
	// moment is how long an ASA waits for what does not come. It may be any time in
	// memory, but has to be real on real links.
	moment time.Duration
	// thinks is how often Neg1 will keep Neg2 waiting, which takes its time on real
	// links.
	thinks atomic.Int32
	// oneLink says that all three are on the loopback: nothing is relayed or diverted.
	oneLink bool
}

func runScenario(t *testing.T, left, middle, right acp.Plane, moment time.Duration, thinks int32) {
	s := &scenario{T: t, moment: moment}
	s.thinks.Store(thinks)
	s.run(left, middle, right)
}

func (s *scenario) run(left, middle, right acp.Plane) {
	s.left, s.middle, s.right = bed.NewInstance(s, left), bed.NewInstance(s, middle), bed.NewInstance(s, right)
	for _, n := range []struct {
		g     *grasp.Instance
		plane acp.Plane
		links int
	}{{s.left, left, 1}, {s.middle, middle, 2}, {s.right, right, 1}} {
		netbed.Eventually(s, 30*time.Second, "the links are in use", func() bool {
			if p, ok := n.plane.(*tlsplane.Plane); ok && len(p.Stats().Neighbours) != n.links {
				return false // which takes a moment more
			}
			now := n.g.Snapshot()
			return s.oneLink && len(now.Links) == 1 || len(now.Links) == n.links && now.Address.IsValid()
		})
	}
	asa1 := s.register()
	boot := s.discover(asa1)
	s.flood(asa1)
	s.synchronize(boot)
	s.haggle()
	s.deregister(asa1)
}

var (
	scenarioEX1  = grasp.Objective{Name: "EX1", Synch: true, LoopCount: 2}
	scenarioBoot = grasp.Objective{Name: "Boot", Synch: true, LoopCount: 2}
	scenarioEX2  = grasp.Objective{Name: "EX2", Neg: true, LoopCount: 6}
)

// register registers ASA-1 and EX1, for which nobody listens: it is not found,
// and that is no error.
func (s *scenario) register() *grasp.ASA {
	asa1 := bed.NewASA(s, s.left, "ASA-1")
	require.NoError(s, asa1.RegisterObj(scenarioEX1, grasp.RegisterOptions{TTL: 10 * time.Second}))
	bed.IsCode(s, asa1.RegisterObj(scenarioEX1, grasp.RegisterOptions{}), grasp.ErrObjReg)
	for _, g := range []*grasp.Instance{s.left, s.middle} {
		found, err := bed.NewASA(s, g, "seeker of EX1").Discover(s.Context(), scenarioEX1, s.moment, grasp.DiscoverOptions{})
		require.NoError(s, err)
		require.Empty(s, found)
	}
	return asa1
}

// discover registers Boot, and finds it from the same node, from the next one,
// and, by a Divert of that one, from beyond it.
func (s *scenario) discover(asa1 *grasp.ASA) *grasp.ASA {
	boot := bed.NewASA(s, s.left, "Boot")
	require.NoError(s, boot.RegisterObj(scenarioBoot, grasp.RegisterOptions{Discoverable: true}))
	relayed, asked := s.middle.Snapshot().Relayed["M_DISCOVERY"], s.right.Snapshot().Sent["M_DISCOVERY"]
	for i, asa := range []*grasp.ASA{asa1, bed.NewASA(s, s.middle, "seeker of Boot"), bed.NewASA(s, s.right, "seeker of Boot")} {
		found, err := asa.Discover(s.Context(), scenarioBoot, 60*s.moment, grasp.DiscoverOptions{First: true})
		require.NoError(s, err)
		require.NotEmpty(s, found, "seeker %d", i)
		if !s.oneLink { // the loopback's address is given to others on it alone
			require.Equal(s, s.left.Snapshot().Address, found[0].IP)
		}
		for _, l := range found { // a host has other addresses
			require.Equal(s, int(s.left.Snapshot().Port), l.Port)
			require.Equal(s, i == 2 && !s.oneLink, l.Diverted, "seeker %d", i)
		}
	}
	// It had the answer. Who asks again, as on a busy machine, found it to be no good.
	require.Greater(s, s.right.Snapshot().Sent["M_DISCOVERY"], asked)
	again := s.right.Snapshot().Sent["M_DISCOVERY"] - asked - 1
	require.LessOrEqual(s, s.middle.Snapshot().Relayed["M_DISCOVERY"]-relayed, again)
	return boot
}

// flood floods three objectives in one message. All nodes have them, those
// beyond the middle with a loop count less by one.
func (s *scenario) flood(asa1 *grasp.ASA) {
	embedded, err := cbor.Marshal([]any{"Some", "embedded", "CBOR", []any{1, 2, 3}})
	require.NoError(s, err)
	values := map[string]any{
		"Money": []any{int64(100), "NZD"}, "Bling": []any{"Diamonds", "Rubies"}, "Intent.PrefixManager": grasp.EncodedCBOR(embedded),
	}
	var tagged []grasp.TaggedObjective
	for name, value := range values {
		o := grasp.Objective{Name: name, Synch: true, LoopCount: 2, Value: value}
		require.NoError(s, asa1.RegisterObj(o, grasp.RegisterOptions{}))
		tagged = append(tagged, grasp.TaggedObjective{Objective: o})
	}
	require.NoError(s, asa1.Flood(0, tagged...))
	beyond := uint8(1)
	if s.oneLink {
		beyond = 2
	}
	for g, loops := range map[*grasp.Instance]uint8{s.left: 2, s.middle: 2, s.right: beyond} {
		reader := bed.NewASA(s, g, "reader of floods")
		for name, value := range values {
			var got []grasp.TaggedObjective
			netbed.Eventually(s, 30*time.Second, name+" was flooded", func() bool {
				got, err = reader.GetFlood(grasp.Objective{Name: name, Synch: true})
				return err != nil || len(got) > 0
			})
			require.NoError(s, err)
			require.Len(s, got, 1)
			require.Equal(s, value, got[0].Objective.Value)
			require.True(s, got[0].Source.IsZero())
			require.True(s, got[0].Source.Expire.IsZero(), "it lives for ever")
			if name == tagged[0].Objective.Name {
				require.Equal(s, loops, got[0].Objective.LoopCount)
			}
		}
		var inner []any
		got, err := reader.GetFlood(grasp.Objective{Name: "Intent.PrefixManager", Synch: true})
		require.NoError(s, err)
		require.NoError(s, got[0].Objective.Decode(&inner))
		require.Equal(s, "embedded", inner[1])
	}
}

// synchronize gets values from the flood, by unicast, and not at all.
func (s *scenario) synchronize(boot *grasp.ASA) {
	o := scenarioBoot
	o.Value = []any{1, "two", 3}
	require.NoError(s, boot.ListenSynchronize(o))
	reader := bed.NewASA(s, s.right, "ASA-2")
	before := s.right.Snapshot().Sent
	for name, value := range map[string]any{"Money": []any{int64(100), "NZD"}, "Bling": []any{"Diamonds", "Rubies"}} {
		got, err := reader.Synchronize(s.Context(), grasp.Objective{Name: name, Synch: true, LoopCount: 2}, nil, s.moment)
		require.NoError(s, err)
		require.Equal(s, value, got.Value)
	}
	require.Equal(s, before, s.right.Snapshot().Sent, "what was flooded is not asked for")

	// Neither flooded nor listened for.
	_, err := reader.Synchronize(s.Context(), scenarioEX1, nil, s.moment)
	bed.IsCode(s, err, grasp.ErrNotFloodDisc)

	got, err := reader.Synchronize(s.Context(), scenarioBoot, nil, 60*s.moment)
	require.NoError(s, err)
	require.Equal(s, []any{int64(1), "two", int64(3)}, got.Value)
	require.EqualValues(s, 1, s.right.Snapshot().Sent["M_REQ_SYN"])

	require.NoError(s, boot.DeregisterObj(scenarioBoot))
	bed.IsCode(s, boot.DeregisterObj(scenarioBoot), grasp.ErrNotObj)
	_, err = reader.Synchronize(s.Context(), scenarioBoot, nil, 4*s.moment)
	require.Error(s, err)
	require.Contains(s, []grasp.ErrorCode{grasp.ErrNoListener, grasp.ErrNotFloodDisc}, grasp.Code(err))
}

// bargain is what Neg2 asks for and what comes of it, on both sides.
type bargain struct {
	currency string
	want     int64
	price    int64  // agreed upon, or
	refusal  string // the reason for none
}

const (
	reserves = 200 // of Neg1
	thoughts = 4   // of Neg1, in all, when it is not in a hurry
)

// haggle has Neg2, on the right, ask Neg1, on the left, for money.
func (s *scenario) haggle() {
	neg1, neg2 := bed.NewASA(s, s.left, "Neg1"), bed.NewASA(s, s.right, "Neg2")
	for _, asa := range []*grasp.ASA{neg1, neg2} {
		require.NoError(s, asa.RegisterObj(scenarioEX2, grasp.RegisterOptions{}))
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	outcomes := make(chan bargain, 1)
	stopped := make(chan error, 1)
	go func() {
		for {
			session, asked, err := neg1.ListenNegotiate(ctx, scenarioEX2)
			if err != nil {
				stopped <- err
				return
			}
			outcomes <- s.sell(session, asked)
		}
	}()
	var found []grasp.Locator
	netbed.Eventually(s, 30*time.Second, "Neg1 is found", func() bool {
		var err error
		found, err = neg2.Discover(ctx, scenarioEX2, 60*s.moment, grasp.DiscoverOptions{First: true})
		return err != nil || len(found) > 0
	})
	require.NotEmpty(s, found)
	require.Equal(s, !s.oneLink, found[0].Diverted)
	for _, want := range []bargain{
		{"NZD", 80, 80, ""},   // accepted at once
		{"NZD", 120, 100, ""}, // the counter-offer is
		{"NZD", 199, 150, ""}, // the next one is, after a wait
		{"NZD", 251, 150, ""}, // just so
		{"NZD", 252, 0, "Недостаточно средств"}, // refused by Neg1, in the end
		{"NZD", 504, 0, "You are mean!"},        // by Neg2
		{"USD", 80, 0, "Invalid currency"},      // at once
		{"NZD", -1, -1, ""},
		{"NZD", 80, 80, ""},
	} {
		got := s.buy(neg2, &found[0], want)
		require.Equal(s, want, got, "for Neg2")
		require.Equal(s, want, <-outcomes, "for Neg1")
	}
	require.Empty(s, s.left.Snapshot().Sessions)
	require.Empty(s, s.right.Snapshot().Sessions)

	// Between two calls Neg1 could not know, and would listen on.
	var err error
	netbed.Eventually(s, 30*time.Second, "Neg1 stops", func() bool {
		require.NoError(s, neg1.StopNegotiate(scenarioEX2))
		select {
		case err = <-stopped:
			return true
		default:
			return false
		}
	})
	bed.IsCode(s, err, grasp.ErrStopped)
	_, _, err = neg2.ReqNegotiate(ctx, scenarioEX2, &found[0], 60*s.moment)
	bed.IsCode(s, err, grasp.ErrNoPeer)
}

// moneyOf is a value of EX2.
func moneyOf(currency string, amount int64) []any { return []any{currency, amount} }

// sell is Neg1: it gives half of its reserves at first, and three quarters after
// having thought about it.
func (s *scenario) sell(session *grasp.Session, asked grasp.Objective) bargain {
	currency, want := asked.Value.([]any)[0].(string), asked.Value.([]any)[1].(int64)
	b := bargain{currency: currency, want: want}
	end := func(accept bool, reason string) {
		b.refusal = reason
		if err := session.EndNegotiate(accept, reason); err != nil {
			s.Errorf("Neg1: end: %v", err)
		}
	}
	switch {
	case currency != "NZD":
		end(false, "Invalid currency")
		return b
	case want <= reserves/2:
		end(true, "")
		b.price = want
		return b
	}
	for _, offer := range []int64{reserves / 2, reserves * 3 / 4} {
		if offer > reserves/2 && s.thinks.Load() > 0 {
			// It takes longer than Neg2 waits for an answer.
			if err := session.NegotiateWait(1000 * s.moment); err != nil {
				s.Errorf("Neg1: wait: %v", err)
			}
			thinking := time.NewTimer(5 * s.moment)
			<-thinking.C
			s.thinks.Add(-1)
		}
		asked.Value = moneyOf(currency, offer)
		next, reply, err := session.NegotiateStep(s.Context(), asked, 1000*s.moment)
		var declined *grasp.DeclinedError
		switch {
		case errors.As(err, &declined):
			b.refusal = declined.Reason
			return b
		case err != nil:
			b.refusal = err.Error()
			return b
		case next == nil:
			b.price = reply.Value.([]any)[1].(int64)
			return b
		}
		asked = reply
	}
	end(false, "Недостаточно средств")
	return b
}

// buy is Neg2: it is content with three quarters of what it wants at first, and
// with 60 percent in the end, and takes offence at less than 30.
func (s *scenario) buy(asa *grasp.ASA, peer *grasp.Locator, b bargain) bargain {
	got := bargain{currency: b.currency, want: b.want}
	o := scenarioEX2
	o.Value = moneyOf(b.currency, b.want)
	session, offer, err := asa.ReqNegotiate(s.Context(), o, peer, 60*s.moment)
	for _, percent := range []int64{75, 60} {
		if err != nil || session == nil {
			break
		}
		given := offer.Value.([]any)[1].(int64)
		content := b.want * percent / 100
		switch {
		case given >= content:
			got.price = given
			require.NoError(s, session.EndNegotiate(true, ""))
			return got
		case percent == 60 && given < b.want*30/100:
			got.refusal = "You are mean!"
			require.NoError(s, session.EndNegotiate(false, got.refusal))
			return got
		}
		offer.Value = moneyOf(b.currency, content)
		timeout := 60 * s.moment
		if s.thinks.Load() > 0 {
			timeout = 4 * s.moment
		}
		session, offer, err = session.NegotiateStep(s.Context(), offer, timeout)
	}
	var declined *grasp.DeclinedError
	switch {
	case errors.As(err, &declined):
		got.refusal = declined.Reason
	case err != nil:
		got.refusal = err.Error()
	case session != nil:
		got.refusal = fmt.Sprint("still at it: ", offer)
	default:
		got.price = offer.Value.([]any)[1].(int64)
	}
	return got
}

// deregister deregisters ASA-1: nothing of it is left but what was flooded.
func (s *scenario) deregister(asa1 *grasp.ASA) {
	require.NoError(s, asa1.Deregister())
	bed.IsCode(s, asa1.Deregister(), grasp.ErrNoASA)
	bed.IsCode(s, asa1.Flood(0, grasp.TaggedObjective{Objective: grasp.Objective{Name: "Money", Synch: true}}), grasp.ErrNoASA)
	for _, o := range s.left.Snapshot().Objectives {
		require.NotContains(s, o.ASAs, "ASA-1")
	}
	require.Len(s, s.left.Snapshot().Floods, 3)
	again := bed.NewASA(s, s.left, "ASA-1")
	require.NoError(s, again.RegisterObj(scenarioEX1, grasp.RegisterOptions{}))
}

func TestScenarioInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		a, b := n.NewLink(memory.LinkConfig{Delay: time.Millisecond}), n.NewLink(memory.LinkConfig{Delay: 2 * time.Millisecond})
		runScenario(t, n.NewNode("left", a), n.NewNode("middle", a, b), n.NewNode("right", b), time.Second, thoughts)
	})
}
