package acp

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// limitGroups keeps a socket from hearing groups that it did not join itself.
// Kernels before 4.20 do not have the option; Receive drops by destination
// and link in any case.
func limitGroups(fd int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	return os.NewSyscallError("setsockopt IPV6_MULTICAST_ALL", err)
}
