package grasp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/wire"
)

// L-02: a DULL instance takes only what comes from a link-local address. In memory
// every source is one.
func TestL02DULLSources(t *testing.T) {
	g, err := New(Config{DULL: true, DULLObjectives: []string{"EX1"}, Plane: memory.NewNetwork(1).NewNode("x")})
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	m := &wire.Flood{Initiator: netip.MustParseAddr("fe80::1"), Objectives: []wire.Flooded{{Objective: wire.Objective{Name: "EX1", LoopCount: 1}}}}
	raw, err := m.Append(nil)
	require.NoError(t, err)
	flooded := Objective{Name: "EX1", Synch: true}
	a, err := g.RegisterASA("reader")
	require.NoError(t, err)
	for addr, want := range map[string]bool{"[fe80::2%1]:7017": true, "[fd00::2]:7017": false, "192.0.2.1:7017": false} {
		g.handleDatagram(raw, acp.Origin{Link: 1, Addr: netip.MustParseAddrPort(addr)}, time.Now())
		heard, err := a.GetFlood(flooded)
		require.NoError(t, err)
		require.Equal(t, want, len(heard) > 0, addr)
		for _, f := range heard {
			require.NoError(t, a.ExpireFlood(f))
		}
	}
}
