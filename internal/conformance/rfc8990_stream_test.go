package conformance

import (
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/pace"
)

// A request may come in any pieces.
func TestStreamCutAtEveryByte(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Answering(7)
		raw := bed.Encoded(b, bed.AskForEX1)
		for cut := 1; cut < len(raw); cut++ {
			s := b.Peer.Dial(b.At())
			s.Send(raw[:cut])
			s.Send(raw[cut:])
			s.Next().Is(b, bed.AnswerOfEX1)
			s.Closed()
		}
		s := b.Peer.Dial(b.At())
		for _, c := range raw {
			s.Send([]byte{c})
		}
		s.Next().Is(b, bed.AnswerOfEX1)
	})
}

// A request that ends before its end gets no answer, and nothing is disturbed.
func TestStreamEndsAtEveryByte(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Answering(7)
		raw := bed.Encoded(b, bed.AskForEX1)
		for cut := range raw {
			s := b.Peer.Dial(b.At())
			if cut > 0 {
				s.Send(raw[:cut])
			}
			require.NoError(b, s.Close())
			synctest.Wait()
			b.WantDrop(grasp.ReasonMalformed, cut) // but for the one that said nothing
		}
		require.Zero(b, b.G.Snapshot().Streams)
		s := b.Peer.Dial(b.At())
		s.Send(raw)
		s.Next().Is(b, bed.AnswerOfEX1)
	})
}

// Two messages in one segment are two messages; M_NOOP is none.
func TestStreamTwoMessagesInOneSegment(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Answering(7)
		s := b.Peer.Dial(b.At())
		s.Send(arr{0}, arr{0}, bed.AskForEX1, arr{99, 1})
		s.Next().Is(b, bed.AnswerOfEX1)

		// In a negotiation: M_WAIT and the answer, and then one too early.
		b.Register(bed.Neg("EX2", nil))
		call, s, m := b.Asked(bed.Neg("EX2", nil))
		s.Send(arr{7, m.ID(b), 1}, arr{5, m.ID(b), arr{"EX2", 3, 5, "first"}}, arr{5, m.ID(b), arr{"EX2", 3, 4, "second"}})
		got := call.Ok()
		require.Equal(b, "first", got.O.Value)
		next := b.Step(got.S, got.O, 0).Ok()
		require.Equal(b, "second", next.O.Value)
		require.NoError(b, got.S.EndNegotiate(true, ""))
	})
}

// Messages of every size up to the limit are taken, and none beyond it, which
// is refused without waiting for its end.
func TestStreamSizes(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", nil)
		b.Register(o)
		overhead := len(bed.Encoded(b, arr{3, 7, arr{"EX1", 3, 6, strings.Repeat("x", 1000)}})) - 1000
		for _, size := range []int{511, 512, 513, 1199, 1200, 1201, 2047, 2048} {
			value := strings.Repeat("x", size-overhead)
			require.Len(b, bed.Encoded(b, arr{3, 7, arr{"EX1", 3, 6, value}}), size)
			s, got, _ := b.Served(o, 7, value)
			require.Equal(b, value, got.Value)
			require.NoError(b, s.EndNegotiate(true, ""))
		}
		listening := b.Listen(o)
		for i, size := range []int{2049, 4096, 100_000} {
			raw := bed.Encoded(b, arr{3, 7, arr{"EX1", 3, 6, strings.Repeat("x", size-overhead)}})
			s := b.Peer.Dial(b.At())
			s.Send(raw[:100])
			b.WantDrop(grasp.ReasonTooLong, i+1)
			_, _ = s.Write(raw[100:]) // it may have closed already
			for {
				p, err := s.NextWithin(time.Minute)
				if err != nil {
					require.NotErrorIs(b, err, os.ErrDeadlineExceeded)
					break
				}
				require.True(b, strings.HasPrefix(p.String(), "[99, 7, "), "%v", p)
			}
		}
		listening.Blocks()
	})
}

// A peer that says nothing, or trickles, is closed after a bounded time, and
// delays nobody else.
func TestStreamIdle(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Answering(7)
		silent, trickling := b.Peer.Dial(b.At()), b.Peer.Dial(b.At())
		noops := b.Peer.Dial(b.At())
		start := time.Now()
		raw := bed.Encoded(b, bed.AskForEX1)
		for i := range 9 {
			trickling.Send(raw[i : i+1])
			noops.Send(arr{0})
			s := b.Peer.Dial(b.At())
			d := bed.Took(func() {
				s.Send(raw)
				s.Next().Is(b, bed.AnswerOfEX1)
			})
			require.Zero(b, d, "another request is delayed")
			time.Sleep(time.Second)
		}
		require.Equal(b, 3, b.G.Snapshot().Streams)
		for _, s := range []*bed.Stream{silent, trickling, noops} {
			_, err := s.NextWithin(time.Minute)
			require.ErrorIs(b, err, io.EOF)
			require.Equal(b, 10*time.Second, time.Since(start))
		}
		b.WantDrop(grasp.ReasonIdle, 3)
		require.Zero(b, b.G.Snapshot().Streams)
	})
}

// Too many that say nothing: the oldest gives way. One with a session does not.
func TestStreamMaxIdle(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxIdle: 3}}, func(b *bed.Bed) {
		b.Answering(7)
		b.Register(bed.Neg("EX2", nil))
		_, _, busy := b.Served(bed.Neg("EX2", nil), 1, nil)
		var idle []*bed.Stream
		for range 3 {
			idle = append(idle, b.Peer.Dial(b.At()))
			synctest.Wait()
		}
		b.WantDrop(grasp.ReasonTooManyIdle, 0)
		for i := range 2 {
			s := b.Peer.Dial(b.At())
			s.Send(bed.AskForEX1)
			s.Next().Is(b, bed.AnswerOfEX1)
			idle[i].Closed()
			b.WantDrop(grasp.ReasonTooManyIdle, i+1)
			// It made room for one that has said what it wants and is gone.
			idle = append(idle, b.Peer.Dial(b.At()))
			synctest.Wait()
		}
		busy.Silent(time.Second)
		require.Len(b, b.G.Snapshot().Sessions, 1)
	})
}

// A peer that does not read what it asked for is given up after a bounded time,
// and delays nobody.
func TestStreamPeerThatNeverReads(t *testing.T) {
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxMessage: 1 << 20}}, func(b *bed.Bed) {
		b.Answering(7)
		b.Register(bed.Syn("EX2", nil))
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX2", make([]byte, 1<<19))))
		deaf := b.Peer.Dial(b.At())
		deaf.Send(arr{4, 7, arr{"EX2", 5, 6, nil}})
		start := time.Now()
		s := b.Peer.Dial(b.At())
		s.Send(bed.AskForEX1)
		s.Next().Is(b, bed.AnswerOfEX1)
		require.Equal(b, 1, b.G.Snapshot().Streams)
		time.Sleep(10*time.Second - 1)
		b.WantDrop(grasp.ReasonSendFailed, 0)
		time.Sleep(time.Nanosecond)
		b.WantDrop(grasp.ReasonSendFailed, 1)
		require.Zero(b, b.G.Snapshot().Streams)
		require.Equal(b, 10*time.Second, time.Since(start))
	})
}

// What a peer declares costs nothing until it is there.
func TestStreamDeclaredSizes(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		for i, raw := range [][]byte{
			{0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},
			{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			{0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			{0x7a, 0xff, 0xff, 0xff, 0xff},
		} {
			s := b.Peer.Dial(b.At())
			s.Send(raw)
			s.Closed()
			b.WantDrop(grasp.ReasonTooLong, i+1)
		}
		// Without a declared size, too: never more than the limit is kept.
		s := b.Peer.Dial(b.At())
		_, _ = s.Write(append([]byte{0x5f}, []byte(strings.Repeat("\x41x", 100_000))...))
		b.WantDrop(grasp.ReasonTooLong, 5)
		s = b.Peer.Dial(b.At())
		s.Send([]byte(strings.Repeat("\x81", 100)))
		s.Closed()
		b.WantDrop(grasp.ReasonTooDeep, 1)
	})
}

// Connections that cannot be taken do not end the taking of others.
func TestAcceptErrorsPass(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		plane := &passingPlane{Plane: b.Net.NewNode("flaky", b.Links[0]), errs: 1 << 30}
		g := bed.InstanceWith(b, plane)
		a := bed.NewASA(b, g, "flaky")
		bed.Registered(b, bed.Syn("EX1", nil), a)
		require.NoError(b, a.ListenSynchronize(bed.Syn("EX1", 7)))
		time.Sleep(10 * time.Minute)
		plane.mu.Lock()
		calls, errs := plane.calls, plane.errs
		plane.errs = 0
		plane.mu.Unlock()
		require.Positive(b, errs, "it fails all the time")
		require.Less(b, calls, 2*10*60+50, "bounded work")
		time.Sleep(2 * pace.MaxBackoff)
		o, err := b.ASA.Synchronize(bed.Forever, bed.Syn("EX1", nil), bed.At(g), 0)
		require.NoError(b, err)
		require.EqualValues(b, 7, o.Value)
		b.Peer.Multicast(arr{9, 1, b.Peer.Addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}})
		require.Len(b, bed.Must1(a.GetFlood(bed.Syn("EX2", nil))), 1)
	})
}

// passingPlane is a plane whose endpoint fails to receive and to accept for a
// number of times.
type passingPlane struct {
	acp.Plane

	mu          sync.Mutex // guards all following fields
	errs, calls int
}

type passingEndpoint struct {
	acp.Endpoint
	plane *passingPlane
}

func (p *passingPlane) Open() (acp.Endpoint, error) {
	ep, err := p.Plane.Open()
	return &passingEndpoint{ep, p}, err
}

func (e *passingEndpoint) Accept() (*acp.Stream, error) {
	if e.plane.fails() {
		return nil, bed.ErrBroken
	}
	return e.Endpoint.Accept()
}

func (e *passingEndpoint) Receive(buf []byte) (int, acp.Origin, error) {
	if e.plane.fails() {
		return 0, acp.Origin{}, bed.ErrBroken
	}
	return e.Endpoint.Receive(buf)
}

func (p *passingPlane) fails() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	p.errs--
	return p.errs >= 0
}
