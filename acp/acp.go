// Package acp is the security and transport substrate on which GRASP runs
// (RFC 8990, section 2.5.1). It says whether the network is protected, which links
// there are, and which address to give to others, and it opens the sockets.
//
// Package grasp asks a [Plane] for everything it knows of the network, and does not
// know which plane it runs on. The plane here is [Layer2], for networks whose link layer
// is protected by other means. Package tlsplane has one that protects by TLS, package
// quads one that encrypts with a password as the Python prototype does, and package
// memory a network of many nodes in memory, for tests, and a plane that is never
// secure.
package acp

import (
	"context"
	"net"
	"net/netip"
)

// Port is the port on which GRASP listens for link-local multicast
// (GRASP_LISTEN_PORT, RFC 8990 section 2.6), and for what comes to this node
// alone from peers that do not know another.
const Port = 7017

// Group6 returns the multicast group of GRASP over IPv6 (ALL_GRASP_NEIGHBORS,
// RFC 8990 section 2.6).
func Group6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x13}) }

// Group4 returns the multicast group of GRASP over IPv4 (ALL_GRASP_NEIGHBORS,
// RFC 8990 section 2.6).
func Group4() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 119}) }

// MaxMulticast is the largest multicast message that fits the smallest packet
// every IPv6 link carries whole: 1280 bytes less the headers of IPv6 and UDP.
// GRASP must not rely on IP fragmentation (RFC 8990 section 2.5.3).
const MaxMulticast = 1232

// ErrForeign is wrapped by the errors of Receive and Accept, and of reading from a
// stream, which say that a message or a stream was dropped because it does not come from
// a member of the domain, as far as the plane can tell, or not from where peers are taken.
const ErrForeign = constError("not from a member of the domain")

// constError is an error that nobody can change.
type constError string

func (e constError) Error() string { return string(e) }

// Status says whether a plane protects what is sent over it, and why.
type Status struct {
	// Secure is true if the plane admits only authenticated members and
	// protects their messages (RFC 8990 section 2.5.1), or is trusted to.
	Secure bool
	// Assumed is true if a plane that is Secure is only trusted to be so: nobody has
	// verified it.
	Assumed bool
	// Reason is for people: what the protection is, or what is missing.
	Reason string
}

// Link is a link on which the plane sends and receives multicast.
type Link struct {
	// Index is the link's interface index, never 0. It is what tells links
	// apart: a name can be taken over by another interface.
	Index int
	// Name is the interface's name, for people.
	Name string
	// Addr is the address of this node on the link: link-local, with the
	// decimal Index as its zone (a loopback link may have ::1), or, on a link
	// that runs over IPv4, an IPv4 address.
	Addr netip.Addr
}

// Plane is a security and transport substrate. Its methods may be called
// concurrently; one plane serves any number of instances.
type Plane interface {
	// Status is consulted for every operation: it must be cheap.
	Status() Status
	// Open opens the sockets of one instance. No link need be there yet.
	Open() (Endpoint, error)
}

// Endpoint is what one instance has of a plane: a receiver of the multicasts
// to [Port], shared with every other instance on the node; a sender of
// multicasts; and a listener for streams, whose port is the sender's.
//
// One of the node's endpoints also listens for streams on [Port]: the one that was
// opened first, and soon after it is closed another one. A datagram to that port of
// this node alone goes to one of the endpoints, no matter which.
//
// Its methods may be called concurrently. A failure of one link or peer
// concerns that link or peer only. After Close every call returns an error
// that wraps [net.ErrClosed].
//
// These methods are all that a plane needs, and there will be no others. An endpoint
// that can do more implements the interfaces [DatagramSender], [BatchSender], [Addresser],
// [InterfaceLister] and [Requester], or one that a later release adds. To use an
// endpoint, call the functions [SendTo], [SendBatch], [Waiting], [Addrs] and
// [Interfaces], which also work without these. An endpoint on top of another is an
// [Overlay].
type Endpoint interface {
	// Port is the port that multicasts come from and streams are accepted on.
	Port() uint16
	// Links returns the links in use now: up, joined, with an address that
	// can be used. The caller must not change the slice.
	Links() []Link
	// Addr returns the address by which nodes beyond the link reach this one,
	// or the zero Addr if there is none.
	Addr() netip.Addr
	// Changed receives a value after the status, the links, the addresses or
	// what Interfaces returns changed, and after the machine woke up from sleep if
	// the plane can tell, one for any number of changes. It is meant for one
	// reader.
	Changed() <-chan struct{}
	// MaxMulticast is the size of the largest message that Send takes.
	MaxMulticast() int
	// Send multicasts a message, one CBOR item, on one link. It does not wait
	// for anybody.
	Send(link int, msg []byte) error
	// Receive waits for a multicast, perhaps one of this endpoint's own, or a datagram
	// sent to this node alone, and copies it to buf; what does not fit is lost.
	// Errors other than net.ErrClosed are passing. One that wraps ErrForeign is
	// of a message dropped, and comes with its origin.
	Receive(buf []byte) (n int, from Origin, err error)
	// Accept waits for a stream that a peer opened, to Port or to [Port] of the
	// package. Errors other than net.ErrClosed are passing. One that wraps ErrForeign
	// is of a peer that is not taken, and comes with its stream, which is closed.
	Accept() (*Stream, error)
	// Dial opens a stream to a peer. The zone of a link-local address is the
	// decimal index of its link.
	Dial(ctx context.Context, to netip.AddrPort) (*Stream, error)
	// Close ends the endpoint and waits for what it started. Streams go on.
	Close() error
}

// Origin says where a message came from.
type Origin struct {
	// Link is the index of the link it came by.
	Link int
	// Addr is its source, to which responses go.
	Addr netip.AddrPort
	// Unicast says that it was sent to this node alone, not to the group.
	Unicast bool
}

// Stream is a reliable connection to a peer. Its user writes each message, one CBOR
// item, with one Write, and calls Read from one goroutine at a time. After an error
// that wraps ErrForeign, Read returns it again.
type Stream struct {
	net.Conn
	// Peer is the peer's address; an IPv6 link-local one has the decimal index of
	// the link as its zone.
	Peer netip.AddrPort
	// Link is the index of the link the peer is on, 0 if that is not known.
	Link int
	// Identity is who the peer has proven to be, "" on a plane on which
	// nobody does.
	Identity string
	// Early says that the peer's first bytes came with the opening of the stream
	// ([Requester]). They may be a copy of what opened another stream before.
	Early bool
}

// Memory returns how many bytes the plane keeps for the stream, about, while
// nothing is read or written: what its Conn says, if that has a method of this
// name, or else 0.
func (s *Stream) Memory() int {
	if c, ok := s.Conn.(interface{ Memory() int }); ok {
		return c.Memory()
	}
	return 0
}

// SetMaxMessage sets the longest message, in bytes, that is read from now on; without
// a call it is 2048. It is for planes that have to keep a message until it is whole,
// whose Conn has a method of this name. For others it does nothing. It must not be
// called during Read.
func (s *Stream) SetMaxMessage(bytes int) {
	if c, ok := s.Conn.(interface{ SetMaxMessage(int) }); ok {
		c.SetMaxMessage(bytes)
	}
}
