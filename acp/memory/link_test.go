package memory_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

func TestDownIsAnErrorOfTheLink(t *testing.T) {
	l, a, _ := pair(memory.LinkConfig{Name: "eth7"})
	e := endpointOf(t, a)
	link := e.Links()[0]
	assert.Equal(t, "eth7", link.Name)
	l.Down()
	assert.ErrorIs(t, e.Send(link.Index, []byte("x")), syscall.ENETUNREACH)
	l.Up()
	assert.NoError(t, e.Send(link.Index, []byte("x")))
	a.Detach(l)
	assert.ErrorIs(t, e.Send(link.Index, []byte("x")), syscall.ENODEV)
	assert.ErrorIs(t, e.Send(a.Attach(l).Index, make([]byte, acp.MaxMulticast+1)), syscall.EMSGSIZE)
}

func TestFlapKeepsIndexAndAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		e := endpointOf(t, a)
		c := receive(t, endpointOf(t, b))
		link := e.Links()[0]
		for range 100 {
			l.Down()
			l.Up()
		}
		assert.Equal(t, []acp.Link{link}, e.Links())
		require.NoError(t, e.Send(link.Index, []byte("hello")))
		assert.Equal(t, []string{"hello"}, all(c))
	})
}

func TestDelayIsVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Hour})
		e := endpointOf(t, a)
		near, far := receive(t, e), receive(t, endpointOf(t, b))
		start := time.Now()
		require.NoError(t, e.Send(index(t, a, l), []byte("hello")))
		assert.Equal(t, []string{"hello"}, all(near), "one's own is heard at once")
		<-far
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Second})
		e := endpointOf(t, a)
		c := receive(t, endpointOf(t, b))
		for i := range 500 {
			require.NoError(t, e.Send(index(t, a, l), fmt.Append(nil, i)))
		}
		time.Sleep(time.Second)
		for i, msg := range all(c) {
			require.Equal(t, fmt.Sprint(i), msg)
		}
	})
}

func TestJitterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Second, Jitter: time.Second})
		e := endpointOf(t, a)
		c := receive(t, endpointOf(t, b))
		var sum time.Duration
		for range 100 {
			start := time.Now()
			require.NoError(t, e.Send(index(t, a, l), nil))
			<-c
			d := time.Since(start)
			require.GreaterOrEqual(t, d, time.Second)
			require.Less(t, d, 2*time.Second)
			sum += d
		}
		assert.InDelta(t, 150, sum.Seconds(), 15)
	})
}

func TestUnderWayWhenTheLinkGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Second})
		e := endpointOf(t, a)
		c := receive(t, endpointOf(t, b))
		require.NoError(t, e.Send(index(t, a, l), []byte("lost")))
		l.Down()
		l.Up()
		require.NoError(t, e.Send(index(t, a, l), []byte("heard")))
		time.Sleep(time.Second)
		assert.Equal(t, []string{"heard"}, all(c))
		assert.EqualValues(t, 1, l.Stats().Lost)
	})
}

func TestUnderWayWhenTheReceiverLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{Delay: time.Second})
		c := receive(t, endpointOf(t, b))
		require.NoError(t, endpointOf(t, a).Send(index(t, a, l), []byte("lost")))
		b.Detach(l)
		b.Attach(l)
		time.Sleep(time.Second)
		assert.Empty(t, all(c))
		assert.EqualValues(t, 1, l.Stats().Lost)
	})
}

// losses returns which of a thousand messages a node missed, while another
// one talks on the same link.
func losses(t *testing.T, seed uint64, noise int) (missed []int) {
	n := memory.NewNetwork(seed)
	l := n.NewLink(memory.LinkConfig{Loss: 0.1})
	a, b, other := n.NewNode("a", l), n.NewNode("b", l), n.NewNode("c", l)
	e, far, noisy := endpointOf(t, a), endpointOf(t, b), endpointOf(t, other)
	hears := func(want string) (heard bool) {
		require.NoError(t, far.Send(index(t, b, l), []byte("mark"))) // never lost at home
		for buf := make([]byte, 16); ; {
			k, _, err := far.Receive(buf)
			require.NoError(t, err)
			switch string(buf[:k]) {
			case want:
				heard = true
			case "mark":
				return heard
			}
		}
	}
	for i := range 1000 {
		for range noise {
			require.NoError(t, noisy.Send(index(t, other, l), []byte("noise")))
		}
		msg := fmt.Sprint(i)
		require.NoError(t, e.Send(index(t, a, l), []byte(msg)))
		if !hears(msg) {
			missed = append(missed, i)
		}
	}
	return missed
}

func TestSameSeedSameLosses(t *testing.T) {
	first := losses(t, 7, 0)
	assert.InDelta(t, 100, len(first), 40)
	assert.Equal(t, first, losses(t, 7, 3), "others make no difference")
	assert.NotEqual(t, first, losses(t, 8, 0))
}

func TestLossOfEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		l.SetLoss(1)
		e := endpointOf(t, a)
		near, far := receive(t, e), receive(t, endpointOf(t, b))
		for range 100 {
			require.NoError(t, e.Send(index(t, a, l), nil))
		}
		assert.Len(t, all(near), 100)
		assert.Empty(t, all(far))
		assert.Equal(t, memory.LinkStats{Sent: 100, Delivered: 100, Lost: 100}, l.Stats())
	})
}

func TestCutIsBetweenTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		e := endpointOf(t, a)
		c := receive(t, endpointOf(t, b))
		l.Cut(b, a)
		require.NoError(t, e.Send(index(t, a, l), []byte("missed")))
		assert.False(t, changed(e), "nobody notices")
		l.Mend(a, b)
		require.NoError(t, e.Send(index(t, a, l), []byte("heard")))
		assert.Equal(t, []string{"heard"}, all(c))
	})
}

// What crosses in one direction only is no way for a stream.
func TestCutOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a, b := pair(memory.LinkConfig{})
		one, two := endpointOf(t, a), endpointOf(t, b)
		l.CutOneWay(b, a)
		heard, missed := receive(t, two), receive(t, one)
		require.NoError(t, one.Send(index(t, a, l), []byte("heard")))
		require.NoError(t, two.Send(index(t, b, l), []byte("own")))
		assert.Equal(t, []string{"heard", "own"}, all(heard))
		assert.Equal(t, []string{"heard"}, all(missed))
		dial := func(from *memory.Node, ep acp.Endpoint, to *memory.Node, port uint16) error {
			far, on := to.Link(l)
			require.True(t, on)
			s, err := ep.Dial(t.Context(), netip.AddrPortFrom(far.Addr.WithZone(fmt.Sprint(index(t, from, l))), port))
			if err == nil {
				_ = s.Close()
			}
			return err
		}
		require.ErrorIs(t, dial(a, one, b, two.Port()), syscall.EHOSTUNREACH)
		require.ErrorIs(t, dial(b, two, a, one.Port()), syscall.EHOSTUNREACH)
		l.Mend(a, b)
		require.NoError(t, dial(a, one, b, two.Port()))
	})
}

func TestFullQueueDrops(t *testing.T) {
	l, a, b := pair(memory.LinkConfig{})
	e, deaf := endpointOf(t, a), endpointOf(t, b)
	for i := range 600 {
		require.NoError(t, e.Send(index(t, a, l), fmt.Append(nil, i)))
	}
	s := l.Stats()
	assert.EqualValues(t, 600, s.Sent)
	assert.EqualValues(t, 2*512, s.Delivered)
	assert.EqualValues(t, 2*(600-512), s.Dropped)
	assert.Zero(t, s.Lost)

	buf := make([]byte, 10)
	n, _, err := deaf.Receive(buf)
	require.NoError(t, err)
	assert.Equal(t, "0", string(buf[:n]), "the oldest are kept")
}

func TestTapComesFirst(t *testing.T) {
	l, a, b := pair(memory.LinkConfig{})
	e, far := endpointOf(t, a), endpointOf(t, b)
	var got []memory.Packet
	var before uint64
	remove := l.Tap(func(p memory.Packet) {
		got = append(got, p)
		before = l.Stats().Sent // may call anything
	})
	msg := []byte("hello")
	require.NoError(t, e.Send(index(t, a, l), msg))
	msg[0] = 'H'
	remove()
	remove()
	require.NoError(t, e.Send(index(t, a, l), msg))

	require.Len(t, got, 1)
	assert.Zero(t, before)
	assert.Equal(t, "hello", string(got[0].Data), "the buffer is the caller's again")
	assert.Equal(t, a, got[0].From)
	assert.Equal(t, l, got[0].Link)
	assert.Equal(t, e.Port(), got[0].Source.Port())
	assert.Equal(t, memory.LinkStats{Sent: 2, SentBytes: 10, Delivered: 4, DeliveredBytes: 20}, l.Stats())

	buf := make([]byte, 10)
	_, from, err := far.Receive(buf)
	require.NoError(t, err)
	assert.Equal(t, got[0].Source.Addr(), from.Addr.Addr().WithZone(""))
}

// A tap that fails a test ends the goroutine in the middle of Send.
func TestTapMayPanic(t *testing.T) {
	l, a, _ := pair(memory.LinkConfig{})
	e := endpointOf(t, a)
	remove := l.Tap(func(memory.Packet) { panic("tap") })
	assert.PanicsWithValue(t, "tap", func() { _ = e.Send(index(t, a, l), nil) })
	remove()
	assert.NoError(t, e.Send(index(t, a, l), nil))
}

func TestLinksOfAnotherNetwork(t *testing.T) {
	l, _, _ := pair(memory.LinkConfig{})
	_, a, _ := pair(memory.LinkConfig{})
	assert.Panics(t, func() { a.Attach(l) })
}
