package conformance

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// maxTransfer is the default of Config.MaxTransfer.
const maxTransfer = 1 << 20

// messages by turns, of any value and of any size up to 1 MiB.
func TestA65SendAndRecv(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		mine, theirs, _ := b.Transfer()
		for i, v := range []any{
			nil, int64(7), "text", []byte{1, 2}, []any{"x", nil}, grasp.EncodedCBOR{0x01}, []any{grasp.EncodedCBOR{0x01}},
			bytes.Repeat([]byte{'x'}, 2048), bytes.Repeat([]byte{'x'}, maxTransfer-5),
		} {
			from, to := mine, theirs
			if i%2 == 1 {
				from, to = theirs, mine
			}
			got := b.Recv(to, 0)
			require.NoError(b, from.Send(v))
			require.Equal(b, bed.Received{V: v, Err: nil}, <-got)
			// The other way round: what was sent waits for who receives.
			go func() {
				if err := to.Send(v); err != nil {
					t.Error(err)
				}
			}()
			require.Equal(b, bed.Received{V: v, Err: nil}, <-b.Recv(from, 0))
		}
		require.NoError(b, mine.EndNegotiate(true, ""))
		require.Empty(b, b.G.Snapshot().Sessions)
	})
}

// each message is one bare CBOR item, whatever the segmentation.
func TestA65OnTheWire(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, _, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		require.NoError(b, s.Send([]any{1, "x", grasp.EncodedCBOR{0xf6}}))
		require.Equal(b, `[1, "x", 24(h'f6')]`, conn.Next().String())

		conn.Send(arr{"one"}, "two", nil, []byte{0x19, 0x01}) // and half of the fourth
		for _, want := range []any{[]any{"one"}, "two", nil} {
			require.Equal(b, bed.Received{V: want, Err: nil}, <-b.Recv(s, 0))
		}
		fourth := b.Recv(s, 0)
		require.Empty(b, fourth)
		conn.Send([]byte{0x02})
		require.Equal(b, bed.Received{V: int64(0x102), Err: nil}, <-fourth)

		big := bed.Must1(cbor.Marshal(bytes.Repeat([]byte{'x'}, 100_000)))
		whole := b.Recv(s, 0)
		for _, c := range big[:1000] {
			conn.Send([]byte{c})
		}
		require.Empty(b, whole)
		conn.Send(big[1000:])
		require.Len(b, (<-whole).V, 100_000)
	})
}

func TestSendTooLong(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, _, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		bed.IsCode(b, s.Send(make([]byte, maxTransfer-4)), grasp.ErrTooLong)
		bed.IsCode(b, s.Send(make(chan int)), grasp.ErrCBORFail)
		conn.Silent(time.Second)
		require.NoError(b, s.Send("short"))
		require.Equal(b, `"short"`, conn.Next().String())
	})
}

// how receiving fails: each time the session is over.
func TestA65RecvErrors(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*bed.Stream)
		code grasp.ErrorCode
		at   time.Duration
	}{
		"silence":        {func(*bed.Stream) {}, grasp.ErrNoReply, 60 * time.Second},
		"half an item":   {func(s *bed.Stream) { s.Send([]byte{0x82, 0x01}) }, grasp.ErrNoReply, 60 * time.Second},
		"closed":         {func(s *bed.Stream) { bed.Must(s.Close()) }, grasp.ErrNoPeer, 0},
		"cut":            {func(s *bed.Stream) { s.Send([]byte{0x82, 0x01}); bed.Must(s.Close()) }, grasp.ErrCBORFail, 0},
		"no CBOR":        {func(s *bed.Stream) { s.Send([]byte{0xff}) }, grasp.ErrCBORFail, 0},
		"not UTF-8":      {func(s *bed.Stream) { s.Send([]byte{0x61, 0xff}) }, grasp.ErrCBORFail, 0},
		"declares a lot": {func(s *bed.Stream) { s.Send([]byte{0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}) }, grasp.ErrCBORFail, 0},
		"broken":         {func(s *bed.Stream) { s.T.(*bed.Bed).Peer.Node.Kill() }, grasp.ErrNoPeer, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil))
				s, _, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
				conn.T = b
				got := b.Recv(s, 0)
				start := time.Now()
				c.do(conn)
				r := <-got
				bed.IsCode(b, r.Err, c.code)
				require.Equal(b, c.at, time.Since(start))
				require.Nil(b, r.V)
				_, err := s.Recv(bed.Forever, 0)
				bed.IsCode(b, err, grasp.ErrNoSession)
				bed.IsCode(b, s.Send(1), grasp.ErrNoSession)
				require.Empty(b, b.G.Snapshot().Sessions)
				require.Zero(b, b.G.Snapshot().Streams)
			})
		})
	}
}

// A peer that does not read holds a sender up, for a bounded time.
func TestSendToAPeerThatNeverReads(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, _, _ := b.Served(bed.Neg("EX1", nil), 7, nil)
		start := time.Now()
		bed.IsCode(b, s.Send(make([]byte, 1<<19)), grasp.ErrSockErr)
		require.Equal(b, 60*time.Second, time.Since(start))
		bed.IsCode(b, s.Send(1), grasp.ErrNoSession)
	})
}

// Sending and receiving at the same time, and ending meanwhile.
func TestSendAndRecvConcurrently(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		mine, theirs, _ := b.Transfer()
		var all sync.WaitGroup
		for _, s := range []*grasp.Session{mine, theirs} {
			all.Go(func() {
				for i := range 100 {
					if err := s.Send(i); err != nil {
						t.Error(err)
					}
				}
			})
			all.Go(func() {
				for i := range int64(100) {
					if v, err := s.Recv(bed.Forever, 0); err != nil || v != i {
						t.Error(v, err)
					}
				}
			})
		}
		all.Wait()
		waiting := b.Recv(mine, 0)
		bed.IsCode(b, bed.Second(mine.Recv(bed.Forever, 0)), grasp.ErrUnspec)
		require.Empty(b, waiting)
		require.NoError(b, mine.EndNegotiate(true, ""))
		bed.IsCode(b, (<-waiting).Err, grasp.ErrNoSession)
	})
}

// OpenSession discovers like ReqNegotiate, and does not wait for an answer.
func TestOpenSession(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		other := b.Other("other")
		o := bed.Neg("EX1", 1)
		bed.Registered(b, o, b.ASA, other)
		listening := b.ListenBy(other, o)
		s, err := b.ASA.OpenSession(bed.Forever, o, nil, 0)
		require.NoError(b, err)
		require.NotNil(b, s)
		require.Equal(b, b.NodeOf(other.Instance()).Addr(), s.Source().Addr())
		theirs := listening.Ok().S
		require.NoError(b, theirs.Send("hello"))
		require.Equal(b, bed.Received{V: "hello", Err: nil}, <-b.Recv(s, 0))

		bed.IsCode(b, bed.Second(b.ASA.OpenSession(bed.Forever, bed.Neg("EX2", 1), nil, 0)), grasp.ErrNotYourObj)
		ctx, cancel := context.WithTimeout(bed.Forever, time.Second)
		defer cancel()
		b.Register(bed.Neg("EX3", 1))
		bed.IsCode(b, bed.Second(b.ASA.OpenSession(ctx, bed.Neg("EX3", 1), nil, 0)), grasp.ErrCancelled)
	})
}

// After a large item the limits of messages hold again.
func TestLimitsAfterRecv(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, o, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		got := b.Recv(s, 0)
		conn.Send(bed.Must1(cbor.Marshal(make([]byte, 10_000))))
		require.NoError(b, (<-got).Err)
		call := b.Step(s, o, 0)
		conn.Next()
		conn.Send(arr{5, 7, arr{"EX1", 3, 5, string(make([]byte, 3000))}})
		bed.IsCode(b, call.Done().Err, grasp.ErrCBORFail)
	})
}

// What a peer sends in small pieces is put together, also if it has more items
// than any message.
func TestRecvInSmallPieces(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX1", nil))
		s, _, conn := b.Served(bed.Neg("EX1", nil), 7, nil)
		items := make(arr, 200_000)
		raw := bed.Encoded(b, items)
		got := b.Recv(s, 0)
		for part := raw; len(part) > 0; part = part[min(len(part), 64):] {
			_, err := conn.Write(part[:min(len(part), 64)])
			require.NoError(b, err)
			if len(part)%4096 < 64 {
				synctest.Wait()
			}
		}
		r := <-got
		require.NoError(b, r.Err)
		require.Equal(b, len(items), len(r.V.([]any)))
	})
}
