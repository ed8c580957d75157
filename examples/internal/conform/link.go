package conform

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// link is one of the links to the target. It hears what the group is sent.
type link struct {
	family
	ifi    *net.Interface
	addr   netip.Addr   // link-local with the zone, or of IPv4
	global []netip.Addr // others, of IPv6
	conn   groupConn
	cover  *cover

	mu      sync.Mutex       // guards all following fields
	ports   map[uint16]bool  // of the judge: what came from there is its own
	hearers map[*hearer]bool //
	done    chan struct{}    // closed when nothing is heard any more
}

// heard is a datagram that the group was sent on a link.
type heard struct {
	message
	from netip.AddrPort
}

// openLink begins to listen on an interface.
func openLink(name string, overIPv4 bool, under *cover) (*link, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("link %q: %w; see `ip link` or ifconfig", name, err)
	}
	if ifi.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("link %q is down", name)
	}
	if ifi.Flags&net.FlagMulticast == 0 {
		return nil, fmt.Errorf("link %q cannot multicast", name)
	}
	l := &link{
		family: six{ifi}, ifi: ifi, cover: under,
		ports: make(map[uint16]bool), hearers: make(map[*hearer]bool), done: make(chan struct{}),
	}
	if overIPv4 {
		l.family = four{ifi}
	}
	if err := l.findAddrs(); err != nil {
		return nil, err
	}
	if l.conn, err = listenGroup(l.family, name); err != nil {
		return nil, fmt.Errorf("link %q: listen to %v: %w", name, l.group(), err)
	}
	go l.hear()
	return l, nil
}

func (l *link) findAddrs() error {
	addrs, err := l.ifi.Addrs()
	if err != nil {
		return fmt.Errorf("link %q: %w", l.ifi.Name, err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		switch {
		case err != nil:
		case l.family.own(p.Addr()):
			l.addr = p.Addr()
		case p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast():
			l.global = append(l.global, p.Addr())
		}
	}
	if !l.addr.IsValid() {
		return fmt.Errorf("link %q has no address for %s", l.ifi.Name, l.udp())
	}
	l.addr = l.zoned(l.addr)
	return nil
}

func (l *link) String() string { return l.ifi.Name }

// zoned gives an address the zone that it needs. That is the link's number:
// package net remembers names for a while, even when another link has them.
func (l *link) zoned(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(strconv.Itoa(l.ifi.Index))
	}
	return a
}

// has reports whether an address with a zone is one on this link.
func (l *link) has(a netip.Addr) bool {
	return a.Zone() == l.ifi.Name || a.Zone() == strconv.Itoa(l.ifi.Index)
}

// close ends the hearing.
func (l *link) close() {
	_ = l.conn.Close()
	<-l.done
}

// hear hands what comes to the hearers.
func (l *link) hear() {
	defer close(l.done)
	buf := make([]byte, 1<<16)
	for {
		n, from, index, unicast, err := l.conn.read(buf)
		if err != nil {
			return
		}
		if index != 0 && index != l.ifi.Index || unicast {
			continue
		}
		b, ok := l.cover.open(buf[:n])
		if !ok {
			continue
		}
		l.mu.Lock()
		if !(l.ports[from.Port()] && from.Addr().WithZone("") == l.addr.WithZone("")) {
			h := heard{parse(b), from}
			for hearer := range l.hearers {
				hearer.put(h)
			}
		}
		l.mu.Unlock()
	}
}

// claim says that a port is the judge's, release that it is no longer.
func (l *link) claim(port uint16) { l.mu.Lock(); l.ports[port] = true; l.mu.Unlock() }

func (l *link) release(port uint16) { l.mu.Lock(); delete(l.ports, port); l.mu.Unlock() }

// hearer gets what is heard on a link from its beginning to its end.
type hearer struct {
	link *link

	mu   sync.Mutex // guards all following fields
	got  []heard
	more chan struct{} // has an element after more has come
}

// listen makes a hearer.
func (l *link) listen() *hearer {
	h := &hearer{link: l, more: make(chan struct{}, 1)}
	l.mu.Lock()
	l.hearers[h] = true
	l.mu.Unlock()
	return h
}

func (h *hearer) close() { h.link.mu.Lock(); delete(h.link.hearers, h); h.link.mu.Unlock() }

// mostHeard bounds what a hearer keeps.
const mostHeard = 4096

func (h *hearer) put(m heard) {
	h.mu.Lock()
	if len(h.got) < mostHeard {
		h.got = append(h.got, m)
	}
	h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
}

// all returns what came so far and is wanted.
func (h *hearer) all(want func(heard) bool) []heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []heard
	for _, m := range h.got {
		if want(m) {
			out = append(out, m)
		}
	}
	return slices.Clip(out)
}
