package grasp

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/pace"
)

// A request may come in any pieces.
func TestStreamCutAtEveryByte(t *testing.T) {
	inBed(t, func(b *bed) {
		b.answering(7)
		raw := encoded(b, askForEX1)
		for cut := 1; cut < len(raw); cut++ {
			s := b.peer.dial(b.at())
			s.send(raw[:cut])
			s.send(raw[cut:])
			s.read().is(b, answerOfEX1)
			s.closed()
		}
		s := b.peer.dial(b.at())
		for _, c := range raw {
			s.send([]byte{c})
		}
		s.read().is(b, answerOfEX1)
	})
}

// A request that ends before its end gets no answer, and nothing is disturbed.
func TestStreamEndsAtEveryByte(t *testing.T) {
	inBed(t, func(b *bed) {
		b.answering(7)
		raw := encoded(b, askForEX1)
		for cut := range raw {
			s := b.peer.dial(b.at())
			if cut > 0 {
				s.send(raw[:cut])
			}
			require.NoError(b, s.Close())
			synctest.Wait()
			b.wantDrop(ReasonMalformed, cut) // but for the one that said nothing
		}
		require.Zero(b, b.g.Snapshot().Streams)
		s := b.peer.dial(b.at())
		s.send(raw)
		s.read().is(b, answerOfEX1)
	})
}

// Two messages in one segment are two messages; M_NOOP is none.
func TestStreamTwoMessagesInOneSegment(t *testing.T) {
	inBed(t, func(b *bed) {
		b.answering(7)
		s := b.peer.dial(b.at())
		s.send(arr{0}, arr{0}, askForEX1, arr{99, 1})
		s.read().is(b, answerOfEX1)

		// In a negotiation: M_WAIT and the answer, and then one too early.
		b.register(neg("EX2", nil))
		call, s, m := b.asked(neg("EX2", nil))
		s.send(arr{7, m.id(b), 1}, arr{5, m.id(b), arr{"EX2", 3, 5, "first"}}, arr{5, m.id(b), arr{"EX2", 3, 4, "second"}})
		got := call.ok()
		require.Equal(b, "first", got.o.Value)
		next := b.step(got.s, got.o, 0).ok()
		require.Equal(b, "second", next.o.Value)
		require.NoError(b, got.s.EndNegotiate(true, ""))
	})
}

// Each message leaves with one write: some peers take a segment for a message.
func TestStreamOneWriteForOneMessage(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", strings.Repeat("x", 1900))
		b.register(o)
		near, far := net.Pipe() // each Read gets what one Write gave, at most
		defer near.Close()
		st := b.g.newStream(&acp.Stream{Conn: far, Peer: netip.AddrPortFrom(peerA, 1)}, false)
		raw := encoded(b, arr{3, 1, arr{"EX1", 3, 6, o.Value}})
		go func() { _ = st.send(raw, time.Minute) }()
		buf := make([]byte, 4096)
		n, err := near.Read(buf)
		require.NoError(b, err)
		require.Equal(b, len(raw), n)
	})
}

// Messages of every size up to the limit are taken, and none beyond it, which
// is refused without waiting for its end.
func TestStreamSizes(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", nil)
		b.register(o)
		overhead := len(encoded(b, arr{3, 7, arr{"EX1", 3, 6, strings.Repeat("x", 1000)}})) - 1000
		for _, size := range []int{511, 512, 513, 1199, 1200, 1201, 2047, 2048} {
			value := strings.Repeat("x", size-overhead)
			require.Len(b, encoded(b, arr{3, 7, arr{"EX1", 3, 6, value}}), size)
			s, got, _ := b.served(o, 7, value)
			require.Equal(b, value, got.Value)
			require.NoError(b, s.EndNegotiate(true, ""))
		}
		listening := b.listen(o)
		for i, size := range []int{2049, 4096, 100_000} {
			raw := encoded(b, arr{3, 7, arr{"EX1", 3, 6, strings.Repeat("x", size-overhead)}})
			s := b.peer.dial(b.at())
			s.send(raw[:100])
			b.wantDrop(ReasonTooLong, i+1)
			_, _ = s.Write(raw[100:]) // it may have closed already
			for {
				p, err := s.next(time.Minute)
				if err != nil {
					require.NotErrorIs(b, err, os.ErrDeadlineExceeded)
					break
				}
				require.True(b, strings.HasPrefix(p.String(), "[99, 7, "), "%v", p)
			}
		}
		listening.blocks()
	})
}

// A peer that says nothing, or trickles, is closed after a bounded time, and
// delays nobody else.
func TestStreamIdle(t *testing.T) {
	inBed(t, func(b *bed) {
		b.answering(7)
		silent, trickling := b.peer.dial(b.at()), b.peer.dial(b.at())
		noops := b.peer.dial(b.at())
		start := time.Now()
		raw := encoded(b, askForEX1)
		for i := range 9 {
			trickling.send(raw[i : i+1])
			noops.send(arr{0})
			s := b.peer.dial(b.at())
			d := took(func() {
				s.send(raw)
				s.read().is(b, answerOfEX1)
			})
			require.Zero(b, d, "another request is delayed")
			time.Sleep(time.Second)
		}
		require.Equal(b, 3, b.g.Snapshot().Streams)
		for _, s := range []*rawStream{silent, trickling, noops} {
			_, err := s.next(time.Minute)
			require.ErrorIs(b, err, io.EOF)
			require.Equal(b, 10*time.Second, time.Since(start))
		}
		b.wantDrop(ReasonIdle, 3)
		require.Zero(b, b.g.Snapshot().Streams)
	})
}

// Too many that say nothing: the oldest gives way. One with a session does not.
func TestStreamMaxIdle(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxIdle: 3}}, func(b *bed) {
		b.answering(7)
		b.register(neg("EX2", nil))
		_, _, busy := b.served(neg("EX2", nil), 1, nil)
		var idle []*rawStream
		for range 3 {
			idle = append(idle, b.peer.dial(b.at()))
			synctest.Wait()
		}
		b.wantDrop(ReasonTooManyIdle, 0)
		for i := range 2 {
			s := b.peer.dial(b.at())
			s.send(askForEX1)
			s.read().is(b, answerOfEX1)
			idle[i].closed()
			b.wantDrop(ReasonTooManyIdle, i+1)
			// It made room for one that has said what it wants and is gone.
			idle = append(idle, b.peer.dial(b.at()))
			synctest.Wait()
		}
		busy.silent(time.Second)
		require.Len(b, b.g.Snapshot().Sessions, 1)
	})
}

// A peer that does not read what it asked for is given up after a bounded time,
// and delays nobody.
func TestStreamPeerThatNeverReads(t *testing.T) {
	inBedOf(t, 1, Config{Limits: Limits{MaxMessage: 1 << 20}}, func(b *bed) {
		b.answering(7)
		b.register(syn("EX2", nil))
		require.NoError(b, b.asa.ListenSynchronize(syn("EX2", make([]byte, 1<<19))))
		deaf := b.peer.dial(b.at())
		deaf.send(arr{4, 7, arr{"EX2", 5, 6, nil}})
		start := time.Now()
		s := b.peer.dial(b.at())
		s.send(askForEX1)
		s.read().is(b, answerOfEX1)
		require.Equal(b, 1, b.g.Snapshot().Streams)
		time.Sleep(10*time.Second - 1)
		b.wantDrop(ReasonSendFailed, 0)
		time.Sleep(time.Nanosecond)
		b.wantDrop(ReasonSendFailed, 1)
		require.Zero(b, b.g.Snapshot().Streams)
		require.Equal(b, 10*time.Second, time.Since(start))
	})
}

// What a peer declares costs nothing until it is there.
func TestStreamDeclaredSizes(t *testing.T) {
	inBed(t, func(b *bed) {
		for i, raw := range [][]byte{
			{0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},
			{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			{0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			{0x7a, 0xff, 0xff, 0xff, 0xff},
		} {
			s := b.peer.dial(b.at())
			s.send(raw)
			s.closed()
			b.wantDrop(ReasonTooLong, i+1)
		}
		// Without a declared size, too: never more than the limit is kept.
		s := b.peer.dial(b.at())
		_, _ = s.Write(append([]byte{0x5f}, []byte(strings.Repeat("\x41x", 100_000))...))
		b.wantDrop(ReasonTooLong, 5)
		s = b.peer.dial(b.at())
		s.send([]byte(strings.Repeat("\x81", 100)))
		s.closed()
		b.wantDrop(ReasonTooDeep, 1)
	})
}

// A connection that a peer resets is broken.
func TestResetIsBroken(t *testing.T) {
	require.Equal(t, ReasonBroken, reasonOf(&net.OpError{Op: "read", Err: syscall.ECONNRESET}))
}

// Connections that cannot be taken do not end the taking of others.
func TestAcceptErrorsPass(t *testing.T) {
	inBed(t, func(b *bed) {
		plane := &passingPlane{Plane: b.net.NewNode("flaky", b.links[0]), errs: 1 << 30}
		g := instanceWith(b, plane)
		a := newASA(b, g, "flaky")
		registered(b, syn("EX1", nil), a)
		require.NoError(b, a.ListenSynchronize(syn("EX1", 7)))
		time.Sleep(10 * time.Minute)
		plane.mu.Lock()
		calls, errs := plane.calls, plane.errs
		plane.errs = 0
		plane.mu.Unlock()
		require.Positive(b, errs, "it fails all the time")
		require.Less(b, calls, 2*10*60+50, "bounded work")
		time.Sleep(2 * pace.MaxBackoff)
		o, err := b.asa.Synchronize(forever, syn("EX1", nil), at(g), 0)
		require.NoError(b, err)
		require.EqualValues(b, 7, o.Value)
		b.peer.multicast(arr{9, 1, b.peer.addr(), 0, arr{arr{"EX2", 5, 6, 7}, arr{}}})
		require.Len(b, must1(a.GetFlood(syn("EX2", nil))), 1)
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
		return nil, errBroken
	}
	return e.Endpoint.Accept()
}

func (e *passingEndpoint) Receive(buf []byte) (int, acp.Origin, error) {
	if e.plane.fails() {
		return 0, acp.Origin{}, errBroken
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
