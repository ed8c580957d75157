package adversary

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/target"
	"github.com/go-grasp/grasp/internal/wire"
)

// Discoveries that are forged in the name of a node which never asked have a
// member connect to it: no more often than a limit allows, while others are
// answered.
func TestReflection(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	v := newVictim(t, victimConfig{Plane: "layer2"})
	a := v.caller()
	require.Zero(t, v.call(a, 1))

	// The target has a namespace of its own: here there is somebody else.
	node := netbed.NewNode(t, "target")
	netbed.VethPair(t, "p-target", "target")
	netbed.IP(t, "link", "set", "p-target", "master", "bridge")
	node.MoveLink(t, "target")
	node.AddAddr(t, "target", "fe80::7a7/64")
	addr := netip.MustParseAddr("fe80::7a7")
	fd, mac := (*netbed.Node)(nil).PacketSocket(t, "bad")
	defer unix.Close(fd)

	const port = 4711
	forged := longtest.Scaled(20_000)
	start := time.Now()
	for n := range forged {
		m := &wire.Discovery{
			SessionID: uint32(1 + n), Initiator: addr,
			Objective: wire.Objective{Name: called.Name, Flags: wire.FlagDisc | wire.FlagNeg, LoopCount: 6, Value: []byte{0xf6}},
		}
		raw, err := m.Append(nil)
		require.NoError(t, err)
		_ = unix.Send(fd, netbed.Datagram(mac, nil, netip.AddrPortFrom(addr, port), netip.AddrPortFrom(acp.Group6(), acp.Port), raw), 0)
		if n%100 == 0 {
			time.Sleep(5 * time.Millisecond) // or the system would drop them
		}
	}
	require.Zero(t, v.call(a, 20), "honest calls that failed")
	took := time.Since(start)
	tried := node.Counter(t, "TcpInSegs") // which the kernel misses none of under any load
	t.Logf("%d discoveries forged, %d connections tried to the target in %.1f s; dropped %v", forged, tried, took.Seconds(), v.state().Dropped)
	require.Positive(t, tried)
	require.LessOrEqual(t, tried, int((took.Seconds()+2)*target.PerSecond/target.FailCost)+target.Burst/target.FailCost)
}
