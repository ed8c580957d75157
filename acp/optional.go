package acp

import (
	"errors"
	"fmt"
	"net/netip"
)

// DatagramSender is an [Endpoint] that can send a datagram to one node.
type DatagramSender interface {
	// SendTo sends a message as a datagram to one node, from Port to [Port] of
	// the package there. It takes messages of up to MaxMulticast bytes. The
	// zone of a link-local address is the decimal index of its link. Only
	// neighbours need be reached: a plane may refuse other addresses. It does
	// not wait for anybody, and that nobody gets the message is no error. A
	// plane that cannot protect a datagram returns an error that wraps
	// [errors.ErrUnsupported].
	SendTo(to netip.AddrPort, msg []byte) error
}

// SendTo sends a message by the endpoint's own SendTo. The error wraps
// [errors.ErrUnsupported] if it has none. It never asks the endpoint below an
// [Overlay], which would send in clear.
func SendTo(e Endpoint, to netip.AddrPort, msg []byte) error {
	if s, ok := e.(DatagramSender); ok {
		return s.SendTo(to, msg)
	}
	return fmt.Errorf("acp: send to %v: the plane has no datagrams: %w", to, errors.ErrUnsupported)
}

// MaxAddrs is how many addresses [Addrs] returns at most.
const MaxAddrs = 4

// Addresser is an [Endpoint] that knows several addresses of its node.
type Addresser interface {
	// Addrs returns the addresses by which a peer on a link (0: beyond the
	// links) may reach this node, the best one first: of that link; of other
	// links in use; of a loopback interface (RFC 8994 puts a node's address
	// there), but never ::1 or one of 127.0.0.0/8; of other interfaces. A
	// link-local address is given to peers on its link only, with the decimal
	// index as its zone, if the link has no other. The caller must not change
	// the slice.
	Addrs(link int) []netip.Addr
}

// Addrs returns at most [MaxAddrs] addresses: those of the endpoint's own Addrs, or of
// the nearest endpoint below that has one. If there is none it returns Addr, or else the
// address on the link. It may be empty.
func Addrs(e Endpoint, link int) []netip.Addr {
	if a, ok := find[Addresser](e); ok {
		addrs := a.Addrs(link)
		return addrs[:min(len(addrs), MaxAddrs)]
	}
	if addr := e.Addr(); addr.IsValid() {
		return []netip.Addr{addr}
	}
	for _, l := range e.Links() {
		if l.Index == link {
			return []netip.Addr{l.Addr}
		}
	}
	return nil
}

// LinkState says that an interface is a link, or why it is not.
type LinkState string

// The states of an interface. A plane may have others.
const (
	LinkInUse      LinkState = "in use"
	LinkMissing    LinkState = "no such interface"
	LinkDown       LinkState = "down"
	LinkNoCarrier  LinkState = "no carrier"
	LinkUnnamed    LinkState = "not named"            // others are
	LinkLoopback   LinkState = "loopback"             // and not named
	LinkBridgePort LinkState = "port of a bridge"     // and not named
	LinkNoGroups   LinkState = "no multicast"         // and not named
	LinkNoAddress  LinkState = "no usable address"    // of those that a link needs
	LinkTentative  LinkState = "address is tentative" // duplicate address detection goes on
	LinkDuplicate  LinkState = "address is duplicate" // another node has it
	LinkRefused    LinkState = "refused by the system"
)

// Interface is a network interface as a plane sees it.
type Interface struct {
	// Index is the interface index, 0 if there is no such interface.
	Index int
	// Name is the interface's name.
	Name string
	// State says whether it is a link, or why it is not.
	State LinkState
	// Named says that it was asked for by its name.
	Named bool
	// Detail says more for people, such as the cause and what can be done; it
	// may be empty.
	Detail string
}

// String returns the interface and its state for people, such as
// "eth1: no carrier".
func (i Interface) String() string {
	s := i.Name + ": " + string(i.State)
	if i.Detail != "" {
		s += ": " + i.Detail
	}
	return s
}

// InterfaceLister is an [Endpoint] that knows why an interface is no link.
type InterfaceLister interface {
	// Interfaces returns the interfaces of the node in order of their index,
	// those that are missing first. An error says what keeps the plane from
	// knowing them, or hampers it; what is known is returned with it. The
	// caller must not change the slice.
	Interfaces() ([]Interface, error)
}

// Interfaces returns what the endpoint's own Interfaces returns, or that of the
// nearest endpoint below which has one. Without any it returns the links.
func Interfaces(e Endpoint) ([]Interface, error) {
	if l, ok := find[InterfaceLister](e); ok {
		return l.Interfaces()
	}
	var out []Interface
	for _, l := range e.Links() {
		out = append(out, Interface{Index: l.Index, Name: l.Name, State: LinkInUse})
	}
	return out, nil
}

// OnLinker is an [Endpoint] that can tell neighbours by their addresses.
type OnLinker interface {
	// OnLink says whether an address, which is not link-local, belongs to the
	// network of a link in use.
	OnLink(addr netip.Addr) bool
}

// OnLink returns what the endpoint's own OnLink returns, or that of the nearest
// endpoint below which has one. Without any it returns false.
func OnLink(e Endpoint, addr netip.Addr) bool {
	o, ok := find[OnLinker](e)
	return ok && o.OnLink(addr)
}

// Overlay is an [Endpoint] on top of another, such as one that encrypts. If an Overlay
// lacks an optional interface about the network, the endpoint below is asked. Messages
// are never given to the endpoint below directly, nor taken from it.
type Overlay interface {
	Under() Endpoint
}

// find returns the first endpoint, from the top, that has an interface.
func find[T any](e Endpoint) (T, bool) {
	for {
		if t, ok := e.(T); ok {
			return t, true
		}
		o, ok := e.(Overlay)
		if !ok {
			var none T
			return none, false
		}
		e = o.Under()
	}
}
