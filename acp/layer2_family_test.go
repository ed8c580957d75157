package acp

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failing has the receiver of one family fail to open.
func (tr *tracked) failing(network string, err error) {
	listen := tr.listenGroup
	tr.listenGroup = func(n string) (*net.UDPConn, error) {
		if n == network {
			return nil, &net.OpError{Op: "listen", Err: err}
		}
		return listen(n)
	}
}

// TestLayer2Families: with IPv4 either family will do, but only for want of
// the other.
func TestLayer2Families(t *testing.T) {
	if !ipv4Works {
		t.Skip("no IPv4 on this system")
	}
	for name, test := range map[string]struct {
		err6, err4 error
		six, four  bool
	}{
		"Both":    {nil, nil, true, true},
		"Only6":   {nil, syscall.EAFNOSUPPORT, true, false},
		"Only4":   {syscall.EAFNOSUPPORT, nil, false, true},
		"None":    {syscall.EAFNOSUPPORT, syscall.EAFNOSUPPORT, false, false},
		"Trouble": {nil, syscall.EADDRINUSE, true, false},
		"Other":   {syscall.EADDRINUSE, nil, false, true},
		"InUse":   {syscall.EADDRINUSE, syscall.EADDRINUSE, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracked()
			if test.err6 != nil {
				tr.failing("udp6", test.err6)
			}
			if test.err4 != nil {
				tr.failing("udp4", test.err4)
			}
			e, err := openLayer2(&Layer2{IPv4: true}, tr.system)
			if !test.six && !test.four {
				require.Error(t, err)
				assert.ErrorContains(t, err, "port 7017")
				tr.allClosed(t)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.six, e.six != nil)
			assert.Equal(t, test.four, e.four != nil)
			_, amiss := e.Interfaces()
			for _, err := range []error{test.err6, test.err4} {
				if err == syscall.EADDRINUSE {
					assert.ErrorIs(t, amiss, err)
				}
			}
			done := make(chan error)
			go func() {
				_, _, err := e.Receive(nil)
				done <- err
			}()
			require.NoError(t, e.Close())
			require.ErrorIs(t, <-done, net.ErrClosed)
			_, _, err = e.Receive(nil)
			require.ErrorIs(t, err, net.ErrClosed)
			tr.allClosed(t)
		})
	}
}

// TestTrap20OneFamilyCollides: a port that one of the families cannot have is
// given back whole.
func TestTrap20OneFamilyCollides(t *testing.T) {
	if !ipv4Works {
		t.Skip("no IPv4 on this system")
	}
	tr := newTracked()
	listen := tr.listenUDP
	collisions := 5
	tr.listenUDP = func(network string, p uint16) (*net.UDPConn, error) {
		if network == "udp4" && collisions > 0 {
			collisions--
			return nil, syscall.EADDRINUSE
		}
		return listen(network, p)
	}
	e, err := openLayer2(&Layer2{IPv4: true}, tr.system)
	require.NoError(t, err)
	assert.Len(t, tr.tcp, 6+1, "and the shared port")
	require.Len(t, tr.udp, 2+6+1)
	for i := range 5 {
		assert.ErrorIs(t, tr.tcp[i].Close(), net.ErrClosed)
		assert.ErrorIs(t, tr.udp[2+i].Close(), net.ErrClosed)
	}
	require.NoError(t, e.Close())
	tr.allClosed(t)
}

func TestLayer2Pick(t *testing.T) {
	six, four := &family{group: Group6()}, &family{group: Group4()}
	for name, test := range map[string]struct {
		f        *family
		loopback bool
		addrs    string
		old      string
		want     string
		choice   choice
	}{
		"None":            {six, false, "", "", "", choiceNone},
		"6LinkLocal":      {six, false, "fd00::1 192.0.2.1 fe80::1 fe80::2", "", "fe80::1", choiceFirst},
		"6Old":            {six, false, "fe80::1 fe80::2", "fe80::2", "fe80::2", choiceFirst},
		"6OldIsGone":      {six, false, "fe80::1 fe80::2", "fe80::3", "fe80::1", choiceFirst},
		"6Tentative":      {six, false, "fe80::1! fe80::2?", "fe80::1", "fe80::2", choiceAwaited},
		"6Failed":         {six, false, "fe80::1!", "", "fe80::1", choiceFailed},
		"6Other":          {six, false, "fd00::1 2001:db8::1 192.0.2.1 ::1 ff02::1", "", "", choiceNone},
		"6Loopback":       {six, true, "127.0.0.1 ::1", "", "::1", choiceSecond},
		"6LoopbackSecond": {six, true, "::1 fe80::1", "", "fe80::1", choiceFirst},
		"4":               {four, false, "fe80::1 10.0.0.1 192.0.2.1", "", "10.0.0.1", choiceFirst},
		"4Old":            {four, false, "10.0.0.1 192.0.2.1", "192.0.2.1", "192.0.2.1", choiceFirst},
		"4LinkLocal":      {four, false, "169.254.1.1", "", "169.254.1.1", choiceSecond},
		"4GivenIsBetter":  {four, false, "169.254.1.1 10.0.0.1", "169.254.1.1", "10.0.0.1", choiceFirst},
		"4Other":          {four, false, "127.0.0.1 0.0.0.0 224.0.0.1 255.255.255.255", "", "", choiceNone},
		"4Loopback":       {four, true, "::1 127.0.0.1", "", "127.0.0.1", choiceFirst},
	} {
		t.Run(name, func(t *testing.T) {
			ifi := &netif{loopback: test.loopback, addrs: addrs(test.addrs)}
			var old netip.Addr
			if test.old != "" {
				old = netip.MustParseAddr(test.old)
			}
			got, c := test.f.pick(ifi, old)
			assert.Equal(t, test.choice, c)
			if test.want != "" {
				assert.Equal(t, netip.MustParseAddr(test.want), got.ip)
			}
		})
	}
}

// addrs reads a list of addresses: ? is for tentative, ! for failed.
func addrs(list string) []netifAddr {
	var as []netifAddr
	for word := range strings.FieldsSeq(list) {
		var flags addrFlags
		switch word[len(word)-1] {
		case '?':
			flags = addrTentative
		case '!':
			flags = addrTentative | addrFailed
		}
		if flags != 0 {
			word = word[:len(word)-1]
		}
		as = append(as, netifAddr{ip: netip.MustParseAddr(word), flags: flags})
	}
	return as
}

// TestLayer2Choose follows one link through what can become of it.
func TestLayer2Choose(t *testing.T) {
	six, four := &family{group: Group6()}, &family{group: Group4()}
	now := time.Now()
	up := func(list string) *netif { return &netif{up: true, mtu: 1500, addrs: addrs(list)} }
	m := new(member)
	e := &layer2Endpoint{six: six, four: four}
	steps := func(steps ...func() (*netif, time.Duration, *family, bool)) {
		t.Helper()
		for i, step := range steps {
			ifi, after, want, usable := step()
			now = now.Add(after)
			f, _, c := e.choose(ifi, m, nil, now)
			require.Equal(t, usable, c.usable(), "step %d", i)
			if usable {
				require.Same(t, want, f, "step %d", i)
				m.joined = f
			}
			if !ifi.up {
				m.joined, m.pending = nil, time.Time{}
			}
		}
	}
	step := func(ifi *netif, after time.Duration, want *family) func() (*netif, time.Duration, *family, bool) {
		return func() (*netif, time.Duration, *family, bool) { return ifi, after, want, want != nil }
	}
	off := up("10.0.0.1")
	off.noIPv6 = true
	narrow := up("10.0.0.1")
	narrow.mtu = minMTU - 1
	down := up("10.0.0.1")
	down.up = false
	steps(
		step(up("10.0.0.1"), 0, nil),                    // IPv6 may come
		step(up("10.0.0.1 fe80::1?"), ipv4Grace*2, nil), // it comes
		step(up("10.0.0.1 fe80::1"), 0, six),            // it is there
		step(up("10.0.0.1"), time.Hour, nil),            // it is gone, for a moment
		step(up("10.0.0.1"), ipv4Grace-1, nil),          //
		step(up("10.0.0.1"), 1, four),                   // no, for good
		step(up("10.0.0.1 fe80::1?"), 0, four),          // it comes again
		step(up("10.0.0.1 fe80::1!"), 0, four),          // but fails
		step(up("10.0.0.1 fe80::1"), 0, six),            //
		step(off, 0, four),                              // switched off: no need to wait
		step(narrow, 0, nil),                            //
		step(up("fe80::1"), 0, six),                     //
		step(down, 0, nil),                              //
		step(up("10.0.0.1"), time.Hour, nil),            // up again, it may come
		step(up("10.0.0.1"), ipv4Grace, four),           //
		step(up("10.0.0.1!"), 0, nil),                   //
	)
	e.four = nil
	m = new(member)
	steps(step(off, 0, nil), step(off, time.Hour, nil))
	e.four, e.six = four, nil
	m = new(member)
	steps(step(up("10.0.0.1 fe80::1"), 0, four), step(narrow, 0, nil))
}

// TestLayer2LinkOfPeer: an IPv4 peer is on the one link that it can be on.
func TestLayer2LinkOfPeer(t *testing.T) {
	on := func(index int, addr string, nets ...string) *linkState {
		l := &linkState{Link: Link{Index: index, Addr: netip.MustParseAddr(addr)}}
		for _, n := range nets {
			l.onLink = append(l.onLink, netip.MustParsePrefix(n))
		}
		return l
	}
	st := &layer2State{only4: []*linkState{
		on(2, "10.0.0.1", "10.0.0.0/24"),
		on(3, "10.0.1.1", "10.0.1.0/24", "192.0.2.0/24"),
		on(4, "10.0.0.2", "10.0.0.0/24"),
		on(5, "10.0.0.3", "10.0.0.0/24"),
	}}
	for _, test := range []struct {
		peer, local string
		want        int
	}{
		{"10.0.1.9", "10.0.1.1", 3},
		{"192.0.2.9", "10.0.0.1", 3},
		{"10.0.0.9", "10.0.0.1", 2},
		{"10.0.0.9", "10.0.0.2", 4},
		{"10.0.0.9", "192.0.2.1", 0},
		{"198.51.100.1", "10.0.0.1", 0},
	} {
		assert.Equal(t, test.want, st.linkOf(netip.MustParseAddr(test.peer), netip.MustParseAddr(test.local)), "%v", test)
	}
}
