package acp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// listenShared opens a socket as another implementation would, with these
// options.
func listenShared(t *testing.T, network, addr string, opts ...int) (*net.UDPConn, error) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			for _, o := range opts {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o, 1))
			}
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	p, err := lc.ListenPacket(t.Context(), network, addr)
	if err != nil {
		return nil, err
	}
	c := p.(*net.UDPConn)
	t.Cleanup(func() { _ = c.Close() })
	return c, nil
}

// listenGroup joins the group on an interface too.
func listenGroup(t *testing.T, ifname string, opts ...int) (*net.UDPConn, error) {
	t.Helper()
	c, err := listenShared(t, "udp6", "[::]:7017", opts...)
	if err != nil {
		return nil, err
	}
	require.NoError(t, ipv6.NewPacketConn(c).JoinGroup(&net.Interface{Index: netbed.Index(t, ifname)}, &net.UDPAddr{IP: acp.Group6().AsSlice()}))
	return c, nil
}

// TestTrap05AddressReuse: the port is shared with sockets that have set
// SO_REUSEADDR only, as the prototype's, SO_REUSEPORT only, or both, whoever
// came first; and every multicast reaches all.
func TestTrap05AddressReuse(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	for name, opts := range map[string][]int{
		"ADDR": {unix.SO_REUSEADDR},
		"PORT": {unix.SO_REUSEPORT},
		"BOTH": {unix.SO_REUSEADDR, unix.SO_REUSEPORT},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/First=%v", name, first), func(t *testing.T) {
				var theirs *net.UDPConn
				var err error
				if first {
					theirs, err = listenGroup(t, "va1", opts...)
					require.NoError(t, err)
				}
				ours := []member{join(t, on("va1")), join(t, on("va1"))}
				if !first {
					theirs, err = listenGroup(t, "va1", opts...)
					require.NoError(t, err)
				}
				from := open(t, on("va0"))
				for range 20 {
					msg := nonce()
					require.NoError(t, from.Send(must(t, from, "va0").Index, []byte(msg)))
					for _, m := range ours {
						hear(t, m.Heard, msg)
					}
					require.NoError(t, theirs.SetReadDeadline(time.Now().Add(patience)))
					for got := ""; got != msg; { // it hears the copy on va0 as well: trap 7
						buf := make([]byte, 100)
						n, _, err := theirs.ReadFromUDPAddrPort(buf)
						require.NoError(t, err)
						got = string(buf[:n])
					}
				}
			})
		}
	}
	t.Run("Control", func(t *testing.T) {
		_, err := listenGroup(t, "va1", unix.SO_REUSEADDR)
		require.NoError(t, err)
		_, err = listenGroup(t, "va1", unix.SO_REUSEPORT)
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
	})
}

// TestTrap05OtherProcesses: three processes on a host all hear. Two of them
// are this test's binary again.
func TestTrap05OtherProcesses(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	if os.Getenv("ACP_TEST_PROCESS") != "" {
		m := join(t, on("va1"))
		fmt.Println("\nready")
		var line string
		for range 2 {
			_, err := fmt.Scanln(&line)
			require.NoError(t, err)
			hear(t, m.Heard, line)
			fmt.Println("heard")
		}
		return
	}
	netbed.VethPair(t, "va0", "va1")
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	type process struct {
		in  *os.File
		out *os.File
	}
	var ps []process
	for range 2 {
		cmd := (*netbed.Node)(nil).Exec(ctx, os.Args[0], "-test.run=^TestTrap05OtherProcesses$")
		cmd.Env = append(os.Environ(), "ACP_TEST_PROCESS=1", "GRASP_NETBED_TEST=")
		inR, inW, err := os.Pipe()
		require.NoError(t, err)
		outR, outW, err := os.Pipe()
		require.NoError(t, err)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, os.Stderr
		require.NoError(t, cmd.Start())
		require.NoError(t, errors.Join(inR.Close(), outW.Close(), outR.SetDeadline(time.Now().Add(2*patience))))
		t.Cleanup(func() { _ = cmd.Wait() })
		t.Cleanup(cancel)
		ps = append(ps, process{inW, outR})
	}
	expect := func(p process, want string) {
		t.Helper()
		var got string
		for got != want {
			_, err := fmt.Fscanln(p.out, &got)
			if err != nil && err.Error() != "unexpected newline" {
				require.NoError(t, err)
			}
		}
	}
	for _, p := range ps {
		expect(p, "ready")
	}
	for _, m := range []member{join(t, on("va0")), join(t, on("va1"))} { // from outside, then from the same host
		msg := fmt.Sprintf("m%d", m.Port())
		for _, p := range ps {
			_, err := fmt.Fprintln(p.in, msg)
			require.NoError(t, err)
		}
		require.NoError(t, m.Send(m.Links()[0].Index, []byte(msg)))
		for _, p := range ps {
			expect(p, "heard")
		}
	}
}

// TestTrap06UnicastIsMarked: what is sent to the port but not to the group
// reaches any one of the processes that share it. It is heard as such, if it
// comes from a neighbour.
func TestTrap06UnicastIsMarked(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va1", "fd00::1/64")
	netbed.LinkLocal(t, "va0") // it can send
	m := join(t, on("va1"))
	va1 := must(t, m, "va1")
	s, err := net.ListenUDP("udp6", nil)
	require.NoError(t, err)
	defer s.Close()
	send := func(msg string, to netip.Addr) {
		t.Helper()
		_, err := s.WriteToUDPAddrPort([]byte(msg), netip.AddrPortFrom(to, acp.Port))
		require.NoError(t, err)
	}
	via := strconv.Itoa(netbed.Index(t, "va0"))
	for range 20 {
		send("beyond", netip.MustParseAddr("fd00::1"))
		send("beyond", netip.IPv6Loopback())
		send("unicast", va1.Addr.WithZone(via))
		send("multicast", acp.Group6().WithZone(via))
		for _, want := range []string{"unicast", "multicast"} {
			select {
			case r := <-m.Heard:
				assert.Equal(t, want, r.Msg)
				assert.Equal(t, acp.Origin{
					Link:    va1.Index,
					Addr:    netip.AddrPortFrom(netbed.LinkLocal(t, "va0").WithZone(zone(va1)), portOf(s)),
					Unicast: want == "unicast",
				}, r.From)
			case <-time.After(patience):
				require.Fail(t, "nothing heard")
			}
		}
	}
	assert.Equal(t, uint64(40), acp.Drops(m.Endpoint))
}

// TestD21UnicastFromTheLink: what is sent to this node alone is heard from any
// address that is on the link (RFC 8990 section 2.8.4), and from no other.
func TestD21UnicastFromTheLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va1", "fd00::1/64")
	far := netbed.NewNode(t, "far")
	far.MoveLink(t, "va0")
	far.AddAddr(t, "va0", "fd00::2/64")
	far.AddAddr(t, "va0", "fd01::2/64")
	m := join(t, on("va1"))
	va1 := must(t, m, "va1")
	var port uint16
	far.Do(t, func() {
		send := func(source, msg string, to netip.Addr) {
			t.Helper()
			netbed.Eventually(t, patience, "the address can be used", func() bool {
				s, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0)))
				if err != nil {
					return false
				}
				defer s.Close()
				port = portOf(s)
				_, err = s.WriteToUDPAddrPort([]byte(msg), netip.AddrPortFrom(to.WithZone("va0"), acp.Port))
				return err == nil
			})
		}
		send("fd01::2", "from beyond", va1.Addr)
		send("fd00::2", "multicast", acp.Group6()) // its source has to be link-local
		send("fd00::2", "unicast", va1.Addr)
	})
	select {
	case r := <-m.Heard:
		assert.Equal(t, "unicast", r.Msg)
		assert.Equal(t, acp.Origin{
			Link: va1.Index, Addr: netip.AddrPortFrom(netip.MustParseAddr("fd00::2"), port), Unicast: true,
		}, r.From)
	case <-time.After(patience):
		require.Fail(t, "nothing heard")
	}
	assert.Equal(t, uint64(2), acp.Drops(m.Endpoint))
}

// zone is the zone of addresses on a link.
func zone(l acp.Link) string { return strconv.Itoa(l.Index) }

func portOf(c *net.UDPConn) uint16 { return uint16(c.LocalAddr().(*net.UDPAddr).Port) }

// TestTrap07OtherGroupsAndLinks: an instance hears nothing of groups and links
// that other sockets of the host joined, and nothing from beyond the link.
func TestTrap07OtherGroupsAndLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.AddAddr(t, "va1", "fd00::1/64")
	netbed.LinkLocal(t, "va1") // they can send
	netbed.LinkLocal(t, "vb1")
	m := join(t, on("va0"))
	use(t, m, "va0")
	control := join(t, on("vb0"))
	use(t, control, "vb0")
	neighbours, err := listenGroup(t, "va0", unix.SO_REUSEADDR)
	require.NoError(t, err)
	other := netip.MustParseAddr("ff02::1313")
	require.NoError(t, ipv6.NewPacketConn(neighbours).JoinGroup(&net.Interface{Index: netbed.Index(t, "va0")}, &net.UDPAddr{IP: other.AsSlice()}))

	s, err := net.ListenUDP("udp6", nil)
	require.NoError(t, err)
	defer s.Close()
	send := func(msg, by, src string, to netip.Addr) {
		t.Helper()
		cm := &ipv6.ControlMessage{IfIndex: netbed.Index(t, by), Src: net.ParseIP(src)}
		_, err := ipv6.NewPacketConn(s).WriteTo([]byte(msg), cm, &net.UDPAddr{IP: to.AsSlice(), Port: acp.Port})
		require.NoError(t, err)
	}
	send("other link", "vb1", "", acp.Group6())
	hear(t, control.Heard, "other link")
	send("other group", "va1", "", other)
	send("off-link source", "va1", "fd00::1", acp.Group6())
	send("good", "va1", "", acp.Group6())
	select {
	case r := <-m.Heard:
		assert.Equal(t, "good", r.Msg)
	case <-time.After(patience):
		require.Fail(t, "nothing heard")
	}
	// Those from the other link and from beyond the link. The other group
	// did not even get that far.
	assert.Equal(t, uint64(2), acp.Drops(m.Endpoint))
	// The control: they were sent, and heard by a socket that drops nothing.
	heard := make(map[string]bool)
	require.NoError(t, neighbours.SetReadDeadline(time.Now().Add(patience)))
	for !heard["good"] {
		buf := make([]byte, 100)
		n, _, err := neighbours.ReadFromUDPAddrPort(buf)
		require.NoError(t, err)
		heard[string(buf[:n])] = true
	}
	assert.Equal(t, map[string]bool{"other link": true, "other group": true, "off-link source": true, "good": true}, heard)
}

// TestTrap08OwnMulticasts: an endpoint hears its own multicast by another link that leads
// to the same place, and not the copy that the system makes on the link it is sent on.
func TestTrap08OwnMulticasts(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	m := join(t, on())
	use(t, m, "va0", "va1")
	va0, va1 := must(t, m, "va0"), must(t, m, "va1")
	want := map[acp.Origin]int{
		{Link: va1.Index, Addr: netip.AddrPortFrom(va0.Addr.WithZone(strconv.Itoa(va1.Index)), m.Port())}: 1,
	}
	got := make(map[acp.Origin]int)
	require.NoError(t, m.Send(va0.Index, []byte("mine")))
	require.NoError(t, m.Send(va0.Index, []byte("end")))
	for ended := false; !ended; {
		select {
		case r := <-m.Heard:
			if r.Msg == "mine" {
				got[r.From]++
			} else {
				ended = true
			}
		case <-time.After(patience):
			require.Fail(t, "not heard", "%v", got)
		}
	}
	assert.Equal(t, want, got)
}

// TestTrap09TwoInterfacesOnOneLink: each hears what the other sends.
func TestTrap09TwoInterfacesOnOneLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.VethPair(t, "vb0", "vb1")
	netbed.Bridge(t, "br0", "va1", "vb1")
	m := join(t, on("va0", "vb0"))
	use(t, m, "va0", "vb0")
	far := join(t, on("br0"))
	use(t, far, "br0")
	reach(t, far, "br0", m, patience)
	for name, other := range map[string]string{"va0": "vb0", "vb0": "va0"} {
		reach(t, m, name, far, patience)
		msg := nonce()
		require.NoError(t, m.Send(must(t, m, name).Index, []byte(msg)))
		assert.Equal(t, must(t, m, other).Index, hear(t, m.Heard, msg).Link)
	}
}

// TestTrap10InterfaceGoesWithThePacket: concurrent sends do not cross links.
func TestTrap10InterfaceGoesWithThePacket(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	const links, each = 4, 25 // every receiver's queue gets them all, twice
	var near []string
	var far [links]member
	for i := range links {
		a, b := fmt.Sprintf("va%d", i), fmt.Sprintf("vb%d", i)
		netbed.VethPair(t, a, b)
		near = append(near, a)
		far[i] = join(t, on(b))
	}
	e := open(t, on(near...))
	use(t, e, near...)
	var wg sync.WaitGroup
	for i, name := range near {
		l := must(t, e, name)
		wg.Go(func() {
			for range each {
				if !assert.NoError(t, e.Send(l.Index, fmt.Appendf(nil, "link %d", i))) {
					return
				}
			}
		})
	}
	wg.Wait()
	for i, m := range far {
		for range each {
			select {
			case r := <-m.Heard:
				require.Equal(t, fmt.Sprintf("link %d", i), r.Msg)
				require.Equal(t, must(t, e, near[i]).Addr.WithZone(""), r.From.Addr.Addr().WithZone(""))
			case <-time.After(patience):
				require.Fail(t, "not all heard", "by link %d", i)
			}
		}
	}
}

// Neighbours are told by their addresses, global ones included.
func TestLayer2OnLink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	netbed.AddAddr(t, "va0", "2001:db8:7::1/64")
	e, err := (&acp.Layer2{Links: []string{"va0"}}).Open()
	require.NoError(t, err)
	defer e.Close()
	netbed.Eventually(t, 30*time.Second, "the address is known", func() bool {
		return acp.OnLink(e, netip.MustParseAddr("2001:db8:7::99"))
	})
	require.False(t, acp.OnLink(e, netip.MustParseAddr("2001:db8:8::99")))
}

// TestLayer2IgnoresOwn: another endpoint of the host hears what an endpoint sends, and the
// endpoint itself does not. It hears what another host sends from the same port.
func TestLayer2IgnoresOwn(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	far := netbed.NewNode(t, "far")
	netbed.VethPair(t, "va0", "va1")
	far.MoveLink(t, "va1")
	netbed.AddAddr(t, "va0", "192.0.2.1/24")
	far.AddAddr(t, "va1", "192.0.2.2/24")
	for _, network := range []string{"udp6", "udp4"} {
		t.Run(network, func(t *testing.T) {
			group := acp.Group6().WithZone("va1")
			if network == "udp4" {
				group = acp.Group4()
				netbed.Sysctl(t, "net/ipv6/conf/va0/disable_ipv6", "1")
			}
			plane := acp.Layer2{Links: []string{"va0"}, IPv4: network == "udp4"}
			us, same := join(t, &plane), join(t, &plane)
			msg := nonce()
			require.NoError(t, us.Send(must(t, us, "va0").Index, []byte(msg)))
			port := hear(t, same.Heard, msg).Addr.Port()

			theirs := nonce()
			far.Do(t, func() {
				c, err := net.ListenUDP(network, &net.UDPAddr{Port: int(port)})
				require.NoError(t, err)
				defer c.Close()
				if network == "udp4" {
					require.NoError(t, ipv4.NewPacketConn(c).SetMulticastInterface(&net.Interface{Index: netbed.Index(t, "va1")}))
				}
				netbed.Eventually(t, patience, "it is sent", func() bool {
					_, err := c.WriteToUDPAddrPort([]byte(theirs), netip.AddrPortFrom(group, acp.Port))
					return err == nil
				})
			})
			select {
			case first := <-us.Heard:
				assert.Equal(t, theirs, first.Msg)
			case <-time.After(patience):
				assert.Fail(t, "nothing was heard")
			}
		})
	}
}
