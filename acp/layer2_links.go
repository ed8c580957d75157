package acp

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// netif is an interface as a snapshot has it.
type netif struct {
	index     int
	name      string
	hw        string // hardware address
	mtu       int    // 0: unknown
	up        bool   // and operational: a cable without a signal is not
	multicast bool
	loopback  bool
	noIPv6    bool // it has IPv4 addresses, and IPv6 is known to be off
	addrs     []netifAddr
}

// netifAddr is an address of an interface, without zone. A mapped IPv4 address
// does not occur.
type netifAddr struct {
	ip    netip.Addr
	flags addrFlags
	// onLink is the network that an IPv4 address makes neighbours.
	onLink netip.Prefix
	// stamp is when the address was given to the interface, in a unit of the
	// system's; 0 if it does not tell. A longer lifetime does not change it.
	stamp uint32
}

// addrFlags says what keeps an address from being used, or makes it second
// choice. A system that does not tell has 0.
type addrFlags uint8

const (
	addrTentative  addrFlags = 1 << iota // duplicate address detection goes on
	addrFailed                           // another node has it
	addrDeprecated                       // not for new communication
	addrTemporary                        // for privacy; changes often
)

func (a netifAddr) usable() bool { return a.flags&(addrTentative|addrFailed) == 0 }

// ipv4Grace is how long a link waits for an IPv6 address before it runs over
// IPv4, unless IPv6 is known to be off: programs that manage networks may give
// the address themselves, soon after the link is up.
const ipv4Grace = 500 * time.Millisecond

// member is what is known of an interface on which the group was joined, or
// should be.
type member struct {
	joined  *family // nil: none
	hw      string
	stamp   uint32    // of the address
	inUse   bool      // at the last look
	pending time.Time // since when an IPv6 address is awaited; zero: it is not
}

// be makes it a member of the group of one family, or of none, and says
// whether it is. A failure is tried again at the next look.
func (m *member) be(f *family, index int) bool {
	if m.joined != f {
		m.leave(index)
		if f != nil && f.join(index) == nil {
			m.joined = f
		}
	}
	return m.joined != nil
}

// leave ends any membership on an interface.
func (m *member) leave(index int) {
	if m.joined != nil {
		m.joined.leave(index)
		m.joined = nil
	}
}

// selected is true if an interface is one that may be a link.
func (e *layer2Endpoint) selected(ifi *netif) bool {
	if len(e.names) == 0 {
		return ifi.multicast && !ifi.loopback
	}
	// A loopback interface needs no flag: Linux does not set it there.
	return (ifi.multicast || ifi.loopback) && slices.Contains(e.names, ifi.name)
}

// follow brings the membership of one interface up to date. It returns the
// link if it is in use, and how long to wait for a change.
func (e *layer2Endpoint) follow(ifi *netif, old *linkState, now time.Time) (*linkState, time.Duration) {
	m := e.members[ifi.index]
	if m == nil {
		m = &member{hw: ifi.hw}
		e.members[ifi.index] = m
	}
	f, addr, c := e.choose(ifi, m, old, now)
	// A membership does not outlive its interface, while the index may come
	// back, and so does a join of what the socket believes to have joined
	// (EADDRINUSE). So whenever the interface may have been replaced since
	// the last look, or had its address taken from it, leave and join.
	if m.hw != ifi.hw || m.stamp != addr.stamp || (m.inUse && !c.usable()) {
		m.leave(ifi.index)
	}
	m.hw, m.stamp, m.inUse = ifi.hw, addr.stamp, false
	if !ifi.up {
		m.pending = time.Time{}
		return nil, pollSafe
	}
	// Join before there is an address, so as not to miss anything after.
	if !m.be(f, ifi.index) {
		return nil, pollIdle
	}
	switch {
	case c.usable():
		m.inUse = true
		return e.linkOn(f, ifi, addr, old), pollSafe
	case now.Sub(m.pending) < pollFastFor:
		return nil, pollFast
	case c == choiceAwaited:
		return nil, pollSlow
	}
	return nil, pollSafe
}

// choose returns the family that a link is to run over, and its address there
// if that is usable: IPv6 if it has one, else IPv4 if it may.
func (e *layer2Endpoint) choose(ifi *netif, m *member, old *linkState, now time.Time) (*family, netifAddr, choice) {
	var had netip.Addr
	if old != nil {
		had = old.Addr.WithZone("")
	}
	var six netifAddr
	var c6 choice
	if e.six != nil {
		if six, c6 = e.six.pick(ifi, had); c6.usable() {
			m.pending = time.Time{}
			return e.six, six, c6
		}
	}
	if m.pending.IsZero() {
		m.pending = now
	}
	if e.four != nil && (ifi.mtu == 0 || ifi.mtu >= minMTU) {
		four, c4 := e.four.pick(ifi, had)
		runs := ifi.up && m.joined == e.four // until IPv6 can take over
		absent := e.six == nil || ifi.noIPv6
		late := c6 != choiceAwaited && now.Sub(m.pending) >= ipv4Grace
		if c4.usable() && (runs || absent || late) || e.six == nil {
			return e.four, four, c4
		}
	}
	return e.six, six, c6
}

// linkOn returns a link in use: the old one, if nothing about it changed.
func (e *layer2Endpoint) linkOn(f *family, ifi *netif, addr netifAddr, old *linkState) *linkState {
	l := &linkState{zone: zoneOf(ifi.index), loopback: ifi.loopback, family: f}
	l.Link = Link{Index: ifi.index, Name: ifi.name, Addr: addr.ip}
	if isLinkLocal(addr.ip) {
		l.Addr = addr.ip.WithZone(l.zone)
	}
	if addr.ip.Is4() {
		for _, a := range ifi.addrs {
			if a.ip.Is4() {
				// A network of two has only the other end in its prefix.
				l.onLink = append(l.onLink, a.onLink, netip.PrefixFrom(a.ip, a.ip.BitLen()))
			}
		}
	}
	if old != nil && old.Link == l.Link && slices.Equal(old.onLink, l.onLink) {
		return old
	}
	l.oob = f.control(l.Link)
	return l
}

// bestAddr returns the address by which nodes beyond the link reach this one:
// a unique local one rather than a global one, as the prototype does, one that
// lasts rather than a temporary or deprecated one, and the one given out so
// far rather than another that is no better. IPv4 comes last, if at all. An
// interface need not be a link in use, since any address of the host reaches
// it.
func bestAddr(ifs []netif, old netip.Addr, with4 bool) netip.Addr {
	var best netip.Addr
	bestRank := 0
	for _, ifi := range ifs {
		if !ifi.up || ifi.loopback {
			continue
		}
		for _, a := range ifi.addrs {
			if !a.ip.IsGlobalUnicast() || !a.usable() || (a.ip.Is4() && !with4) {
				continue
			}
			rank := 1
			if !a.ip.IsPrivate() { // of IPv6: fc00::/7
				rank++
			}
			if a.flags&addrTemporary != 0 {
				rank += 2
			}
			if a.flags&addrDeprecated != 0 {
				rank += 4
			}
			if a.ip.Is4() {
				rank += 8
			}
			if bestRank == 0 || rank < bestRank || (rank == bestRank && a.ip == old) {
				best, bestRank = a.ip, rank
			}
		}
	}
	return best
}

// flagsOf takes what a snapshot needs from package net.
func flagsOf(ifi *net.Interface) netif {
	const up = net.FlagUp | net.FlagRunning
	return netif{
		index:     ifi.Index,
		name:      ifi.Name,
		hw:        string(ifi.HardwareAddr),
		mtu:       ifi.MTU,
		up:        ifi.Flags&up == up,
		multicast: ifi.Flags&net.FlagMulticast != 0,
		loopback:  ifi.Flags&net.FlagLoopback != 0,
	}
}
