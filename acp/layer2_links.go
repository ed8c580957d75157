package acp

import (
	"fmt"
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
	noCarrier bool   // it would be up if it were operational
	multicast bool
	loopback  bool
	noIPv6    bool   // it has IPv4 addresses, and IPv6 is known to be off
	portOf    string // the bridge, or what is like one, that gets what comes by it
	addrs     []netifAddr
}

// netifAddr is an address of an interface, without zone. A mapped IPv4 address
// does not occur.
type netifAddr struct {
	ip    netip.Addr
	flags addrFlags
	// onLink is the network that the address makes neighbours; not set if it is
	// link-local of IPv6.
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
	by      *receiver
	hw      string
	stamp   uint32    // of the address
	inUse   bool      // at the last look
	pending time.Time // since when an IPv6 address is awaited; zero: it is not

	fails  int // joins that failed, one after the other
	failed error
	retry  time.Time // when to join again
}

// maxRetry is the longest pause between joins that fail.
const maxRetry = time.Minute

// retryPause returns how long to wait for the next attempt after some that failed.
func retryPause(fails int) time.Duration { return min(pollIdle<<min(fails, 8), maxRetry) }

// joinBy makes a member of the group of one family, and of no other. A join that failed
// is tried again after pauses that grow.
func (e *layer2Endpoint) joinBy(m *member, f *family, index int, now time.Time) error {
	if m.joined == f {
		return nil
	}
	m.leave(index)
	if now.Before(m.retry) {
		return m.failed
	}
	by, err := e.join(f, index)
	if err != nil {
		m.retry = now.Add(retryPause(m.fails))
		m.fails++
		m.failed = err
		return err
	}
	m.joined, m.by = f, by
	m.fails, m.failed = 0, nil
	return nil
}

// leave ends any membership on an interface.
func (m *member) leave(index int) {
	if m.joined != nil {
		m.by.leave(m.joined.group, index)
		m.joined, m.by = nil, nil
	}
}

// why says why an interface may not be a link. The state is empty if it may.
func (e *layer2Endpoint) why(ifi *netif) (state LinkState, detail string) {
	switch {
	case len(e.names) > 0 && !slices.Contains(e.names, ifi.name):
		return LinkUnnamed, ""
	case len(e.names) > 0:
		return "", ""
	case ifi.loopback:
		return LinkLoopback, ""
	case ifi.portOf != "":
		return LinkBridgePort, "what comes by it is for " + ifi.portOf + ": that is the link, unless the port is named"
	case !ifi.multicast:
		return LinkNoGroups, "its flags say so; if it carries multicast all the same, name it"
	}
	return "", ""
}

// lack says why an interface has no address for a link.
func (e *layer2Endpoint) lack(ifi *netif, c choice) (state LinkState, detail string) {
	has4 := slices.ContainsFunc(ifi.addrs, func(a netifAddr) bool { return a.ip.Is4() })
	switch {
	case c == choiceAwaited:
		return LinkTentative, "duplicate address detection takes a second or two"
	case c == choiceFailed:
		return LinkDuplicate, "another node on the link has it"
	case e.four == nil && has4:
		return LinkNoAddress, "no link-local address of IPv6, and the use of IPv4 is not switched on"
	case e.four == nil:
		return LinkNoAddress, "no link-local address of IPv6"
	case has4 && ifi.mtu > 0 && ifi.mtu < minMTU:
		return LinkNoAddress, fmt.Sprintf("no link-local address of IPv6, and an MTU of %d is too small for IPv4", ifi.mtu)
	}
	return LinkNoAddress, "neither a link-local one of IPv6 nor one of IPv4: is IPv6 switched off on it?"
}

// follow brings the membership of one interface up to date, and sets State and Detail of
// out. It returns the link if it is in use, or nil, and when to look again at the latest.
func (e *layer2Endpoint) follow(ifi *netif, old *linkState, now time.Time, out *Interface) (*linkState, time.Duration) {
	m := e.members[ifi.index]
	if m == nil {
		m = &member{hw: ifi.hw}
		e.members[ifi.index] = m
	}
	f, addr, c := e.choose(ifi, m, old, now)
	// A membership ends with its interface, but the socket goes on believing in it: if
	// another interface gets the same index, joining fails with EADDRINUSE. So leave and
	// join again whenever the interface may have been replaced since the last look, or
	// has lost its address.
	if m.hw != ifi.hw || m.stamp != addr.stamp || (m.inUse && !c.usable()) {
		m.leave(ifi.index)
		m.fails, m.retry = 0, time.Time{}
	}
	m.hw, m.stamp, m.inUse = ifi.hw, addr.stamp, false
	if !ifi.up {
		m.pending = time.Time{}
		out.State = LinkDown
		if ifi.noCarrier {
			out.State = LinkNoCarrier
		}
		return nil, pollSafe
	}
	if f == nil {
		out.State, out.Detail = e.lack(ifi, c)
		return nil, pollSafe
	}
	// Join before there is an address, so that nothing is missed once there is one.
	if err := e.joinBy(m, f, ifi.index, now); err != nil {
		out.State, out.Detail = LinkRefused, err.Error()+"; it is tried again"
		if ifi.mtu > 0 && ifi.mtu < minMTU {
			out.Detail = fmt.Sprintf("an MTU of %d is too small, GRASP needs %d: %v", ifi.mtu, minMTU, err)
		}
		return nil, m.retry.Sub(now)
	}
	if c.usable() {
		m.inUse = true
		out.State = LinkInUse
		return e.linkOn(f, ifi, addr, old), pollSafe
	}
	out.State, out.Detail = e.lack(ifi, c)
	switch {
	case now.Sub(m.pending) < pollFastFor:
		return nil, pollFast
	case c == choiceAwaited:
		return nil, pollSlow
	}
	return nil, pollSafe
}

// choose returns the family that a link is to run over, and its address there
// if that is usable: IPv6 if it has one, else IPv4 if it may. A loopback that has no
// address of IPv6 but ::1 is not like other links: Linux has no route there for
// multicasts of IPv6, so it runs over IPv4 if it may.
func (e *layer2Endpoint) choose(ifi *netif, m *member, old *linkState, now time.Time) (*family, netifAddr, choice) {
	var had netip.Addr
	if old != nil {
		had = old.Addr.WithZone("")
	}
	var six, four netifAddr
	var c6, c4 choice
	if e.six != nil {
		six, c6 = e.six.pick(ifi, had)
	}
	fits := e.four != nil && (ifi.mtu == 0 || ifi.mtu >= minMTU)
	if fits {
		four, c4 = e.four.pick(ifi, had)
	}
	if ifi.loopback && c6 == choiceSecond && c4.usable() {
		return e.four, four, c4
	}
	if c6.usable() {
		m.pending = time.Time{}
		return e.six, six, c6
	}
	if m.pending.IsZero() {
		m.pending = now
	}
	if e.six == nil && fits {
		return e.four, four, c4
	}
	runs := ifi.up && m.joined == e.four // until IPv6 can take over
	late := c6 != choiceAwaited && now.Sub(m.pending) >= ipv4Grace
	if c4.usable() && (runs || ifi.noIPv6 || late) {
		return e.four, four, c4
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
	for _, a := range ifi.addrs {
		switch {
		case a.ip.Is4() != addr.ip.Is4() || !a.onLink.IsValid():
		case a.ip.Is4():
			// A network of two has only the other end in its prefix.
			l.onLink = append(l.onLink, a.onLink, netip.PrefixFrom(a.ip, a.ip.BitLen()))
		default:
			l.onLink = append(l.onLink, a.onLink)
		}
	}
	if old != nil && old.Link == l.Link && slices.Equal(old.onLink, l.onLink) {
		return old
	}
	l.oob = f.control(l.Link)
	return l
}
