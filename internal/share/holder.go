package share

import "net/netip"

// Holder stands for a peer that has a share: for all that it can be told apart by.
type Holder struct {
	identity, zone string
	from           netip.Prefix
}

// HolderOf returns what stands for a peer: who it has proven to be, if it has, or
// else where it is. On a link that is its address. A host beyond a router can have
// any address with the same prefix, so all those with one of 64 bits are one holder.
func HolderOf(identity string, addr netip.Addr, onLink bool) Holder {
	if identity != "" {
		return Holder{identity: identity}
	}
	bits := addr.BitLen()
	if addr.Is6() && !onLink && !addr.IsLinkLocalUnicast() && !addr.IsLoopback() {
		bits = 64
	}
	from, _ := addr.WithZone("").Prefix(bits) // fails for the zero Addr only
	return Holder{zone: addr.Zone(), from: from}
}
