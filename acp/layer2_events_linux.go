package acp

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// subscribe has the kernel tell of changes of interfaces and addresses.
//
// It uses the bare socket, not package mdlayher/netlink: that a message came is
// all that is wanted, so there is nothing to parse, to send or to validate,
// and what remains of such a package is four system calls. Being an [os.File],
// it waits in Go's poller and Close ends a Receive under way.
func subscribe(ipv4 bool) (eventSource, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("acp: netlink: %w", os.NewSyscallError("socket", err))
	}
	// The link group tells of the carrier, the address groups also when
	// duplicate address detection ends.
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV6_IFADDR)
	if ipv4 {
		groups |= unix.RTMGRP_IPV4_IFADDR
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("acp: netlink: %w", os.NewSyscallError("bind", err))
	}
	return netlinkEvents{os.NewFile(uintptr(fd), "netlink")}, nil
}

// netlinkEvents implements [eventSource].
type netlinkEvents struct{ *os.File }

// Receive waits for a message. What does not fit the buffer, nearly all of it,
// is dropped by the kernel.
func (n netlinkEvents) Receive() error {
	var header [unix.SizeofNlMsghdr]byte
	_, err := n.Read(header[:])
	if err != nil {
		return fmt.Errorf("acp: netlink: %w", err)
	}
	return nil
}
