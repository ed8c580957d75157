package conformance

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// accepted: the value that was asked for, and no session is left.
func TestA29Accepted(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", []any{"NZD", 100}))
		require.Equal(b, bed.Neg("EX1", []any{"NZD", int64(100)}), k.Offer)
		require.NoError(b, k.Session.EndNegotiate(true, "ignored"))
		a := k.Asked.Ok()
		require.Nil(b, a.S)
		require.Equal(b, bed.Neg("EX1", []any{"NZD", int64(100)}), a.O)
		for _, g := range []*grasp.Instance{b.G, k.Other.Instance()} {
			require.Empty(b, g.Snapshot().Sessions)
			require.Zero(b, g.Snapshot().Streams)
		}
	})
}

// A-30, N-08: who sends a step decrements the loop count; what comes is what
// was sent. A-35: accepted is the value of the last step.
func TestA30A35Steps(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", 100))
		got, waiting := k.Counter(90)
		require.Equal(b, withLoops(bed.Neg("EX1", int64(90)), 5), got.O)
		o := got.O
		o.Value = 95
		mine := b.Step(got.S, o, 0)
		other := waiting.Ok()
		require.Same(b, k.Session, other.S)
		require.Equal(b, withLoops(bed.Neg("EX1", int64(95)), 4), other.O)
		require.NoError(b, k.Session.EndNegotiate(true, ""))
		a := mine.Ok()
		require.Nil(b, a.S)
		require.EqualValues(b, 95, a.O.Value)
		bed.IsCode(b, got.S.EndNegotiate(true, ""), grasp.ErrNoSession)
	})
}

func withLoops(o grasp.Objective, n uint8) grasp.Objective {
	o.LoopCount = n
	return o
}

// dry travels to the responder and back, and a session stays dry.
func TestA32Dry(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		dry := bed.Neg("EX1", 1)
		dry.Dry = true
		k := b.Talk(dry)
		require.True(b, k.Offer.Dry)
		k.Offer.Dry = false // forgotten
		got, waiting := k.Counter(2)
		require.True(b, got.O.Dry)
		got.O.Dry = false
		mine := b.Step(got.S, got.O, 0)
		require.True(b, waiting.Ok().O.Dry)
		require.NoError(b, k.Session.EndNegotiate(true, ""))
		require.True(b, mine.Ok().O.Dry)

		call, s, m := b.Asked(bed.Neg("EX1", 1))
		s.Send(arr{5, m.ID(b), arr{"EX1", 11, 5, 2}}) // the peer says dry
		bed.IsCode(b, call.Done().Err, grasp.ErrInvalidNeg)
	})
}

// what the peer may do instead of answering, and the codes.
func TestA31Answers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *bed.Stream, id uint32)
		code grasp.ErrorCode
		at   time.Duration
	}{
		{"closes", func(s *bed.Stream, _ uint32) { _ = s.Close() }, grasp.ErrNoPeer, 0},
		{"silence", func(*bed.Stream, uint32) {}, grasp.ErrNoNegReply, 60 * time.Second},
		{"M_INVALID", func(s *bed.Stream, id uint32) { s.Send(arr{99, id}) }, grasp.ErrNoValidStep, 0},
		{"M_INVALID with anything", func(s *bed.Stream, id uint32) { s.Send(arr{99, id, arr{1, "x", nil}}) }, grasp.ErrNoValidStep, 0},
		{"M_SYNCH", func(s *bed.Stream, id uint32) { s.Send(arr{8, id, arr{"EX1", 3, 6, 1}}) }, grasp.ErrNoValidStep, 0},
		{"M_REQ_NEG", func(s *bed.Stream, id uint32) { s.Send(arr{3, id, arr{"EX1", 3, 6, 1}}) }, grasp.ErrNoValidStep, 0},
		{"M_RESPONSE", func(s *bed.Stream, id uint32) { s.Send(arr{2, id, bed.IP("fd00::1"), 1, bed.IPv6("fd00::1", 1)}) }, grasp.ErrNoValidStep, 0},
		{"an unknown type", func(s *bed.Stream, id uint32) { s.Send(arr{50, id}) }, grasp.ErrNoValidStep, 0},
		{"no array", func(s *bed.Stream, _ uint32) { s.Send([]byte{0x01}) }, grasp.ErrNoValidStep, 0},
		{"another session", func(s *bed.Stream, id uint32) { s.Send(arr{6, id + 1, arr{101}}) }, grasp.ErrNoValidStep, 0},
		{"another objective", func(s *bed.Stream, id uint32) { s.Send(arr{5, id, arr{"EX2", 3, 5, 1}}) }, grasp.ErrInvalidNeg, 0},
		{"not for negotiation", func(s *bed.Stream, id uint32) { s.Send(arr{5, id, arr{"EX1", 5, 5, 1}}) }, grasp.ErrInvalidNeg, 0},
		{"neither accept nor decline", func(s *bed.Stream, id uint32) { s.Send(arr{6, id, arr{103}}) }, grasp.ErrInvalidEnd, 0},
		{"no CBOR", func(s *bed.Stream, _ uint32) { s.Send([]byte{0xff}) }, grasp.ErrCBORFail, 0},
		{"half a message", func(s *bed.Stream, id uint32) {
			s.Send(bed.Encoded(s.T, arr{6, id, arr{101}})[:3])
			_ = s.Close()
		}, grasp.ErrCBORFail, 0},
		{"half a message and silence", func(s *bed.Stream, id uint32) { s.Send(bed.Encoded(s.T, arr{6, id, arr{101}})[:3]) },
			grasp.ErrNoNegReply, 60 * time.Second},
		{"too long", func(s *bed.Stream, id uint32) { s.Send(arr{5, id, arr{"EX1", 3, 5, string(make([]byte, 2048))}}) }, grasp.ErrCBORFail, 0},
		{"declines", func(s *bed.Stream, id uint32) { s.Send(arr{6, id, arr{102}}) }, grasp.ErrDeclined, 0},
		{"M_WAIT for a second", func(s *bed.Stream, id uint32) { s.Send(arr{7, id, 1000}) }, grasp.ErrNoNegReply, time.Second},
		{"M_WAIT for nothing", func(s *bed.Stream, id uint32) { s.Send(arr{7, id, 0}) }, grasp.ErrNoNegReply, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				o := bed.Neg("EX1", 1)
				b.Register(o)
				call, s, m := b.Asked(o)
				start := time.Now()
				c.do(s, m.ID(b))
				a := call.Within(bed.Ever)
				bed.IsCode(b, a.Err, c.code)
				require.Nil(b, a.S)
				require.Zero(b, a.O)
				require.Equal(b, c.at, a.At.Sub(start))
				require.Empty(b, b.G.Snapshot().Sessions)
				require.Zero(b, b.G.Snapshot().Streams)

				// The same in a session under way.
				o.Value = 1
				session, got, s := b.Served(o, 7, nil)
				call = b.Step(session, got, 0)
				s.Next()
				start = time.Now()
				c.do(s, 7)
				a = call.Within(bed.Ever)
				bed.IsCode(b, a.Err, c.code)
				require.Equal(b, c.at, a.At.Sub(start))
				bed.IsCode(b, session.NegotiateWait(0), grasp.ErrNoSession)
				require.Empty(b, b.G.Snapshot().Sessions)
				require.Zero(b, b.G.Snapshot().Streams)
			})
		})
	}
}

// A connection that breaks is a failed negotiation, and no silence.
func TestA31Broken(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		call, _, _ := b.Asked(bed.Neg("EX1", 1))
		b.Peer.Node.Kill()
		bed.IsCode(b, call.Done().Err, grasp.ErrNoNegReply)
	})
}

// Sockets that fail have the codes of the call.
func TestSocketErrors(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		unreachable := grasp.NewLocator(netip.MustParseAddrPort("[fd00::dead]:1"))
		bed.IsCode(b, b.Request(o, &unreachable, 0).Done().Err, grasp.ErrSockErrNegRq)
		bed.IsCode(b, b.Synchronize(bed.Syn("EX2", nil), &unreachable, 0).Done().Err, grasp.ErrSockErrSynRq)

		for code, send := range map[grasp.ErrorCode]func(s *grasp.Session, o grasp.Objective) error{
			grasp.ErrSockErrNegStep: func(s *grasp.Session, o grasp.Objective) error { return b.Step(s, o, 0).Done().Err },
			grasp.ErrSockErrWait:    func(s *grasp.Session, _ grasp.Objective) error { return s.NegotiateWait(0) },
			grasp.ErrSockErrEnd:     func(s *grasp.Session, _ grasp.Objective) error { return s.EndNegotiate(true, "") },
			grasp.ErrSockErr:        func(s *grasp.Session, _ grasp.Objective) error { return s.Send(1) },
		} {
			s, got, conn := b.Served(o, uint32(code), nil)
			require.NoError(b, conn.Close())
			err := send(s, got)
			bed.IsCode(b, err, code)
			require.ErrorContains(b, err, "EX1")
			require.ErrorContains(b, err, b.Peer.Node.Addr().String())
			bed.IsCode(b, s.EndNegotiate(true, ""), grasp.ErrNoSession)
		}
		s, _, conn := b.Served(o, 99, nil)
		require.NoError(b, conn.Close())
		bed.IsCode(b, s.SendInvalid(nil), grasp.ErrSockErrEnd)
	})
}

// Timeouts are the caller's, per wait, 60 s by default.
func TestA27Timeout(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		for timeout, want := range map[time.Duration]time.Duration{
			0: 60 * time.Second, 1: 1, time.Second: time.Second, 24 * time.Hour: 24 * time.Hour,
		} {
			start := time.Now()
			a := b.Request(bed.Neg("EX1", 1), b.Peer.Locator(), timeout).Within(48 * time.Hour)
			bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
			require.Equal(b, want, a.At.Sub(start))
		}
	})
}

// N-14: an M_WAIT replaces the timer: it lengthens or shortens the
// wait, whichever side sends it.
func TestA36Wait(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(bed.Neg("EX1", 1))
		time.Sleep(59 * time.Second)
		require.NoError(b, k.Session.NegotiateWait(3*time.Minute))
		time.Sleep(2 * time.Minute)
		k.Asked.Blocks()
		require.NoError(b, k.Session.NegotiateWait(0)) // 60 s
		time.Sleep(59 * time.Second)
		got, waiting := k.Counter(2)

		// Now it is our turn to ask for time, and to shorten it.
		require.NoError(b, got.S.NegotiateWait(1500*time.Microsecond)) // sent as 2 ms
		start := time.Now()
		a := waiting.Within(bed.Ever)
		bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
		require.Equal(b, 2*time.Millisecond, a.At.Sub(start))

		for _, bad := range []time.Duration{-1, math.MaxInt64} {
			bed.IsCode(b, got.S.NegotiateWait(bad), grasp.ErrUnspec)
		}

		s, _, conn := b.Served(bed.Neg("EX1", 1), 7, nil)
		for timeout, want := range map[time.Duration]string{0: "60000", 1: "1", math.MaxUint32 * time.Millisecond: "4294967295"} {
			require.NoError(b, s.NegotiateWait(timeout))
			conn.Next().Is(b, "[7, %d, "+want+"]")
		}
	})
}

// A peer that only ever asks for more time is given up.
func TestWaitBomb(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxWaits: 100, MaxWait: time.Hour}}, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		call, s, m := b.Asked(bed.Neg("EX1", 1))
		for range 100 {
			s.Send(arr{7, m.ID(b), uint32(math.MaxUint32)})
		}
		call.Blocks()
		s.Send(arr{7, m.ID(b), uint32(math.MaxUint32)})
		bed.IsCode(b, call.Done().Err, grasp.ErrNoValidStep)
		b.WantDrop(grasp.ReasonTooManyWaits, 1)
		b.WantDrop(grasp.ReasonLongWait, 100)

		// So is one that does it step by step.
		session, got, s := b.Served(bed.Neg("EX1", 1), 5, nil)
		for loops := uint8(200); loops > 190; loops-- {
			got.LoopCount = loops
			call = b.Step(session, got, 0)
			s.Next()
			for range 10 {
				s.Send(arr{7, 5, 60_000})
			}
			s.Send(arr{5, 5, arr{"EX1", 3, loops, nil}})
			call.Ok()
		}
		call = b.Step(session, got, 0)
		s.Next()
		s.Send(arr{7, 5, 60_000})
		bed.IsCode(b, call.Done().Err, grasp.ErrNoValidStep)
		b.WantDrop(grasp.ReasonTooManyWaits, 2)
		b.WantDrop(grasp.ReasonLongWait, 100)
	})
}

// Nor does a peer that asks for weeks get them.
func TestWaitIsBounded(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxWait: time.Hour}}, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		call, s, m := b.Asked(bed.Neg("EX1", 1))
		s.Send(arr{7, m.ID(b), uint32(math.MaxUint32)})
		b.WantDrop(grasp.ReasonLongWait, 1)
		time.Sleep(time.Hour - time.Nanosecond)
		call.Blocks()
		bed.IsCode(b, call.Within(time.Nanosecond).Err, grasp.ErrNoNegReply)
	})
}

// at a loop count that would become 0 nothing is sent; the session stays
// until it is ended.
func TestA33LoopExhausted(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(withLoops(bed.Neg("EX1", 1), 2))
		require.EqualValues(b, 2, k.Offer.LoopCount)
		got, waiting := k.Counter(2)
		require.EqualValues(b, 1, got.O.LoopCount)
		for _, loops := range []uint8{1, 0} {
			s, o, err := got.S.NegotiateStep(bed.Forever, withLoops(got.O, loops), 0)
			bed.IsCode(b, err, grasp.ErrLoopExhausted)
			require.Same(b, got.S, s)
			require.Equal(b, withLoops(got.O, loops), o)
		}
		waiting.Blocks()
		require.Len(b, b.G.Snapshot().Sessions, 1)
		require.NoError(b, got.S.EndNegotiate(false, "too long a talk"))
		var declined *grasp.DeclinedError
		require.ErrorAs(b, waiting.Done().Err, &declined)
		require.Equal(b, "too long a talk", declined.Reason)
	})
}

// the peer runs into its timeout.
func TestA33PeerTimesOut(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		k := b.Talk(withLoops(bed.Neg("EX1", 1), 1))
		_, _, err := k.Session.NegotiateStep(bed.Forever, k.Offer, 0)
		bed.IsCode(b, err, grasp.ErrLoopExhausted)
		bed.IsCode(b, k.Asked.Within(time.Minute).Err, grasp.ErrNoNegReply)
	})
}

// after the end, by whichever side, every call gives noSession.
func TestA04A34AfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(b *bed.Bed, s *grasp.Session, o grasp.Objective, conn *bed.Stream){
		"accepted by us": func(b *bed.Bed, s *grasp.Session, _ grasp.Objective, _ *bed.Stream) {
			bed.Must(s.EndNegotiate(true, ""))
		},
		"declined by us": func(b *bed.Bed, s *grasp.Session, _ grasp.Objective, _ *bed.Stream) {
			bed.Must(s.EndNegotiate(false, "no"))
		},
		"M_INVALID by us":  func(b *bed.Bed, s *grasp.Session, _ grasp.Objective, _ *bed.Stream) { bed.Must(s.SendInvalid(nil)) },
		"accepted by peer": peerSends(arr{6, 7, arr{101}}),
		"declined by peer": peerSends(arr{6, 7, arr{102}}),
		"M_INVALID":        peerSends(arr{99, 7}),
		"timeout":          peerSends(arr{7, 7, 10}),
		"closed": func(b *bed.Bed, s *grasp.Session, o grasp.Objective, conn *bed.Stream) {
			call := b.Step(s, o, 0)
			conn.Next()
			bed.Must(conn.Close())
			call.Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", 1))
				s, o, conn := b.Served(bed.Neg("EX1", 1), 7, nil)
				source := s.Source()
				end(b, s, o, conn)
				bed.IsCode(b, b.Step(s, o, 0).Done().Err, grasp.ErrNoSession)
				bed.IsCode(b, s.NegotiateWait(0), grasp.ErrNoSession)
				bed.IsCode(b, s.EndNegotiate(true, ""), grasp.ErrNoSession)
				bed.IsCode(b, s.EndNegotiate(false, ""), grasp.ErrNoSession)
				bed.IsCode(b, s.SendInvalid(1), grasp.ErrNoSession)
				bed.IsCode(b, s.Send(1), grasp.ErrNoSession)
				_, err := s.Recv(bed.Forever, 0)
				bed.IsCode(b, err, grasp.ErrNoSession)
				require.Equal(b, source, s.Source())
			})
		})
	}
}

// What is no session is one that has ended: a call that declined or accepted
// gave none.
func TestA04NilSession(t *testing.T) {
	var s *grasp.Session
	bed.IsCode(t, bed.Third(s.NegotiateStep(bed.Forever, bed.Neg("EX1", 1), 0)), grasp.ErrNoSession)
	bed.IsCode(t, s.NegotiateWait(0), grasp.ErrNoSession)
	bed.IsCode(t, s.EndNegotiate(true, ""), grasp.ErrNoSession)
	bed.IsCode(t, s.SendInvalid(nil), grasp.ErrNoSession)
	bed.IsCode(t, s.Send(1), grasp.ErrNoSession)
	bed.IsCode(t, bed.Second(s.Recv(bed.Forever, 0)), grasp.ErrNoSession)
	require.NoError(t, s.Close())
	require.False(t, s.Source().IsValid())
}

// peerSends has the peer end a session with a message, while we wait.
func peerSends(m arr) func(*bed.Bed, *grasp.Session, grasp.Objective, *bed.Stream) {
	return func(b *bed.Bed, s *grasp.Session, o grasp.Objective, conn *bed.Stream) {
		call := b.Step(s, o, 0)
		conn.Next()
		conn.Send(m)
		call.Within(time.Second)
	}
}

// a redundant end is no session, and has no effect on others.
func TestA38RedundantEndIsNoSession(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		one, _, _ := b.Served(o, 1, nil)
		two, _, conn := b.Served(o, 2, nil)
		require.NoError(b, one.EndNegotiate(false, ""))
		for range 3 {
			bed.IsCode(b, one.EndNegotiate(false, ""), grasp.ErrNoSession)
			bed.IsCode(b, one.EndNegotiate(true, ""), grasp.ErrNoSession)
		}
		require.Len(b, b.G.Snapshot().Sessions, 1)
		require.NoError(b, two.EndNegotiate(true, ""))
		conn.Next().Is(b, `[6, %d, [101]]`)
	})
}

// RFC 8990 section 2.5.5: the side that has the peer's offer before it accepts. Out of turn
// an M_END/accept would be taken for an answer to what the peer offers next: it is refused,
// and the negotiation goes on. It can be ended by declining at any time.
func TestEndOutOfTurn(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		for _, accept := range []bool{true, false} {
			s, asked, st := b.Served(ex3, 7, 1)
			call := b.Step(s, asked, 0)
			st.Next().Is(b, `[5, %d, ["EX3", 3, 5, 1]]`)
			bed.IsCode(b, s.EndNegotiate(true, ""), grasp.ErrUnspec)
			if !accept {
				require.NoError(b, s.EndNegotiate(false, "enough"))
				st.Next().Is(b, `[6, %d, [102, "enough"]]`)
				bed.IsCode(b, call.Done().Err, grasp.ErrNoSession)
				continue
			}
			st.Send(arr{5, 7, arr{"EX3", 3, 4, 2}})
			require.NotNil(b, call.Ok().S)
			require.NoError(b, s.EndNegotiate(true, ""))
			st.Next().Is(b, `[6, %d, [101]]`)
		}
	})
}

// the reason reaches the peer as it is; with accept it is ignored.
func TestA39Reason(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		for i, reason := range []string{"", "too much", "Недостаточно средств", "\x00\x1b[m", string(make([]byte, 2000))} {
			s, _, conn := b.Served(o, uint32(i), nil)
			require.NoError(b, s.EndNegotiate(false, reason))
			got := conn.Next().Items(b)[2].(arr)
			if reason == "" {
				require.Equal(b, arr{uint64(102)}, got)
			} else {
				require.Equal(b, arr{uint64(102), reason}, got)
			}

			call, conn, m := b.Asked(o)
			conn.Send(arr{6, m.ID(b), arr{102, reason}})
			err := call.Done().Err
			bed.IsCode(b, err, grasp.ErrDeclined)
			var declined *grasp.DeclinedError
			require.True(b, errors.As(err, &declined))
			require.Equal(b, grasp.DeclinedError{Objective: "EX1", Peer: netip.AddrPortFrom(b.Peer.Node.Addr(), b.Peer.Endpoint.Port()), Reason: reason}, *declined)
		}
		s, _, conn := b.Served(o, 99, nil)
		require.NoError(b, s.EndNegotiate(true, "\xff is not even looked at"))
		conn.Next().Is(b, `[6, %d, [101]]`)
	})
}

// M_INVALID carries any value.
func TestA40SendInvalid(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for i, c := range []struct {
			info any
			want string
		}{
			{nil, "null"}, {"No information", `"No information"`}, {[]byte{1, 2}, "h'0102'"}, {[]any{1, "x"}, `[1, "x"]`},
			{grasp.EncodedCBOR{0x01}, "24(h'01')"},
		} {
			o := bed.Neg(fmt.Sprintf("EX%d", i), 1)
			k := b.Talk(o)
			require.NoError(b, k.Session.SendInvalid(c.info))
			err := k.Asked.Done().Err
			bed.IsCode(b, err, grasp.ErrNoValidStep)
			require.ErrorContains(b, err, c.want)
			require.NoError(b, k.Other.Deregister())
		}
	})
}

// each message received starts the timer of the next wait anew.
func TestTimerIsPerWait(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", 1))
		s, o, conn := b.Served(withLoops(bed.Neg("EX1", 1), 6), 7, nil)
		for range 4 {
			call := b.Step(s, o, 0)
			conn.Next()
			time.Sleep(59 * time.Second)
			o.LoopCount--
			conn.Send(arr{5, 7, arr{"EX1", 3, o.LoopCount, nil}})
			o = call.Ok().O
			time.Sleep(time.Hour) // our own thinking costs nothing
		}
	})
}
