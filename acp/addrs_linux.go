package acp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interfaces takes a snapshot of the interfaces and their addresses. It asks
// netlink for the addresses itself: package net does not tell which of them
// cannot be used yet.
func interfaces() ([]netif, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("acp: list interfaces: %w", err)
	}
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("acp: list addresses: %w", err)
	}
	ifs := make([]netif, len(list))
	at := make(map[int]*netif, len(list))
	for i := range list {
		ifs[i] = flagsOf(&list[i])
		at[ifs[i].index] = &ifs[i]
	}
	if err := parseAddrs(rib, at); err != nil {
		return nil, err
	}
	for i := range ifs {
		ifs[i].noIPv6 = ifs[i].up && noIPv6(&ifs[i])
	}
	return ifs, nil
}

// noIPv6 is true if an interface has IPv4 addresses alone because it has no
// IPv6: that is switched off, or its MTU is too small. Others are not asked
// about, which spares most interfaces the reading of a file.
func noIPv6(ifi *netif) bool {
	if len(ifi.addrs) == 0 || slices.ContainsFunc(ifi.addrs, func(a netifAddr) bool { return a.ip.Is6() }) {
		return false
	}
	value, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + ifi.name + "/disable_ipv6")
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	return len(value) > 0 && value[0] != '0'
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
		if ifi == nil {
			continue
		}
		a := parseAddr(h, m.Data[unix.SizeofIfAddrmsg:])
		if (h.Family == unix.AF_INET6 && a.ip.Is6()) || (h.Family == unix.AF_INET && a.ip.Is4()) {
			ifi.addrs = append(ifi.addrs, a)
		}
	}
	return nil
}

// parseAddr finds our own address among the attributes of an address message.
// syscall.ParseNetlinkRouteAttr panics if the last one is not padded.
func parseAddr(h *unix.IfAddrmsg, attrs []byte) netifAddr {
	a := netifAddr{flags: addrFlagsOf(h)}
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
		case unix.IFA_CACHEINFO:
			if len(value) >= unix.SizeofIfaCacheinfo {
				a.stamp = binary.NativeEndian.Uint32(value[unsafe.Offsetof(unix.IfaCacheinfo{}.Cstamp):])
			}
		}
		const align = unix.RTA_ALIGNTO - 1
		attrs = attrs[min((n+align)&^align, len(attrs)):]
	}
	a.ip = address
	if local.IsValid() {
		a.ip = local
	}
	if address.Is4() {
		a.onLink, _ = address.Prefix(int(h.Prefixlen))
	}
	return a
}

func addrFlagsOf(h *unix.IfAddrmsg) addrFlags {
	ifa := h.Flags
	if h.Family == unix.AF_INET {
		ifa &^= unix.IFA_F_SECONDARY // the bit that means temporary in IPv6
	}
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
