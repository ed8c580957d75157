package acp

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// limitGroups keeps a socket from hearing groups that it did not join itself.
// Kernels before 4.20 do not have the option for IPv6; Receive drops by
// destination and link in any case.
func limitGroups(fd int, network string) {
	if network == "udp4" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
}

// reusePort reports whether SO_REUSEPORT is set on the shared socket. It is not
// for IPv4. There the kernel looks for the receivers of a multicast early, and
// if it finds one alone it takes any socket that shares the port with it by
// this option instead (udp_v4_early_demux and inet_steal_sock, seen in Linux
// 6.18): of two processes on two links, one would get what is for the other.
// So the port is not shared with sockets that have this option alone.
func reusePort(network string) bool { return network == "udp6" }

// joinOtherwise and leaveOtherwise join and leave a group by the options that
// are older than those of package net/ipv6, which not every kernel has: gVisor's
// does not.
func joinOtherwise(c *net.UDPConn, group netip.Addr, index int) error {
	return setGroup(c, group, index, unix.IPV6_JOIN_GROUP, unix.IP_ADD_MEMBERSHIP)
}

func leaveOtherwise(c *net.UDPConn, group netip.Addr, index int) {
	_ = setGroup(c, group, index, unix.IPV6_LEAVE_GROUP, unix.IP_DROP_MEMBERSHIP)
}

func setGroup(c *net.UDPConn, group netip.Addr, index, option6, option4 int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) {
		if group.Is4() {
			err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, option4, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)})
		} else {
			err = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, option6, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)})
		}
	}); cerr != nil {
		return cerr
	}
	return err
}
