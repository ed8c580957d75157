package grasp_test

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// early returns how many connections of this host began with data in their opening.
func early(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/net/netstat")
	require.NoError(t, err)
	lines := strings.Split(string(raw), "\n")
	for i, name := range strings.Fields(lines[0]) {
		if name == "TCPFastOpenActive" {
			n, err := strconv.Atoi(strings.Fields(lines[1])[i])
			require.NoError(t, err)
			return n
		}
	}
	t.Fatal("the kernel does not count them")
	return 0
}

// twoAddresses is a resolver by which every name has these addresses.
type twoAddresses []netip.Addr

func (a twoAddresses) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return a, nil
}

// With TCP Fast Open these calls have their messages travel with the opening of the
// connections, once each is known: requests to a named peer with one address or several,
// to a cached one, and to one that is discovered, and the response to the discovery. The
// peer gets each request once.
func TestEarlyOnTheWire(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.Sysctl(t, "net/ipv4/tcp_fastopen", "3")
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	netbed.LinkLocal(t, "va1")
	addrs := twoAddresses{netip.MustParseAddr("fd01::1"), netip.MustParseAddr("fd01::2")}
	for _, a := range addrs {
		netbed.AddAddr(t, "va1", a.String()+"/64")
	}
	for _, c := range []struct {
		fast                                bool
		one, several, cached, found, synced int
	}{{true, 1, 1, 1, 2, 1}, {false, 0, 0, 0, 0, 0}} {
		t.Run(strconv.FormatBool(c.fast), func(t *testing.T) {
			server := bed.NewInstance(t, &acp.Layer2{Links: []string{"va1"}, FastOpen: c.fast})
			client := bed.InstanceWith(t, &acp.Layer2{Links: []string{"va0"}, FastOpen: c.fast}, func(cfg *grasp.Config) { cfg.Resolver = addrs })
			bed.WaitForLink(t, server)
			bed.WaitForLink(t, client)
			serving, asking := bed.NewASA(t, server, "serving"), bed.NewASA(t, client, "asking")
			neg, syn := bed.Neg("neg", 1), bed.Syn("syn", 7)
			require.NoError(t, asking.RegisterObj(neg, grasp.RegisterOptions{}))
			require.NoError(t, serving.RegisterObj(neg, grasp.RegisterOptions{}))
			require.NoError(t, serving.RegisterObj(syn, grasp.RegisterOptions{}))
			require.NoError(t, serving.ListenSynchronize(syn))
			var served atomic.Int32
			go func() {
				for {
					s, _, err := serving.ListenNegotiate(t.Context(), neg)
					if err != nil {
						return
					}
					served.Add(1)
					_ = s.EndNegotiate(true, "")
				}
			}()
			netbed.Eventually(t, netbed.Patience, "somebody listens", func() bool { return bed.Listens(server, "neg") })
			negotiate := func(peer *grasp.Locator) {
				t.Helper()
				_, _, err := asking.ReqNegotiate(t.Context(), neg, peer, netbed.Patience)
				require.NoError(t, err)
			}
			port := int(server.Snapshot().Port)
			one := &grasp.Locator{IP: addrs[0], Port: port}
			several := &grasp.Locator{FQDN: "peer.example", Port: port}
			cold := func() { bed.Flush(t, asking, "neg"); negotiate(nil) }
			for _, call := range []struct {
				name string
				do   func()
				want int
			}{
				{"a peer with one address", func() { negotiate(one) }, c.one},
				{"a peer with several", func() { negotiate(several) }, c.several},
				{"one that is discovered", cold, c.found},
				{"one that is cached", func() { negotiate(nil) }, c.cached},
				{"a synchronization", func() {
					_, err := asking.Synchronize(t.Context(), syn, several, netbed.Patience)
					require.NoError(t, err)
				}, c.synced},
			} {
				netbed.Eventually(t, netbed.Patience, call.name, func() bool { // when there is a cookie
					before := early(t)
					call.do()
					return early(t)-before == call.want
				})
			}
			sent, got := client.Snapshot().Sent["M_REQ_NEG"], server.Snapshot().Received["M_REQ_NEG"]
			require.Equal(t, sent, got)
			require.EqualValues(t, got, served.Load())
			require.Zero(t, server.Snapshot().Dropped[grasp.ReasonIDClash])
		})
	}
}
