package conform

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/net/ipv6"
)

// port is GRASP's port, and group the multicast group of GRASP, of RFC 8990 section 2.6.
const port = 7017

var group = netip.MustParseAddr("ff02::13")

// link is one of the links to the target. It hears what the group is sent.
type link struct {
	ifi    *net.Interface
	addr   netip.Addr   // link-local, with the zone
	global []netip.Addr // others, of IPv6
	conn   *ipv6.PacketConn

	mu      sync.Mutex       // guards all following fields
	own     map[uint16]bool  // ports of the judge: what came from there is its own
	hearers map[*hearer]bool //
	done    chan struct{}    // closed when nothing is heard any more
}

// heard is a datagram that the group was sent on a link.
type heard struct {
	message
	from netip.AddrPort
}

// openLink begins to listen on an interface.
func openLink(name string) (*link, error) {
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
	l := &link{ifi: ifi, own: make(map[uint16]bool), hearers: make(map[*hearer]bool), done: make(chan struct{})}
	if err := l.findAddrs(); err != nil {
		return nil, err
	}
	// A multicast address makes a socket that shares the port with other
	// programs, and is bound to all addresses.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return bindToLink(c, name) }}
	conn, err := config.ListenPacket(context.Background(), "udp6", netip.AddrPortFrom(group, port).String())
	if err != nil {
		return nil, fmt.Errorf("link %q: port %d: %w", name, port, err)
	}
	l.conn = ipv6.NewPacketConn(conn)
	if err := l.conn.JoinGroup(ifi, &net.UDPAddr{IP: group.AsSlice()}); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("link %q: join %v: %w", name, group, err)
	}
	_ = l.conn.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true) // without it, all is taken for this link's
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
		case err != nil || !p.Addr().Is6():
		case p.Addr().IsLinkLocalUnicast():
			l.addr = p.Addr().WithZone(l.ifi.Name)
		default:
			l.global = append(l.global, p.Addr())
		}
	}
	if !l.addr.IsValid() {
		return fmt.Errorf("link %q has no IPv6 link-local address", l.ifi.Name)
	}
	return nil
}

func (l *link) String() string { return l.ifi.Name }

// group is where to send what all on the link shall get.
func (l *link) group() netip.AddrPort { return netip.AddrPortFrom(group.WithZone(l.ifi.Name), port) }

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
		n, cm, src, err := l.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if cm != nil && (cm.IfIndex != l.ifi.Index || !cm.Dst.IsMulticast()) {
			continue
		}
		from := src.(*net.UDPAddr).AddrPort()
		l.mu.Lock()
		if !(l.own[from.Port()] && from.Addr().WithZone("") == l.addr.WithZone("")) {
			h := heard{parse(buf[:n]), from}
			for hearer := range l.hearers {
				hearer.put(h)
			}
		}
		l.mu.Unlock()
	}
}

// claim says that a port is the judge's, release that it is no longer.
func (l *link) claim(port uint16) { l.mu.Lock(); l.own[port] = true; l.mu.Unlock() }

func (l *link) release(port uint16) { l.mu.Lock(); delete(l.own, port); l.mu.Unlock() }

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
