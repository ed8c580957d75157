package acp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interfaces takes a snapshot of the interfaces and their IPv6 addresses. It
// asks netlink for the addresses itself: package net does not tell which of
// them cannot be used yet.
func interfaces() ([]netif, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("acp: list interfaces: %w", err)
	}
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_INET6)
	if err != nil {
		return nil, fmt.Errorf("acp: list addresses: %w", err)
	}
	ifs := make([]netif, len(list))
	at := make(map[int]*netif, len(list))
	for i := range list {
		ifs[i] = flagsOf(&list[i])
		at[ifs[i].index] = &ifs[i]
	}
	return ifs, parseAddrs(rib, at)
}

// parseAddrs adds the addresses of a dump to their interfaces. One whose
// interface is not there came after the list of interfaces was taken.
func parseAddrs(rib []byte, at map[int]*netif) error {
	msgs, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return fmt.Errorf("acp: list addresses: %w", err)
	}
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		h := (*unix.IfAddrmsg)(unsafe.Pointer(&m.Data[0]))
		ifi := at[int(h.Index)]
		if h.Family != unix.AF_INET6 || ifi == nil {
			continue
		}
		ip := addrOf(m.Data[unix.SizeofIfAddrmsg:])
		if ip.Is6() {
			ifi.addrs = append(ifi.addrs, netifAddr{ip: ip, flags: addrFlagsOf(h.Flags)})
		}
	}
	return nil
}

// addrOf finds our own address among the attributes of an address message.
// syscall.ParseNetlinkRouteAttr panics if the last one is not padded.
func addrOf(attrs []byte) netip.Addr {
	var address, local netip.Addr
	for len(attrs) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(attrs))
		if n < unix.SizeofRtAttr || n > len(attrs) {
			break
		}
		value := attrs[unix.SizeofRtAttr:n]
		switch binary.NativeEndian.Uint16(attrs[2:]) {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		case unix.IFA_LOCAL: // there if IFA_ADDRESS is the peer's
			local, _ = netip.AddrFromSlice(value)
		}
		const align = unix.RTA_ALIGNTO - 1
		attrs = attrs[min((n+align)&^align, len(attrs)):]
	}
	if local.IsValid() {
		return local
	}
	return address
}

func addrFlagsOf(ifa uint8) addrFlags {
	var f addrFlags
	for _, b := range [...]struct {
		ifa uint8
		f   addrFlags
	}{
		{unix.IFA_F_TENTATIVE, addrTentative},
		{unix.IFA_F_DADFAILED, addrFailed},
		{unix.IFA_F_DEPRECATED, addrDeprecated},
		{unix.IFA_F_TEMPORARY, addrTemporary},
	} {
		if ifa&b.ifa != 0 {
			f |= b.f
		}
	}
	return f
}
