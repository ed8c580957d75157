package acp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// family is a version of IP, with the sockets for its multicasts. A link runs
// over one of them.
type family struct {
	network    string      // as package net has it: udp6 or udp4
	group      netip.Addr  // of GRASP
	receiver               // the first
	more       []*receiver // for links on which those before may not join; refresh only
	packetInfo bool        // datagrams come with their destination and interface
	send       *net.UDPConn
	out        outSocket // send, as multicasts are sent by it; prepare sets it
	rawOut     syscall.RawConn
	segments   bool // several messages may be sent as one packet; see sendTogether
}

// outSocket is what is needed of a socket that sends.
type outSocket interface {
	io.Closer
	syscall.Conn
}

// receiver is a socket on the port of GRASP.
type receiver struct {
	conn   *net.UDPConn
	groups grouper // conn
	batchReader
}

// maxReceivers bounds the further sockets of a family. Linux lets each join on
// 20 links over IPv4, and on hundreds over IPv6.
const maxReceivers = 1000

// grouper is what is alike in the packages ipv4 and ipv6.
type grouper interface {
	JoinGroup(ifi *net.Interface, group net.Addr) error
	LeaveGroup(ifi *net.Interface, group net.Addr) error
}

// newFamily takes the socket on the port of GRASP.
func newFamily(network string, recv *net.UDPConn) *family {
	group := Group6()
	if network == "udp4" {
		group = Group4()
	}
	return &family{network: network, group: group, receiver: *newReceiver(network, recv)}
}

func newReceiver(network string, conn *net.UDPConn) *receiver {
	if network == "udp4" {
		return &receiver{conn: conn, groups: ipv4.NewPacketConn(conn)}
	}
	return &receiver{conn: conn, groups: ipv6.NewPacketConn(conn)}
}

// closeSender closes the socket that multicasts are sent by, if there is one.
func (f *family) closeSender() error {
	switch {
	case f.out != nil:
		return f.out.Close()
	case f.send != nil:
		return f.send.Close()
	}
	return nil
}

// minMTU is what a link needs to carry every multicast whole. IPv6 has it by
// definition.
const minMTU = 1280

// prepare sets the options of both sockets, so that other processes of this host
// hear what is sent, and the hop limit is 1. The scope of the group keeps packets on
// the link already; the hop limit keeps them there if a router ignores the scope. It
// returns what the system refuses, or an error if the sockets are of no use.
func (f *family) prepare() (refused []error, err error) {
	var loop, hops error
	if f.group.Is4() {
		p := ipv4.NewPacketConn(f.send)
		loop, hops = p.SetMulticastLoopback(true), p.SetMulticastTTL(1)
	} else {
		p := ipv6.NewPacketConn(f.send)
		loop, hops = p.SetMulticastLoopback(true), p.SetMulticastHopLimit(1)
	}
	if loop != nil {
		refused = append(refused, fmt.Errorf("%s: other programs on this host may not hear us: multicast loopback: %w", f.network, loop))
	}
	if hops != nil {
		refused = append(refused, fmt.Errorf("%s: hop limit of multicasts: %w", f.network, hops))
	}
	if errors.Is(loop, net.ErrClosed) {
		return nil, fmt.Errorf("sender: %w", loop)
	}
	f.out = unpolled(f.send)
	if f.rawOut, err = f.out.SyscallConn(); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	f.askSegments()
	if err := f.receiver.prepare(f); err != nil {
		refused = append(refused, err)
	} else {
		f.packetInfo = true
	}
	return refused, nil
}

// prepare sets the options of a socket that receives. An error says that
// datagrams come without their destination and interface; then origin judges them by
// their source.
func (r *receiver) prepare(f *family) (err error) {
	// Every socket on the port queues what any socket joined, by any link. The
	// system may grant less.
	_ = r.conn.SetReadBuffer(readBuffer)
	r.ignoreOwn(f.send)
	switch g := r.groups.(type) {
	case *ipv4.PacketConn:
		err = g.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	case *ipv6.PacketConn:
		err = g.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
	if err != nil {
		return fmt.Errorf("%s: the system tells no interface with a packet: %w", f.network, err)
	}
	return nil
}

// ignoreOwn has the system keep back the copies of this endpoint's own multicasts, which
// it makes for other programs on this host. That spares an instance waking up for each
// message that it sends or relays. Only Linux can tell such copies; elsewhere they come,
// and the instance knows its own.
func (r *receiver) ignoreOwn(send *net.UDPConn) {
	const copied, everything = 5, 1 << 16 // PACKET_LOOPBACK; more than a datagram is long
	port := uint32(send.LocalAddr().(*net.UDPAddr).Port)
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: copied, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 0, Size: 2}, // the source port
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: port, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: everything},
	})
	if c, ok := r.groups.(interface {
		SetBPF([]bpf.RawInstruction) error
	}); ok && err == nil {
		_ = c.SetBPF(filter)
	}
}

// join joins a group on an interface. That it is joined already is success.
func (r *receiver) join(group netip.Addr, index int) error {
	err := r.groups.JoinGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: group.AsSlice()})
	if err != nil && !isInUse(err) {
		if other := joinOtherwise(r.conn, group, index); other == nil || isInUse(other) {
			return nil
		}
		return fmt.Errorf("join %v: %w", group, err)
	}
	return nil
}

// leave leaves a group on an interface. Failure does no harm: then the interface is
// gone, and the membership with it.
func (r *receiver) leave(group netip.Addr, index int) {
	if r.groups.LeaveGroup(&net.Interface{Index: index}, &net.UDPAddr{IP: group.AsSlice()}) != nil {
		leaveOtherwise(r.conn, group, index)
	}
}

// isFull is true if a socket may join on no more links.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// join joins the group on an interface, by the first socket that may.
func (e *layer2Endpoint) join(f *family, index int) (*receiver, error) {
	err := f.receiver.join(f.group, index)
	if err == nil {
		return &f.receiver, nil
	}
	if !isFull(err) {
		return nil, err
	}
	for _, r := range f.more {
		if r.join(f.group, index) == nil {
			return r, nil
		}
	}
	r, more := e.hearMore(f, index)
	if more != nil {
		return nil, fmt.Errorf("%w; %w", err, more)
	}
	return r, nil
}

// control returns the control message that picks a link and its address. The
// address is pinned so that the source is what Links says, however many the
// interface has.
func (f *family) control(l Link) []byte {
	if f.group.Is4() {
		return (&ipv4.ControlMessage{IfIndex: l.Index, Src: l.Addr.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{IfIndex: l.Index, Src: l.Addr.AsSlice()}).Marshal()
}

// choice says how good an address is as the node's address on a link.
type choice int

const (
	choiceNone    choice = iota
	choiceFailed         // another node has it
	choiceAwaited        // duplicate address detection goes on
	choiceLast           // deprecated or temporary
	choiceSecond
	choiceFirst
)

// usable is true if the link can be used with an address.
func (c choice) usable() bool { return c >= choiceLast }

// rate says how good an address is on an interface. Only a loopback has ::1 or
// 127.0.0.1. An IPv4 address that the node chose for itself yields to one that
// it was given.
func (f *family) rate(ifi *netif, a netifAddr) choice {
	switch {
	case a.ip.Is4() != f.group.Is4():
		return choiceNone
	case a.ip.IsLoopback():
		if !ifi.loopback {
			return choiceNone
		}
	case !a.ip.IsLinkLocalUnicast() && (a.ip.Is6() || !a.ip.IsGlobalUnicast()):
		return choiceNone
	}
	switch {
	case a.flags&addrFailed != 0:
		return choiceFailed
	case a.flags&addrTentative != 0:
		return choiceAwaited
	case a.flags&(addrDeprecated|addrTemporary) != 0:
		return choiceLast
	case a.ip.Is6() && a.ip.IsLoopback(), a.ip.Is4() && a.ip.IsLinkLocalUnicast():
		return choiceSecond
	}
	return choiceFirst
}

// pick returns the best address for a link. Of several that are equally good, it is
// the one that the link had, or else the first.
func (f *family) pick(ifi *netif, old netip.Addr) (best netifAddr, c choice) {
	for _, a := range ifi.addrs {
		r := f.rate(ifi, a)
		if r > c || (r == c && r != choiceNone && a.ip == old) {
			best, c = a, r
		}
	}
	return best, c
}
