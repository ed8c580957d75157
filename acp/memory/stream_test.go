package memory_test

import (
	"bytes"
	"context"
	"errors"
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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// streamTo opens a stream between two nodes, to an address of the second.
func streamTo(t *testing.T, a, b *memory.Node, addr netip.Addr) (dialed, accepted *acp.Stream) {
	t.Helper()
	from, to := endpointOf(t, a), endpointOf(t, b)
	dialed, err := from.Dial(t.Context(), netip.AddrPortFrom(addr, to.Port()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dialed.Close()) })
	accepted, err = to.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, accepted.Close()) })
	return dialed, accepted
}

// stream opens a stream between the global addresses of two nodes.
func stream(t *testing.T, a, b *memory.Node) (dialed, accepted *acp.Stream) {
	t.Helper()
	return streamTo(t, a, b, b.Addr())
}

// neighbour returns the address of b on a link as a has to dial it.
func neighbour(t *testing.T, a, b *memory.Node, l *memory.Link) netip.Addr {
	t.Helper()
	near, ok := a.Link(l)
	require.True(t, ok)
	far, ok := b.Link(l)
	require.True(t, ok)
	return far.Addr.WithZone(near.Addr.Zone())
}

func TestStreamIsANetConn(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				_, a, b := pair(memory.LinkConfig{Delay: delay})
				ea, _ := a.Open()
				eb, _ := b.Open()
				dialed, err := ea.Dial(t.Context(), netip.AddrPortFrom(b.Addr(), eb.Port()))
				if err != nil {
					return nil, nil, nil, err
				}
				accepted, err := eb.Accept()
				return dialed, accepted, func() {
					_, _, _, _ = dialed.Close(), accepted.Close(), ea.Close(), eb.Close()
				}, err
			})
		})
	}
}

func TestStreamTakesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Minute})
		start := time.Now()
		dialed, accepted := stream(t, a, b)
		assert.Equal(t, 2*time.Minute, time.Since(start), "a round trip")

		start = time.Now()
		msg := []byte("one")
		_, err := dialed.Write(msg)
		require.NoError(t, err)
		clear(msg) // the buffer is the caller's again
		l.SetDelay(0)
		_, err = dialed.Write([]byte("two"))
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
		got := make([]byte, 6)
		_, err = io.ReadFull(accepted, got)
		require.NoError(t, err)
		assert.Equal(t, "onetwo", string(got), "order is kept")
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

func TestWriterWaitsForReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(memory.LinkConfig{})
		dialed, accepted := stream(t, a, b)
		require.NoError(t, dialed.SetWriteDeadline(time.Now().Add(time.Hour)))
		n, err := dialed.Write(make([]byte, 1<<20))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, 64<<10, n)

		require.NoError(t, dialed.SetWriteDeadline(time.Time{}))
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := dialed.Write(make([]byte, 1<<20))
			assert.NoError(t, err)
			assert.NoError(t, dialed.Close())
		})
		got, err := io.Copy(io.Discard, accepted)
		require.NoError(t, err)
		assert.EqualValues(t, 64<<10+1<<20, got)
		wg.Wait()
	})
}

func TestConcurrentWritesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 100 << 10 // more than fits at once
		_, a, b := pair(memory.LinkConfig{Delay: time.Millisecond})
		dialed, accepted := stream(t, a, b)
		var wg sync.WaitGroup
		for _, s := range []string{"a", "b", "c"} {
			wg.Go(func() {
				_, err := io.WriteString(dialed, strings.Repeat(s, size))
				assert.NoError(t, err)
			})
		}
		got := make([]byte, 3*size)
		_, err := io.ReadFull(accepted, got)
		require.NoError(t, err)
		wg.Wait()
		for part := range 3 {
			s := got[part*size : (part+1)*size]
			assert.Equal(t, size, bytes.Count(s, s[:1]))
		}
	})
}

func TestCloseLetsThePeerReadOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(memory.LinkConfig{Delay: time.Second})
		dialed, accepted := stream(t, a, b)
		_, err := dialed.Write([]byte("farewell"))
		require.NoError(t, err)
		require.NoError(t, dialed.Close())

		_, err = accepted.Write([]byte("lost"))
		assert.NoError(t, err, "the end is still on its way")
		got, err := io.ReadAll(accepted)
		assert.NoError(t, err)
		assert.Equal(t, "farewell", string(got))
		_, err = accepted.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.EPIPE)

		_, err = dialed.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = dialed.Write(nil)
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.ErrorIs(t, dialed.SetDeadline(time.Time{}), net.ErrClosed)
		assert.NoError(t, dialed.Close())
	})
}

func TestCloseOfTheUnreadIsAReset(t *testing.T) {
	_, a, b := pair(memory.LinkConfig{})
	dialed, accepted := stream(t, a, b)
	_, err := dialed.Write([]byte("a question"))
	require.NoError(t, err)
	_, err = accepted.Write([]byte("no"))
	require.NoError(t, err)
	require.NoError(t, accepted.Close())
	got, err := io.ReadAll(dialed)
	assert.Equal(t, "no", string(got))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestCloseUnblocksReadAndWrite(t *testing.T) {
	for _, who := range []string{"own", "peer", "kill", "kill peer"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := pair(memory.LinkConfig{})
				dialed, accepted := stream(t, a, b)
				errs := make(chan error, 2)
				go func() {
					_, err := dialed.Read(make([]byte, 1))
					errs <- err
				}()
				go func() {
					_, err := dialed.Write(make([]byte, 1<<20))
					errs <- err
				}()
				synctest.Wait()
				switch who {
				case "own":
					require.NoError(t, dialed.Close())
				case "peer":
					require.NoError(t, accepted.Close())
				case "kill":
					a.Kill()
				case "kill peer":
					b.Kill()
				}
				want := net.ErrClosed
				if strings.Contains(who, "peer") {
					want = syscall.ECONNRESET
				}
				assert.ErrorIs(t, <-errs, want)
				assert.ErrorIs(t, <-errs, want)
			})
		})
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(memory.LinkConfig{})
		dialed, accepted := stream(t, a, b)
		start := time.Now()
		require.NoError(t, dialed.SetDeadline(start.Add(time.Minute)))
		require.NoError(t, dialed.SetReadDeadline(start.Add(time.Hour)))
		_, err := dialed.Read(make([]byte, 1))
		assert.Equal(t, time.Hour, time.Since(start))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var nerr net.Error
		require.ErrorAs(t, err, &nerr)
		assert.True(t, nerr.Timeout())
		_, err = dialed.Write([]byte("x"))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "passed while reading")

		// A deadline can be moved while somebody waits for it.
		require.NoError(t, dialed.SetDeadline(time.Time{}))
		done := make(chan error)
		go func() {
			_, err := dialed.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		require.NoError(t, dialed.SetReadDeadline(time.Now()))
		assert.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
		require.NoError(t, dialed.SetReadDeadline(time.Time{}))
		say(t, accepted, dialed, "as before")
	})
}

func TestDataWaitsForAPath(t *testing.T) {
	for _, c := range []struct {
		name     string
		cut, fix func(l *memory.Link, a, b *memory.Node)
	}{
		{"down", func(l *memory.Link, _, _ *memory.Node) { l.Down() }, func(l *memory.Link, _, _ *memory.Node) { l.Up() }},
		{"cut", (*memory.Link).Cut, (*memory.Link).Mend},
		{"detach", func(l *memory.Link, a, _ *memory.Node) { a.Detach(l) }, func(l *memory.Link, a, _ *memory.Node) { a.Attach(l) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, a, b := pair(memory.LinkConfig{Delay: time.Second})
				dialed, accepted := stream(t, a, b)
				write := func(s string) {
					_, err := dialed.Write([]byte(s))
					require.NoError(t, err)
				}
				write("before ")
				c.cut(l, a, b)
				write("meanwhile ")
				time.Sleep(time.Hour)
				write("late ")
				c.fix(l, a, b)
				fixed := time.Now()
				write("after")
				require.NoError(t, dialed.Close())
				got, err := io.ReadAll(accepted)
				require.NoError(t, err)
				assert.Equal(t, "before meanwhile late after", string(got))
				assert.Equal(t, time.Second, time.Since(fixed))
			})
		})
	}
}

func TestRenumberingStallsStreamsOfTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		global, globalEnd := stream(t, a, b)
		local, localEnd := streamTo(t, a, b, neighbour(t, a, b, l))
		stalls := func(dialed, accepted *acp.Stream) bool {
			_, err := dialed.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, accepted.SetReadDeadline(time.Now().Add(time.Hour)))
			_, err = accepted.Read(make([]byte, 1))
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
		old := b.Addr()
		b.Renumber()
		assert.True(t, stalls(global, globalEnd))
		assert.False(t, stalls(local, localEnd))
		b.RenumberLink(l)
		assert.True(t, stalls(local, localEnd))
		require.NoError(t, b.SetAddr(old))
		assert.False(t, stalls(global, globalEnd), "the address is back")
		_, err := globalEnd.Read(make([]byte, 1)) // the one of before
		require.NoError(t, err)
		a.Renumber()
		assert.True(t, stalls(global, globalEnd))
		assert.True(t, stalls(globalEnd, global))
	})
}

func TestKillResetsPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(memory.LinkConfig{Delay: time.Hour})
		open1, peer1 := stream(t, a, b)
		closed, peer2 := stream(t, a, b)
		waiting, err := endpointOf(t, b).Dial(t.Context(), netip.AddrPortFrom(a.Addr(), endpointOf(t, a).Port()))
		require.NoError(t, err)
		require.NoError(t, closed.Close())
		a.Kill()
		start := time.Now()
		for _, peer := range []*acp.Stream{peer1, peer2, waiting} {
			_, err := peer.Read(make([]byte, 1))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = peer.Write([]byte("x"))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			require.NoError(t, peer.Close())
		}
		assert.Zero(t, time.Since(start))
		_, err = open1.Read(nil)
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestTenThousandIdleStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(memory.LinkConfig{Delay: time.Millisecond})
		from, to := endpointOf(t, a), endpointOf(t, b)
		var wg sync.WaitGroup
		streams := make(chan *acp.Stream, 20000)
		for range 10 {
			wg.Go(func() {
				for range 1000 {
					s, err := from.Dial(context.Background(), netip.AddrPortFrom(b.Addr(), to.Port()))
					if !assert.NoError(t, err) {
						return
					}
					streams <- s
				}
			})
			wg.Go(func() {
				for range 1000 {
					s, err := to.Accept()
					if !assert.NoError(t, err) {
						return
					}
					streams <- s
				}
			})
		}
		wg.Wait()
		ports := make(map[netip.AddrPort]int)
		for range 20000 {
			s := <-streams
			ports[s.LocalAddr().(*net.TCPAddr).AddrPort()]++
			require.NoError(t, s.Close())
		}
		assert.Len(t, ports, 10001, "each has its port, the listener's is shared")
	})
}
