package grasp

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// transfer opens a session for Send and Recv between the ASA under test, which
// asked, and another one.
func (b *bed) transfer() (mine, theirs *Session, other *ASA) {
	b.Helper()
	o := neg("EX1", "a first message")
	other = b.other("other")
	registered(b, o, b.asa, other)
	listening := b.listenBy(other, o)
	mine, err := b.asa.OpenSession(forever, o, at(other.g), 0)
	require.NoError(b, err)
	got := listening.ok()
	require.Equal(b, o, got.o)
	return mine, got.s, other
}

func (b *bed) recv(s *Session, timeout time.Duration) <-chan received {
	c := make(chan received, 1)
	go func() {
		v, err := s.Recv(forever, timeout)
		c <- received{v, err}
	}()
	synctest.Wait()
	return c
}

// received is what Recv returned.
type received struct {
	v   any
	err error
}

// messages by turns, of any value and of any size up to 1 MiB.
func TestA65SendAndRecv(t *testing.T) {
	inBed(t, func(b *bed) {
		mine, theirs, _ := b.transfer()
		for i, v := range []any{
			nil, int64(7), "text", []byte{1, 2}, []any{"x", nil}, EncodedCBOR{0x01}, []any{EncodedCBOR{0x01}},
			bytes.Repeat([]byte{'x'}, 2048), bytes.Repeat([]byte{'x'}, b.g.cfg.MaxTransfer-5),
		} {
			from, to := mine, theirs
			if i%2 == 1 {
				from, to = theirs, mine
			}
			got := b.recv(to, 0)
			require.NoError(b, from.Send(v))
			require.Equal(b, received{v, nil}, <-got)
			// The other way round: what was sent waits for who receives.
			go func() {
				if err := to.Send(v); err != nil {
					t.Error(err)
				}
			}()
			require.Equal(b, received{v, nil}, <-b.recv(from, 0))
		}
		require.NoError(b, mine.EndNegotiate(true, ""))
		require.Empty(b, b.g.Snapshot().Sessions)
	})
}

// each message is one bare CBOR item, whatever the segmentation.
func TestA65OnTheWire(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, _, conn := b.served(neg("EX1", nil), 7, nil)
		require.NoError(b, s.Send([]any{1, "x", EncodedCBOR{0xf6}}))
		require.Equal(b, `[1, "x", 24(h'f6')]`, conn.read().String())

		conn.send(arr{"one"}, "two", nil, []byte{0x19, 0x01}) // and half of the fourth
		for _, want := range []any{[]any{"one"}, "two", nil} {
			require.Equal(b, received{want, nil}, <-b.recv(s, 0))
		}
		fourth := b.recv(s, 0)
		require.Empty(b, fourth)
		conn.send([]byte{0x02})
		require.Equal(b, received{int64(0x102), nil}, <-fourth)

		big := must1(encodeValue(bytes.Repeat([]byte{'x'}, 100_000)))
		whole := b.recv(s, 0)
		for _, c := range big[:1000] {
			conn.send([]byte{c})
		}
		require.Empty(b, whole)
		conn.send(big[1000:])
		require.Len(b, (<-whole).v, 100_000)
	})
}

func TestSendTooLong(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, _, conn := b.served(neg("EX1", nil), 7, nil)
		isCode(b, s.Send(make([]byte, b.g.cfg.MaxTransfer-4)), ErrTooLong)
		isCode(b, s.Send(make(chan int)), ErrCBORFail)
		conn.silent(time.Second)
		require.NoError(b, s.Send("short"))
		require.Equal(b, `"short"`, conn.read().String())
	})
}

// how receiving fails: each time the session is over.
func TestA65RecvErrors(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*rawStream)
		code ErrorCode
		at   time.Duration
	}{
		"silence":        {func(*rawStream) {}, ErrNoReply, 60 * time.Second},
		"half an item":   {func(s *rawStream) { s.send([]byte{0x82, 0x01}) }, ErrNoReply, 60 * time.Second},
		"closed":         {func(s *rawStream) { must(s.Close()) }, ErrNoPeer, 0},
		"cut":            {func(s *rawStream) { s.send([]byte{0x82, 0x01}); must(s.Close()) }, ErrCBORFail, 0},
		"no CBOR":        {func(s *rawStream) { s.send([]byte{0xff}) }, ErrCBORFail, 0},
		"not UTF-8":      {func(s *rawStream) { s.send([]byte{0x61, 0xff}) }, ErrCBORFail, 0},
		"declares a lot": {func(s *rawStream) { s.send([]byte{0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}) }, ErrCBORFail, 0},
		"broken":         {func(s *rawStream) { s.t.(*bed).peer.node.Kill() }, ErrNoPeer, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.register(neg("EX1", nil))
				s, _, conn := b.served(neg("EX1", nil), 7, nil)
				conn.t = b
				got := b.recv(s, 0)
				start := time.Now()
				c.do(conn)
				r := <-got
				isCode(b, r.err, c.code)
				require.Equal(b, c.at, time.Since(start))
				require.Nil(b, r.v)
				_, err := s.Recv(forever, 0)
				isCode(b, err, ErrNoSession)
				isCode(b, s.Send(1), ErrNoSession)
				require.Empty(b, b.g.Snapshot().Sessions)
				require.Zero(b, b.g.Snapshot().Streams)
			})
		})
	}
}

// A peer that does not read holds a sender up, for a bounded time.
func TestSendToAPeerThatNeverReads(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, _, _ := b.served(neg("EX1", nil), 7, nil)
		start := time.Now()
		isCode(b, s.Send(make([]byte, 1<<19)), ErrSockErr)
		require.Equal(b, 60*time.Second, time.Since(start))
		isCode(b, s.Send(1), ErrNoSession)
	})
}

// Sending and receiving at the same time, and ending meanwhile.
func TestSendAndRecvConcurrently(t *testing.T) {
	inBed(t, func(b *bed) {
		mine, theirs, _ := b.transfer()
		var all sync.WaitGroup
		for _, s := range []*Session{mine, theirs} {
			all.Go(func() {
				for i := range 100 {
					if err := s.Send(i); err != nil {
						t.Error(err)
					}
				}
			})
			all.Go(func() {
				for i := range int64(100) {
					if v, err := s.Recv(forever, 0); err != nil || v != i {
						t.Error(v, err)
					}
				}
			})
		}
		all.Wait()
		waiting := b.recv(mine, 0)
		isCode(b, second(mine.Recv(forever, 0)), ErrUnspec)
		require.Empty(b, waiting)
		require.NoError(b, mine.EndNegotiate(true, ""))
		isCode(b, (<-waiting).err, ErrNoSession)
	})
}

// second returns the error of a call with two results.
func second[T any](_ T, err error) error { return err }

// OpenSession discovers like ReqNegotiate, and does not wait for an answer.
func TestOpenSession(t *testing.T) {
	inBed(t, func(b *bed) {
		other := b.other("other")
		o := neg("EX1", 1)
		registered(b, o, b.asa, other)
		listening := b.listenBy(other, o)
		s, err := b.asa.OpenSession(forever, o, nil, 0)
		require.NoError(b, err)
		require.NotNil(b, s)
		require.Equal(b, nodeOf(other.g).Addr(), s.Source().Addr())
		theirs := listening.ok().s
		require.NoError(b, theirs.Send("hello"))
		require.Equal(b, received{"hello", nil}, <-b.recv(s, 0))

		isCode(b, second(b.asa.OpenSession(forever, neg("EX2", 1), nil, 0)), ErrNotYourObj)
		ctx, cancel := context.WithTimeout(forever, time.Second)
		defer cancel()
		b.register(neg("EX3", 1))
		isCode(b, second(b.asa.OpenSession(ctx, neg("EX3", 1), nil, 0)), ErrCancelled)
	})
}

// After a large item the limits of messages hold again.
func TestLimitsAfterRecv(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, o, conn := b.served(neg("EX1", nil), 7, nil)
		got := b.recv(s, 0)
		conn.send(must1(encodeValue(make([]byte, 10_000))))
		require.NoError(b, (<-got).err)
		call := b.step(s, o, 0)
		conn.read()
		conn.send(arr{5, 7, arr{"EX1", 3, 5, string(make([]byte, 3000))}})
		isCode(b, call.done().err, ErrCBORFail)
	})
}

// What a peer sends in small pieces is put together, also if it has more items
// than any message.
func TestRecvInSmallPieces(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(neg("EX1", nil))
		s, _, conn := b.served(neg("EX1", nil), 7, nil)
		items := make(arr, 200_000)
		raw := encoded(b, items)
		got := b.recv(s, 0)
		for part := raw; len(part) > 0; part = part[min(len(part), 64):] {
			_, err := conn.Write(part[:min(len(part), 64)])
			require.NoError(b, err)
			if len(part)%4096 < 64 {
				synctest.Wait()
			}
		}
		r := <-got
		require.NoError(b, r.err)
		require.Equal(b, len(items), len(r.v.([]any)))
	})
}
