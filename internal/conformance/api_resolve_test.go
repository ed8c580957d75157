package conformance

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// names is a resolver that knows a few names.
type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if addrs, ok := n[host]; ok {
		return addrs, nil
	}
	return nil, errors.New("no such host " + host)
}

// N-01, O-03, O-08: a name is resolved before use and its addresses tried in
// order; what cannot be connected to is an error that says why.
func TestN01LocatorsByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{})
		server := bed.NewInstance(t, n.NewNode("server", link))
		dead := netip.MustParseAddr("fd00:dead::1")
		g, err := grasp.New(grasp.Config{Plane: n.NewNode("client", link), Resolver: names{
			"server.example": {dead, server.Snapshot().Address},
			"here.example":   {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
		}})
		require.NoError(t, err)
		defer func() { require.NoError(t, g.Close()) }()
		o := grasp.Objective{Name: "EX2", Synch: true, LoopCount: 6, Value: int64(7)}
		answering, asking := bed.NewASA(t, server, "answering"), bed.NewASA(t, g, "asking")
		require.NoError(t, answering.RegisterObj(o, grasp.RegisterOptions{}))
		require.NoError(t, answering.ListenSynchronize(o))
		port := int(server.Snapshot().Port)
		for _, at := range []grasp.Locator{
			{FQDN: "server.example", Port: port},
			{URI: "grasp://server.example/x", Port: port},
			{URI: "grasp://" + netip.AddrPortFrom(server.Snapshot().Address, uint16(port)).String()},
		} {
			got, err := asking.Synchronize(t.Context(), o, &at, 0)
			require.NoError(t, err, "%v", at)
			require.Equal(t, int64(7), got.Value)
		}
		for _, c := range []struct {
			at   grasp.Locator
			says string
		}{
			{grasp.Locator{FQDN: "nowhere.example", Port: port}, "no such host"},
			{grasp.Locator{FQDN: "server.example"}, "no port"},
			{grasp.Locator{FQDN: "here.example", Port: port}, "no address to connect to"},
			{grasp.Locator{URI: "://", Port: port}, "missing protocol scheme"},
			{grasp.Locator{URI: "mailto:someone", Port: port}, "no host"},
			{grasp.Locator{URI: "grasp://server.example"}, "no port"},
			{grasp.Locator{IP: server.Snapshot().Address, Port: port, Protocol: grasp.UDP}, "not TCP"},
			{grasp.Locator{IP: netip.MustParseAddr("fe80::1"), Port: port}, "without interface"},
			{grasp.Locator{Port: port}, "no address"},
		} {
			_, err := asking.Synchronize(t.Context(), o, &c.at, 0)
			require.ErrorIs(t, err, grasp.ErrUnusableLocator, "%v", c.at)
			require.ErrorContains(t, err, c.says)
		}
	})
}
