package acp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canned is a source of events that a test makes up: an error for each, nil
// for an event.
type canned struct {
	events   chan error
	closed   chan struct{}
	receives atomic.Int64
	closes   atomic.Int64
}

func newCanned() *canned {
	return &canned{events: make(chan error), closed: make(chan struct{})}
}

func (c *canned) Receive() error {
	c.receives.Add(1)
	select {
	case err := <-c.events:
		return err
	case <-c.closed:
		return os.ErrClosed
	}
}

func (c *canned) Close() error {
	if c.closes.Add(1) == 1 {
		close(c.closed)
	}
	return nil
}

// storm is a source of events that never waits.
type storm struct {
	*canned
	err error
}

func (s storm) Receive() error {
	s.receives.Add(1)
	select {
	case <-s.closed:
		return os.ErrClosed
	default:
		runtime.Gosched()
		return s.err
	}
}

// watched is an endpoint without sockets, so that the clock of a bubble can be
// its clock. It counts looks, each of which takes a while.
type watched struct {
	*layer2Endpoint
	looks  atomic.Int64
	took   time.Duration
	ifs    []netif
	failed error
}

func newWatched() *watched {
	w := &watched{layer2Endpoint: &layer2Endpoint{
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		members: make(map[int]*member),
	}}
	w.state.Store(new(layer2State))
	w.sys.listenTCP = func(uint16) (*net.TCPListener, error) { return nil, syscall.EADDRINUSE }
	w.sys.interfaces = func() ([]netif, error) {
		w.looks.Add(1)
		time.Sleep(w.took) // of the bubble's clock
		return w.ifs, w.failed
	}
	return w
}

// watchIn follows the interfaces in a bubble until the test is over.
func (w *watched) watchIn(t *testing.T, events eventSource) {
	t.Helper()
	w.ctx = t.Context()
	w.evented.Store(events != nil)
	first := pollIdle
	if events != nil {
		first = pollSafe
		w.done.Go(func() { w.listen(events) })
	}
	w.done.Go(func() { w.watch(first) })
	t.Cleanup(func() {
		if events != nil {
			_ = events.Close()
		}
		w.done.Wait()
	})
}

// looksIn returns how many looks there are in a time.
func (w *watched) looksIn(d time.Duration) int64 {
	before := w.looks.Load()
	time.Sleep(d)
	synctest.Wait()
	return w.looks.Load() - before
}

// TestLayer2WatchByTimer: without events there is a look every second, and it
// ends with Close.
func TestLayer2WatchByTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		w.watchIn(t, nil)
		assert.EqualValues(t, 10, w.looksIn(10*time.Second+time.Millisecond))
		w.poke()
		w.poke()
		assert.EqualValues(t, 1, w.looksIn(pollGap))
	})
}

// TestLayer2WatchByEvents: an event is followed by one look, soon; without any
// there are few. What comes while one is awaited is one with it.
func TestLayer2WatchByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWatched(), newCanned()
		w.watchIn(t, c)
		assert.EqualValues(t, 4, w.looksIn(4*pollSafe))
		for range 5 {
			c.events <- nil
		}
		assert.EqualValues(t, 0, w.looksIn(pollGap-1))
		assert.EqualValues(t, 1, w.looksIn(1))
		assert.EqualValues(t, 0, w.looksIn(pollSafe-1))

		// Events that were lost are events.
		c.events <- fmt.Errorf("netlink: %w", os.NewSyscallError("read", syscall.ENOBUFS))
		assert.EqualValues(t, 1, w.looksIn(pollGap))
		c.events <- nil
		assert.EqualValues(t, 1, w.looksIn(pollGap))
		assert.EqualValues(t, 4, w.looksIn(4*pollSafe), "they still come")

		// When there are no more, the timer serves.
		c.events <- errors.New("broken")
		assert.EqualValues(t, 1, w.looksIn(pollGap))
		assert.EqualValues(t, 10, w.looksIn(10*pollIdle))
		assert.EqualValues(t, 7, c.receives.Load()-1)
	})
}

// TestLayer2WatchOnlyComparesSnapshots: an event without a difference is no
// change, and a difference is one whatever the event was.
func TestLayer2WatchOnlyComparesSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWatched(), newCanned()
		w.watchIn(t, c)
		c.events <- nil
		assert.EqualValues(t, 1, w.looksIn(pollGap))
		assert.Empty(t, w.changed)
		w.ifs = []netif{{index: 1, name: "x", up: true, addrs: []netifAddr{{ip: netip.MustParseAddr("fd00::1")}}}}
		c.events <- syscall.ENOBUFS
		assert.EqualValues(t, 1, w.looksIn(pollGap))
		assert.Len(t, w.changed, 1)
		assert.Equal(t, "fd00::1", w.Addr().String())
	})
}

// TestLayer2StormOfEvents: however many events come, looks are bounded, more so
// when they take long; and so are reads of a source that fails all the time.
func TestLayer2StormOfEvents(t *testing.T) {
	for name, test := range map[string]struct {
		took time.Duration
		max  int64 // looks in 10 s
	}{
		"Quick":    {0, 500},
		"Slow":     {50 * time.Millisecond, 20},
		"VerySlow": {400 * time.Millisecond, 8},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, c := newWatched(), newCanned()
				w.took = test.took
				w.watchIn(t, c)
				end := time.Now().Add(10 * time.Second)
				for time.Now().Before(end) {
					c.events <- nil
					time.Sleep(time.Millisecond)
				}
				assert.LessOrEqual(t, w.looks.Load(), test.max)
				assert.GreaterOrEqual(t, w.looks.Load(), test.max*4/5)
			})
		})
	}
	t.Run("Overruns", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWatched(), newCanned()
			s := storm{c, syscall.ENOBUFS}
			w.watchIn(t, s)
			assert.LessOrEqual(t, w.looksIn(10*time.Second), int64(500))
			assert.LessOrEqual(t, c.receives.Load(), int64(501))
		})
	})
}

// TestLayer2SnapshotFails: the last snapshot stands, its failure is told once,
// and the watcher neither stops nor spins (trap 13).
func TestLayer2SnapshotFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		w.ifs = []netif{{index: 1, name: "x", up: true, addrs: []netifAddr{{ip: netip.MustParseAddr("fd00::1")}}}}
		w.refresh()
		<-w.Changed()
		w.watchIn(t, nil)
		w.ifs, w.failed = nil, syscall.ENOBUFS
		before := w.looks.Load()
		for range 300 {
			w.poke()
			time.Sleep(time.Millisecond)
		}
		looks := w.looks.Load() - before
		assert.Equal(t, "fd00::1", w.Addr().String())
		assert.Greater(t, looks, int64(2))
		assert.LessOrEqual(t, looks, int64(300/20+2), "looks at %v at least apart", pollGap)
		<-w.Changed()
		_, err := w.Interfaces()
		assert.ErrorIs(t, err, syscall.ENOBUFS)
		time.Sleep(10 * pollIdle)
		select {
		case <-w.Changed():
			assert.Fail(t, "another change was told")
		default:
		}
	})
}

// TestLayer2WatchIntervals: one look a second when nothing is expected, many
// while an address is tentative, fewer when that takes long.
func TestLayer2WatchIntervals(t *testing.T) {
	tr := newTracked()
	recv, err := tr.listenGroup("udp6")
	require.NoError(t, err)
	defer recv.Close()
	e := &layer2Endpoint{six: newFamily("udp6", recv), members: make(map[int]*member)}
	ll := netip.MustParseAddr("fe80::1")
	ifi := &netif{index: 1, name: "x", up: true, multicast: true, addrs: []netifAddr{{ip: ll, flags: addrTentative}}}
	e.members[1] = &member{joined: e.six}
	now := time.Now()
	at := func(after time.Duration) time.Duration {
		l, wait := e.follow(ifi, nil, now.Add(after), new(Interface))
		assert.Nil(t, l)
		return wait
	}
	assert.Equal(t, pollFast, at(0))
	assert.Equal(t, pollFast, at(pollFastFor-1))
	assert.Equal(t, pollSlow, at(pollFastFor))
	ifi.addrs[0].flags = addrTentative | addrFailed
	assert.Equal(t, pollSafe, at(pollFastFor))
	ifi.addrs = nil
	assert.Equal(t, pollSafe, at(pollFastFor))
	ifi.addrs = []netifAddr{{ip: ll}}
	l, wait := e.follow(ifi, nil, now, new(Interface))
	assert.Equal(t, pollSafe, wait)
	assert.Equal(t, Link{Index: 1, Name: "x", Addr: ll.WithZone("1")}, l.Link)
	again, _ := e.follow(ifi, l, now, new(Interface))
	assert.Same(t, l, again)
}

// refusing is a socket that joins nothing as long as it has an error.
type refusing struct {
	err   atomic.Value // of error
	joins atomic.Int64
}

func newRefusing(err error) *refusing {
	r := new(refusing)
	r.err.Store(err)
	return r
}

func (r *refusing) JoinGroup(*net.Interface, net.Addr) error {
	r.joins.Add(1)
	if err := r.err.Load().(syscall.Errno); err != 0 {
		return err
	}
	return nil
}

func (r *refusing) LeaveGroup(*net.Interface, net.Addr) error { return nil }

// TestLayer2JoinRefused: a join that fails is shown with its cause, and tried
// again after pauses that grow to a minute.
func TestLayer2JoinRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, socket := newWatched(), newRefusing(syscall.EPERM)
		w.six = &family{group: Group6(), receiver: receiver{conn: new(net.UDPConn), groups: socket}}
		w.ifs = []netif{{index: 1, name: "x", up: true, multicast: true, addrs: []netifAddr{{ip: netip.MustParseAddr("fe80::1")}}}}
		w.refresh()
		w.watchIn(t, nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.InDelta(t, 6+9, socket.joins.Load(), 2, "after 1, 3, 7, 15, 31 and 63 s, and then each minute")
		all, err := w.Interfaces()
		assert.NoError(t, err)
		assert.Equal(t, []Interface{{Index: 1, Name: "x", State: LinkRefused, Detail: "join ff02::13: operation not permitted; it is tried again"}}, all)
		socket.err.Store(syscall.Errno(0))
		time.Sleep(maxRetry)
		synctest.Wait()
		assert.Len(t, w.Links(), 1)
	})
}

// TestLayer2JoinIsFull: what a socket may not join, because it has joined as
// much as it may, another does.
func TestLayer2JoinIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, socket := newWatched(), newRefusing(syscall.ENOBUFS)
		w.six = &family{group: Group6(), receiver: receiver{conn: new(net.UDPConn), groups: socket}}
		w.sys.listenGroup = func(string) (*net.UDPConn, error) { return nil, syscall.EMFILE }
		w.ifs = []netif{{index: 1, name: "x", up: true, multicast: true, addrs: []netifAddr{{ip: netip.MustParseAddr("fe80::1")}}}}
		w.refresh()
		all, _ := w.Interfaces()
		assert.Equal(t, LinkRefused, all[0].State)
		assert.Contains(t, all[0].Detail, syscall.ENOBUFS.Error())
		assert.Contains(t, all[0].Detail, syscall.EMFILE.Error())
		other := newRefusing(syscall.Errno(0))
		w.six.more = []*receiver{{conn: new(net.UDPConn), groups: other}}
		w.watchIn(t, nil)
		time.Sleep(maxRetry)
		synctest.Wait()
		assert.Len(t, w.Links(), 1)
		assert.EqualValues(t, 1, other.joins.Load())
	})
}
