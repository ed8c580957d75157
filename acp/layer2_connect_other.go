//go:build !linux

package acp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
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
