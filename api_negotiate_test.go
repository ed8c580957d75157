package grasp

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// accepted: the value that was asked for, and no session is left.
func TestA29Accepted(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", []any{"NZD", 100}))
		require.Equal(b, neg("EX1", []any{"NZD", int64(100)}), k.offer)
		require.NoError(b, k.session.EndNegotiate(true, "ignored"))
		a := k.asked.ok()
		require.Nil(b, a.s)
		require.Equal(b, neg("EX1", []any{"NZD", int64(100)}), a.o)
		for _, g := range []*Instance{b.g, k.other.g} {
			require.Empty(b, g.Snapshot().Sessions)
			require.Zero(b, g.Snapshot().Streams)
		}
	})
}

// A-30, N-08: who sends a step decrements the loop count; what comes is what
// was sent. A-35: accepted is the value of the last step.
func TestA30A35Steps(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", 100))
		got, waiting := k.counter(90)
		require.Equal(b, withLoops(neg("EX1", int64(90)), 5), got.o)
		o := got.o
		o.Value = 95
		mine := b.step(got.s, o, 0)
		other := waiting.ok()
		require.Same(b, k.session, other.s)
		require.Equal(b, withLoops(neg("EX1", int64(95)), 4), other.o)
		require.NoError(b, k.session.EndNegotiate(true, ""))
		a := mine.ok()
		require.Nil(b, a.s)
		require.EqualValues(b, 95, a.o.Value)
		isCode(b, got.s.EndNegotiate(true, ""), ErrNoSession)
	})
}

func withLoops(o Objective, n uint8) Objective {
	o.LoopCount = n
	return o
}

// dry travels to the responder and back, and a session stays dry.
func TestA32Dry(t *testing.T) {
	inBed(t, func(b *bed) {
		dry := neg("EX1", 1)
		dry.Dry = true
		k := b.talk(dry)
		require.True(b, k.offer.Dry)
		k.offer.Dry = false // forgotten
		got, waiting := k.counter(2)
		require.True(b, got.o.Dry)
		got.o.Dry = false
		mine := b.step(got.s, got.o, 0)
		require.True(b, waiting.ok().o.Dry)
		require.NoError(b, k.session.EndNegotiate(true, ""))
		require.True(b, mine.ok().o.Dry)

		call, s, m := b.asked(neg("EX1", 1))
		s.send(arr{5, m.id(b), arr{"EX1", 11, 5, 2}}) // the peer says dry
		isCode(b, call.done().err, ErrInvalidNeg)
	})
}

// what the peer may do instead of answering, and the codes.
func TestA31Answers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *rawStream, id uint32)
		code ErrorCode
		at   time.Duration
	}{
		{"closes", func(s *rawStream, _ uint32) { _ = s.Close() }, ErrNoPeer, 0},
		{"silence", func(*rawStream, uint32) {}, ErrNoNegReply, 60 * time.Second},
		{"M_INVALID", func(s *rawStream, id uint32) { s.send(arr{99, id}) }, ErrNoValidStep, 0},
		{"M_INVALID with anything", func(s *rawStream, id uint32) { s.send(arr{99, id, arr{1, "x", nil}}) }, ErrNoValidStep, 0},
		{"M_SYNCH", func(s *rawStream, id uint32) { s.send(arr{8, id, arr{"EX1", 3, 6, 1}}) }, ErrNoValidStep, 0},
		{"M_REQ_NEG", func(s *rawStream, id uint32) { s.send(arr{3, id, arr{"EX1", 3, 6, 1}}) }, ErrNoValidStep, 0},
		{"M_RESPONSE", func(s *rawStream, id uint32) { s.send(arr{2, id, ip("fd00::1"), 1, ipv6("fd00::1", 1)}) }, ErrNoValidStep, 0},
		{"an unknown type", func(s *rawStream, id uint32) { s.send(arr{50, id}) }, ErrNoValidStep, 0},
		{"no array", func(s *rawStream, _ uint32) { s.send([]byte{0x01}) }, ErrNoValidStep, 0},
		{"another session", func(s *rawStream, id uint32) { s.send(arr{6, id + 1, arr{101}}) }, ErrNoValidStep, 0},
		{"another objective", func(s *rawStream, id uint32) { s.send(arr{5, id, arr{"EX2", 3, 5, 1}}) }, ErrInvalidNeg, 0},
		{"not for negotiation", func(s *rawStream, id uint32) { s.send(arr{5, id, arr{"EX1", 5, 5, 1}}) }, ErrInvalidNeg, 0},
		{"neither accept nor decline", func(s *rawStream, id uint32) { s.send(arr{6, id, arr{103}}) }, ErrInvalidEnd, 0},
		{"no CBOR", func(s *rawStream, _ uint32) { s.send([]byte{0xff}) }, ErrCBORFail, 0},
		{"half a message", func(s *rawStream, id uint32) {
			s.send(encoded(s.t, arr{6, id, arr{101}})[:3])
			_ = s.Close()
		}, ErrCBORFail, 0},
		{"half a message and silence", func(s *rawStream, id uint32) { s.send(encoded(s.t, arr{6, id, arr{101}})[:3]) },
			ErrNoNegReply, 60 * time.Second},
		{"too long", func(s *rawStream, id uint32) { s.send(arr{5, id, arr{"EX1", 3, 5, string(make([]byte, 2048))}}) }, ErrCBORFail, 0},
		{"declines", func(s *rawStream, id uint32) { s.send(arr{6, id, arr{102}}) }, ErrDeclined, 0},
		{"M_WAIT for a second", func(s *rawStream, id uint32) { s.send(arr{7, id, 1000}) }, ErrNoNegReply, time.Second},
		{"M_WAIT for nothing", func(s *rawStream, id uint32) { s.send(arr{7, id, 0}) }, ErrNoNegReply, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				o := neg("EX1", 1)
				b.register(o)
				call, s, m := b.asked(o)
				start := time.Now()
				c.do(s, m.id(b))
				a := call.within(ever)
				isCode(b, a.err, c.code)
				require.Nil(b, a.s)
				require.Zero(b, a.o)
				require.Equal(b, c.at, a.at.Sub(start))
				require.Empty(b, b.g.Snapshot().Sessions)
				require.Zero(b, b.g.Snapshot().Streams)

				// The same in a session under way.
				o.Value = 1
				session, got, s := b.served(o, 7, nil)
				call = b.step(session, got, 0)
				s.read()
				start = time.Now()
				c.do(s, 7)
				a = call.within(ever)
				isCode(b, a.err, c.code)
				require.Equal(b, c.at, a.at.Sub(start))
				isCode(b, session.NegotiateWait(0), ErrNoSession)
				require.Empty(b, b.g.Snapshot().Sessions)
				require.Zero(b, b.g.Snapshot().Streams)
			})
		})
	}
}

// A connection that breaks is a failed negotiation, and no silence.
func TestA31Broken(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		call, _, _ := b.asked(neg("EX1", 1))
		b.peer.node.Kill()
		isCode(b, call.done().err, ErrNoNegReply)
	})
}

// Sockets that fail have the codes of the call.
func TestSocketErrors(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", 1)
		b.register(o)
		unreachable := NewLocator(netip.MustParseAddrPort("[fd00::dead]:1"))
		isCode(b, b.request(o, &unreachable, 0).done().err, ErrSockErrNegRq)
		isCode(b, b.synchronize(syn("EX2", nil), &unreachable, 0).done().err, ErrSockErrSynRq)

		for code, send := range map[ErrorCode]func(s *Session, o Objective) error{
			ErrSockErrNegStep: func(s *Session, o Objective) error { return b.step(s, o, 0).done().err },
			ErrSockErrWait:    func(s *Session, _ Objective) error { return s.NegotiateWait(0) },
			ErrSockErrEnd:     func(s *Session, _ Objective) error { return s.EndNegotiate(true, "") },
			ErrSockErr:        func(s *Session, _ Objective) error { return s.Send(1) },
		} {
			s, got, conn := b.served(o, uint32(code), nil)
			require.NoError(b, conn.Close())
			err := send(s, got)
			isCode(b, err, code)
			require.ErrorContains(b, err, "EX1")
			require.ErrorContains(b, err, b.peer.node.Addr().String())
			isCode(b, s.EndNegotiate(true, ""), ErrNoSession)
		}
		s, _, conn := b.served(o, 99, nil)
		require.NoError(b, conn.Close())
		isCode(b, s.SendInvalid(nil), ErrSockErrEnd)
	})
}

// Timeouts are the caller's, per wait, 60 s by default.
func TestA27Timeout(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		for timeout, want := range map[time.Duration]time.Duration{
			0: 60 * time.Second, 1: 1, time.Second: time.Second, 24 * time.Hour: 24 * time.Hour,
		} {
			start := time.Now()
			a := b.request(neg("EX1", 1), b.peer.locator(), timeout).within(48 * time.Hour)
			isCode(b, a.err, ErrNoNegReply)
			require.Equal(b, want, a.at.Sub(start))
		}
	})
}

// N-14: an M_WAIT replaces the timer: it lengthens or shortens the
// wait, whichever side sends it.
func TestA36Wait(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(neg("EX1", 1))
		time.Sleep(59 * time.Second)
		require.NoError(b, k.session.NegotiateWait(3*time.Minute))
		time.Sleep(2 * time.Minute)
		k.asked.blocks()
		require.NoError(b, k.session.NegotiateWait(0)) // 60 s
		time.Sleep(59 * time.Second)
		got, waiting := k.counter(2)

		// Now it is our turn to ask for time, and to shorten it.
		require.NoError(b, got.s.NegotiateWait(1500*time.Microsecond)) // sent as 2 ms
		start := time.Now()
		a := waiting.within(ever)
		isCode(b, a.err, ErrNoNegReply)
		require.Equal(b, 2*time.Millisecond, a.at.Sub(start))

		for _, bad := range []time.Duration{-1, math.MaxInt64} {
			isCode(b, got.s.NegotiateWait(bad), ErrUnspec)
		}

		s, _, conn := b.served(neg("EX1", 1), 7, nil)
		for timeout, want := range map[time.Duration]string{0: "60000", 1: "1", math.MaxUint32 * time.Millisecond: "4294967295"} {
			require.NoError(b, s.NegotiateWait(timeout))
			conn.read().is(b, "[7, %d, "+want+"]")
		}
	})
}

// A peer that only ever asks for more time is given up.
func TestWaitBomb(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxWaits: 100, MaxWait: time.Hour}}, func(b *bed) {
		b.register(neg("EX1", 1))
		call, s, m := b.asked(neg("EX1", 1))
		for range 100 {
			s.send(arr{7, m.id(b), uint32(math.MaxUint32)})
		}
		call.blocks()
		s.send(arr{7, m.id(b), uint32(math.MaxUint32)})
		isCode(b, call.done().err, ErrNoValidStep)
		b.wantDrop(ReasonTooManyWaits, 1)
		b.wantDrop(ReasonLongWait, 100)

		// So is one that does it step by step.
		session, got, s := b.served(neg("EX1", 1), 5, nil)
		for loops := uint8(200); loops > 190; loops-- {
			got.LoopCount = loops
			call = b.step(session, got, 0)
			s.read()
			for range 10 {
				s.send(arr{7, 5, 60_000})
			}
			s.send(arr{5, 5, arr{"EX1", 3, loops, nil}})
			call.ok()
		}
		call = b.step(session, got, 0)
		s.read()
		s.send(arr{7, 5, 60_000})
		isCode(b, call.done().err, ErrNoValidStep)
		b.wantDrop(ReasonTooManyWaits, 2)
		b.wantDrop(ReasonLongWait, 100)
	})
}

// Nor does a peer that asks for weeks get them.
func TestWaitIsBounded(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxWait: time.Hour}}, func(b *bed) {
		b.register(neg("EX1", 1))
		call, s, m := b.asked(neg("EX1", 1))
		s.send(arr{7, m.id(b), uint32(math.MaxUint32)})
		b.wantDrop(ReasonLongWait, 1)
		time.Sleep(time.Hour - time.Nanosecond)
		call.blocks()
		isCode(b, call.within(time.Nanosecond).err, ErrNoNegReply)
	})
}

// at a loop count that would become 0 nothing is sent; the session stays
// until it is ended.
func TestA33LoopExhausted(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(withLoops(neg("EX1", 1), 2))
		require.EqualValues(b, 2, k.offer.LoopCount)
		got, waiting := k.counter(2)
		require.EqualValues(b, 1, got.o.LoopCount)
		for _, loops := range []uint8{1, 0} {
			s, o, err := got.s.NegotiateStep(forever, withLoops(got.o, loops), 0)
			isCode(b, err, ErrLoopExhausted)
			require.Same(b, got.s, s)
			require.Equal(b, withLoops(got.o, loops), o)
		}
		waiting.blocks()
		require.Len(b, b.g.Snapshot().Sessions, 1)
		require.NoError(b, got.s.EndNegotiate(false, "too long a talk"))
		var declined *DeclinedError
		require.ErrorAs(b, waiting.done().err, &declined)
		require.Equal(b, "too long a talk", declined.Reason)
	})
}

// the peer runs into its timeout.
func TestA33PeerTimesOut(t *testing.T) {
	inBed(t, func(b *bed) {
		k := b.talk(withLoops(neg("EX1", 1), 1))
		_, _, err := k.session.NegotiateStep(forever, k.offer, 0)
		isCode(b, err, ErrLoopExhausted)
		isCode(b, k.asked.within(time.Minute).err, ErrNoNegReply)
	})
}

// after the end, by whichever side, every call gives noSession.
func TestA04A34AfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(b *bed, s *Session, o Objective, conn *rawStream){
		"accepted by us":   func(b *bed, s *Session, _ Objective, _ *rawStream) { must(s.EndNegotiate(true, "")) },
		"declined by us":   func(b *bed, s *Session, _ Objective, _ *rawStream) { must(s.EndNegotiate(false, "no")) },
		"M_INVALID by us":  func(b *bed, s *Session, _ Objective, _ *rawStream) { must(s.SendInvalid(nil)) },
		"accepted by peer": peerSends(arr{6, 7, arr{101}}),
		"declined by peer": peerSends(arr{6, 7, arr{102}}),
		"M_INVALID":        peerSends(arr{99, 7}),
		"timeout":          peerSends(arr{7, 7, 10}),
		"closed": func(b *bed, s *Session, o Objective, conn *rawStream) {
			call := b.step(s, o, 0)
			conn.read()
			must(conn.Close())
			call.done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", 1))
				s, o, conn := b.served(neg("EX1", 1), 7, nil)
				source := s.Source()
				end(b, s, o, conn)
				isCode(b, b.step(s, o, 0).done().err, ErrNoSession)
				isCode(b, s.NegotiateWait(0), ErrNoSession)
				isCode(b, s.EndNegotiate(true, ""), ErrNoSession)
				isCode(b, s.EndNegotiate(false, ""), ErrNoSession)
				isCode(b, s.SendInvalid(1), ErrNoSession)
				isCode(b, s.Send(1), ErrNoSession)
				_, err := s.Recv(forever, 0)
				isCode(b, err, ErrNoSession)
				require.Equal(b, source, s.Source())
			})
		})
	}
}

// What is no session is one that has ended: a call that declined or accepted
// gave none.
func TestA04NilSession(t *testing.T) {
	var s *Session
	isCode(t, third(s.NegotiateStep(forever, neg("EX1", 1), 0)), ErrNoSession)
	isCode(t, s.NegotiateWait(0), ErrNoSession)
	isCode(t, s.EndNegotiate(true, ""), ErrNoSession)
	isCode(t, s.SendInvalid(nil), ErrNoSession)
	isCode(t, s.Send(1), ErrNoSession)
	isCode(t, second(s.Recv(forever, 0)), ErrNoSession)
	require.NoError(t, s.Close())
	require.False(t, s.Source().IsValid())
}

// peerSends has the peer end a session with a message, while we wait.
func peerSends(m arr) func(*bed, *Session, Objective, *rawStream) {
	return func(b *bed, s *Session, o Objective, conn *rawStream) {
		call := b.step(s, o, 0)
		conn.read()
		conn.send(m)
		call.within(time.Second)
	}
}

// a redundant end is no session, and has no effect on others.
func TestA38RedundantEndIsNoSession(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", 1)
		b.register(o)
		one, _, _ := b.served(o, 1, nil)
		two, _, conn := b.served(o, 2, nil)
		require.NoError(b, one.EndNegotiate(false, ""))
		for range 3 {
			isCode(b, one.EndNegotiate(false, ""), ErrNoSession)
			isCode(b, one.EndNegotiate(true, ""), ErrNoSession)
		}
		require.Len(b, b.g.Snapshot().Sessions, 1)
		require.NoError(b, two.EndNegotiate(true, ""))
		conn.read().is(b, `[6, %d, [101]]`)
	})
}

// the reason reaches the peer as it is; with accept it is ignored.
func TestA39Reason(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", 1)
		b.register(o)
		for i, reason := range []string{"", "too much", "Недостаточно средств", "\x00\x1b[m", string(make([]byte, 2000))} {
			s, _, conn := b.served(o, uint32(i), nil)
			require.NoError(b, s.EndNegotiate(false, reason))
			got := conn.read().items(b)[2].(arr)
			if reason == "" {
				require.Equal(b, arr{uint64(102)}, got)
			} else {
				require.Equal(b, arr{uint64(102), reason}, got)
			}

			call, conn, m := b.asked(o)
			conn.send(arr{6, m.id(b), arr{102, reason}})
			err := call.done().err
			isCode(b, err, ErrDeclined)
			var declined *DeclinedError
			require.True(b, errors.As(err, &declined))
			require.Equal(b, DeclinedError{"EX1", netip.AddrPortFrom(b.peer.node.Addr(), b.peer.ep.Port()), reason}, *declined)
		}
		s, _, conn := b.served(o, 99, nil)
		require.NoError(b, s.EndNegotiate(true, "\xff is not even looked at"))
		conn.read().is(b, `[6, %d, [101]]`)
	})
}

// M_INVALID carries any value.
func TestA40SendInvalid(t *testing.T) {
	inBed(t, func(b *bed) {
		for i, c := range []struct {
			info any
			want string
		}{
			{nil, "null"}, {"No information", `"No information"`}, {[]byte{1, 2}, "h'0102'"}, {[]any{1, "x"}, `[1, "x"]`},
			{EncodedCBOR{0x01}, "24(h'01')"},
		} {
			o := neg(fmt.Sprintf("EX%d", i), 1)
			k := b.talk(o)
			require.NoError(b, k.session.SendInvalid(c.info))
			err := k.asked.done().err
			isCode(b, err, ErrNoValidStep)
			require.ErrorContains(b, err, c.want)
			require.NoError(b, k.other.Deregister())
		}
	})
}

// each message received starts the timer of the next wait anew.
func TestTimerIsPerWait(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", 1))
		s, o, conn := b.served(withLoops(neg("EX1", 1), 6), 7, nil)
		for range 4 {
			call := b.step(s, o, 0)
			conn.read()
			time.Sleep(59 * time.Second)
			o.LoopCount--
			conn.send(arr{5, 7, arr{"EX1", 3, o.LoopCount, nil}})
			o = call.ok().o
			time.Sleep(time.Hour) // our own thinking costs nothing
		}
	})
}
