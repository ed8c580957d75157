// Package acptest has the tests that every [acp.Plane] has to pass, and what
// tests of planes need.
package acptest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// Plane checks what every Plane has to do. The planes share a link, and
// may be one and the same. It does not need to be the only user of the link.
func Plane(t *testing.T, a, b acp.Plane) {
	for _, test := range Tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, a, b) })
	}
}

// Tests are the parts of Plane, for those who can't use t.Run.
var Tests = []struct {
	Name string
	Run  func(t *testing.T, a, b acp.Plane)
}{
	{"MulticastIsHeardByAllOnTheLink", testMulticastIsHeardByAll},
	{"OriginCanBeDialed", OriginCanBeDialed},
	{"LargestMessageIsHeardWhole", testLargestMessage},
	{"TooLargeMessageIsRefused", testTooLargeMessage},
	{"UnknownLinkIsAnErrorOfThatLink", testUnknownLink},
	{"ShortBufferGetsTheBeginning", testShortBuffer},
	{"DatagramIsHeardByOneNode", testDatagram},
	{"DatagramIsRefused", testDatagramRefused},
	{"SharedPortTakesStreams", testSharedPort},
	{"EndpointsHavePortsOfTheirOwn", testPorts},
	{"NobodyListens", testNobodyListens},
	{"DialHeedsItsContext", testDialContext},
	{"CloseUnblocks", testCloseUnblocks},
	{"NothingWorksAfterClose", testAfterClose},
	{"CloseConcurrently", testCloseConcurrently},
	{"CloseDuringUse", testCloseDuringUse},
	{"StreamsOutliveEndpoints", testStreamsOutliveEndpoints},
}

func testMulticastIsHeardByAll(t *testing.T, a, b acp.Plane) {
	e, other, far := Join(t, a), Join(t, a), Join(t, b)
	_, link := meet(t, e, far)
	msg := Nonce()
	require.NoError(t, e.Send(link, []byte(msg)))
	for _, c := range []struct {
		who string
		Member
	}{{"the sender's neighbour on the node", other}, {"the far node", far}} {
		from := Hear(t, c.Heard, msg)
		addr := from.Addr.Addr()
		assert.Contains(t, linkIndexes(c), from.Link, c.who)
		if addr.Is6() {
			assert.Equal(t, strconv.Itoa(from.Link), addr.Zone(), c.who)
			assert.True(t, addr.IsLinkLocalUnicast() || addr.IsLoopback(), "%s: %v", c.who, addr)
		}
		assert.Equal(t, e.Port(), from.Addr.Port(), c.who)
	}
}

// OriginCanBeDialed is the test of that name.
func OriginCanBeDialed(t *testing.T, a, b acp.Plane) {
	ea, eb := Open(t, a), Join(t, b)
	from, link := meet(t, ea, eb)
	dialed, accepted := connectTo(t, from, ea, eb)

	assert.Equal(t, from.Addr, dialed.Peer)
	assert.Equal(t, from.Link, dialed.Link)
	assert.Equal(t, link, accepted.Link)
	if peer := accepted.Peer.Addr(); peer.Is6() {
		assert.Equal(t, strconv.Itoa(link), peer.Zone())
	}
	assert.Equal(t, int(ea.Port()), accepted.LocalAddr().(*net.TCPAddr).Port)
	assert.Equal(t, int(ea.Port()), dialed.RemoteAddr().(*net.TCPAddr).Port)
	assert.Equal(t, dialed.LocalAddr().(*net.TCPAddr).Port, int(accepted.Peer.Port()))

	Say(t, dialed, accepted, "a question")
	Say(t, accepted, dialed, "an answer")
	require.NoError(t, dialed.Close())
	_, err := accepted.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF)
}

func testLargestMessage(t *testing.T, a, b acp.Plane) {
	ea, eb := Open(t, a), Join(t, b)
	_, link := meet(t, ea, eb)
	msg := largest(t, ea)
	require.NoError(t, ea.Send(link, []byte(msg)))
	Hear(t, eb.Heard, msg)
}

func testTooLargeMessage(t *testing.T, a, _ acp.Plane) {
	e := Open(t, a)
	err := e.Send(e.Links()[0].Index, make([]byte, e.MaxMulticast()+1))
	require.Error(t, err)
	assert.NotErrorIs(t, err, net.ErrClosed)
	assert.NoError(t, e.Send(e.Links()[0].Index, []byte(Nonce())))
}

func testUnknownLink(t *testing.T, a, _ acp.Plane) {
	e := Open(t, a)
	for _, link := range []int{0, -1, 1 << 30} {
		err := e.Send(link, []byte(Nonce()))
		require.Error(t, err, link)
		assert.NotErrorIs(t, err, net.ErrClosed, link)
	}
	assert.NoError(t, e.Send(e.Links()[0].Index, []byte(Nonce())))
}

func testShortBuffer(t *testing.T, a, b acp.Plane) {
	from, e := Open(t, a), Open(t, b)
	msg := Nonce()
	received := make(chan struct{})
	var sending sync.WaitGroup
	defer sending.Wait()
	defer close(received)
	sending.Go(func() {
		for { // e may not be a neighbour yet
			for _, l := range from.Links() {
				_ = from.Send(l.Index, []byte(msg))
			}
			select {
			case <-received:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	Within(t, "Receive", func() {
		buf := make([]byte, 10)
		for {
			n, _, err := e.Receive(buf)
			if !assert.NoError(t, err) || string(buf[:n]) == msg[:10] {
				return
			}
		}
	})
}

// onPort is an address with the port that all endpoints of a node share.
func onPort(at netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(at.Addr(), acp.Port) }

// testDatagram: where the planes are on one node the system may give a datagram
// to either endpoint, always to the same one for a sender, so that it takes
// another sender if that one is not on the link. The more often nothing is heard, the
// longer it waits.
func testDatagram(t *testing.T, a, b acp.Plane) {
	eb := Join(t, b)
	for try := range 32 {
		ea := Join(t, a)
		to, _ := meet(t, eb, ea)
		assert.False(t, to.Unicast)
		msg := largest(t, ea)
		err := acp.SendTo(ea.Endpoint, onPort(to.Addr), []byte(msg))
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		require.NoError(t, err)
		r := Received{}
		by := eb
		for giveUp := time.After(time.Duration(try+1) * 100 * time.Millisecond); giveUp != nil && r.Msg != msg; {
			select {
			case r = <-ea.Heard:
				by = ea
			case r = <-eb.Heard:
				by = eb
			case <-giveUp:
				giveUp = nil
			}
		}
		if r.Msg != msg {
			require.NoError(t, ea.Close())
			continue
		}
		assert.True(t, r.From.Unicast)
		assert.Equal(t, ea.Port(), r.From.Addr.Port())
		assert.Contains(t, linkIndexes(by), r.From.Link)
		if addr := r.From.Addr.Addr(); addr.Is6() {
			assert.Equal(t, strconv.Itoa(r.From.Link), addr.Zone())
			assert.True(t, addr.IsLinkLocalUnicast() || addr.IsLoopback(), "%v", addr)
		}
		return
	}
	require.Fail(t, "not heard")
}

func testDatagramRefused(t *testing.T, a, b acp.Plane) {
	ea, eb := Join(t, a), Join(t, b)
	at, _ := meet(t, eb, ea)
	refused := func(to netip.AddrPort, size int) {
		t.Helper()
		err := acp.SendTo(ea.Endpoint, to, make([]byte, size))
		require.Error(t, err)
		assert.NotErrorIs(t, err, net.ErrClosed)
	}
	refused(onPort(at.Addr), ea.MaxMulticast()+1)
	for _, zone := range []string{"", "0", "-1", "eth0", "1073741824"} {
		refused(netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(zone), acp.Port), 1)
	}
	refused(netip.AddrPort{}, 1)
	require.NoError(t, ea.Close())
	if _, ok := ea.Endpoint.(acp.DatagramSender); !ok {
		return
	}
	assert.ErrorIs(t, acp.SendTo(ea.Endpoint, onPort(at.Addr), []byte("x")), net.ErrClosed)
}

// Accept accepts streams in the background, until the endpoint is closed.
func Accept(t *testing.T, e acp.Endpoint) <-chan *acp.Stream {
	t.Helper()
	c := make(chan *acp.Stream, 16)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			s, err := e.Accept()
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				return
			}
			c <- s
		}
	})
	t.Cleanup(func() {
		_ = e.Close()
		wg.Wait()
		for range len(c) {
			_ = (<-c).Close()
		}
	})
	return c
}

// testSharedPort: streams to the port of GRASP come to one endpoint of the
// node, by Accept like all others.
func testSharedPort(t *testing.T, a, b acp.Plane) {
	ea, eb := Join(t, a), Join(t, b)
	at, link := meet(t, eb, ea)
	byA, byB := Accept(t, ea), Accept(t, eb)
	dial := func(to netip.AddrPort) (dialed, taken *acp.Stream) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), Patience)
		defer cancel()
		dialed, err := ea.Dial(ctx, to)
		require.NoError(t, err)
		t.Cleanup(func() { _ = dialed.Close() })
		select {
		case taken = <-byA: // on one node it was the first to be there, on whatever links it is
			assert.Contains(t, append(linkIndexes(ea), link), taken.Link)
		case taken = <-byB:
			assert.Equal(t, link, taken.Link)
		case <-ctx.Done():
			require.Fail(t, "not accepted")
		}
		t.Cleanup(func() { _ = taken.Close() })
		assert.Equal(t, to, dialed.Peer)
		assert.Equal(t, at.Link, dialed.Link)
		assert.Equal(t, int(to.Port()), taken.LocalAddr().(*net.TCPAddr).Port)
		return dialed, taken
	}
	for _, to := range []netip.AddrPort{onPort(at.Addr), at.Addr} {
		dialed, taken := dial(to)
		Say(t, dialed, taken, "a question")
		Say(t, taken, dialed, "an answer")
	}
}

func testPorts(t *testing.T, a, _ acp.Plane) {
	first, second := Open(t, a), Open(t, a)
	assert.NotZero(t, first.Port())
	assert.NotZero(t, second.Port())
	assert.NotEqual(t, first.Port(), second.Port())
	require.NoError(t, first.Close())
	assert.NoError(t, second.Send(second.Links()[0].Index, []byte(Nonce())))
}

func testNobodyListens(t *testing.T, a, b acp.Plane) {
	ea, eb := Open(t, a), Join(t, b)
	from, _ := meet(t, ea, eb)
	require.NoError(t, ea.Close())
	Within(t, "Dial", func() {
		_, err := eb.Dial(t.Context(), from.Addr)
		assert.Error(t, err)
		assert.NotErrorIs(t, err, net.ErrClosed)
	})
}

func testDialContext(t *testing.T, a, b acp.Plane) {
	ea, eb := Open(t, a), Join(t, b)
	from, _ := meet(t, ea, eb)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := eb.Dial(ctx, from.Addr)
	assert.ErrorIs(t, err, context.Canceled)
}

func testCloseUnblocks(t *testing.T, a, _ acp.Plane) {
	e := Open(t, a)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				if _, _, err := e.Receive(make([]byte, 1)); err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					return
				}
			}
		})
		wg.Go(func() {
			_, err := e.Accept()
			assert.ErrorIs(t, err, net.ErrClosed)
		})
	}
	time.Sleep(50 * time.Millisecond)
	Within(t, "Close", func() { assert.NoError(t, e.Close()) })
	Within(t, "Receive and Accept", wg.Wait)
}

func testAfterClose(t *testing.T, a, _ acp.Plane) {
	e := Open(t, a)
	link := e.Links()[0]
	require.NoError(t, e.Close())
	assert.ErrorIs(t, e.Send(link.Index, []byte(Nonce())), net.ErrClosed)
	_, _, err := e.Receive(make([]byte, 1))
	assert.ErrorIs(t, err, net.ErrClosed)
	_, err = e.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
	_, err = e.Dial(t.Context(), netip.AddrPortFrom(link.Addr, e.Port()))
	assert.ErrorIs(t, err, net.ErrClosed)
}

func testCloseConcurrently(t *testing.T, a, _ acp.Plane) {
	e := Open(t, a)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := e.Close(); err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
			}
		})
	}
	Within(t, "Close", wg.Wait)
}

// testCloseDuringUse is for the race detector.
func testCloseDuringUse(t *testing.T, a, b acp.Plane) {
	e, far := Open(t, a), Open(t, b)
	link := e.Links()[0]
	var wg sync.WaitGroup
	until := func(f func() error) {
		wg.Go(func() {
			for {
				if err := f(); err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range 2 {
		until(func() error { return e.Send(link.Index, []byte(Nonce())) })
		until(func() error { _, _, err := e.Receive(make([]byte, 64)); return err })
		until(func() error {
			s, err := e.Accept()
			if err == nil {
				err = s.Close()
			}
			return err
		})
		until(func() error {
			s, err := e.Dial(t.Context(), netip.AddrPortFrom(link.Addr, far.Port()))
			if err == nil {
				return s.Close()
			}
			// On the own address there may be nobody.
			if e.Send(link.Index, []byte(Nonce())) == nil {
				return nil
			}
			return net.ErrClosed
		})
		until(func() error {
			_, _, _, _ = e.Links(), e.Addr(), e.Port(), e.MaxMulticast()
			return e.Send(link.Index, []byte(Nonce()))
		})
	}
	time.Sleep(50 * time.Millisecond)
	Within(t, "Close", func() { assert.NoError(t, e.Close()) })
	Within(t, "the others", wg.Wait)
}

func testStreamsOutliveEndpoints(t *testing.T, a, b acp.Plane) {
	ea, eb := Open(t, a), Join(t, b)
	dialed, accepted := connect(t, ea, eb)
	require.NoError(t, ea.Close())
	require.NoError(t, eb.Close())
	Say(t, dialed, accepted, "still there?")
	Say(t, accepted, dialed, "of course")
}
