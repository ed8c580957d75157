package acp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Layer2 is the plane for networks whose link layer is protected by other
// means, such as MACsec, WPA3 or locked rooms: GRASP runs over the sockets of
// the operating system, in clear. Its Status is Secure because it trusts that
// protection, which it cannot check.
//
// It uses IPv6 multicast (RFC 8990 section 2.6), so a link is in use only
// while it has a usable IPv6 link-local address; see IPv4 for links that have
// none. Streams go over TCP, also to and from IPv4 addresses where the system
// allows that.
//
// Besides a port of its own, an endpoint listens for streams on port 7017 if it
// is free. An endpoint that finds it taken takes it over within 15 seconds after
// it is free. A datagram to that port goes to the endpoint, or other program on
// it, that the system picks.
//
// Links that come, go or change are noticed within tens of milliseconds on Linux, where
// the kernel reports them, and within about a second elsewhere. On Linux the links are
// also looked at as soon as the machine wakes up from sleep. [Interfaces] says why an
// interface of an endpoint is not a link.
//
// If the system refuses something, only what depends on it does not work, and
// Interfaces says so, too. Without netlink, Layer2 looks for interfaces and addresses by
// other means, once a second. If a socket may not join the group on more links, Layer2
// opens another one. A join that fails for another reason is tried again after a second,
// and then after twice as long each time, up to a minute. So are the sockets of a version
// of IP that cannot be opened while those of the other can.
//
// The zero value is ready for use. Fields must not be changed after Open.
type Layer2 struct {
	// Links holds the names of the interfaces to use. A name need not exist yet. Empty
	// means every interface that is up, has the flag for multicast, and is neither a
	// loopback nor a port of a bridge. A named interface is used whatever it is:
	// tunnels often carry multicast without having the flag.
	//
	// A loopback interface is used only if it is named here. Linux has no
	// route for IPv6 multicast on it by default, so that Send fails with
	// ENETUNREACH until there is one:
	//
	//	ip -6 route add local ff02::13/128 dev lo
	//
	// With IPv4 it needs none, nor any privilege: a loopback that has no address of
	// IPv6 but ::1 runs over IPv4 then.
	Links []string

	// IPv4 lets a link that has no IPv6 link-local address run over the
	// multicast group 224.0.0.119 (RFC 8990 section 2.6). The link needs an IPv4
	// address, and an MTU of at least 1280 bytes, as IPv6 does. If the node has no
	// IPv6 address to give to others, it then gives an IPv4 address. This is for
	// hosts without IPv6, such as plain containers, or with kernels that lack it.
	//
	// A link runs over one version of IP at a time, IPv6 where it can (but see Links
	// for a loopback): it waits for duplicate address detection, and changes to IPv6
	// when it gets an IPv6 address later. So a node with IPv6 and one without do not
	// hear each other on a link, however this is set.
	//
	// The address of a link that runs over IPv4, and the source of what comes by it,
	// are IPv4 addresses without a zone. Datagrams are taken only from addresses in a
	// network of the interface. If two interfaces have a peer's address in their
	// networks, the peer is reached by the one that the system's routes prefer.
	//
	// It is off by default, because it brings GRASP to links on which the
	// operator has not asked for it: a host with IPv6 has its other links,
	// of which those with IPv4 alone are most often tunnels and bridges to
	// containers, which no protection of layer 2 covers.
	//
	// It works on Linux and macOS, and is ignored elsewhere.
	IPv4 bool

	// Addr is the address that is given to others, or a prefix that it is in (an
	// address alone is a prefix of all its bits). Other addresses of the node are then
	// not given. While no interface has such an address, neighbours are given link-local
	// addresses, and nobody else gets any; Interfaces of the endpoint says so. Zero means
	// that the best addresses are chosen.
	Addr netip.Prefix

	// Port is the port of the endpoint. Set it if a firewall has to know it, or so that
	// locators of the node stay valid after a restart. Open fails if another endpoint or
	// program has it. 0 means that the system chooses one. It must not be 7017, which
	// all share.
	Port uint16

	// FastOpen has the first message to a known peer travel with the segment that
	// opens the connection (TCP Fast Open, RFC 7413), so that the answer takes one
	// round trip instead of two, and lets peers do the same. A peer is known after
	// a first connection to it, in which it gives a cookie. Where the peer or one of
	// the systems does not do this, connections are opened as usual.
	//
	// While a request is under way like that, no other address or peer is tried. If
	// the peer refuses, the next one is; if it does not answer the call fails, because
	// it may have the request.
	//
	// It works on Linux, and is ignored elsewhere. The sysctl net.ipv4.tcp_fastopen
	// must be 3; while it is not, Interfaces of the endpoint says so. It is off by
	// default: docs/SECURITY.md says what it lets others do.
	FastOpen bool

	// Accept holds the prefixes from which peers are taken: streams, and datagrams
	// of IPv4, from elsewhere are dropped. Peers with link-local addresses of IPv6, and
	// those on this node, are always taken. For what is dropped, Accept and Receive of
	// the endpoint return errors that wrap ErrForeign. Empty means that peers are taken
	// from everywhere, also from beyond the routers.
	Accept []netip.Prefix
}

// check refuses settings that make no sense.
func (l *Layer2) check() error {
	switch a := l.Addr.Addr(); {
	case l.Port == Port:
		return fmt.Errorf("Port is %d, which all endpoints share: choose another, or 0", Port)
	case l.Addr != (netip.Prefix{}) && (!l.Addr.IsValid() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast()):
		return fmt.Errorf("Addr %v is not one that nodes beyond the link can reach", l.Addr)
	}
	for _, p := range l.Accept {
		if !p.IsValid() {
			return fmt.Errorf("Accept has the prefix %v, which is not valid", p)
		}
	}
	return nil
}

// layer2Reason is the Reason of Layer2's Status.
const layer2Reason = "layer 2 is assumed, without a check, to be protected by other means"

// Status implements [Plane]. It is always secure, by assumption.
func (l *Layer2) Status() Status {
	return Status{Secure: true, Assumed: true, Reason: layer2Reason}
}

// Open implements [Plane]: it opens the sockets of one instance and joins the
// group on every link there is. Links that come, go or change later are
// followed.
//
// It fails if the system has no IPv6 at all and IPv4 is off, but not if there
// is no link.
func (l *Layer2) Open() (Endpoint, error) {
	e, err := openLayer2(l, hostSystem(l.Links))
	switch {
	case err != nil:
		return nil, err
	case e.fast != nil:
		return &fastEndpoint{e}, nil
	}
	return e, nil
}

// openLayer2 acquires everything, then starts the endpoint's goroutines, and
// releases everything on failure.
func openLayer2(l *Layer2, sys system) (_ *layer2Endpoint, err error) {
	e := &layer2Endpoint{
		sys:     sys,
		names:   slices.Clone(l.Links),
		pin:     l.Addr,
		accept:  slices.Clone(l.Accept),
		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		members: make(map[int]*member),

		accepted: make(chan accepted, 1),
		hearing:  hearing{turn: make(chan struct{}, 1), batches: make(chan heard)},
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("acp: layer 2: %w", err)
	}
	defer func() {
		if err != nil {
			_ = e.closeSockets(e.families())
		}
	}()
	if l.FastOpen && fastOpenWorks {
		e.fast = newFastOpen()
		e.refused = append(e.refused, fastOpenRefused()...)
	}
	if err = e.openGroups(l.IPv4); err != nil {
		return nil, fmt.Errorf("acp: layer 2: receive multicast on port %d: %w", Port, explain(err))
	}
	if err = e.openPort(l.Port); err != nil {
		return nil, fmt.Errorf("acp: layer 2: %w", explain(err))
	}
	for _, f := range e.families() {
		refused, err := f.prepare()
		if err != nil {
			return nil, fmt.Errorf("acp: layer 2: %w", err)
		}
		e.refused = append(e.refused, refused...)
	}

	// Before the first look, so that no change falls between them.
	e.opened = e.families()
	e.events, err = sys.subscribe(l.IPv4 && ipv4Works)
	if err != nil { // the timer serves
		if !errors.Is(err, errors.ErrUnsupported) {
			e.refused = append(e.refused, fmt.Errorf("changes are noticed after a second only: %w", err))
		}
		e.events, err = nil, nil
	}
	e.evented.Store(e.events != nil)
	if e.alarm, err = sys.alarm(); err != nil { // the next look serves
		if !errors.Is(err, errors.ErrUnsupported) {
			e.refused = append(e.refused, fmt.Errorf("that the machine woke up is noticed within %v: %w", pollSafe, err))
		}
		e.alarm, err = nil, nil
	}

	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.state.Store(&layer2State{})
	next := e.refresh()
	e.drainChanged()
	e.listenShared()
	e.startHearing()
	e.done.Go(func() { e.watch(next) })
	if e.events != nil {
		e.done.Go(func() { e.listen(e.events) })
	}
	if e.alarm != nil {
		e.done.Go(func() { e.heed(e.alarm) })
	}
	return e, nil
}
