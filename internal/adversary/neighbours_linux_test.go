package adversary

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/netbed"
)

// overflow keeps the system's table of neighbours full, by datagrams to addresses where
// nobody is, until the context ends. The table is one for all namespaces.
func overflow(ctx context.Context, t *testing.T) (done <-chan struct{}) {
	node := netbed.NewNode(t, "filler")
	netbed.VethPair(t, "filled", "filler")
	node.MoveLink(t, "filler")
	node.AddAddr(t, "filler", "2001:db8:2::1/64")
	over := make(chan struct{})
	go func() {
		defer close(over)
		node.Do(t, func() {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
			to := unix.SockaddrInet6{Port: 9, Addr: netip.MustParseAddr("2001:db8:2::1:0:0").As16()}
			for n := uint32(0); ctx.Err() == nil; n++ {
				binary.BigEndian.PutUint32(to.Addr[12:], n)
				_ = unix.Sendto(fd, nil, 0, &to)
				if n%10 == 0 {
					pauseFor(ctx, time.Millisecond)
				}
			}
		})
	}()
	return over
}

// When the system's table of neighbours is full, addresses that are not in it cannot be
// reached, which nobody but the system can mend. Nothing breaks for longer than that:
// when there is room again all calls succeed. It is for -full only, because others on
// the same machine suffer as well.
func TestNeighbourTableOverflow(t *testing.T) {
	if !*full || !netbed.Enter(t) {
		return
	}
	for _, plane := range planes {
		t.Run(plane, func(t *testing.T) {
			v := newVictim(t, victimConfig{Plane: plane})
			a := v.caller()
			require.Zero(t, v.call(a, 1))
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			over := overflow(ctx, t)
			calls, failed := 0, 0
			for ; ctx.Err() == nil; calls++ {
				one, end := context.WithTimeout(ctx, 5*time.Second)
				if err := find(one, a, nil); err != nil && ctx.Err() == nil {
					t.Logf("while the table is full: %v", err)
					failed++
				}
				end()
				pauseFor(ctx, 100*time.Millisecond)
			}
			<-over
			start := time.Now()
			netbed.Eventually(t, time.Minute, "calls succeed again", func() bool { return find(t.Context(), a, nil) == nil })
			took := time.Since(start)
			for range 20 {
				require.NoError(t, find(t.Context(), a, nil))
			}
			s := v.state()
			t.Logf("%s: %d of %d calls failed while the table was full, after it %.2f s until one succeeded, descriptors %d, goroutines %d",
				plane, failed, calls, took.Seconds(), s.Descriptors, s.Goroutines)
		})
	}
}
