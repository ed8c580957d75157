package dnssd

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-grasp/grasp/examples/internal/dnssd/dnstest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// respond answers multicast queries in a node from a zone, as mDNS responders do.
func respond(t *testing.T, node *netbed.Node, link string, z dnstest.Zone) {
	t.Helper()
	node.Do(t, func() {
		i, err := net.InterfaceByName(link)
		require.NoError(t, err)
		conn, err := net.ListenMulticastUDP("udp6", i, &net.UDPAddr{IP: mdnsGroup.AsSlice(), Port: mdnsPort})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				answer, err := z.Answer(buf[:n])
				var m dnsmessage.Message
				if err != nil || m.Unpack(answer) != nil || len(m.Answers) == 0 {
					continue
				}
				for i := range m.Answers { // the host's own
					m.Answers[i].Header.Class |= 1 << 15
				}
				if answer, err = m.Pack(); err == nil {
					_, _ = conn.WriteToUDPAddrPort(answer, from)
				}
			}
		}()
	})
}

// Two hosts on the link have printers; the DNS knows nothing of them.
func TestMulticast(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	one, other := netbed.NewNode(t, "one"), netbed.NewNode(t, "other")
	netbed.Bridge(t, "mdns")
	for _, n := range []*netbed.Node{one, other} {
		netbed.VethPair(t, n.Name, n.Name+"-o")
		netbed.IP(t, "link", "set", n.Name+"-o", "master", "mdns")
		n.MoveLink(t, n.Name)
		name := n.Name + "._printer._tcp.local."
		respond(t, n, n.Name, dnstest.Zone{
			"_printer._tcp.local.": {&dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(name)}},
			name: {
				&dnsmessage.SRVResource{Port: 515, Target: dnsmessage.MustNewName(n.Name + ".local.")},
				&dnsmessage.TXTResource{TXT: []string{"rp=" + n.Name}},
			},
			n.Name + ".local.": {
				&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()},
				&dnsmessage.AResource{A: netip.MustParseAddr("192.0.2.1").As4()},
			},
		})
	}
	var got []Service
	netbed.Eventually(t, netbed.Patience, "both have answered all questions in time", func() bool {
		var err error
		got, err = lookup(t.Context(), Both{Link: Multicast{"mdns"}}, "printer._tcp", "local")
		require.NoError(t, err)
		return len(got) == 2 && len(got[0].At) == 3 && len(got[1].At) == 3 && len(got[0].Text) == 1 && len(got[1].Text) == 1
	})
	want := func(name string) Service {
		return Service{
			Instance: name, Service: "printer._tcp", Domain: "local", Text: map[string]any{"rp": name},
			At: []Place{
				{Addr: netip.MustParseAddr("2001:db8::1"), Protocol: 6, Port: 515},
				{Addr: netip.MustParseAddr("192.0.2.1"), Protocol: 6, Port: 515},
				{Host: name + ".local.", Protocol: 6, Port: 515},
			},
		}
	}
	assert.ElementsMatch(t, []Service{want("one"), want("other")}, got)

	_, err := lookup(t.Context(), Multicast{"nolink"}, "printer._tcp", "local")
	assert.ErrorContains(t, err, "nolink")
}
