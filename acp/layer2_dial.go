package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/go-grasp/grasp/internal/lazyctx"
)

// incoming is an accepted connection.
type incoming struct {
	conn  net.Conn
	peer  netip.AddrPort // with the index of the link as its zone if it is link-local
	early bool           // the first bytes came with the opening
}

// streamOf returns an accepted connection as a stream.
func (e *layer2Endpoint) streamOf(c incoming) *Stream {
	s := &Stream{Conn: c.conn, Peer: c.peer, Early: c.early}
	switch peer := c.peer.Addr(); {
	case isLinkLocal(peer):
		s.Link, _ = linkIn(peer.Zone())
	case peer.Is4():
		s.Link = e.linkOf4(c.conn, peer)
	}
	return s
}

// linkOf4 returns the index of the link that an IPv4 peer is on.
func (e *layer2Endpoint) linkOf4(conn net.Conn, peer netip.Addr) int {
	st := e.state.Load()
	if len(st.only4) == 0 {
		return 0
	}
	return st.linkOf(peer, unmapped(addrPortOf(conn.LocalAddr())).Addr())
}

// Dial implements [Endpoint].
func (e *layer2Endpoint) Dial(ctx context.Context, to netip.AddrPort) (*Stream, error) {
	return e.dialBy(ctx, to, e.sys.connect)
}

// connector opens a connection.
type connector func(ctx context.Context, to netip.AddrPort) (net.Conn, error)

func (e *layer2Endpoint) dialBy(ctx context.Context, to netip.AddrPort, connect connector) (*Stream, error) {
	to = unmapped(to)
	link := 0
	if isLinkLocal(to.Addr()) {
		var err error
		if link, err = linkIn(to.Addr().Zone()); err != nil {
			return nil, fmt.Errorf("acp: dial %s: %w", to, err)
		}
		if zone := zoneOf(link); zone != to.Addr().Zone() {
			to = netip.AddrPortFrom(to.Addr().WithZone(zone), to.Port())
		}
	}
	if e.ctx.Err() != nil {
		return nil, fmt.Errorf("acp: dial %s: %w", to, net.ErrClosed)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("acp: dial %s: %w", to, context.Cause(ctx))
	}
	trying := lazyctx.New(ctx, e.ctx, 0)
	defer trying.Release()
	conn, err := connect(trying, to)
	if err == nil && e.state.Load().isHere(to.Addr(), link) && unmapped(addrPortOf(conn.LocalAddr())) == to {
		// The connection leads to itself: nobody listens at the port, so the kernel
		// could choose it for this end, too, and TCP connects the two.
		_ = conn.Close()
		err = os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	switch {
	case err == nil && e.ctx.Err() != nil:
		_ = conn.Close()
		fallthrough
	case e.ctx.Err() != nil:
		return nil, fmt.Errorf("acp: dial %s: %w", to, net.ErrClosed)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("acp: dial %s: %w", to, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("acp: dial %s: %w", to, err)
	}
	if to.Addr().Is4() {
		link = e.linkOf4(conn, to.Addr())
	}
	return &Stream{Conn: conn, Peer: to, Link: link}, nil
}

// isHere is true for the addresses that this node is known by: a link-local one
// of IPv6 on its link, any other on no link.
func (st *layer2State) isHere(a netip.Addr, link int) bool {
	if l := st.byIndex[link]; l != nil {
		return a == l.Addr
	}
	return a.IsLoopback() || st.here[a]
}

// noKeepAlive turns off TCP's own probes, which cost four system calls at each
// end of a connection. A session has a timeout whenever it waits for the peer,
// and while it does not, it may well outlive a link that is down for a while.
const noKeepAlive = -1

// addrPortOf returns the address of one end of a connection.
func addrPortOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// isLinkLocal is true for an IPv6 link-local address, and not for one of
// 169.254.0.0/16, which has no zone.
func isLinkLocal(a netip.Addr) bool {
	return a.Is6() && a.IsLinkLocalUnicast()
}

// linkIn returns the link that is the zone of a link-local address.
func linkIn(zone string) (int, error) {
	link, err := strconv.Atoi(zone)
	if err != nil || link <= 0 {
		return 0, errors.New("a link-local address needs the index of its link as its zone")
	}
	return link, nil
}

// unmapped turns an IPv4-mapped IPv6 address into an IPv4 one.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// zoneOf is the zone of a link: its index in decimal, nothing if unknown.
func zoneOf(index int) string {
	if index == 0 {
		return ""
	}
	return strconv.Itoa(index)
}
