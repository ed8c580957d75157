package acp

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv6"
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
	udp := func(uint16) (*net.UDPConn, error) {
		c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
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
		listenGroup: func() (*net.UDPConn, error) { return udp(0) },
		interfaces:  func() ([]netif, error) { return nil, nil },
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
				tr.listenGroup = func() (*net.UDPConn, error) { return nil, syscall.EMFILE }
			},
			syscall.EMFILE, "port 7017",
		},
		"NoIPv6": {
			func(tr *tracked) {
				tr.listenGroup = func() (*net.UDPConn, error) {
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
				tr.listenUDP = func(uint16) (*net.UDPConn, error) { return nil, syscall.EMFILE }
			},
			syscall.EMFILE, "try 1",
		},
		"Collisions": {
			func(tr *tracked) {
				tr.listenUDP = func(uint16) (*net.UDPConn, error) { return nil, inUse }
			},
			inUse, "try 64",
		},
		"SenderClosed": {
			func(tr *tracked) {
				listen := tr.listenUDP
				tr.listenUDP = func(p uint16) (*net.UDPConn, error) {
					c, err := listen(p)
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
			e, err := openLayer2(nil, tr.system)
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

// TestTrap20CollisionsThenSuccess: the ports tried in vain are given back.
func TestTrap20CollisionsThenSuccess(t *testing.T) {
	tr := newTracked()
	listen := tr.listenUDP
	collisions := 5
	tr.listenUDP = func(p uint16) (*net.UDPConn, error) {
		if collisions--; collisions >= 0 {
			return nil, syscall.EADDRINUSE
		}
		return listen(p)
	}
	e, err := openLayer2(nil, tr.system)
	require.NoError(t, err)
	for _, l := range tr.tcp[:5] {
		assert.ErrorIs(t, l.Close(), net.ErrClosed)
	}
	require.NoError(t, e.Close())
	tr.allClosed(t)
}

// TestLayer2SnapshotFails: the last snapshot stands, and the watcher neither
// stops nor spins (trap 13).
func TestLayer2SnapshotFails(t *testing.T) {
	tr := newTracked()
	var looks atomic.Int64
	var bad atomic.Bool
	tr.interfaces = func() ([]netif, error) {
		looks.Add(1)
		if bad.Load() {
			return nil, syscall.ENOBUFS
		}
		return []netif{{index: 1, name: "x", up: true, addrs: []netifAddr{{ip: netip.MustParseAddr("fd00::1")}}}}, nil
	}
	e, err := openLayer2(nil, tr.system)
	require.NoError(t, err)
	defer e.Close()
	bad.Store(true)
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
		e.poke()
		time.Sleep(100 * time.Microsecond)
	}
	assert.Equal(t, "fd00::1", e.Addr().String())
	assert.Greater(t, looks.Load(), int64(2))
	assert.LessOrEqual(t, looks.Load(), int64(300/20+2), "looks at %v at least apart", pollGap)
	select {
	case <-e.Changed():
		assert.Fail(t, "a change was told")
	default:
	}
}

// TestLayer2WatchIntervals: one look a second when nothing is expected, many
// while an address is tentative, fewer when that takes long.
func TestLayer2WatchIntervals(t *testing.T) {
	tr := newTracked()
	recv, err := tr.listenGroup()
	require.NoError(t, err)
	defer recv.Close()
	e := &layer2Endpoint{group: ipv6.NewPacketConn(recv), members: make(map[int]*member)}
	ll := netip.MustParseAddr("fe80::1")
	ifi := &netif{index: 1, name: "x", up: true, multicast: true, addrs: []netifAddr{{ip: ll, flags: addrTentative}}}
	e.members[1] = &member{joined: true}
	now := time.Now()
	at := func(after time.Duration) time.Duration {
		l, wait := e.follow(ifi, nil, now.Add(after))
		assert.Nil(t, l)
		return wait
	}
	assert.Equal(t, pollFast, at(0))
	assert.Equal(t, pollFast, at(pollFastFor-1))
	assert.Equal(t, pollSlow, at(pollFastFor))
	ifi.addrs[0].flags = addrTentative | addrFailed
	assert.Equal(t, pollIdle, at(pollFastFor))
	ifi.addrs = nil
	assert.Equal(t, pollIdle, at(pollFastFor))
	ifi.addrs = []netifAddr{{ip: ll}}
	l, wait := e.follow(ifi, nil, now)
	assert.Equal(t, pollIdle, wait)
	assert.Equal(t, Link{Index: 1, Name: "x", Addr: ll.WithZone("1")}, l.Link)
	again, _ := e.follow(ifi, l, now)
	assert.Same(t, l, again)
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
	e := &layer2Endpoint{group: ipv6.NewPacketConn(c)}
	var first, second, none member
	e.join(1, &first)
	e.join(1, &second)
	e.join(1<<30, &none)
	assert.True(t, first.joined)
	assert.True(t, second.joined)
	assert.False(t, none.joined)
	e.leave(1, &first)
	e.leave(1, &second) // nothing is left, which is nobody's trouble
	assert.False(t, second.joined)
}

// TestLayer2WatchEnds: the watcher looks every second and ends with Close. The
// sockets are not used, so that the clock is the bubble's.
func TestLayer2WatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		e := &layer2Endpoint{wake: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
		e.sys.interfaces = func() ([]netif, error) {
			looks++
			return nil, errors.New("no")
		}
		e.ctx, e.cancel = t.Context(), func() {}
		go e.watch(pollIdle)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		assert.Equal(t, 10, looks)
		e.poke()
		e.poke()
		time.Sleep(pollGap)
		synctest.Wait()
		assert.Equal(t, 11, looks)
	})
}

func TestLayer2BestAddr(t *testing.T) {
	on := func(ip string, flags addrFlags) netifAddr { return netifAddr{netip.MustParseAddr(ip), flags} }
	ula, ula2 := on("fd00::1", 0), on("fd00::2", 0)
	gua := on("2001:db8::1", 0)
	for name, test := range map[string]struct {
		addrs []netifAddr
		old   netip.Addr
		want  netip.Addr
	}{
		"None":               {nil, ula.ip, netip.Addr{}},
		"LinkLocalIsNot":     {[]netifAddr{on("fe80::1", 0), on("ff02::13", 0), on("::1", 0)}, netip.Addr{}, netip.Addr{}},
		"UniqueLocalFirst":   {[]netifAddr{gua, ula}, netip.Addr{}, ula.ip},
		"Tentative":          {[]netifAddr{gua, on("fd00::1", addrTentative), on("fd00::2", addrFailed)}, netip.Addr{}, gua.ip},
		"TemporaryLast":      {[]netifAddr{on("fd00::1", addrTemporary), gua}, netip.Addr{}, gua.ip},
		"DeprecatedVeryLast": {[]netifAddr{on("fd00::1", addrDeprecated), on("2001:db8::1", addrTemporary)}, netip.Addr{}, gua.ip},
		"FirstOfEqual":       {[]netifAddr{ula, ula2}, netip.Addr{}, ula.ip},
		"OldOfEqual":         {[]netifAddr{ula, ula2}, ula2.ip, ula2.ip},
		"BetterThanOld":      {[]netifAddr{gua, ula}, gua.ip, ula.ip},
		"OldIsGone":          {[]netifAddr{ula}, ula2.ip, ula.ip},
	} {
		t.Run(name, func(t *testing.T) {
			ifs := []netif{
				{name: "down", addrs: []netifAddr{on("fd00::dead", 0)}},
				{name: "lo", up: true, loopback: true, addrs: []netifAddr{on("fd00::dead", 0)}},
				{name: "x", up: true, addrs: test.addrs},
			}
			assert.Equal(t, test.want, bestAddr(ifs, test.old))
		})
	}
}

// TestTrap11NoPacketInfo: without a control message the zone of the source
// says by which link a datagram came.
func TestTrap11NoPacketInfo(t *testing.T) {
	e := new(layer2Endpoint)
	e.state.Store(&layer2State{
		byIndex: map[int]*linkState{5: {Link: Link{Index: 5}, zone: "5"}, 1: {Link: Link{Index: 1}, zone: "1", loopback: true}},
		names:   map[string]int{"va0": 5, "lo": 1},
	})
	for src, want := range map[string]int{
		"[fe80::1%va0]:9":        5,
		"[fe80::1%5]:9":          5,
		"[fe80::1%6]:9":          0,
		"[fe80::1%none]:9":       0,
		"[fe80::1]:9":            0,
		"[fd00::1]:9":            0,
		"[::1%lo]:9":             1,
		"[::1%va0]:9":            0,
		"192.0.2.1:9":            0,
		"[::ffff:169.254.0.1]:9": 0,
	} {
		from, ok := e.origin(netip.MustParseAddrPort(src), nil)
		assert.Equal(t, want != 0, ok, src)
		assert.Equal(t, want, from.Link, src)
		if want == 5 {
			assert.Equal(t, "[fe80::1%5]:9", from.Addr.String(), src)
		}
	}
	// Where control messages are to be had, nothing passes without.
	e.packetInfo = true
	_, ok := e.origin(netip.MustParseAddrPort("[fe80::1%5]:9"), nil)
	assert.False(t, ok)
	// And whatever is in one, nothing breaks.
	for _, oob := range [][]byte{{}, {1}, make([]byte, 12), make([]byte, oobSize), {255, 255, 255, 255, 255, 255, 255, 255, 41, 0, 0, 0, 50, 0, 0, 0}} {
		_, ok := e.origin(netip.MustParseAddrPort("[fe80::1%5]:9"), oob)
		assert.False(t, ok, oob)
	}
}
