package grasp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
)

// Section 2.5.5: the initiator connects to address, protocol and port of the
// locator.
func TestN01ConnectsToTheLocator(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		link := linkOf(b.node, b.links[0])
		peer := linkOf(b.peer.node, b.links[0]).Addr
		for _, l := range []Locator{
			*b.peer.locator(),
			{IP: b.peer.node.Addr(), Port: int(b.peer.ep.Port())}, // TCP is understood
			{IP: peer.WithZone(zone(link.Index)), Port: int(b.peer.ep.Port()), Protocol: TCP},
			{IP: peer.WithZone(""), Port: int(b.peer.ep.Port()), Protocol: TCP, IfIndex: link.Index},
		} {
			call := b.request(ex3, &l, 0)
			s := b.peer.dialed()
			s.send(arr{5, s.read().id(b), arr{"EX3", 3, 5, 1}})
			session := call.ok().s
			require.Equal(b, b.peer.ep.Port(), session.Source().Port())
			require.Equal(b, l.IP.WithZone(""), session.Source().Addr().WithZone(""))
		}
		for _, l := range []Locator{
			{IP: b.peer.node.Addr(), Port: int(b.peer.ep.Port()), Protocol: UDP},
			{IP: b.peer.node.Addr(), Port: int(b.peer.ep.Port()), Protocol: 41},
			{IP: b.peer.node.Addr(), Protocol: TCP},
			{IP: peer.WithZone(""), Port: int(b.peer.ep.Port())},
			{},
		} {
			isCode(b, b.request(ex3, &l, 0).done().err, ErrUnusableLocator)
		}
		dead := NewLocator(netip.AddrPortFrom(b.peer.node.Addr(), 1))
		isCode(b, b.request(ex3, &dead, 0).done().err, ErrSockErrNegRq)
		b.peer.notDialed()
	})
}

// Section 2.8.6: the request carries the complete objective, with null for a
// value there is not, and the loop count of the objective, else 6.
func TestN02N03Request(t *testing.T) {
	inBed(t, func(b *bed) {
		o := NewObjective("EX3")
		o.Neg = true
		b.register(o)
		for _, c := range []struct {
			value any
			loops uint8
			want  string
		}{
			{nil, DefaultLoopCount, `["EX3", 3, 6, null]`},
			{0, 255, `["EX3", 3, 255, 0]`},
			{[]any{"NZD", 100}, 2, `["EX3", 3, 2, ["NZD", 100]]`},
			{map[string]any{"a": []byte{1}}, 6, `["EX3", 3, 6, {"a": h'01'}]`},
			{EncodedCBOR{0x82, 1, 2}, 6, `["EX3", 3, 6, 24(h'820102')]`},
		} {
			o.Value, o.LoopCount = c.value, c.loops
			_, s, request := b.asked(o)
			request.is(b, `[3, %d, `+c.want+`]`)
			s.silent(soon)
		}
	})
}

// Section 2.8.6: sending the request starts the timer, 60 s by default; its
// expiry is failure.
func TestN04NegotiationTimer(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second, 2 * time.Hour: 2 * time.Hour} {
		inBed(t, func(b *bed) {
			ex3 := neg("EX3", 1)
			b.register(ex3)
			start := time.Now()
			call := b.request(ex3, b.peer.locator(), timeout)
			s := b.peer.dialed()
			s.read()
			a := call.within(want)
			isCode(b, a.err, ErrNoNegReply)
			require.Equal(b, want, a.at.Sub(start))
			var netErr interface{ Timeout() bool }
			require.ErrorAs(b, a.err, &netErr)
			require.True(b, netErr.Timeout())
			s.closed()
			require.Empty(b, b.g.Snapshot().Sessions)

			// Each step starts it anew.
			session, o, s := b.served(ex3, 7, 1)
			time.Sleep(want)
			start = time.Now()
			step := b.step(session, o, timeout)
			s.read()
			a = step.within(want)
			isCode(b, a.err, ErrNoNegReply)
			require.Equal(b, want, a.at.Sub(start))
			s.closed()
		})
	}
}

// Section 2.5.5: without any reply the request may be repeated, with a new
// session ID. That is the ASA's choice: nothing is repeated unasked.
func TestN05RepeatedRequest(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		first, s, one := b.asked(ex3)
		s.silent(time.Minute - soon)
		isCode(b, first.within(soon).err, ErrNoNegReply)
		b.peer.notDialed()
		second, s, two := b.asked(ex3)
		require.NotEqual(b, one.id(b), two.id(b))
		s.send(arr{6, two.id(b), arr{101}})
		second.ok()
	})
}

// Section 2.5.5: the responder answers with accept, a counter-offer, decline,
// or M_WAIT and then one of them.
func TestN06Answers(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", "wanted")
		b.register(ex3)
		for _, wait := range []bool{false, true} {
			ask := func(reply func(id uint32) arr) answer {
				call, s, request := b.asked(ex3)
				if wait {
					s.send(arr{7, request.id(b), 90000})
					time.Sleep(80 * time.Second)
				}
				s.send(reply(request.id(b)))
				return call.done()
			}
			a := ask(func(id uint32) arr { return arr{6, id, arr{101}} })
			require.NoError(b, a.err)
			require.Nil(b, a.s)
			require.Equal(b, "wanted", a.o.Value)

			a = ask(func(id uint32) arr { return arr{5, id, arr{"EX3", 3, 5, "counter-offer"}} })
			require.NoError(b, a.err)
			require.NotNil(b, a.s)
			require.Equal(b, neg("EX3", nil).Neg, a.o.Neg)
			require.Equal(b, Objective{Name: "EX3", Neg: true, LoopCount: 5, Value: "counter-offer"}, a.o)
			require.NoError(b, a.s.EndNegotiate(true, ""))

			a = ask(func(id uint32) arr { return arr{6, id, arr{102, "no"}} })
			isCode(b, a.err, ErrDeclined)
			var declined *DeclinedError
			require.ErrorAs(b, a.err, &declined)
			require.Equal(b, "no", declined.Reason)
		}
		require.Empty(b, b.g.Snapshot().Sessions)
	})
}

// Section 2.8.7: M_NEGOTIATE carries the session's objective with a new value.
// One about something else ends the session.
func TestN07NegotiateIsAboutTheObjective(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3, neg("EX4", 1))
		session, o, s := b.served(ex3, 7, 1)
		o.Value = []any{"new", "value"}
		step := b.step(session, o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 5, ["new", "value"]]]`)
		s.send(arr{6, 7, arr{101}})
		require.Equal(b, o.Value, step.ok().o.Value)

		for _, other := range []arr{{"EX4", 3, 5, 1}, {"ex3", 3, 5, 1}, {"EX3", 1, 5, 1}, {"EX3", 5, 5, 1}} {
			call, s, request := b.asked(ex3)
			s.send(arr{5, request.id(b), other})
			isCode(b, call.done().err, ErrInvalidNeg)
			_, err := s.next(soon) // M_INVALID, or the end
			if err == nil {
				_, err = s.next(soon)
			}
			require.Error(b, err)
			require.NotErrorIs(b, err, context.DeadlineExceeded)
		}
		require.Empty(b, b.g.Snapshot().Sessions)

		// Nor is another objective sent in the session.
		session, _, s = b.served(ex3, 8, 1)
		isCode(b, b.step(session, neg("EX4", 1), 0).done().err, ErrInvalidNeg)
		s.silent(soon)
	})
}

// Section 2.8.7: whoever sends M_NEGOTIATE decrements the loop count. One that
// was not decremented is no error.
func TestN08LoopCountIsDecrementedBySender(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		// As responder.
		session, o, s := b.served(ex3, 7, 1)
		require.EqualValues(b, 6, o.LoopCount)
		step := b.step(session, o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
		s.send(arr{5, 7, arr{"EX3", 3, 4, 1}})
		got := step.ok()
		require.EqualValues(b, 4, got.o.LoopCount)
		b.step(session, got.o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 3, 1]]`)

		// As initiator, with a peer that repeats the count (appendix A.5).
		call, s, request := b.asked(ex3)
		s.send(arr{5, request.id(b), arr{"EX3", 3, 6, 1}})
		got = call.ok()
		require.EqualValues(b, 6, got.o.LoopCount)
		step = b.step(got.s, got.o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
		s.send(arr{5, request.id(b), arr{"EX3", 3, 255, 1}}) // one that makes more of it gains nothing
		got = step.ok()
		require.EqualValues(b, 5, got.o.LoopCount)
	})
}

// Section 2.8.7: a loop count of 0 is not sent. The session has failed here,
// and the peer runs into its timeout.
func TestN09LoopCountIsNeverZero(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		session, o, s := b.served(ex3, 7, 1)
		o.LoopCount = 2
		step := b.step(session, o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 1, 1]]`)
		s.send(arr{5, 7, arr{"EX3", 3, 1, 1}})
		got := step.ok()
		for _, loops := range []uint8{1, 0} {
			got.o.LoopCount = loops
			isCode(b, b.step(got.s, got.o, 0).done().err, ErrLoopExhausted)
		}
		s.silent(ever)
		require.NoError(b, session.EndNegotiate(false, "loop count exhausted"), "the session waits for its end")
		s.read().is(b, `[6, %d, [102, "loop count exhausted"]]`)
	})
}

// Sections 2.8.7 and 2.5.5: any number of steps, strictly by turns, as long as
// the loop count lasts.
func TestN09N10StepsByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		l := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		a, b := newASA(t, newInstance(t, n.NewNode("a", l)), "A"), newASA(t, newInstance(t, n.NewNode("b", l)), "B")
		o := neg("EX3", 0)
		o.LoopCount = 255
		require.NoError(t, a.RegisterObj(o, RegisterOptions{}))
		require.NoError(t, b.RegisterObj(o, RegisterOptions{}))
		steps := make(chan int, 1)
		haggle := func(s *Session, o Objective, err error) {
			for err == nil && s != nil {
				o.Value = o.Value.(int64) + 1
				s, o, err = s.NegotiateStep(t.Context(), o, 0)
			}
			if errors.Is(err, ErrLoopExhausted) {
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
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", "asked")
		b.register(ex3)
		// The responder, at once and after a step of each side.
		session, _, s := b.served(ex3, 7, 1)
		require.NoError(b, session.EndNegotiate(true, "ignored"))
		s.read().is(b, `[6, %d, [101]]`)
		s.closed()
		session, o, s := b.served(ex3, 8, 1)
		o.Value = "offered"
		step := b.step(session, o, 0)
		s.read()
		s.send(arr{6, 8, arr{101}})
		got := step.ok()
		require.Nil(b, got.s)
		require.Equal(b, "offered", got.o.Value)
		s.closed()

		// The initiator.
		call, s, request := b.asked(ex3)
		s.send(arr{5, request.id(b), arr{"EX3", 3, 5, "counter"}})
		got = call.ok()
		require.Equal(b, "counter", got.o.Value)
		require.NoError(b, got.s.EndNegotiate(true, ""))
		s.read().is(b, `[6, %d, [101]]`)
		s.closed()
		call, s, request = b.asked(ex3)
		s.send(arr{5, request.id(b), arr{"EX3", 3, 5, "counter"}})
		got = call.ok()
		got.o.Value = "mine"
		step = b.step(got.s, got.o, 0)
		s.read()
		s.send(arr{6, request.id(b), arr{101}})
		require.Equal(b, "mine", step.ok().o.Value)
		s.closed()
	})
}

// Section 2.5.5: the connection is closed at the end, whatever the reason, and
// one that breaks is a failed negotiation.
func TestN12Connection(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		for _, end := range []arr{{101}, {102}, {102, "reason"}} {
			call, s, request := b.asked(ex3)
			s.send(arr{6, request.id(b), end})
			call.done()
			s.closed()
		}
		// The peer closes without a word.
		call, s, _ := b.asked(ex3)
		require.NoError(b, s.Close())
		isCode(b, call.done().err, ErrNoPeer)
		session, o, s := b.served(ex3, 7, 1)
		step := b.step(session, o, 0)
		s.read()
		require.NoError(b, s.Close())
		isCode(b, step.done().err, ErrNoPeer)
		_, err := session.Recv(b.Context(), 0)
		isCode(b, err, ErrNoSession)
		// In the middle of a message.
		call, s, request := b.asked(ex3)
		s.send(encoded(b, arr{6, request.id(b), arr{101}})[:3])
		require.NoError(b, s.Close())
		isCode(b, call.done().err, ErrCBORFail)
		// With a reset.
		dying := b.newPeer("dying", b.links[0])
		call = b.request(ex3, dying.locator(), 0)
		dying.dialed().read()
		dying.node.Kill()
		isCode(b, call.done().err, ErrNoNegReply)
		require.Empty(b, b.g.Snapshot().Sessions)
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// Section 2.8.6: a request that no ASA listens for leads to the closing of the
// connection at once.
func TestN13RequestWithoutListenerIsClosed(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		refused := 0
		closes := func(o arr) {
			b.Helper()
			s := b.peer.dial(b.at())
			s.send(arr{3, 7, o})
			s.closed()
			refused++
			b.wantDrop(ReasonNoListener, refused)
		}
		closes(arr{"EX3", 3, 6, 1})
		b.register(ex3)
		closes(arr{"EX3", 3, 6, 1})
		listening := b.listen(ex3)
		closes(arr{"EX4", 3, 6, 1})
		closes(arr{"ex3", 3, 6, 1})
		listening.blocks()
		require.NoError(b, b.asa.StopNegotiate(ex3))
		isCode(b, listening.done().err, ErrStopped)
		closes(arr{"EX3", 3, 6, 1})
		b.listen(ex3)
		require.NoError(b, b.asa.Deregister())
		closes(arr{"EX3", 3, 6, 1})
	})
}

// The initiator sees it as such, without waiting.
func TestN13InitiatorSeesNoPeer(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		call, s, _ := b.asked(ex3)
		require.NoError(b, s.Close())
		isCode(b, call.done().err, ErrNoPeer)
	})
}

// What comes between two calls of one listener is queued, and what is queued
// when listening stops is closed.
func TestN13RequestsBetweenCalls(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{Backlog: 2}}, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		b.served(ex3, 1, 1)
		var streams []*rawStream
		for i := range 3 {
			s := b.peer.dial(b.at())
			s.send(arr{3, 10 + i, arr{"EX3", 3, 6, i}})
			streams = append(streams, s)
		}
		streams[2].closed()
		b.wantDrop(ReasonBacklogFull, 1)
		require.EqualValues(b, 0, b.listen(ex3).ok().o.Value)
		require.NoError(b, b.asa.StopNegotiate(ex3))
		streams[1].closed()
		streams[0].silent(soon)
	})
}

// Section 2.9.4: a decline may have a reason, in UTF-8; instead of declining
// one may go on with null or a new value.
func TestN18Decline(t *testing.T) {
	inBed(t, func(b *bed) {
		ex3 := neg("EX3", 1)
		b.register(ex3)
		for reason, want := range map[string]string{
			"":                   `[6, %d, [102]]`,
			"Insufficient funds": `[6, %d, [102, "Insufficient funds"]]`,
			"Недостаточно средств": `[6, %d, [102, "\u041d\u0435\u0434\u043e\u0441\u0442\u0430\u0442\u043e\u0447\u043d\u043e \u0441\u0440\u0435\u0434\u0441\u0442\u0432"]]`,
		} {
			session, _, s := b.served(ex3, 7, 1)
			require.NoError(b, session.EndNegotiate(false, reason))
			m := s.read()
			m.is(b, want)
			s.closed()

			call, s, request := b.asked(ex3)
			s.send(arr{6, request.id(b), m.items(b)[2]})
			var declined *DeclinedError
			require.ErrorAs(b, call.done().err, &declined)
			require.Equal(b, reason, declined.Reason)
			require.Equal(b, "EX3", declined.Objective)
			require.Equal(b, b.peer.locator().IP, declined.Peer.Addr())
		}
		session, _, s := b.served(ex3, 7, 1)
		isCode(b, session.EndNegotiate(false, "\xff"), ErrUnspec)
		s.silent(soon)

		// Going on with null.
		session, o, s := b.served(ex3, 8, 1)
		o.Value = nil
		step := b.step(session, o, 0)
		s.read().is(b, `[5, %d, ["EX3", 3, 5, null]]`)
		s.send(arr{5, 8, arr{"EX3", 3, 4, nil}})
		require.Nil(b, step.ok().o.Value)
	})
}

// Section 2.10.3: objectives for negotiation travel in no other messages.
func TestN19NegotiationObjectivesStayThere(t *testing.T) {
	inBed(t, func(b *bed) {
		ex1, ex3 := syn("EX1", 1), neg("EX3", 1)
		b.register(ex1, ex3)
		b.listen(ex3)
		isCode(b, b.asa.Flood(0, TaggedObjective{Objective: ex3}), ErrNotSynch)
		isCode(b, b.synchronize(ex3, b.peer.locator(), 0).done().err, ErrNotSynch)
		isCode(b, b.asa.ListenSynchronize(ex3), ErrNotSynch)
		isCode(b, b.request(ex1, b.peer.locator(), 0).done().err, ErrNotNeg)
		isCode(b, b.listen(ex1).done().err, ErrNotNeg)
		isCode(b, b.asa.RegisterObj(Objective{Name: "EX5", Neg: true, Synch: true}, RegisterOptions{}), ErrNotBoth)
		b.peer.none()
		b.peer.notDialed()

		// Nor are they taken from others.
		require.NoError(b, b.asa.ListenSynchronize(ex1))
		for _, m := range []arr{{4, 7, arr{"EX3", 3, 6, nil}}, {3, 7, arr{"EX1", 5, 6, 1}}, {3, 7, arr{"EX3", 5, 6, 1}}, {5, 7, arr{"EX3", 3, 6, 1}}} {
			s := b.peer.dial(b.at())
			s.send(m)
			s.closed()
		}
	})
}

// Section 2.10.2: F_NEG_DRY marks a dry run, and goes with F_NEG.
func TestY01DryRun(t *testing.T) {
	inBed(t, func(b *bed) {
		dry := neg("EX3", 1)
		dry.Dry = true
		b.register(dry)
		_, _, request := b.asked(dry)
		request.is(b, `[3, %d, ["EX3", 11, 6, 1]]`)
		isCode(b, b.asa.RegisterObj(Objective{Name: "EX4", Dry: true}, RegisterOptions{}), ErrNotDry)
	})
}

// Section 2.10.2: a session is a dry run from its first message to its last, or
// not at all: "Mixing the two modes in a single negotiation is not possible."
func TestY02DryOrNotThroughout(t *testing.T) {
	for _, dry := range []bool{false, true} {
		flags, other := 3, 11
		if dry {
			flags, other = other, flags
		}
		inBed(t, func(b *bed) {
			o := neg("EX3", 1)
			o.Dry = dry
			b.register(neg("EX3", nil))
			// Our ASA changes the flag on its way, and does not get through.
			call, s, request := b.asked(o)
			s.send(arr{5, request.id(b), arr{"EX3", flags, 5, 1}})
			got := call.ok()
			require.Equal(b, dry, got.o.Dry)
			got.o.Dry = !dry
			step := b.step(got.s, got.o, 0)
			s.read().is(b, fmt.Sprintf(`[5, %%d, ["EX3", %d, 4, 1]]`, flags))
			s.send(arr{6, request.id(b), arr{101}})
			require.Equal(b, dry, step.ok().o.Dry)

			session, got2, s := b.served(o, 7, 1)
			require.Equal(b, dry, got2.Dry)
			got2.Dry = !dry
			step = b.step(session, got2, 0)
			s.read().is(b, fmt.Sprintf(`[5, %%d, ["EX3", %d, 5, 1]]`, flags))
			// The peer does: that ends the session, on either side.
			s.send(arr{5, 7, arr{"EX3", other, 4, 1}})
			isCode(b, step.done().err, ErrInvalidNeg)
			s.closed()
			call, s, request = b.asked(o)
			s.send(arr{5, request.id(b), arr{"EX3", other, 5, 1}})
			isCode(b, call.done().err, ErrInvalidNeg)
			s.closed()
			b.wantDrop(ReasonInvalid, 2)
		})
	}
}

// Section 2.10.2 and RFC 8991 section 2.3.2.3: an objective is for negotiation or
// for synchronization. One that claims to be for both is neither asked for nor
// offered.
func TestN07NegotiationOrSynchronization(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX3", nil))
		call, s, request := b.asked(neg("EX3", 1))
		s.send(arr{5, request.id(b), arr{"EX3", 7, 5, 1}})
		isCode(b, call.done().err, ErrInvalidNeg)
		s.closed()
		session, o, s := b.served(neg("EX3", 1), 7, 1)
		step := b.step(session, o, 0)
		s.read()
		s.send(arr{5, 7, arr{"EX3", 7, 4, 1}})
		isCode(b, step.done().err, ErrInvalidNeg)
		s.closed()
		b.wantDrop(ReasonInvalid, 2)

		listening := b.listen(neg("EX3", nil))
		s = b.peer.dial(b.at())
		s.send(arr{3, 8, arr{"EX3", 7, 6, 1}})
		require.EqualValues(b, 99, s.read().items(b)[0], "it is told why")
		s.closed()
		listening.blocks()
		b.wantDrop(ReasonInvalid, 3)
	})
}

// Sections 2.5.5 and 2.10.4: the core carries the flag, and does all else as
// ever; what a dry run means is the ASA's affair.
func TestY03DryRunIsTheASAsAffair(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX3", nil)) // without Dry: the flag is the requester's
		dry := neg("EX3", 1)
		dry.Dry = true
		session, o, s := b.served(dry, 7, 1)
		require.True(b, o.Dry)
		require.NoError(b, session.EndNegotiate(true, ""))
		s.read().is(b, `[6, %d, [101]]`)
		call, s, request := b.asked(dry)
		s.send(arr{6, request.id(b), arr{101}})
		require.True(b, call.ok().o.Dry)
	})
}
