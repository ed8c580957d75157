package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// A relay is measured from a host that has a link to each side of it: that sends
// messages on its first link, and waits for them on the second. The floor is a program
// that reads datagrams from one link and sends them on the other, without a look at them.

// graspGroup is where multicasts of GRASP go.
var graspGroup = netip.MustParseAddrPort("[ff02::13]:7017")

// relay passes on what comes, and has the floor beside it, until it is interrupted.
func relay(ctx context.Context, p *cli.Program, j job) (*result, error) {
	const noLimit = 1_000_000
	g, err := newInstance(ctx, p, j, grasp.Config{Limits: grasp.Limits{RelayRate: noLimit}})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	for len(g.Snapshot().Links) < 2 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if j.floor {
		stop, err := forward(g.Snapshot().Links)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	<-ctx.Done()
	r := newResult(j.verb)
	if err := g.Close(); err != nil { // what was sent last is counted then
		return nil, err
	}
	s := g.Snapshot()
	r.Dropped = s.Dropped
	for _, kind := range []string{"M_DISCOVERY", "M_FLOOD"} {
		r.N += int(s.Received[kind])
		r.OK += int(s.Relayed[kind])
	}
	return r, nil
}

// forward sends each datagram of the floor that comes by one of two links on the other,
// until it is stopped.
func forward(links []acp.Link) (stop func(), err error) {
	if len(links) != 2 {
		return nil, fmt.Errorf("%d links; the floor of a relay is for two", len(links))
	}
	var sockets []int
	var all sync.WaitGroup
	stop = func() {
		for _, s := range sockets {
			_ = unix.Shutdown(s, unix.SHUT_RDWR)
		}
		all.Wait()
		for _, s := range sockets {
			_ = unix.Close(s)
		}
	}
	for i, l := range links {
		in, err := listenOn(l.Name, floorGroup)
		if err != nil {
			stop()
			return nil, err
		}
		sockets = append(sockets, in)
		out, err := sendOn(links[1-i].Name, floorGroup)
		if err != nil {
			stop()
			return nil, err
		}
		sockets = append(sockets, out)
		all.Go(func() {
			buf := make([]byte, 2048)
			for {
				switch n, err := unix.Read(in, buf); {
				case err == unix.EINTR || err == unix.EAGAIN:
				case err != nil || n == 0: // it was stopped
					return
				default:
					_, _ = unix.Write(out, buf[:n])
				}
			}
		})
	}
	return stop, nil
}

// listenOn returns a socket that hears a group on a link.
func listenOn(link string, group netip.AddrPort) (int, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return -1, err
	}
	return newSocket(func(s int) error {
		return errors.Join(
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.BindToDevice(s, link), // or it would hear on all links what is joined on one
			unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}),
			unix.Bind(s, &unix.SockaddrInet6{Port: int(group.Port())}),
			unix.SetsockoptIPv6Mreq(s, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
				&unix.IPv6Mreq{Multiaddr: group.Addr().As16(), Interface: uint32(ifi.Index)}),
		)
	})
}

// sendOn returns a socket that sends to a group on a link.
func sendOn(link string, group netip.AddrPort) (int, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return -1, err
	}
	return newSocket(func(s int) error {
		return errors.Join(
			unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
			unix.Connect(s, &unix.SockaddrInet6{Addr: group.Addr().As16(), Port: int(group.Port()), ZoneId: uint32(ifi.Index)}),
		)
	})
}

// newSocket returns a socket for datagrams with some settings.
func newSocket(set func(s int) error) (int, error) {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := set(s); err != nil {
		_ = unix.Close(s)
		return -1, err
	}
	return s, nil
}

// relayed measures what a relay passes on.
func relayed(ctx context.Context, p *cli.Program, j job) (*result, error) {
	if !bare(p) || len(p.Links) != 2 {
		return nil, errors.New("a relay is measured on plane layer2, with two links: --link the one to send on,the one to receive on")
	}
	msgs, err := relayedMessages(j)
	if err != nil {
		return nil, err
	}
	through := func(group netip.AddrPort) (*course, error) { return newCourse(p.Links, group, msgs, j.rate) }
	ours, err := through(graspGroup)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	if !j.floor {
		return beside(ctx, j, ours.run, nil)
	}
	bare, err := through(floorGroup)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	var floor series
	// Few turns, with a pause after each: what a relay has left to do after its last
	// message must not be taken from the forwarder's time.
	turns := max(min(j.number/(perTurn*j.times), 5), 1)
	r, err := inTurns(ctx, j, ours.run, func(ctx context.Context, n, times int) (time.Duration, error) {
		before := floor.wall
		bare.run(ctx, &floor, n, times)
		return floor.wall - before, floor.first
	}, turns, 50*time.Millisecond)
	if r != nil {
		r.FloorN, r.FloorOK, r.FloorP50 = floor.ok+floor.failed, floor.ok, floor.result(j.verb).P50
	}
	return r, err
}

// mixedLengths is how many lengths the messages have that are of several.
const mixedLengths = 16

// relayedMessages returns what is relayed: messages of which the session ID takes four
// bytes. Their initiator is nobody, and another one each time: a relay does not pass on what
// it remembers, and session IDs may be the same as those of an earlier measurement. There
// is one, or several that differ in their length, if the job asks for those.
func relayedMessages(j job) (all [][]byte, err error) {
	addr := netip.MustParseAddr("2001:db8::").As16()
	binary.BigEndian.PutUint64(addr[8:], rand.Uint64())
	initiator := netip.AddrFrom16(addr)
	n := 1
	if j.mixed {
		n = mixedLengths
	}
	for i := range n {
		value := append([]byte{0x58, byte(64 + i)}, make([]byte, 64+i)...) // a byte string
		var m wire.Message = &wire.Discovery{SessionID: 1 << 31, Initiator: initiator, Objective: wire.Objective{
			Name: "example.com:bench-relay", Flags: wire.FlagNeg, LoopCount: grasp.DefaultLoopCount, Value: value,
		}}
		if j.verb == "relayflood" {
			m = floodOf(initiator, 0, value)
		}
		msg, err := m.Append(nil)
		if err != nil {
			return nil, err
		}
		all = append(all, msg)
	}
	return all, nil
}

// course is the way through a relay.
type course struct {
	out, in int           // sockets
	msgs    [][]byte      // sent in turn
	id      uint32        // of the last message
	came    uint32        // the last one that came
	pace    *rate.Limiter // of messages one by one
}

func newCourse(names []string, group netip.AddrPort, msgs [][]byte, perSecond int) (*course, error) {
	out, err := sendOn(names[0], group)
	if err != nil {
		return nil, err
	}
	in, err := listenOn(names[1], group)
	if err != nil {
		_ = unix.Close(out)
		return nil, err
	}
	c := &course{out: out, in: in, id: 1<<31 | rand.Uint32()>>2, pace: rate.NewLimiter(rate.Inf, 1)}
	for _, msg := range msgs {
		c.msgs = append(c.msgs, slices.Clone(msg))
	}
	if perSecond > 0 {
		c.pace.SetLimit(rate.Limit(perSecond))
	}
	return c, nil
}

func (c *course) close() {
	_ = unix.Close(c.out)
	_ = unix.Close(c.in)
}

// idAt is where a message has its session ID.
const idAt = 3

// send sends the next message.
func (c *course) send() error {
	c.id++
	msg := c.message(c.id)
	binary.BigEndian.PutUint32(msg[idAt:], c.id)
	_, err := unix.Write(c.out, msg)
	return err
}

// message returns what is sent with a session ID.
func (c *course) message(id uint32) []byte { return c.msgs[id%uint32(len(c.msgs))] }

// receive waits until a message comes. They come in order, and count once.
func (c *course) receive() error {
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(c.in, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			c.came = c.id // those before are lost
			return fmt.Errorf("nothing comes through: is bench relay running between the links? %w", err)
		case n > idAt+4:
			if id := binary.BigEndian.Uint32(buf[idAt:]); id > c.came && id <= c.id && n == len(c.message(id)) {
				c.came = id
				return nil
			}
		}
	}
}

// run sends n messages of which no more than so many are under way, and adds what that
// takes. Of messages one by one it adds what each takes.
func (c *course) run(ctx context.Context, s *series, n, times int) {
	fail := func(lost int, err error) {
		s.failed += lost
		if s.first == nil {
			s.first = err
		}
	}
	for underWay := 0; ctx.Err() == nil && (n > 0 || underWay > 0); {
		if times == 1 && c.pace.Wait(ctx) != nil {
			return
		}
		start := time.Now()
		for ; n > 0 && underWay < times; n-- {
			if err := c.send(); err != nil {
				fail(1, err)
				continue
			}
			underWay++
		}
		for least := min(times/2, n); underWay > least; underWay-- {
			if err := c.receive(); err != nil {
				fail(underWay, err)
				underWay = 0
				break
			}
			s.ok++
		}
		took := time.Since(start)
		s.wall += took
		if times == 1 {
			s.took = append(s.took, took)
		}
	}
}
