package acp

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// origin says where a datagram came from, and whether it is for us. It is not if it went
// neither to the group nor to this node alone, did not come by a link that runs over this
// version of IP, or has a source beyond the link: others share the port, the socket hears
// groups that they joined, and anybody may send to it.
func (e *layer2Endpoint) origin(f *family, src netip.AddrPort, oob []byte) (Origin, bool) {
	st := e.state.Load()
	dst, index, ok := packetInfo(oob)
	if !ok && !f.packetInfo { // then nobody tells where it went, either
		dst, index = f.group, st.linkFrom(src.Addr())
		if f.group.Is4() {
			index = st.linkOf(src.Addr().Unmap(), netip.Addr{})
		}
	}
	l := st.byIndex[index]
	if l == nil || l.family != f || dst != f.group && !l.owns(dst) {
		return Origin{}, false
	}
	addr := src.Addr().WithZone("")
	switch {
	case f.group.Is4():
		if addr = addr.Unmap(); !l.reaches(addr) {
			return Origin{}, false
		}
	case isLinkLocal(addr):
		addr = addr.WithZone(l.zone)
	case l.loopback && addr == netip.IPv6Loopback():
	case dst != f.group && l.reaches(addr) && !st.here[addr]:
		// RFC 8990 section 2.8.4: M_DISCOVERY may be unicast, by a neighbour.
	default:
		return Origin{}, false
	}
	return Origin{Link: index, Addr: netip.AddrPortFrom(addr, src.Port()), Unicast: dst != f.group}, true
}

// owns is true if a datagram that went to an address was sent to this node
// alone, by way of the link. IPv6 has no broadcast, and any address of the node
// will do; of IPv4 it must be one that the interface has.
func (l *linkState) owns(dst netip.Addr) bool {
	if dst.Is4() {
		return slices.Contains(l.onLink, netip.PrefixFrom(dst, dst.BitLen()))
	}
	return dst.IsValid() && !dst.IsMulticast()
}

// reaches is true if an address that is not link-local is on the link.
func (l *linkState) reaches(addr netip.Addr) bool {
	for _, p := range l.onLink {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// linkOf returns the index of the link by which an IPv4 peer is connected to a local
// address: of the links with the peer in their networks, the one that has that address,
// or else the only one, or else 0.
func (st *layer2State) linkOf(peer, local netip.Addr) int {
	index := 0
	for _, l := range st.only4 {
		switch {
		case !l.reaches(peer):
		case l.Addr == local:
			return l.Index
		case index == 0:
			index = l.Index
		default:
			index = -1
		}
	}
	return max(index, 0)
}

// linkFrom returns the index of the link that a source of IPv6 is on, 0 if it does not
// tell: by its zone, or because it is ::1, which has none.
func (st *layer2State) linkFrom(src netip.Addr) int {
	for index, l := range st.byIndex {
		if l.Addr == src && src.IsLoopback() {
			return index
		}
	}
	return st.indexOf(src.Zone())
}

// indexOf returns the index of the interface that a zone of package net names,
// 0 if there is none.
func (st *layer2State) indexOf(zone string) int {
	if zone == "" {
		return 0
	}
	if i, ok := st.names[zone]; ok {
		return i
	}
	if i, err := strconv.Atoi(zone); err == nil {
		return i
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return ifi.Index
	}
	return 0
}

// OnLink implements [OnLinker].
func (e *layer2Endpoint) OnLink(addr netip.Addr) bool {
	for _, l := range e.state.Load().byIndex {
		if l.reaches(addr) {
			return true
		}
	}
	return false
}
