package conformance

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.5.5: the initiator connects to address, protocol and port of the
// locator.
func TestN01ConnectsToTheLocator(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		link := bed.LinkOf(b.Node, b.Links[0])
		peer := bed.LinkOf(b.Peer.Node, b.Links[0]).Addr
		for _, l := range []grasp.Locator{
			*b.Peer.Locator(),
			{IP: b.Peer.Node.Addr(), Port: int(b.Peer.Endpoint.Port())}, // TCP is understood
			{IP: peer.WithZone(bed.Zone(link.Index)), Port: int(b.Peer.Endpoint.Port()), Protocol: grasp.TCP},
			{IP: peer.WithZone(""), Port: int(b.Peer.Endpoint.Port()), Protocol: grasp.TCP, IfIndex: link.Index},
		} {
			call := b.Request(ex3, &l, 0)
			s := b.Peer.Dialed()
			s.Send(arr{5, s.Next().ID(b), arr{"EX3", 3, 5, 1}})
			session := call.Ok().S
			require.Equal(b, b.Peer.Endpoint.Port(), session.Source().Port())
			require.Equal(b, l.IP.WithZone(""), session.Source().Addr().WithZone(""))
		}
		for _, l := range []grasp.Locator{
			{IP: b.Peer.Node.Addr(), Port: int(b.Peer.Endpoint.Port()), Protocol: grasp.UDP},
			{IP: b.Peer.Node.Addr(), Port: int(b.Peer.Endpoint.Port()), Protocol: 41},
			{IP: b.Peer.Node.Addr(), Protocol: grasp.TCP},
			{IP: peer.WithZone(""), Port: int(b.Peer.Endpoint.Port())},
			{},
		} {
			bed.IsCode(b, b.Request(ex3, &l, 0).Done().Err, grasp.ErrUnusableLocator)
		}
		dead := grasp.NewLocator(netip.AddrPortFrom(b.Peer.Node.Addr(), 1))
		bed.IsCode(b, b.Request(ex3, &dead, 0).Done().Err, grasp.ErrSockErrNegRq)
		b.Peer.NotDialed()
	})
}

// Section 2.8.6: the request carries the complete objective, with null for a
// value there is not, and the loop count of the objective, else 6.
func TestN02N03Request(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := grasp.NewObjective("EX3")
		o.Neg = true
		b.Register(o)
		for _, c := range []struct {
			value any
			loops uint8
			want  string
		}{
			{nil, grasp.DefaultLoopCount, `["EX3", 3, 6, null]`},
			{0, 255, `["EX3", 3, 255, 0]`},
			{[]any{"NZD", 100}, 2, `["EX3", 3, 2, ["NZD", 100]]`},
			{map[string]any{"a": []byte{1}}, 6, `["EX3", 3, 6, {"a": h'01'}]`},
			{grasp.EncodedCBOR{0x82, 1, 2}, 6, `["EX3", 3, 6, 24(h'820102')]`},
		} {
			o.Value, o.LoopCount = c.value, c.loops
			_, s, request := b.Asked(o)
			request.Is(b, `[3, %d, `+c.want+`]`)
			s.Silent(bed.Soon)
		}
	})
}

// Section 2.8.6: sending the request starts the timer, 60 s by default; its
// expiry is failure.
func TestN04NegotiationTimer(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second, 2 * time.Hour: 2 * time.Hour} {
		bed.In(t, func(b *bed.Bed) {
			ex3 := bed.Neg("EX3", 1)
			b.Register(ex3)
			start := time.Now()
			call := b.Request(ex3, b.Peer.Locator(), timeout)
			s := b.Peer.Dialed()
			s.Next()
			a := call.Within(want)
			bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
			require.Equal(b, want, a.At.Sub(start))
			var netErr interface{ Timeout() bool }
			require.ErrorAs(b, a.Err, &netErr)
			require.True(b, netErr.Timeout())
			s.Closed()
			require.Empty(b, b.G.Snapshot().Sessions)

			// Each step starts it anew.
			session, o, s := b.Served(ex3, 7, 1)
			time.Sleep(want)
			start = time.Now()
			step := b.Step(session, o, timeout)
			s.Next()
			a = step.Within(want)
			bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
			require.Equal(b, want, a.At.Sub(start))
			s.Closed()
		})
	}
}

// Section 2.5.5: without any reply the request may be repeated, with a new
// session ID. That is the ASA's choice: nothing is repeated unasked.
func TestN05RepeatedRequest(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		first, s, one := b.Asked(ex3)
		s.Silent(time.Minute - bed.Soon)
		bed.IsCode(b, first.Within(bed.Soon).Err, grasp.ErrNoNegReply)
		b.Peer.NotDialed()
		second, s, two := b.Asked(ex3)
		require.NotEqual(b, one.ID(b), two.ID(b))
		s.Send(arr{6, two.ID(b), arr{101}})
		second.Ok()
	})
}

// Section 2.5.5: the responder answers with accept, a counter-offer, decline,
// or M_WAIT and then one of them.
func TestN06Answers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", "wanted")
		b.Register(ex3)
		for _, wait := range []bool{false, true} {
			ask := func(reply func(id uint32) arr) bed.Answer {
				call, s, request := b.Asked(ex3)
				if wait {
					s.Send(arr{7, request.ID(b), 90000})
					time.Sleep(80 * time.Second)
				}
				s.Send(reply(request.ID(b)))
				return call.Done()
			}
			a := ask(func(id uint32) arr { return arr{6, id, arr{101}} })
			require.NoError(b, a.Err)
			require.Nil(b, a.S)
			require.Equal(b, "wanted", a.O.Value)

			a = ask(func(id uint32) arr { return arr{5, id, arr{"EX3", 3, 5, "counter-offer"}} })
			require.NoError(b, a.Err)
			require.NotNil(b, a.S)
			require.Equal(b, bed.Neg("EX3", nil).Neg, a.O.Neg)
			require.Equal(b, grasp.Objective{Name: "EX3", Neg: true, LoopCount: 5, Value: "counter-offer"}, a.O)
			require.NoError(b, a.S.EndNegotiate(true, ""))

			a = ask(func(id uint32) arr { return arr{6, id, arr{102, "no"}} })
			bed.IsCode(b, a.Err, grasp.ErrDeclined)
			var declined *grasp.DeclinedError
			require.ErrorAs(b, a.Err, &declined)
			require.Equal(b, "no", declined.Reason)
		}
		require.Empty(b, b.G.Snapshot().Sessions)
	})
}

// Section 2.8.7: M_NEGOTIATE carries the session's objective with a new value.
// One about something else ends the session.
func TestN07NegotiateIsAboutTheObjective(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3, bed.Neg("EX4", 1))
		session, o, s := b.Served(ex3, 7, 1)
		o.Value = []any{"new", "value"}
		step := b.Step(session, o, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 5, ["new", "value"]]]`)
		s.Send(arr{6, 7, arr{101}})
		require.Equal(b, o.Value, step.Ok().O.Value)

		for _, other := range []arr{{"EX4", 3, 5, 1}, {"ex3", 3, 5, 1}, {"EX3", 1, 5, 1}, {"EX3", 5, 5, 1}} {
			call, s, request := b.Asked(ex3)
			s.Send(arr{5, request.ID(b), other})
			bed.IsCode(b, call.Done().Err, grasp.ErrInvalidNeg)
			_, err := s.NextWithin(bed.Soon) // M_INVALID, or the end
			if err == nil {
				_, err = s.NextWithin(bed.Soon)
			}
			require.Error(b, err)
			require.NotErrorIs(b, err, context.DeadlineExceeded)
		}
		require.Empty(b, b.G.Snapshot().Sessions)

		// Nor is another objective sent in the session.
		session, _, s = b.Served(ex3, 8, 1)
		bed.IsCode(b, b.Step(session, bed.Neg("EX4", 1), 0).Done().Err, grasp.ErrInvalidNeg)
		s.Silent(bed.Soon)
	})
}

// Section 2.8.7: whoever sends M_NEGOTIATE decrements the loop count. One that
// was not decremented is no error.
func TestN08LoopCountIsDecrementedBySender(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		// As responder.
		session, o, s := b.Served(ex3, 7, 1)
		require.EqualValues(b, 6, o.LoopCount)
		step := b.Step(session, o, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
		s.Send(arr{5, 7, arr{"EX3", 3, 4, 1}})
		got := step.Ok()
		require.EqualValues(b, 4, got.O.LoopCount)
		b.Step(session, got.O, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 3, 1]]`)

		// As initiator, with a peer that repeats the count (appendix A.5).
		call, s, request := b.Asked(ex3)
		s.Send(arr{5, request.ID(b), arr{"EX3", 3, 6, 1}})
		got = call.Ok()
		require.EqualValues(b, 6, got.O.LoopCount)
		step = b.Step(got.S, got.O, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
		s.Send(arr{5, request.ID(b), arr{"EX3", 3, 255, 1}}) // one that makes more of it gains nothing
		got = step.Ok()
		require.EqualValues(b, 5, got.O.LoopCount)
	})
}

// Section 2.8.7: a loop count of 0 is not sent. The session has failed here,
// and the peer runs into its timeout.
func TestN09LoopCountIsNeverZero(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		session, o, s := b.Served(ex3, 7, 1)
		o.LoopCount = 2
		step := b.Step(session, o, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 1, 1]]`)
		s.Send(arr{5, 7, arr{"EX3", 3, 1, 1}})
		got := step.Ok()
		for _, loops := range []uint8{1, 0} {
			got.O.LoopCount = loops
			bed.IsCode(b, b.Step(got.S, got.O, 0).Done().Err, grasp.ErrLoopExhausted)
		}
		s.Silent(bed.Ever)
		require.NoError(b, session.EndNegotiate(false, "loop count exhausted"), "the session waits for its end")
		s.Next().Is(b, `[6, %d, [102, "loop count exhausted"]]`)
	})
}

// Sections 2.8.7 and 2.5.5: any number of steps, strictly by turns, as long as
// the loop count lasts.
func TestN09N10StepsByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		a, b := bed.NewASA(t, bed.NewInstance(t, n.NewNode("a", l)), "A"), bed.NewASA(t, bed.NewInstance(t, n.NewNode("b", l)), "B")
		o := bed.Neg("EX3", 0)
		o.LoopCount = 255
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
		require.NoError(t, b.RegisterObj(o, grasp.RegisterOptions{}))
		steps := make(chan int, 1)
		haggle := func(s *grasp.Session, o grasp.Objective, err error) {
			for err == nil && s != nil {
				o.Value = o.Value.(int64) + 1
				s, o, err = s.NegotiateStep(t.Context(), o, 0)
			}
			if errors.Is(err, grasp.ErrLoopExhausted) {
				steps <- int(o.Value.(int64))
			}
		}
		go func() { haggle(b.ListenNegotiate(t.Context(), o)) }()
		synctest.Wait()
		haggle(a.ReqNegotiate(t.Context(), o, nil, 0))
		// 254 steps that were sent, from 254 down to 1, and one that was not.
		require.Equal(t, 255, <-steps)
	})
}

// Section 2.8.8: either side may end it; accept means the last value, no
// objective is sent, and nothing answers it.
func TestN11End(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", "asked")
		b.Register(ex3)
		// The responder, at once and after a step of each side.
		session, _, s := b.Served(ex3, 7, 1)
		require.NoError(b, session.EndNegotiate(true, "ignored"))
		s.Next().Is(b, `[6, %d, [101]]`)
		s.Closed()
		session, o, s := b.Served(ex3, 8, 1)
		o.Value = "offered"
		step := b.Step(session, o, 0)
		s.Next()
		s.Send(arr{6, 8, arr{101}})
		got := step.Ok()
		require.Nil(b, got.S)
		require.Equal(b, "offered", got.O.Value)
		s.Closed()

		// The initiator.
		call, s, request := b.Asked(ex3)
		s.Send(arr{5, request.ID(b), arr{"EX3", 3, 5, "counter"}})
		got = call.Ok()
		require.Equal(b, "counter", got.O.Value)
		require.NoError(b, got.S.EndNegotiate(true, ""))
		s.Next().Is(b, `[6, %d, [101]]`)
		s.Closed()
		call, s, request = b.Asked(ex3)
		s.Send(arr{5, request.ID(b), arr{"EX3", 3, 5, "counter"}})
		got = call.Ok()
		got.O.Value = "mine"
		step = b.Step(got.S, got.O, 0)
		s.Next()
		s.Send(arr{6, request.ID(b), arr{101}})
		require.Equal(b, "mine", step.Ok().O.Value)
		s.Closed()
	})
}

// Section 2.5.5: the connection is closed at the end, whatever the reason, and
// one that breaks is a failed negotiation.
func TestN12Connection(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		for _, end := range []arr{{101}, {102}, {102, "reason"}} {
			call, s, request := b.Asked(ex3)
			s.Send(arr{6, request.ID(b), end})
			call.Done()
			s.Closed()
		}
		// The peer closes without a word.
		call, s, _ := b.Asked(ex3)
		require.NoError(b, s.Close())
		bed.IsCode(b, call.Done().Err, grasp.ErrNoPeer)
		session, o, s := b.Served(ex3, 7, 1)
		step := b.Step(session, o, 0)
		s.Next()
		require.NoError(b, s.Close())
		bed.IsCode(b, step.Done().Err, grasp.ErrNoPeer)
		_, err := session.Recv(b.Context(), 0)
		bed.IsCode(b, err, grasp.ErrNoSession)
		// In the middle of a message.
		call, s, request := b.Asked(ex3)
		s.Send(bed.Encoded(b, arr{6, request.ID(b), arr{101}})[:3])
		require.NoError(b, s.Close())
		bed.IsCode(b, call.Done().Err, grasp.ErrCBORFail)
		// With a reset.
		dying := b.NewPeer("dying", b.Links[0])
		call = b.Request(ex3, dying.Locator(), 0)
		dying.Dialed().Next()
		dying.Node.Kill()
		bed.IsCode(b, call.Done().Err, grasp.ErrNoNegReply)
		require.Empty(b, b.G.Snapshot().Sessions)
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// Section 2.8.6: a request that no ASA listens for leads to the closing of the
// connection at once.
func TestN13RequestWithoutListenerIsClosed(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		refused := 0
		closes := func(o arr) {
			b.Helper()
			s := b.Peer.Dial(b.At())
			s.Send(arr{3, 7, o})
			s.Closed()
			refused++
			b.WantDrop(grasp.ReasonNoListener, refused)
		}
		closes(arr{"EX3", 3, 6, 1})
		b.Register(ex3)
		closes(arr{"EX3", 3, 6, 1})
		listening := b.Listen(ex3)
		closes(arr{"EX4", 3, 6, 1})
		closes(arr{"ex3", 3, 6, 1})
		listening.Blocks()
		require.NoError(b, b.ASA.StopNegotiate(ex3))
		bed.IsCode(b, listening.Done().Err, grasp.ErrStopped)
		closes(arr{"EX3", 3, 6, 1})
		b.Listen(ex3)
		require.NoError(b, b.ASA.Deregister())
		closes(arr{"EX3", 3, 6, 1})
	})
}

// The initiator sees it as such, without waiting.
func TestN13InitiatorSeesNoPeer(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		call, s, _ := b.Asked(ex3)
		require.NoError(b, s.Close())
		bed.IsCode(b, call.Done().Err, grasp.ErrNoPeer)
	})
}

// What comes between two calls of one listener is queued, and what is queued
// when listening stops is closed.
func TestN13RequestsBetweenCalls(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{Backlog: 2}}, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		b.Served(ex3, 1, 1)
		var streams []*bed.Stream
		for i := range 3 {
			s := b.Peer.Dial(b.At())
			s.Send(arr{3, 10 + i, arr{"EX3", 3, 6, i}})
			streams = append(streams, s)
		}
		streams[2].Closed()
		b.WantDrop(grasp.ReasonBacklogFull, 1)
		require.EqualValues(b, 0, b.Listen(ex3).Ok().O.Value)
		require.NoError(b, b.ASA.StopNegotiate(ex3))
		streams[1].Closed()
		streams[0].Silent(bed.Soon)
	})
}

// Section 2.9.4: a decline may have a reason, in UTF-8; instead of declining
// one may go on with null or a new value.
func TestN18Decline(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		for reason, want := range map[string]string{
			"":                   `[6, %d, [102]]`,
			"Insufficient funds": `[6, %d, [102, "Insufficient funds"]]`,
			"Недостаточно средств": `[6, %d, [102, "\u041d\u0435\u0434\u043e\u0441\u0442\u0430\u0442\u043e\u0447\u043d\u043e \u0441\u0440\u0435\u0434\u0441\u0442\u0432"]]`,
		} {
			session, _, s := b.Served(ex3, 7, 1)
			require.NoError(b, session.EndNegotiate(false, reason))
			m := s.Next()
			m.Is(b, want)
			s.Closed()

			call, s, request := b.Asked(ex3)
			s.Send(arr{6, request.ID(b), m.Items(b)[2]})
			var declined *grasp.DeclinedError
			require.ErrorAs(b, call.Done().Err, &declined)
			require.Equal(b, reason, declined.Reason)
			require.Equal(b, "EX3", declined.Objective)
			require.Equal(b, b.Peer.Locator().IP, declined.Peer.Addr())
		}
		session, _, s := b.Served(ex3, 7, 1)
		bed.IsCode(b, session.EndNegotiate(false, "\xff"), grasp.ErrUnspec)
		s.Silent(bed.Soon)

		// Going on with null.
		session, o, s := b.Served(ex3, 8, 1)
		o.Value = nil
		step := b.Step(session, o, 0)
		s.Next().Is(b, `[5, %d, ["EX3", 3, 5, null]]`)
		s.Send(arr{5, 8, arr{"EX3", 3, 4, nil}})
		require.Nil(b, step.Ok().O.Value)
	})
}

// Section 2.10.3: objectives for negotiation travel in no other messages.
func TestN19NegotiationObjectivesStayThere(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", 1), bed.Neg("EX3", 1)
		b.Register(ex1, ex3)
		b.Listen(ex3)
		bed.IsCode(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: ex3}), grasp.ErrNotSynch)
		bed.IsCode(b, b.Synchronize(ex3, b.Peer.Locator(), 0).Done().Err, grasp.ErrNotSynch)
		bed.IsCode(b, b.ASA.ListenSynchronize(ex3), grasp.ErrNotSynch)
		bed.IsCode(b, b.Request(ex1, b.Peer.Locator(), 0).Done().Err, grasp.ErrNotNeg)
		bed.IsCode(b, b.Listen(ex1).Done().Err, grasp.ErrNotNeg)
		bed.IsCode(b, b.ASA.RegisterObj(grasp.Objective{Name: "EX5", Neg: true, Synch: true}, grasp.RegisterOptions{}), grasp.ErrNotBoth)
		b.Peer.None()
		b.Peer.NotDialed()

		// Nor are they taken from others.
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		for _, m := range []arr{{4, 7, arr{"EX3", 3, 6, nil}}, {3, 7, arr{"EX1", 5, 6, 1}}, {3, 7, arr{"EX3", 5, 6, 1}}, {5, 7, arr{"EX3", 3, 6, 1}}} {
			s := b.Peer.Dial(b.At())
			s.Send(m)
			s.Closed()
		}
	})
}
