package acp

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/ipv6"
)

// How often the interfaces are looked at.
const (
	pollIdle    = time.Second            // when nothing is expected
	pollFast    = 50 * time.Millisecond  // when a link is about to be usable
	pollSlow    = 400 * time.Millisecond // when that takes long
	pollGap     = 20 * time.Millisecond  // between any two looks
	pollFastFor = 5 * time.Second        // how long pollFast lasts
)

// netif is an interface as a snapshot has it.
type netif struct {
	index     int
	name      string
	hw        string // hardware address
	up        bool   // and operational: a cable without a signal is not
	multicast bool
	loopback  bool
	addrs     []netifAddr
}

// netifAddr is an IPv6 address of an interface, without zone.
type netifAddr struct {
	ip    netip.Addr
	flags addrFlags
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

// member is what is known of an interface on which the group was joined, or
// should be.
type member struct {
	hw      string
	joined  bool
	inUse   bool      // at the last look
	pending time.Time // since when the address is awaited; zero: it is not
}

// poke makes the watcher look at the interfaces soon. It is what a source of
// events calls: an event only wakes, and comparing snapshots decides what
// changed, so that lost or doubled events do no harm.
func (e *layer2Endpoint) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// watch follows the interfaces until Close.
func (e *layer2Endpoint) watch(next time.Duration) {
	timer := time.NewTimer(next)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-timer.C:
		case <-e.wake:
			// Errors in a row must not make this loop spin.
			timer.Reset(pollGap)
			select {
			case <-e.ctx.Done():
				return
			case <-timer.C:
			}
		}
		timer.Reset(e.refresh())
	}
}

// refresh takes a snapshot of the interfaces, joins and leaves accordingly,
// and publishes what changed. It returns the time until the next look. If the
// snapshot fails, the last one stands.
func (e *layer2Endpoint) refresh() time.Duration {
	ifs, err := e.sys.interfaces()
	if err != nil {
		return pollIdle
	}
	old := e.state.Load()
	st := &layer2State{
		byIndex: make(map[int]*linkState),
		names:   make(map[string]int, len(ifs)),
		addr:    bestAddr(ifs, old.addr),
	}
	seen := make(map[int]bool, len(ifs))
	next := pollIdle
	now := time.Now()
	for i := range ifs {
		ifi := &ifs[i]
		st.names[ifi.name] = ifi.index
		if !e.selected(ifi) {
			continue
		}
		seen[ifi.index] = true
		l, wait := e.follow(ifi, old.byIndex[ifi.index], now)
		if l != nil {
			st.links = append(st.links, l.Link)
			st.byIndex[l.Index] = l
		}
		next = min(next, wait)
	}
	for index, m := range e.members {
		if !seen[index] {
			// It left nothing behind but an entry of the socket.
			e.leave(index, m)
			delete(e.members, index)
		}
	}
	slices.SortFunc(st.links, func(a, b Link) int { return a.Index - b.Index })
	e.state.Store(st)
	if !slices.Equal(st.links, old.links) || st.addr != old.addr {
		e.notify()
	}
	return next
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
	addr, tentative := linkAddr(ifi, old)
	// A membership does not outlive its interface, while the index may come
	// back, and so does a join of what the socket believes to have joined
	// (EADDRINUSE). So whenever the interface may have been replaced since
	// the last look, or had IPv6 taken from it, leave and join.
	if m.hw != ifi.hw || (m.inUse && !addr.IsValid()) {
		e.leave(ifi.index, m)
	}
	m.hw, m.inUse = ifi.hw, false
	if !ifi.up {
		m.pending = time.Time{}
		return nil, pollIdle
	}
	// Join before there is an address, so as not to miss anything after.
	e.join(ifi.index, m)
	if !m.joined {
		return nil, pollIdle
	}
	if !addr.IsValid() {
		if m.pending.IsZero() {
			m.pending = now
		}
		switch {
		case now.Sub(m.pending) < pollFastFor:
			return nil, pollFast
		case tentative:
			return nil, pollSlow
		}
		return nil, pollIdle
	}
	m.pending = time.Time{}
	m.inUse = true
	link := Link{Index: ifi.index, Name: ifi.name, Addr: addr}
	if old != nil && old.Link == link {
		return old, pollIdle
	}
	l := &linkState{Link: link, zone: addr.Zone(), loopback: ifi.loopback}
	// The address is pinned so that the source is what Links says, however
	// many the interface has.
	l.oob = (&ipv6.ControlMessage{IfIndex: link.Index, Src: link.Addr.AsSlice()}).Marshal()
	return l, pollIdle
}

// linkAddr returns the address of this node on a link: the one it had, if it
// is still there, else the first. If there is none, it says whether one will
// be when duplicate address detection is over.
func linkAddr(ifi *netif, old *linkState) (addr netip.Addr, tentative bool) {
	for _, a := range ifi.addrs {
		loopback := ifi.loopback && a.ip == netip.IPv6Loopback()
		if !isLinkLocal(a.ip) && !loopback {
			continue
		}
		if !a.usable() {
			tentative = tentative || a.flags&addrFailed == 0
			continue
		}
		ip := a.ip
		if !loopback {
			ip = ip.WithZone(zoneOf(ifi.index))
		}
		if old != nil && old.Addr == ip {
			return ip, false
		}
		if !addr.IsValid() || (addr == netip.IPv6Loopback() && !loopback) {
			addr = ip
		}
	}
	return addr, tentative
}

// bestAddr returns the address by which nodes beyond the link reach this one:
// a unique local one rather than a global one, as the prototype does, one that
// lasts rather than a temporary or deprecated one, and the one given out so
// far rather than another that is no better. An interface need not be a link
// in use, since any address of the host reaches it.
func bestAddr(ifs []netif, old netip.Addr) netip.Addr {
	var best netip.Addr
	bestRank := 0
	for _, ifi := range ifs {
		if !ifi.up || ifi.loopback {
			continue
		}
		for _, a := range ifi.addrs {
			if !a.ip.IsGlobalUnicast() || !a.usable() {
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
			if bestRank == 0 || rank < bestRank || (rank == bestRank && a.ip == old) {
				best, bestRank = a.ip, rank
			}
		}
	}
	return best
}

// join joins the group on an interface. That it is joined already is success;
// any other failure is tried again at the next look.
func (e *layer2Endpoint) join(index int, m *member) {
	if m.joined {
		return
	}
	err := e.group.JoinGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: Group6.AsSlice()})
	m.joined = err == nil || isInUse(err)
}

// leave leaves the group on an interface, which may be gone. There is nothing
// to be done if it fails.
func (e *layer2Endpoint) leave(index int, m *member) {
	if !m.joined {
		return
	}
	m.joined = false
	_ = e.group.LeaveGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: Group6.AsSlice()})
}

// notify tells the reader of Changed.
func (e *layer2Endpoint) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// drainChanged forgets the changes of the first look: what Links and Addr say
// when Open returns is no change.
func (e *layer2Endpoint) drainChanged() {
	select {
	case <-e.changed:
	default:
	}
}

// flagsOf takes what a snapshot needs from package net.
func flagsOf(ifi *net.Interface) netif {
	const up = net.FlagUp | net.FlagRunning
	return netif{
		index:     ifi.Index,
		name:      ifi.Name,
		hw:        string(ifi.HardwareAddr),
		up:        ifi.Flags&up == up,
		multicast: ifi.Flags&net.FlagMulticast != 0,
		loopback:  ifi.Flags&net.FlagLoopback != 0,
	}
}
