package acp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tracked is a system on the loopback interface, without multicast, that
// knows the sockets it gave out.
type tracked struct {
	system
	tcp []*net.TCPListener
	udp []*net.UDPConn
}

func newTracked() *tracked {
	tr := new(tracked)
	udp := func(network string, _ uint16) (*net.UDPConn, error) {
		loopback := net.IPv6loopback
		if network == "udp4" {
			loopback = net.IPv4(127, 0, 0, 1)
		}
		c, err := net.ListenUDP(network, &net.UDPAddr{IP: loopback})
		if err == nil {
			tr.udp = append(tr.udp, c)
		}
		return c, err
	}
	tr.system = system{
		listenTCP: func(uint16) (*net.TCPListener, error) {
			l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: net.IPv6loopback})
			if err == nil {
				tr.tcp = append(tr.tcp, l)
			}
			return l, err
		},
		listenUDP:   udp,
		listenGroup: func(network string) (*net.UDPConn, error) { return udp(network, 0) },
		connect:     connect,
		interfaces:  func() ([]netif, error) { return nil, nil },
		subscribe:   func(bool) (eventSource, error) { return nil, errors.ErrUnsupported },
		alarm:       func() (eventSource, error) { return nil, errors.ErrUnsupported },
	}
	return tr
}

// allClosed checks that every socket given out is closed.
func (tr *tracked) allClosed(t *testing.T) {
	t.Helper()
	for _, l := range tr.tcp {
		assert.ErrorIs(t, l.Close(), net.ErrClosed)
	}
	for _, c := range tr.udp {
		assert.ErrorIs(t, c.Close(), net.ErrClosed)
	}
}

// TestLayer2OpenFails: whatever fails, nothing is left open.
func TestLayer2OpenFails(t *testing.T) {
	inUse := error(syscall.EADDRINUSE)
	for name, test := range map[string]struct {
		set  func(*tracked)
		want error
		text string
	}{
		"Group": {
			func(tr *tracked) {
				tr.listenGroup = func(string) (*net.UDPConn, error) { return nil, syscall.EMFILE }
			},
			syscall.EMFILE, "port 7017",
		},
		"NoIPv6": {
			func(tr *tracked) {
				tr.listenGroup = func(string) (*net.UDPConn, error) {
					return nil, &net.OpError{Op: "listen", Err: syscall.EAFNOSUPPORT}
				}
			},
			syscall.EAFNOSUPPORT, "the system has no IPv6",
		},
		"TCP": {
			func(tr *tracked) {
				tr.listenTCP = func(uint16) (*net.TCPListener, error) { return nil, syscall.EMFILE }
			},
			syscall.EMFILE, "listen for streams",
		},
		"UDP": {
			func(tr *tracked) {
				tr.listenUDP = func(string, uint16) (*net.UDPConn, error) { return nil, syscall.EMFILE }
			},
			syscall.EMFILE, "try 1",
		},
		"Collisions": {
			func(tr *tracked) {
				tr.listenUDP = func(string, uint16) (*net.UDPConn, error) { return nil, inUse }
			},
			inUse, "try 64",
		},
		"SenderClosed": {
			func(tr *tracked) {
				listen := tr.listenUDP
				tr.listenUDP = func(network string, p uint16) (*net.UDPConn, error) {
					c, err := listen(network, p)
					if err == nil {
						err = c.Close()
					}
					return c, err
				}
			},
			nil, "sender",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracked()
			test.set(tr)
			e, err := openLayer2(&Layer2{}, tr.system)
			require.Error(t, err)
			assert.Nil(t, e)
			if test.want != nil {
				assert.ErrorIs(t, err, test.want)
			}
			assert.ErrorContains(t, err, test.text)
			assert.ErrorContains(t, err, "acp: layer 2: ")
			tr.allClosed(t)
		})
	}
}

// TestLayer2ClosesItsEvents: Close ends the goroutine that waits for them.
func TestLayer2ClosesItsEvents(t *testing.T) {
	tr, c := newTracked(), newCanned()
	tr.subscribe = func(bool) (eventSource, error) { return c, nil }
	e, err := openLayer2(&Layer2{}, tr.system)
	require.NoError(t, err)
	c.events <- nil
	require.NoError(t, e.Close())
	assert.EqualValues(t, 1, c.closes.Load())
	tr.allClosed(t)
}

// TestTrap20CollisionsThenSuccess: the ports tried in vain are given back.
func TestTrap20CollisionsThenSuccess(t *testing.T) {
	tr := newTracked()
	listen := tr.listenUDP
	collisions := 5
	tr.listenUDP = func(network string, p uint16) (*net.UDPConn, error) {
		if collisions--; collisions >= 0 {
			return nil, syscall.EADDRINUSE
		}
		return listen(network, p)
	}
	e, err := openLayer2(&Layer2{}, tr.system)
	require.NoError(t, err)
	for _, l := range tr.tcp[:5] {
		assert.ErrorIs(t, l.Close(), net.ErrClosed)
	}
	require.NoError(t, e.Close())
	tr.allClosed(t)
}

// TestTrap10SecondJoin: that the group is joined already is success.
func TestTrap10SecondJoin(t *testing.T) {
	lo, err := net.InterfaceByIndex(1)
	if err != nil || lo.Flags&net.FlagLoopback == 0 {
		t.Skip("interface 1 is not a loopback")
	}
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	require.NoError(t, err)
	defer c.Close()
	f := newFamily("udp6", c)
	e := new(layer2Endpoint)
	var first, second, none member
	now := time.Now()
	assert.NoError(t, e.joinBy(&first, f, 1, now))
	assert.NoError(t, e.joinBy(&second, f, 1, now))
	assert.Error(t, e.joinBy(&none, f, 1<<30, now))
	first.leave(1)
	second.leave(1) // nothing is left, which is nobody's trouble
	assert.Nil(t, second.joined)
}

func TestLayer2BestAddr(t *testing.T) {
	on := func(ip string, flags addrFlags) netifAddr {
		return netifAddr{ip: netip.MustParseAddr(ip), flags: flags}
	}
	ula, ula2 := on("fd00::1", 0), on("fd00::2", 0)
	gua := on("2001:db8::1", 0)
	private4, public4 := on("10.0.0.1", 0), on("192.0.2.1", 0)
	for name, test := range map[string]struct {
		addrs []netifAddr
		old   netip.Addr
		want  netip.Addr
		with4 bool
	}{
		"None":               {nil, ula.ip, netip.Addr{}, false},
		"LinkLocalIsNot":     {[]netifAddr{on("fe80::1", 0), on("ff02::13", 0), on("::1", 0)}, netip.Addr{}, netip.Addr{}, false},
		"UniqueLocalFirst":   {[]netifAddr{gua, ula}, netip.Addr{}, ula.ip, false},
		"Tentative":          {[]netifAddr{gua, on("fd00::1", addrTentative), on("fd00::2", addrFailed)}, netip.Addr{}, gua.ip, false},
		"TemporaryLast":      {[]netifAddr{on("fd00::1", addrTemporary), gua}, netip.Addr{}, gua.ip, false},
		"DeprecatedVeryLast": {[]netifAddr{on("fd00::1", addrDeprecated), on("2001:db8::1", addrTemporary)}, netip.Addr{}, gua.ip, false},
		"FirstOfEqual":       {[]netifAddr{ula, ula2}, netip.Addr{}, ula.ip, false},
		"OldOfEqual":         {[]netifAddr{ula, ula2}, ula2.ip, ula2.ip, false},
		"BetterThanOld":      {[]netifAddr{gua, ula}, gua.ip, ula.ip, false},
		"OldIsGone":          {[]netifAddr{ula}, ula2.ip, ula.ip, false},
		"IPv4IsOff":          {[]netifAddr{private4}, netip.Addr{}, netip.Addr{}, false},
		"IPv4":               {[]netifAddr{on("169.254.1.1", 0), public4}, netip.Addr{}, public4.ip, true},
		"IPv4PrivateFirst":   {[]netifAddr{public4, private4}, netip.Addr{}, private4.ip, true},
		"IPv4IsLast":         {[]netifAddr{private4, on("2001:db8::1", addrDeprecated|addrTemporary)}, private4.ip, gua.ip, true},
	} {
		t.Run(name, func(t *testing.T) {
			ifs := []netif{
				{name: "down", addrs: []netifAddr{on("fd00::dead", 0)}},
				{name: "lo", up: true, loopback: true, addrs: []netifAddr{on("::1", 0), on("127.0.0.1", 0)}},
				{name: "port", up: true, portOf: "br0", addrs: []netifAddr{on("fd00::dead", 0)}},
				{name: "x", up: true, addrs: test.addrs},
			}
			st := new(layer2State)
			st.setOwn(ifs, test.old, test.with4, netip.Prefix{})
			assert.Equal(t, test.want, st.addr)
		})
	}
}

// TestTrap11NoPacketInfo: without a control message the zone of the source
// says by which link a datagram came.
func TestTrap11NoPacketInfo(t *testing.T) {
	e, f := new(layer2Endpoint), &family{group: Group6()}
	e.state.Store(&layer2State{
		byIndex: map[int]*linkState{
			5: {Link: Link{Index: 5}, zone: "5", family: f},
			1: {Link: Link{Index: 1, Addr: netip.IPv6Loopback()}, zone: "1", family: f, loopback: true},
		},
		names: map[string]int{"va0": 5, "lo": 1},
	})
	for src, want := range map[string]int{
		"[fe80::1%va0]:9":        5,
		"[fe80::1%5]:9":          5,
		"[fe80::1%6]:9":          0,
		"[fe80::1%none]:9":       0,
		"[fe80::1]:9":            0,
		"[fd00::1]:9":            0,
		"[::1]:9":                1,
		"[::1%lo]:9":             1,
		"[::1%va0]:9":            0,
		"192.0.2.1:9":            0,
		"[::ffff:169.254.0.1]:9": 0,
	} {
		from, ok := e.origin(f, netip.MustParseAddrPort(src), nil)
		assert.Equal(t, want != 0, ok, src)
		assert.Equal(t, want, from.Link, src)
		if want == 5 {
			assert.Equal(t, "[fe80::1%5]:9", from.Addr.String(), src)
		}
	}
	// Where control messages are to be had, nothing passes without.
	f.packetInfo = true
	_, ok := e.origin(f, netip.MustParseAddrPort("[fe80::1%5]:9"), nil)
	assert.False(t, ok)
	// And whatever is in one, nothing breaks.
	for _, oob := range [][]byte{{}, {1}, make([]byte, 12), make([]byte, oobSize), {255, 255, 255, 255, 255, 255, 255, 255, 41, 0, 0, 0, 50, 0, 0, 0}} {
		_, ok := e.origin(f, netip.MustParseAddrPort("[fe80::1%5]:9"), oob)
		assert.False(t, ok, oob)
	}
}
