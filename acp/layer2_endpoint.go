package acp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// layer2Endpoint is what one instance has of a [Layer2] plane.
type layer2Endpoint struct {
	sys    system
	names  []string       // links to use; empty: all
	pin    netip.Prefix   // of the addresses to give; zero: any
	accept []netip.Prefix // of peers; empty: all

	six, four *family   // versions of IP; nil: the system lacks it, or it is off; Open and watch only
	opened    []*family // by Open
	missing   []*missing
	streams   *listener // on port
	port      uint16
	fast      *fastOpen     // nil: it is off
	shared    bool          // it listens for streams on Port too; see listenShared
	accepted  chan accepted // from the listener on Port; holds one
	events    eventSource   // nil: there is none
	alarm     eventSource   // nil: there is none
	hearing   hearing       // how several sockets are heard
	refused   []error       // what the system does not do for the sockets

	state   atomic.Pointer[layer2State]
	changed chan struct{} // holds one: something changed
	wake    chan struct{} // holds one: look at the interfaces again
	evented atomic.Bool   // events come
	awoken  atomic.Bool   // the machine woke up after the last look
	drops   atomic.Uint64 // datagrams that were not for us

	members map[int]*member // by interface index; refresh only

	ctx       context.Context // ended by Close
	cancel    context.CancelFunc
	closeOnce sync.Once
	closeErr  error
	done      sync.WaitGroup
}

// layer2State is what is known of the links. It is never changed once it is
// published.
type layer2State struct {
	links   []Link
	byIndex map[int]*linkState
	only4   []*linkState   // links that run over IPv4
	names   map[string]int // of all interfaces
	own     []ownAddr
	pinned  bool                // own are in a prefix that the user chose
	here    map[netip.Addr]bool // own, and those of only4
	addr    netip.Addr          // the best of own
	all     []Interface
	amiss   error // what is wrong with all
}

// linkState is a link in use.
type linkState struct {
	Link
	zone     string // Index in decimal
	loopback bool
	family   *family
	onLink   []netip.Prefix // where neighbours have their addresses, besides link-local ones of IPv6
	oob      []byte         // control message that picks this link and its address
	whole    atomic.Bool    // each message is a packet; see family.segments
}

// Port implements [Endpoint].
func (e *layer2Endpoint) Port() uint16 { return e.port }

// Links implements [Endpoint].
func (e *layer2Endpoint) Links() []Link { return e.state.Load().links }

// Addr implements [Endpoint].
func (e *layer2Endpoint) Addr() netip.Addr { return e.state.Load().addr }

// Changed implements [Endpoint].
func (e *layer2Endpoint) Changed() <-chan struct{} { return e.changed }

// MaxMulticast implements [Endpoint].
func (e *layer2Endpoint) MaxMulticast() int { return MaxMulticast }

// Send implements [Endpoint]. The interface and the source address go with
// the packet, never with the socket, so that concurrent calls cannot cross.
func (e *layer2Endpoint) Send(link int, msg []byte) error {
	if e.ctx.Err() != nil {
		return fmt.Errorf("acp: send on link %d: %w", link, net.ErrClosed)
	}
	if len(msg) > MaxMulticast {
		return fmt.Errorf("acp: send %d bytes on link %d, which takes %d: %w", len(msg), link, MaxMulticast, syscall.EMSGSIZE)
	}
	l := e.state.Load().byIndex[link]
	if l == nil {
		return fmt.Errorf("acp: send on link %d, which is not in use: %w", link, syscall.ENODEV)
	}
	if err := sendOn(l, msg); err != nil {
		if e.ctx.Err() != nil {
			return fmt.Errorf("acp: send on %s (link %d): %w", l.Name, link, net.ErrClosed)
		}
		e.poke() // the link may have changed
		return fmt.Errorf("acp: send on %s (link %d): %w", l.Name, link, err)
	}
	return nil
}

// SendTo implements [DatagramSender]. It reaches neighbours only, since others would
// drop what comes from beyond the link: link-local addresses, ::1 where a
// loopback link is in use, and IPv4 addresses in the network of a link that
// runs over IPv4, by the interface that the system's routes prefer.
func (e *layer2Endpoint) SendTo(to netip.AddrPort, msg []byte) error {
	to = unmapped(to)
	err := e.sendTo(to, msg)
	if e.ctx.Err() != nil {
		err = net.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("acp: send to %s: %w", to, err)
	}
	return nil
}

func (e *layer2Endpoint) sendTo(to netip.AddrPort, msg []byte) error {
	if e.ctx.Err() != nil {
		return net.ErrClosed
	}
	if len(msg) > MaxMulticast {
		return fmt.Errorf("%d bytes, the limit is %d: %w", len(msg), MaxMulticast, syscall.EMSGSIZE)
	}
	l, err := e.state.Load().linkTo(to.Addr())
	if err != nil {
		return err
	}
	return sendUnicast(l, to, msg)
}

// linkTo returns a link in use on which a neighbour with an address is.
func (st *layer2State) linkTo(to netip.Addr) (*linkState, error) {
	if isLinkLocal(to) {
		index, err := linkIn(to.Zone())
		if err != nil {
			return nil, err
		}
		if l := st.byIndex[index]; l != nil && l.family.group.Is6() {
			return l, nil
		}
		return nil, fmt.Errorf("link %d is not in use over IPv6: %w", index, syscall.ENODEV)
	}
	for _, l := range st.byIndex {
		if to.Is4() && l.reaches(to) || l.loopback && to == netip.IPv6Loopback() && l.Addr == to {
			return l, nil
		}
	}
	return nil, fmt.Errorf("a datagram reaches neighbours only: %w", syscall.EHOSTUNREACH)
}

// Close implements [Endpoint]: it ends every call under way and waits for the
// endpoint's goroutines. It may be called more than once, and concurrently.
func (e *layer2Endpoint) Close() error {
	e.closeOnce.Do(func() {
		e.cancel()
		e.closeErr = e.closeSockets(e.opened)
		e.done.Wait()
		e.state.Store(&layer2State{})
	})
	return e.closeErr
}
