package conformance

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.8.2: unknown message types are discarded and may be logged; to a
// multicast nobody answers.
func TestC05C06UnknownMessageTypes(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		b.Register(ex3)
		listening := b.Listen(ex3)
		types := []uint64{10, 98, 100, 255, 256, 1 << 40}
		for _, n := range types {
			b.Peer.Multicast(arr{n, 7, b.Peer.Addr(), arr{"EX3", 3, 6, 1}})
		}
		b.WantDrop(grasp.ReasonUnknownType, len(types))
		b.Peer.None()
		b.Peer.NotDialed()
		for i, n := range types {
			s := b.Peer.Dial(b.At())
			s.Send(arr{n, 7, arr{"EX3", 3, 6, 1}})
			// M_INVALID may answer it.
			require.Regexp(b, `^\[99, 7, "`, s.Next().String())
			s.Closed()
			b.WantDrop(grasp.ReasonUnknownType, len(types)+i+1)
		}
		listening.Blocks()
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// Section 2.8.9: M_WAIT has a waiting time and nothing besides.
func TestC08WaitHasATimeOnly(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", 1)
		b.Register(ex3)
		session, _, s := b.Served(ex3, 7, 1)
		require.NoError(b, session.NegotiateWait(1500*time.Millisecond))
		s.Next().Is(b, `[7, %d, 1500]`)
		require.NoError(b, session.NegotiateWait(0))
		s.Next().Is(b, `[7, %d, 60000]`)
	})
}

// Section 2.8.8: M_END has an accept or a decline option.
func TestC09EndWithoutOption(t *testing.T) {
	for _, end := range []arr{{6}, {6, arr{}}, {6, arr{100}}, {6, "yes"}} {
		bed.In(t, func(b *bed.Bed) {
			ex3 := bed.Neg("EX3", 1)
			b.Register(ex3)
			call, s, request := b.Asked(ex3)
			s.Send(append(arr{end[0], request.ID(b)}, end[1:]...))
			bed.IsCode(b, call.Done().Err, grasp.ErrInvalidEnd)
			require.Regexp(b, `^\[99, \d+, "`, s.Next().String())
			s.Closed()
		})
	}
}

// Section 2.2: what is malformed never stops the instance.
func TestC11MalformedMulticasts(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		id := uint32(1000)
		for what, raw := range bed.Garbage {
			if len(raw) == 0 {
				continue
			}
			b.Peer.Multicast(raw)
			b.Peer.NotDialed()
			id++
			_, ok := b.Peer.Discover(id, "EX3")
			require.True(b, ok, "the instance is deaf after: %s", what)
		}
		b.Peer.None()
		drops := 0
		for _, reason := range []grasp.Reason{grasp.ReasonMalformed, grasp.ReasonInvalid, grasp.ReasonTooLong, grasp.ReasonTooDeep} {
			drops += len(b.Dropped(reason))
		}
		require.Equal(b, len(bed.Garbage)-1, drops)
	})
}

// Section 2.2: nor does what is malformed and comes by unicast.
func TestC11MalformedRequests(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		b.Register(ex3)
		listening := b.Listen(ex3)
		for what, raw := range bed.Garbage {
			if what == "two items" { // M_NOOP twice
				continue
			}
			s := b.Peer.Dial(b.At())
			s.Send(raw)
			require.NoError(b, s.Close())
		}
		synctest.Wait()
		listening.Blocks()
		require.Zero(b, b.G.Snapshot().Streams)
		b.Peer.Dial(b.At()).Send(arr{3, 7, arr{"EX3", 3, 6, "offer"}})
		require.Equal(b, "offer", listening.Ok().O.Value)
	})
}

// RFC 8991 section 2.3: a malformed answer ends the session with an error.
func TestC11MalformedAnswers(t *testing.T) {
	for what, want := range map[string]grasp.ErrorCode{
		"not CBOR":              grasp.ErrCBORFail,
		"reserved head":         grasp.ErrCBORFail,
		"array without items":   grasp.ErrCBORFail, // the peer closes before its end
		"name is not UTF-8":     grasp.ErrCBORFail,
		"nested without end":    grasp.ErrCBORFail,
		"no array":              grasp.ErrNoValidStep,
		"text":                  grasp.ErrNoValidStep,
		"empty array":           grasp.ErrNoValidStep,
		"loop count beyond 255": grasp.ErrNoValidStep,
	} {
		t.Run(what, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				ex3 := bed.Neg("EX3", 1)
				b.Register(ex3)
				call, s, _ := b.Asked(ex3)
				s.Send(bed.Garbage[what])
				require.NoError(b, s.Close())
				bed.IsCode(b, call.Done().Err, want)
				require.Empty(b, b.G.Snapshot().Sessions)

				want := map[grasp.ErrorCode]grasp.ErrorCode{grasp.ErrCBORFail: grasp.ErrCBORFail, grasp.ErrNoValidStep: grasp.ErrNoValidSynch}[want]
				got := b.Synchronize(bed.Syn("EX1", nil), b.Peer.Locator(), 0)
				s = b.Peer.Dialed()
				s.Next()
				s.Send(bed.Garbage[what])
				require.NoError(b, s.Close())
				bed.IsCode(b, got.Done().Err, want)
			})
		})
	}
}

// Appendix A and peers: null, 0 and no value at all are all taken where no real
// value is expected.
func TestC13NoValueInManyForms(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1 := bed.Syn("EX1", "value")
		b.Register(ex1)
		require.NoError(b, b.ASA.ListenSynchronize(ex1))
		for i, o := range []arr{{"EX1", 5, 6}, {"EX1", 5, 6, nil}, {"EX1", 5, 6, 0}} {
			id := uint32(100 + i)
			b.Peer.Multicast(arr{1, id, b.Peer.Addr(), o})
			require.Equal(b, id, b.Peer.Dialed().Next().ID(b))
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, id, o})
			s.Next().Is(b, `[8, %d, ["EX1", 5, 6, "value"]]`)
		}
	})
}

// Section 2.8.3: unicast messages of 2048 bytes are received.
func TestZ01LongestMessages(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex3 := bed.Neg("EX3", nil)
		b.Register(ex3)
		message := func(value string) any { return arr{3, 7, arr{"EX3", 3, 6, value}} }
		value := bed.Sized(b, 2048, message)
		call := b.Listen(ex3)
		s := b.Peer.Dial(b.At())
		s.Send(message(value))
		got := call.Ok()
		require.Equal(b, value, got.O.Value)
		// And sent.
		step := b.Step(got.S, got.O, 0)
		require.Len(b, s.Next().Raw, 2048)
		step.Blocks()
	})
}

// Section 2.8.3: longer ones are not sent.
func TestZ02LongerMessagesAreNotSent(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		ex1, ex3 := bed.Syn("EX1", nil), bed.Neg("EX3", nil)
		b.Register(ex1, ex3)
		long := ex3
		long.Value = make([]byte, 2048)
		bed.IsCode(b, b.Request(long, b.Peer.Locator(), 0).Done().Err, grasp.ErrTooLong)
		b.Peer.NotDialed()
		// One byte too long, and not. A session ID of the peer's has a length.
		for size, want := range map[int]grasp.ErrorCode{2048: grasp.OK, 2049: grasp.ErrTooLong} {
			session, o, s := b.Served(ex3, 1000, 1)
			o.Value = bed.Sized(b, size, func(value string) any { return arr{5, 1000, arr{"EX3", 3, 5, value}} })
			step := b.Step(session, o, time.Second)
			if want == grasp.OK {
				require.Len(b, s.Next().Raw, size)
				bed.IsCode(b, step.Within(time.Second).Err, grasp.ErrNoNegReply)
			} else {
				bed.IsCode(b, step.Done().Err, want)
				s.Silent(bed.Soon)
				require.NoError(b, session.EndNegotiate(true, ""))
			}
		}

		session, o, s := b.Served(ex3, 7, 1)
		o.Value = make([]byte, 2048)
		bed.IsCode(b, b.Step(session, o, 0).Done().Err, grasp.ErrTooLong)
		bed.IsCode(b, session.EndNegotiate(false, string(make([]byte, 2048))), grasp.ErrTooLong)
		bed.IsCode(b, session.SendInvalid(make([]byte, 2048)), grasp.ErrTooLong)
		s.Silent(bed.Soon)
		require.NoError(b, session.EndNegotiate(true, ""), "the session goes on")
		s.Next().Is(b, `[6, %d, [101]]`)

		ex1.Value = make([]byte, 2048)
		bed.IsCode(b, b.ASA.ListenSynchronize(ex1), grasp.ErrTooLong)
	})
}

// Section 2.8.3: the parser gives up beyond the limit, without waiting for the
// end.
func TestZ03GivesUpAtTheLimit(t *testing.T) {
	for what, raw := range map[string][]byte{
		"declares too much":  {0x83, 0x03, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},
		"sends too much":     append([]byte{0x9f}, make([]byte, 2048)...),
		"too many items":     {0x9a, 0xff, 0xff, 0xff, 0xff},
		"one byte too long":  append([]byte{0x83, 0x03, 0x07, 0x84, 0x63, 'E', 'X', '3', 0x03, 0x06, 0x59, 0x07, 0xf4}, make([]byte, 2035)...),
		"nested without end": bytes.Repeat([]byte{0x81}, 100),
	} {
		t.Run(what, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				ex3 := bed.Neg("EX3", nil)
				b.Register(ex3)
				call := b.Listen(ex3)
				s := b.Peer.Dial(b.At())
				s.Send(raw)
				reason := grasp.ReasonTooLong
				if what == "nested without end" {
					reason = grasp.ReasonTooDeep
				}
				b.WantDrop(reason, 1)
				call.Blocks()
				// Closed, with a reset if there is more to read; M_INVALID may
				// come before.
				m, err := s.NextWithin(bed.Soon)
				if err == nil {
					require.Regexp(b, `^\[99, 7, "`, m.String())
					_, err = s.NextWithin(bed.Soon)
				}
				require.True(b, errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET), err)
			})
		})
	}
}
