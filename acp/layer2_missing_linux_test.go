package acp_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// TestLayer2MissingFamily: a version of IP whose port another program has to itself is used
// soon after that one ends, and until then said to be missing; the other serves meanwhile.
func TestLayer2MissingFamily(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	veth4(t, "va0", "192.0.2.1/24", "va1", "192.0.2.2/24")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.AddAddr(t, "vb0", "198.51.100.1/24")
	netbed.AddAddr(t, "vb1", "198.51.100.2/24")
	for _, test := range []struct {
		network, version string
		before           []string // links without this version of IP
		link             string   // one that runs over it
		is4              bool
	}{
		{"udp4", "no IPv4: ", []string{"vb0", "vb1"}, "va0", true},
		{"udp6", "no IPv6: ", []string{"va0", "va1", "vb0", "vb1"}, "vb0", false},
	} {
		t.Run(test.network, func(t *testing.T) {
			other, err := net.ListenUDP(test.network, &net.UDPAddr{Port: acp.Port}) // it does not share
			require.NoError(t, err)
			defer other.Close()
			e := join(t, &acp.Layer2{IPv4: true})
			use(t, e, test.before...)
			_, trouble := acp.Interfaces(e.Endpoint)
			assert.ErrorContains(t, trouble, test.version)
			assert.ErrorContains(t, trouble, "it is tried again")

			require.NoError(t, other.Close())
			use(t, e, "va0", "va1", "vb0", "vb1")
			netbed.Eventually(t, patience, "the link runs over the version of IP that was missing", func() bool {
				l, ok := link(e, test.link)
				return ok && l.Addr.Is4() == test.is4
			})
			netbed.Eventually(t, patience, "nothing is amiss", func() bool {
				_, trouble := acp.Interfaces(e.Endpoint)
				return trouble == nil
			})
			from := reach(t, e, test.link, join(t, &acp.Layer2{IPv4: true}), patience)
			assert.Equal(t, netip.AddrPortFrom(must(t, e, test.link).Addr, e.Port()), from.Addr)
			reach(t, join(t, &acp.Layer2{IPv4: true}), test.link, e, patience)
		})
	}
}
