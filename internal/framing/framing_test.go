package framing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// items are whole items, of all lengths up to a limit.
func items(limit int) (all [][]byte) {
	for n := 0; n < limit; n += 1 + n/3 {
		b := []byte{0x59, byte(n >> 8), byte(n)}
		all = append(all, append(b, bytes.Repeat([]byte{7}, n)...))
	}
	return append(all, []byte{0x80}, []byte{0x82, 1, 0x9f, 2, 0xff})
}

var lim = wire.Limits{Bytes: 2048}

// Items are found whatever the segmentation, and nothing is read ahead of what
// has come.
func TestAnySegmentation(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{1, 3, 100, 1 << 20} {
		var b buffer
		var got [][]byte
		all := items(2000)
		for rest := bytes.Join(all, nil); len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(most))
			copy(b.extend(n, UsualSize), rest)
			rest = rest[n:]
			for {
				item, err := b.next(lim)
				if err != nil {
					require.ErrorIs(t, err, wire.ErrTruncated)
					require.Greater(t, b.need(), b.len())
					break
				}
				require.Equal(t, item, b.last())
				got = append(got, bytes.Clone(item))
			}
		}
		require.Equal(t, all, got)
		require.Zero(t, b.len())
	}
}

func TestReaderOverAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		r := &Reader{Conn: near, Limits: lim}
		all := items(2000)
		go func() {
			_, _ = far.Write(bytes.Join(all, nil))
			_, _ = far.Write([]byte{0x82, 1})
			_ = far.Close()
		}()
		for _, want := range all {
			got, err := r.Next(t.Context(), time.Time{})
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, want, r.Last())
		}
		r.Unread()
		again, err := r.Next(t.Context(), time.Time{})
		require.NoError(t, err)
		require.Equal(t, all[len(all)-1], again)
		_, err = r.Next(t.Context(), time.Time{})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.LessOrEqual(t, cap(r.buf.b), 2*(lim.Bytes+UsualSize), "the buffer grows with what comes, up to the limit")
	})
}

// A connection that ends between items has ended.
func TestEOF(t *testing.T) {
	near, far := net.Pipe()
	go func() { _, _ = far.Write([]byte{5}) }()
	r := &Reader{Conn: near}
	_, err := r.Next(t.Context(), time.Time{})
	require.NoError(t, err)
	r.Conn = eof{}
	_, err = r.Next(t.Context(), time.Time{})
	require.Equal(t, io.EOF, err)
}

// What can be no item is given back with the error, and the connection goes on.
func TestWrongItem(t *testing.T) {
	near, far := net.Pipe()
	r := &Reader{Conn: near, Limits: wire.Limits{Bytes: 10}}
	go func() {
		_, _ = far.Write([]byte{0x5b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff})
		_, _ = far.Write([]byte{5})
	}()
	got, err := r.Next(t.Context(), time.Time{})
	require.ErrorIs(t, err, wire.ErrTooLong, "it is not waited for")
	require.Len(t, got, 9)
	got, err = r.Next(t.Context(), time.Time{})
	require.NoError(t, err)
	require.Equal(t, []byte{5}, got)
}

// eof is a connection that has ended.
type eof struct{ net.Conn }

func (eof) SetReadDeadline(time.Time) error { return nil }
func (eof) Read([]byte) (int, error)        { return 0, io.EOF }

func TestDeadlineAndContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		r := &Reader{Conn: near}
		start := time.Now()
		_, err := r.Next(t.Context(), time.Now().Add(time.Second))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))

		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		_, err = r.Next(ctx, time.Time{})
		require.ErrorIs(t, err, ErrInterrupted)
		require.ErrorIs(t, err, why)

		// An item that is cut by that is not lost, and the next call waits.
		go func() { _, _ = far.Write([]byte{0x82, 1}) }()
		_, err = r.Next(t.Context(), time.Now().Add(time.Second))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		go func() { _, _ = far.Write([]byte{2, 3}) }()
		got, err := r.Next(t.Context(), time.Now().Add(time.Second))
		require.NoError(t, err)
		require.Equal(t, []byte{0x82, 1, 2}, got)
		got, err = r.Next(ctx, time.Now().Add(-time.Second))
		require.NoError(t, err, "what is there is not waited for")
		require.Equal(t, []byte{3}, got)
	})
}

// The buffer of a connection grows with what comes, up to the limit and a read.
func TestBufferIsBounded(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	r := &Reader{Conn: far, Limits: wire.Limits{Bytes: 2048, Elements: 4096}}
	go func() {
		raw := []byte{0x9f} // an array without an end
		for {
			if _, err := near.Write(raw); err != nil {
				return
			}
			raw = []byte(strings.Repeat("\x01", 100))
		}
	}()
	_, err := r.Next(t.Context(), time.Now().Add(time.Minute))
	require.ErrorIs(t, err, wire.ErrTooLong)
	require.LessOrEqual(t, cap(r.buf.b), 2*2048+512)
}

// lateConn is a connection on which deadlines of the past take a while.
type lateConn struct {
	net.Conn
	late time.Duration
}

func (c lateConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		time.Sleep(c.late)
	}
	return c.Conn.SetReadDeadline(t)
}

// A context that ends when the message has come already does nothing to the
// next message.
func TestCancelledTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		r := &Reader{Conn: lateConn{far, time.Second}}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = near.Write([]byte{0x01})
			time.Sleep(5 * time.Second)
			_, _ = near.Write([]byte{0x02})
		}()
		cancel()
		_, err := r.Next(ctx, time.Now().Add(time.Minute))
		require.NoError(t, err, "it was there")
		raw, err := r.Next(t.Context(), time.Now().Add(time.Minute))
		require.NoError(t, err)
		require.Equal(t, []byte{0x02}, raw)
	})
}

// A call of Next that waits ends earlier by the time that the machine slept, and one that
// was interrupted does not begin to wait again.
func TestReaderAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		r := &Reader{Conn: near}
		ctx, cancel := context.WithCancel(t.Context())
		next := func() (took time.Duration, err error) {
			start := time.Now()
			_, err = r.Next(ctx, start.Add(time.Hour))
			return time.Since(start), err
		}
		r.Age(time.Minute) // nobody waits
		time.AfterFunc(time.Minute, func() { r.Age(30 * time.Minute) })
		took, err := next()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 30*time.Minute, took)
		time.AfterFunc(time.Minute, func() { r.Age(2 * time.Hour) })
		took, err = next()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, took)
		time.AfterFunc(time.Minute, func() {
			cancel()
			synctest.Wait()
			r.Age(-time.Hour)
		})
		took, err = next()
		require.ErrorIs(t, err, ErrInterrupted)
		require.Equal(t, time.Minute, took)
	})
}

// endless is a connection on which as much comes as there is room for.
type endless struct {
	net.Conn
	rest  []byte
	reads *int
}

func (endless) SetReadDeadline(time.Time) error { return nil }

func (c *endless) Read(b []byte) (int, error) {
	*c.reads++
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// The buffer grows with what comes, however high the limit is.
func TestFewReadsWithoutLimit(t *testing.T) {
	item := append([]byte{0x5a, 0, 1, 0, 0}, make([]byte, 1<<16)...)
	for _, limit := range []int{len(item), math.MaxInt} {
		reads := 0
		r := Reader{Conn: &endless{rest: item, reads: &reads}, Limits: wire.Limits{Bytes: limit, Elements: limit}}
		got, err := r.Next(t.Context(), time.Time{})
		require.NoError(t, err)
		require.Len(t, got, len(item))
		require.Less(t, reads, 10, "limit %d", limit)
	}
}
