//go:build dragonfly || freebsd || netbsd || openbsd

package acp

import "net/netip"

// ipv4Works: the interface would go with the socket, not with the packet.
const ipv4Works = false

func packetInfo4(_, _ int32, _ []byte) (netip.Addr, int, bool) { return netip.Addr{}, 0, false }
