package acp_test

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// listenGroup4 is listenGroup for IPv4.
func listenGroup4(t *testing.T, ifname string, opts ...int) (*net.UDPConn, error) {
	t.Helper()
	c, err := listenShared(t, "udp4", "0.0.0.0:7017", opts...)
	if err == nil {
		joinGroup4(t, c, ifname, acp.Group4())
	}
	return c, err
}

func joinGroup4(t *testing.T, c *net.UDPConn, ifname string, group netip.Addr) {
	t.Helper()
	err := ipv4.NewPacketConn(c).JoinGroup(&net.Interface{Index: netbed.Index(t, ifname)}, &net.UDPAddr{IP: group.AsSlice()})
	require.NoError(t, err)
}

// send4 sends a datagram to the port by an interface, with any source.
func send4(t *testing.T, msg, by, src string, to netip.Addr) {
	t.Helper()
	s, err := net.ListenUDP("udp4", nil)
	require.NoError(t, err)
	defer s.Close()
	cm := &ipv4.ControlMessage{IfIndex: netbed.Index(t, by), Src: net.ParseIP(src)}
	_, err = ipv4.NewPacketConn(s).WriteTo([]byte(msg), cm, &net.UDPAddr{IP: to.AsSlice(), Port: acp.Port})
	require.NoError(t, err)
}

// TestTrap05AddressReuseIPv4: the port is shared with sockets of IPv4 and with
// those of both versions of IP, as the prototype's, whoever came first.
func TestTrap05AddressReuseIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	veth4(t, "va0", "10.0.0.1/24", "va1", "10.0.0.2/24")
	listen := map[string]func() (*net.UDPConn, error){
		"IPv4": func() (*net.UDPConn, error) { return listenGroup4(t, "va1", unix.SO_REUSEADDR) },
		"IPv4TwoOptions": func() (*net.UDPConn, error) {
			return listenGroup4(t, "va1", unix.SO_REUSEADDR, unix.SO_REUSEPORT)
		},
		"Both": func() (*net.UDPConn, error) {
			c, err := listenShared(t, "udp", "[::]:7017", unix.SO_REUSEADDR)
			if err == nil {
				joinGroup4(t, c, "va1", acp.Group4())
			}
			return c, err
		},
	}
	for name, listen := range listen {
		for _, first := range []string{"Theirs", "Ours"} {
			t.Run(name+"/"+first, func(t *testing.T) {
				var theirs *net.UDPConn
				var err error
				if first == "Theirs" {
					theirs, err = listen()
					require.NoError(t, err)
				}
				ours := []member{join(t, on4("va1")), join(t, on4("va1"))}
				if first == "Ours" {
					theirs, err = listen()
					require.NoError(t, err)
				}
				defer theirs.Close()
				from := open(t, on4("va0"))
				for range 20 {
					msg := nonce()
					require.NoError(t, from.Send(must(t, from, "va0").Index, []byte(msg)))
					for _, m := range ours {
						hear(t, m.Heard, msg)
					}
					require.NoError(t, theirs.SetReadDeadline(time.Now().Add(patience)))
					for got := ""; got != msg; {
						buf := make([]byte, 100)
						n, _, err := theirs.ReadFromUDPAddrPort(buf)
						require.NoError(t, err)
						got = string(buf[:n])
					}
				}
			})
		}
	}
}

// TestTrap07OtherGroupsAndLinksIPv4: nothing is heard but what goes to the
// group, by a link in use, from that link.
func TestTrap07OtherGroupsAndLinksIPv4(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	veth4(t, "va0", "10.0.0.1/24", "va1", "10.0.0.2/24")
	veth4(t, "vb0", "10.0.1.1/24", "vb1", "10.0.1.2/24")
	netbed.IP(t, "addr", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", "va0")
	for _, foreign := range []string{"192.0.2.1/32", "10.9.0.2/32", "10.9.0.3/32"} {
		netbed.AddAddr(t, "va1", foreign)
	}
	m, control := join(t, on4("va0")), join(t, on4("vb0"))
	neighbours, err := listenGroup4(t, "va0", unix.SO_REUSEADDR)
	require.NoError(t, err)
	other := netip.MustParseAddr("224.0.0.120")
	joinGroup4(t, neighbours, "va0", other)

	send4(t, "other link", "vb1", "10.0.1.2", acp.Group4())
	hear(t, control.Heard, "other link")
	send4(t, "other group", "va1", "10.0.0.2", other)
	send4(t, "off-link source", "va1", "192.0.2.1", acp.Group4())
	send4(t, "off-link too", "va1", "10.9.0.3", acp.Group4())
	send4(t, "other link's source", "va1", "10.0.1.2", acp.Group4())
	send4(t, "peer", "va1", "10.9.0.2", acp.Group4())
	send4(t, "own", "va0", "10.9.0.1", acp.Group4())
	send4(t, "good", "va1", "10.0.0.2", acp.Group4())
	for _, want := range []string{"peer", "own", "good"} {
		select {
		case r := <-m.Heard:
			assert.Equal(t, want, r.Msg)
			assert.Equal(t, must(t, m, "va0").Index, r.From.Link)
		case <-time.After(patience):
			require.Fail(t, "nothing heard", "want %s", want)
		}
	}
	// The other link and group did not even get that far.
	assert.Equal(t, uint64(3), acp.Drops(m.Endpoint))
	heard := make(map[string]bool)
	require.NoError(t, neighbours.SetReadDeadline(time.Now().Add(patience)))
	for !heard["good"] {
		buf := make([]byte, 100)
		n, _, err := neighbours.ReadFromUDPAddrPort(buf)
		require.NoError(t, err)
		heard[string(buf[:n])] = true
	}
	for _, msg := range []string{"other link", "other group", "off-link source", "other link's source"} {
		assert.True(t, heard[msg], "control: %s", msg)
	}
}

// TestLayer2IPv4OneReceiver: of several instances on the host, the one that is
// a member on the link hears all that comes by it. Linux, where their sockets
// have SO_REUSEPORT, would give each datagram to any one of them.
func TestLayer2IPv4OneReceiver(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	veth4(t, "va0", "10.0.0.1/24", "va1", "10.0.0.2/24")
	veth4(t, "vb0", "10.0.1.1/24", "vb1", "10.0.1.2/24")
	for _, name := range []string{"vb0", "vb1"} {
		open(t, on4(name))
	}
	m := join(t, on4("va1"))
	for range 20 { // each from another port
		from, err := on4("va0").Open()
		require.NoError(t, err)
		msg := nonce()
		require.NoError(t, from.Send(must(t, from, "va0").Index, []byte(msg)))
		hear(t, m.Heard, msg)
		require.NoError(t, from.Close())
	}
	assert.Zero(t, acp.Drops(m.Endpoint))
}

// TestLayer2IPv4StaysOnTheLink: no router may forward what is sent.
func TestLayer2IPv4StaysOnTheLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	veth4(t, "va0", "10.0.0.1/24", "va1", "10.0.0.2/24")
	c, err := listenGroup4(t, "va1", unix.SO_REUSEADDR)
	require.NoError(t, err)
	p := ipv4.NewPacketConn(c)
	require.NoError(t, p.SetControlMessage(ipv4.FlagTTL, true))
	e := open(t, on4("va0"))
	require.NoError(t, e.Send(e.Links()[0].Index, make([]byte, e.MaxMulticast())))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	n, cm, from, err := p.ReadFrom(make([]byte, 2048))
	require.NoError(t, err)
	assert.Equal(t, acp.MaxMulticast, n)
	assert.Equal(t, 1, cm.TTL)
	assert.Equal(t, "10.0.0.1:"+strconv.Itoa(int(e.Port())), from.String())
}
