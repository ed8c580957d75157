package acp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// interfaces takes a snapshot of the interfaces and their addresses. It asks
// netlink itself: package net does not tell which addresses cannot be used yet,
// nor what is a port of a bridge, and binds its socket, which Android forbids.
// What netlink does not tell is found by other means, those named at least; then
// there are both interfaces and an error, which says what is amiss. If the system is
// short of something, such as file descriptors, there are no interfaces: other means
// would find some of them at best.
func interfaces(names []string) ([]netif, error) { return snapshot(names, netlinkDump) }

func snapshot(names []string, dump func(typ uint16) ([]byte, error)) ([]netif, error) {
	ifs, err := netlinkLinks(dump)
	if isShortage(err) {
		return nil, fmt.Errorf("acp: list interfaces: %w", err)
	}
	if err != nil {
		other, err2 := ioctlLinks(names)
		if err2 != nil {
			return nil, fmt.Errorf("acp: list interfaces: %w; without netlink: %w", err, err2)
		}
		ifs, err = other, fmt.Errorf("acp: netlink lists no interfaces (%w): those that other means find are used", err)
	}
	at := make(map[int]*netif, len(ifs))
	for i := range ifs {
		at[ifs[i].index] = &ifs[i]
	}
	rib, err2 := dump(unix.RTM_GETADDR)
	if isShortage(err2) {
		return nil, fmt.Errorf("acp: list addresses: %w", err2)
	}
	if err2 == nil {
		err2 = parseAddrs(rib, at)
	}
	if err2 != nil {
		otherAddrs(ifs, at)
		if err == nil {
			err = fmt.Errorf("acp: netlink lists no addresses (%w): those that other means find are used", err2)
		}
	}
	for i := range ifs {
		ifs[i].noIPv6 = ifs[i].up && noIPv6(&ifs[i])
	}
	return ifs, err
}

// isShortage reports whether a call failed for lack of something that there may soon be
// enough of.
func isShortage(err error) bool {
	return slices.ContainsFunc([]error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM}, func(short error) bool { return errors.Is(err, short) })
}

// netlinkLinks lists the interfaces, without their addresses.
func netlinkLinks(dump func(typ uint16) ([]byte, error)) ([]netif, error) {
	rib, err := dump(unix.RTM_GETLINK)
	if err != nil {
		return nil, err
	}
	return parseLinks(rib)
}

// netlinkDump returns the messages of a dump. The socket is not bound: the
// kernel does that.
func netlinkDump(typ uint16) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	const seq = 1
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	h := (*unix.NlMsghdr)(unsafe.Pointer(&request[0]))
	*h = unix.NlMsghdr{Len: uint32(len(request)), Type: typ, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP, Seq: seq}
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var all []byte
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			switch {
			case m.Header.Seq != seq:
			case m.Header.Type == unix.NLMSG_DONE:
				return all, nil
			case m.Header.Type == unix.NLMSG_ERROR:
				errno := syscall.EINVAL
				if len(m.Data) >= 4 {
					errno = syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
				}
				return nil, os.NewSyscallError("netlink dump", errno)
			}
		}
		all = append(all, buf[:n]...)
	}
}

// parseLinks returns the interfaces of a dump.
func parseLinks(rib []byte) ([]netif, error) {
	msgs, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, err
	}
	var ifs []netif
	masters := make(map[int]int) // of ports, by place in ifs
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		h := (*unix.IfInfomsg)(unsafe.Pointer(&m.Data[0]))
		ifi := netif{index: int(h.Index)}
		ifi.setFlags(h.Flags)
		master, kind := 0, ""
		for typ, value := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
			switch typ {
			case unix.IFLA_IFNAME:
				ifi.name = text(value)
			case unix.IFLA_ADDRESS:
				ifi.hw = hardware(value)
			case unix.IFLA_MTU:
				ifi.mtu = number(value)
			case unix.IFLA_MASTER:
				master = number(value)
			case unix.IFLA_LINKINFO:
				for typ, value := range attributes(value) {
					if typ == unix.IFLA_INFO_SLAVE_KIND {
						kind = text(value)
					}
				}
			}
		}
		if takesAll(kind) {
			masters[len(ifs)] = master
		}
		ifs = append(ifs, ifi)
	}
	for i, master := range masters {
		ifs[i].portOf = "an interface elsewhere"
		if at := slices.IndexFunc(ifs, func(ifi netif) bool { return ifi.index == master }); at >= 0 {
			ifs[i].portOf = ifs[at].name
		}
	}
	return ifs, nil
}

// takesAll is true for the kinds of masters that get all that comes by their
// ports. That of a VRF is none: its ports are links.
func takesAll(kind string) bool {
	switch kind {
	case "bridge", "bond", "team", "openvswitch", "batadv", "hsr":
		return true
	}
	return false
}

// setFlags sets what the flags of an interface say.
func (ifi *netif) setFlags(flags uint32) {
	ifi.up = flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
	ifi.noCarrier = flags&unix.IFF_UP != 0 && !ifi.up
	ifi.multicast = flags&unix.IFF_MULTICAST != 0
	ifi.loopback = flags&unix.IFF_LOOPBACK != 0
}

// hardware returns a hardware address, or nothing if it is of zeros.
func hardware(b []byte) string {
	if !slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) {
		return ""
	}
	return string(b)
}

// attributes returns the attributes of a netlink message by their type.
// syscall.ParseNetlinkRouteAttr panics if the last one is not padded.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofRtAttr:n]) {
				return
			}
			const align = unix.RTA_ALIGNTO - 1
			b = b[min((n+align)&^align, len(b)):]
		}
	}
}

// text returns a string of C.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func number(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b))
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
func parseAddr(h *unix.IfAddrmsg, attrs []byte) netifAddr {
	a := netifAddr{flags: addrFlagsOf(h.Family, h.Flags)}
	var address, local netip.Addr
	for typ, value := range attributes(attrs) {
		switch typ {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		case unix.IFA_LOCAL: // there if IFA_ADDRESS is the peer's
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_CACHEINFO:
			if len(value) >= unix.SizeofIfaCacheinfo {
				a.stamp = binary.NativeEndian.Uint32(value[unsafe.Offsetof(unix.IfaCacheinfo{}.Cstamp):])
			}
		}
	}
	a.ip = address
	if local.IsValid() {
		a.ip = local
	}
	if address.IsValid() && !isLinkLocal(address) {
		a.onLink, _ = address.Prefix(int(h.Prefixlen))
	}
	return a
}

// addrFlagsOf translates the flags of an address of a family.
func addrFlagsOf(family, ifa uint8) addrFlags {
	if family == unix.AF_INET {
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
