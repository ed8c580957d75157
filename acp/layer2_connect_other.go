//go:build !linux

package acp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// connect opens a TCP connection, to a link-local address on the link that is
// its zone.
func connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: noKeepAlive}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	// An interface whose name is a number hides the link with that index
	// from package net.
	if zone := to.Addr().Zone(); zone != "" && zoneOf(peerZone(conn.(*net.TCPConn))) != zone {
		_ = conn.Close()
		return nil, fmt.Errorf("an interface is named %q", zone)
	}
	return conn, nil
}

// listener is a listener for streams.
type listener struct{ *net.TCPListener }

// newListener takes over a listener of package net.
func newListener(l *net.TCPListener, _ bool) (*listener, error) { return &listener{l}, nil }

// accept waits for a connection.
func (l *listener) accept() (incoming, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return incoming{}, err
	}
	peer := unmapped(addrPortOf(conn.RemoteAddr()))
	if isLinkLocal(peer.Addr()) {
		// Not from the zone's name: package net remembers names for a minute, in
		// which they can move to another interface.
		peer = netip.AddrPortFrom(peer.Addr().WithZone(zoneOf(peerZone(conn))), peer.Port())
	}
	return incoming{conn: conn, peer: peer}, nil
}

// controlStreams prepares a listener for streams. Here there is nothing to do.
func controlStreams(_, _ string, _ syscall.RawConn) error { return nil }
