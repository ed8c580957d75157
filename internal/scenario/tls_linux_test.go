package scenario

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

func TestScenarioOverTLSOnRealLinks(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.AddAddr(t, "va0", "fd00::1/64") // or there is nothing to divert to
	d := newTLSDomain(t)
	on := func(name string, links ...string) acp.Plane { return d.member(name, &acp.Layer2{Links: links}) }
	runScenario(t, on("left", "va0"), on("middle", "va1", "vb0"), on("right", "vb1"), 2*time.Second, 1)
}

// whoever captures all packets on a link finds no name and no value of an
// objective in them, and no name of a member: only that there is a node.
func TestX02CaptureOverTLS(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	d := newTLSDomain(t)
	secrets := []string{
		"secret.example:negotiated", "secret.example:synchronized", "secret.example:flooded",
		"a value that was asked for", "a value that was offered", "a value that was flooded", "a reason to decline",
	}
	members := []string{"member-one.example", "member-two.example"}
	run := func(one, two acp.Plane) []byte {
		t.Helper()
		stop := capture(t, "va0")
		g1, g2 := bed.NewInstance(t, one), bed.NewInstance(t, two)
		netbed.Eventually(t, patience, "the links are in use", func() bool {
			return len(g1.Snapshot().Links) == 1 && len(g2.Snapshot().Links) == 1
		})
		disclose(t, bed.NewASA(t, g1, "asa"), bed.NewASA(t, g2, "asa"), secrets)
		require.NoError(t, g1.Close())
		require.NoError(t, g2.Close())
		return stop()
	}

	clear := run(onLinks("va0"), onLinks("va1"))
	for _, s := range secrets {
		require.True(t, bytes.Contains(clear, []byte(s)), "without protection %q is seen: the capture works", s)
	}
	seen := run(d.member(members[0], onLinks("va0")), d.member(members[1], onLinks("va1")))
	for _, s := range append(secrets, members...) {
		require.False(t, bytes.Contains(seen, []byte(s)), "%q was sent in clear", s)
	}
	require.True(t, bytes.Contains(seen, []byte("GRASP-TLS")), "the announcements are seen")
	t.Logf("captured %d bytes in clear, %d over TLS", len(clear), len(seen))
}

// disclose has one ASA discover, negotiate and synchronize with another, and flood.
func disclose(t *testing.T, one, two *grasp.ASA, secrets []string) {
	t.Helper()
	neg := grasp.Objective{Name: secrets[0], Neg: true, LoopCount: 6, Value: secrets[3]}
	syn := grasp.Objective{Name: secrets[1], Synch: true, LoopCount: 6, Value: secrets[4]}
	flo := grasp.Objective{Name: secrets[2], Synch: true, LoopCount: 6, Value: secrets[5]}
	for _, o := range []grasp.Objective{neg, syn, flo} {
		require.NoError(t, one.RegisterObj(o, grasp.RegisterOptions{Local: true}))
	}
	require.NoError(t, two.RegisterObj(neg, grasp.RegisterOptions{Local: true}))
	require.NoError(t, one.ListenSynchronize(syn))
	served := make(chan error, 1)
	go func() {
		s, o, err := one.ListenNegotiate(t.Context(), neg)
		if err == nil {
			o.Value = secrets[4]
			_, _, err = s.NegotiateStep(t.Context(), o, patience)
		}
		served <- err
	}()
	var s *grasp.Session
	netbed.Eventually(t, patience, "a negotiation", func() bool {
		var err error
		// One that was given up would have been the only one that is served.
		s, _, err = two.ReqNegotiate(t.Context(), neg, nil, patience)
		return err == nil && s != nil
	})
	require.NoError(t, s.EndNegotiate(false, secrets[6]))
	require.ErrorIs(t, <-served, grasp.ErrDeclined)
	got, err := two.Synchronize(t.Context(), syn, nil, patience)
	require.NoError(t, err)
	require.Equal(t, secrets[4], got.Value)
	require.NoError(t, one.Flood(time.Minute, grasp.TaggedObjective{Objective: flo}))
	netbed.Eventually(t, patience, "the flood arrives", func() bool {
		all, err := two.GetFlood(grasp.Objective{Name: flo.Name, Synch: true})
		return err == nil && len(all) == 1
	})
}

// capture keeps all that an interface sends and receives, until stop is called. It is
// read as it comes, because the kernel keeps little of it.
func capture(t *testing.T, ifname string) (stop func() []byte) {
	t.Helper()
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	require.NoError(t, err)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<20))
	// Reading ends when nothing has come for this long after stop was called.
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: netbed.Index(t, ifname)}))
	var seen []byte
	var stopped atomic.Bool
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			last := stopped.Load() // before looking for the last time
			switch n, err := unix.Read(fd, buf); {
			case err == nil:
				seen = append(seen, buf[:n]...)
			case errors.Is(err, unix.EINTR):
			case !errors.Is(err, unix.EAGAIN):
				t.Errorf("capture: %v", err)
				return
			case last:
				return
			}
		}
	})
	return func() []byte {
		defer unix.Close(fd)
		stopped.Store(true)
		reading.Wait()
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		require.NoError(t, err)
		require.Zero(t, stats.Drops, "of %d packets", stats.Packets)
		return seen
	}
}
