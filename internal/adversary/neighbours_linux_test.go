package adversary

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/netbed"
)

// overflow keeps the system's table of neighbours full, by datagrams to addresses where
// nobody is, until the context ends. The table is one for all namespaces.
func overflow(ctx context.Context, t *testing.T) (refused *atomic.Int64, done <-chan struct{}) {
	node := netbed.NewNode(t, "filler")
	netbed.VethPair(t, "filled", "filler")
	node.MoveLink(t, "filler")
	node.AddAddr(t, "filler", "2001:db8:2::1/64")
	refused = new(atomic.Int64)
	over := make(chan struct{})
	go func() {
		defer close(over)
		node.Do(t, func() {
			var fds [64]int // each may have some hundred datagrams wait for their neighbours
			for i := range fds {
				var err error
				fds[i], err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
				if err != nil {
					t.Error(err)
					return
				}
				defer unix.Close(fds[i])
			}
			to := unix.SockaddrInet6{Port: 9, Addr: netip.MustParseAddr("2001:db8:2::1:0:0").As16()}
			for n := uint32(0); ctx.Err() == nil; n++ {
				binary.BigEndian.PutUint32(to.Addr[12:], n)
				if unix.Sendto(fds[n%64], nil, 0, &to) == unix.EINVAL {
					refused.Add(1) // for want of room in the table
				}
				if n%100 == 0 {
					pauseFor(ctx, time.Millisecond)
				}
			}
		})
	}()
	return refused, over
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
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			refused, over := overflow(ctx, t)
			netbed.Eventually(t, time.Minute, "the table is full", func() bool { return refused.Load() > 1000 })
			a := v.caller() // it has met nobody yet
			calls, failed := 0, 0
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); calls++ {
				one, stop := context.WithTimeout(ctx, 5*time.Second)
				if err := find(one, a, nil); err != nil && ctx.Err() == nil {
					t.Logf("while the table is full: %v", err)
					failed++
				}
				stop()
				pauseFor(ctx, 100*time.Millisecond)
			}
			cancel()
			<-over
			start := time.Now()
			netbed.Eventually(t, time.Minute, "calls succeed again", func() bool { return find(t.Context(), a, nil) == nil })
			took := time.Since(start)
			for range 20 {
				require.NoError(t, find(t.Context(), a, nil))
			}
			s := v.state()
			require.Positive(t, calls)
			t.Logf("%s: %d of %d calls failed while the table was full, after it %.2f s until one succeeded, descriptors %d, goroutines %d",
				plane, failed, calls, took.Seconds(), s.Descriptors, s.Goroutines)
		})
	}
}
