package acp

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// limitGroups keeps a socket from hearing groups that it did not join itself.
// Kernels before 4.20 do not have the option for IPv6; Receive drops by
// destination and link in any case.
func limitGroups(fd int, network string) error {
	if network == "udp4" {
		return os.NewSyscallError("setsockopt IP_MULTICAST_ALL",
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0))
	}
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	return os.NewSyscallError("setsockopt IPV6_MULTICAST_ALL", err)
}

// reusePort says whether SO_REUSEPORT is set on the shared socket. It is not
// for IPv4. There the kernel looks for the receivers of a multicast early, and
// if it finds one alone it takes any socket that shares the port with it by
// this option instead (udp_v4_early_demux and inet_steal_sock, seen in Linux
// 6.18): of two processes on two links, one would get what is for the other.
// So the port is not shared with sockets that have this option alone.
func reusePort(network string) bool { return network == "udp6" }
