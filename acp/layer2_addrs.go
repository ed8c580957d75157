package acp

import (
	"cmp"
	"net/netip"
	"slices"
)

// ownAddr is an address by which nodes beyond the link reach this one.
type ownAddr struct {
	netip.Addr
	index int // of its interface
	place place
	spare int // 0: preferred and lasting
}

// place says where an address is, the better the lower.
type place int

const (
	onLinkAsked place = iota // the link that the question came by
	onLinkInUse
	onLoopback
	onOther
)

// What makes an address a spare one: it is given only if there is no other.
const (
	spareTemporary = 1 << iota
	spareDeprecated
)

// ownAddrs returns the addresses by which this node is reached. An interface
// need not be a link in use, since any address of the host reaches it; but what
// comes to a port of a bridge goes to the bridge.
func ownAddrs(ifs []netif, links map[int]*linkState) []ownAddr {
	var out []ownAddr
	for i := range ifs {
		ifi := &ifs[i]
		at := onOther
		switch {
		case !ifi.up:
			continue
		case links[ifi.index] != nil:
			at = onLinkInUse
		case ifi.portOf != "":
			continue
		case ifi.loopback:
			at = onLoopback
		}
		for _, a := range ifi.addrs {
			if !a.ip.IsGlobalUnicast() || !a.usable() {
				continue
			}
			o := ownAddr{Addr: a.ip, index: ifi.index, place: at}
			if a.flags&addrTemporary != 0 {
				o.spare |= spareTemporary
			}
			if a.flags&addrDeprecated != 0 {
				o.spare |= spareDeprecated
			}
			out = append(out, o)
		}
	}
	return out
}

// addrsFor returns the addresses for peers on a link (nil: beyond the links),
// the best one first. At each place a unique local one comes before a global
// one, as in the prototype, and the address given out so far (old) before others
// that are as good. IPv4 comes last, and only if there is nothing else; but for
// peers on a link that runs over IPv4 it comes first at each place.
func (st *layer2State) addrsFor(l *linkState, old netip.Addr) []netip.Addr {
	over4 := l != nil && l.Addr.Is4()
	all := slices.Clone(st.own)
	for i := range all {
		if l != nil && all[i].index == l.Index {
			all[i].place = onLinkAsked
		}
	}
	first := func(is bool) int {
		if is {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b ownAddr) int {
		v6 := first(a.Is6()) - first(b.Is6())
		if over4 {
			v6 = 0
		}
		return cmp.Or(
			v6,
			a.spare-b.spare,
			int(a.place-b.place),
			first(a.Is4())-first(b.Is4()),
			first(a.IsPrivate())-first(b.IsPrivate()), // of IPv6: fc00::/7
			first(a.Addr == old)-first(b.Addr == old),
		)
	})
	var out []netip.Addr
	if l != nil && !(st.pinned && len(all) > 0) && !slices.ContainsFunc(all, func(a ownAddr) bool {
		return a.place == onLinkAsked && a.spare == 0 && a.Is4() == over4
	}) {
		out = append(out, l.Addr)
	}
	for i, a := range all {
		if len(out) == MaxAddrs || i > 0 && (a.spare > 0 && all[0].spare == 0 || a.Is4() && !over4 && all[0].Is6()) {
			break
		}
		if !slices.Contains(out, a.Addr) {
			out = append(out, a.Addr)
		}
	}
	return out
}

// setOwn notes the addresses of this node. Those of IPv4 count only if it is on,
// and with a prefix only those in it are given out.
func (st *layer2State) setOwn(ifs []netif, old netip.Addr, with4 bool, pin netip.Prefix) {
	st.own = ownAddrs(ifs, st.byIndex)
	st.here = make(map[netip.Addr]bool, len(st.own)+len(st.only4))
	for _, a := range st.own {
		st.here[a.Addr] = true
	}
	for _, l := range st.only4 {
		st.here[l.Addr] = true
	}
	st.pinned = pin.IsValid()
	st.own = slices.DeleteFunc(st.own, func(a ownAddr) bool {
		return a.Is4() && !with4 || st.pinned && !pin.Contains(a.Addr)
	})
	if all := st.addrsFor(nil, old); len(all) > 0 {
		st.addr = all[0]
	}
}

// Addrs implements [Addresser].
func (e *layer2Endpoint) Addrs(link int) []netip.Addr {
	st := e.state.Load()
	return st.addrsFor(st.byIndex[link], st.addr)
}
