package grasp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
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
		server := newInstance(t, n.NewNode("server", link))
		dead := netip.MustParseAddr("fd00:dead::1")
		g, err := New(Config{Plane: n.NewNode("client", link), Resolver: names{
			"server.example": {dead, server.ep.Addr()},
			"here.example":   {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
		}})
		require.NoError(t, err)
		defer func() { require.NoError(t, g.Close()) }()
		o := Objective{Name: "EX2", Synch: true, LoopCount: 6, Value: int64(7)}
		answering, asking := newASA(t, server, "answering"), newASA(t, g, "asking")
		require.NoError(t, answering.RegisterObj(o, RegisterOptions{}))
		require.NoError(t, answering.ListenSynchronize(o))
		port := int(server.ep.Port())
		for _, at := range []Locator{
			{FQDN: "server.example", Port: port},
			{URI: "grasp://server.example/x", Port: port},
			{URI: "grasp://" + netip.AddrPortFrom(server.ep.Addr(), uint16(port)).String()},
		} {
			got, err := asking.Synchronize(t.Context(), o, &at, 0)
			require.NoError(t, err, "%v", at)
			require.Equal(t, int64(7), got.Value)
		}
		for _, c := range []struct {
			at   Locator
			says string
		}{
			{Locator{FQDN: "nowhere.example", Port: port}, "no such host"},
			{Locator{FQDN: "server.example"}, "no port"},
			{Locator{FQDN: "here.example", Port: port}, "no address to connect to"},
			{Locator{URI: "://", Port: port}, "missing protocol scheme"},
			{Locator{URI: "mailto:someone", Port: port}, "no host"},
			{Locator{URI: "grasp://server.example"}, "no port"},
			{Locator{IP: server.ep.Addr(), Port: port, Protocol: UDP}, "not TCP"},
			{Locator{IP: netip.MustParseAddr("fe80::1"), Port: port}, "without interface"},
			{Locator{Port: port}, "no address"},
		} {
			_, err := asking.Synchronize(t.Context(), o, &c.at, 0)
			require.ErrorIs(t, err, ErrUnusableLocator, "%v", c.at)
			require.ErrorContains(t, err, c.says)
		}
	})
}
