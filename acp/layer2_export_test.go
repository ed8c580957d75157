package acp

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Poke makes a Layer2 endpoint look at its interfaces now, as a source of
// events would, so that tests of many changes need not wait for each.
func Poke(e Endpoint) { e.(*layer2Endpoint).poke() }

// Drops is the number of datagrams that a Layer2 endpoint dropped.
func Drops(e Endpoint) uint64 { return e.(*layer2Endpoint).drops.Load() }

// layer2With is a Layer2 plane on a system that is not all the host's.
type layer2With struct {
	Layer2
	change func(*system)
}

func (p *layer2With) Open() (Endpoint, error) {
	sys := hostSystem(p.Links)
	p.change(&sys)
	e, err := openLayer2(&p.Layer2, sys)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// WithoutEvents is a Layer2 plane to which the kernel tells nothing.
func WithoutEvents(l Layer2) Plane {
	return &layer2With{l, func(sys *system) {
		sys.subscribe = func(bool) (eventSource, error) { return nil, syscall.EPERM }
	}}
}

// Counted is a Layer2 plane that counts its looks at the interfaces.
func Counted(looks *atomic.Int64, l Layer2) Plane {
	return &layer2With{l, func(sys *system) {
		look := sys.interfaces
		sys.interfaces = func() ([]netif, error) {
			looks.Add(1)
			return look()
		}
	}}
}

// In is a Layer2 plane in another network namespace, which do runs a function
// in.
func In(do func(func()), l Layer2) Plane {
	return &layer2With{l, func(sys *system) {
		here := *sys
		sys.listenTCP = func(port uint16) (l *net.TCPListener, err error) {
			do(func() { l, err = here.listenTCP(port) })
			return l, err
		}
		sys.listenUDP = func(network string, port uint16) (c *net.UDPConn, err error) {
			do(func() { c, err = here.listenUDP(network, port) })
			return c, err
		}
		sys.listenGroup = func(network string) (c *net.UDPConn, err error) {
			do(func() { c, err = here.listenGroup(network) })
			return c, err
		}
		sys.connect = func(ctx context.Context, to netip.AddrPort) (c net.Conn, err error) {
			do(func() { c, err = here.connect(ctx, to) })
			return c, err
		}
		sys.interfaces = func() (ifs []netif, err error) {
			do(func() { ifs, err = here.interfaces() })
			return ifs, err
		}
		sys.subscribe = func(ipv4 bool) (s eventSource, err error) {
			do(func() { s, err = here.subscribe(ipv4) })
			return s, err
		}
	}}
}

// Alarmed is a Layer2 plane that is told that the machine woke up when alarm has a value.
func Alarmed(alarm <-chan struct{}, l Layer2) Plane {
	return &layer2With{l, func(sys *system) {
		sys.alarm = func() (eventSource, error) { return &fakeAlarm{alarm, make(chan struct{})}, nil }
	}}
}

type fakeAlarm struct {
	alarm  <-chan struct{}
	closed chan struct{}
}

func (a *fakeAlarm) Receive() error {
	select {
	case <-a.alarm:
		return nil
	case <-a.closed:
		return net.ErrClosed
	}
}

func (a *fakeAlarm) Close() error {
	close(a.closed)
	return nil
}

// SendsWhole reports whether a Layer2 endpoint sends each message on a link as a packet.
func SendsWhole(e Endpoint, link int) bool {
	return e.(*layer2Endpoint).state.Load().byIndex[link].whole.Load()
}

// ControlSender changes the socket by which a Layer2 endpoint sends over IPv6.
func ControlSender(t testing.TB, e Endpoint, change func(fd int) error) {
	t.Helper()
	var err error
	require.NoError(t, e.(*layer2Endpoint).six.rawOut.Control(func(fd uintptr) { err = change(int(fd)) }))
	require.NoError(t, err)
}
