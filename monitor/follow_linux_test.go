package monitor

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/netbed"
)

// A monitor announces itself by GRASP, and another one finds it and asks it with a token
// that is good there only.
func TestFind(t *testing.T) {
	if !netbed.Enter(t) { // the monitor listens on all addresses
		return
	}
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{})
	instance := func(name string) *grasp.Instance {
		g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, link), Dialogue: grasp.Dialogue{Silent: true}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, g.Close()) })
		return g
	}
	here, there := instance("here"), instance("there")
	netbed.AddAddr(t, "lo", here.Snapshot().Address.String()+"/128")
	announced := New(Config{Token: "secret"})
	defer announced.Close()
	announced.Watch("instance", here)
	_, err := announced.Announce(here, "r1")
	require.ErrorContains(t, err, "localhost")
	_, err = announced.Listen("localhost:0")
	require.NoError(t, err)
	_, err = announced.Announce(here, "r1")
	require.ErrorContains(t, err, "localhost")
	url, err := announced.Listen("[::]:0")
	require.NoError(t, err)
	require.Contains(t, url, "?token=secret")
	_, err = announced.Announce(here, strings.Repeat("x", maxName+1))
	require.ErrorContains(t, err, "name")
	stop, err := announced.Announce(here, "r1")
	require.NoError(t, err)

	finder := New(Config{Token: "secret"})
	defer finder.Close()
	_, err = finder.Find(there, nil)
	require.ErrorContains(t, err, "prefixes")
	end, err := finder.Find(there, []netip.Prefix{netip.MustParsePrefix("fd00::/8")})
	require.NoError(t, err)
	netbed.Eventually(t, time.Minute, "found", func() bool {
		n := finder.Network(t.Context())
		return len(n.Nodes) == 1 && n.Nodes[0].Name == "r1" && n.Nodes[0].Trouble == "" && !n.Nodes[0].Time.IsZero()
	})
	end()
	require.Empty(t, finder.Network(t.Context()).Nodes)
	require.Empty(t, there.Snapshot().ASAs)
	stop()
	require.Empty(t, here.Snapshot().ASAs)
	require.NoError(t, finder.Close())
	_, err = finder.Find(there, []netip.Prefix{netip.MustParsePrefix("fd00::/8")})
	require.ErrorContains(t, err, "closed")
}
