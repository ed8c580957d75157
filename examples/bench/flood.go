package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// flooded is what is flooded.
func flooded() grasp.Objective {
	o := grasp.NewObjective("example.com:bench-flood")
	o.Synch, o.Value = true, make([]byte, 64)
	return o
}

// floodTTL is short: nobody needs what is flooded here.
const floodTTL = 10 * time.Second

// floorGroup is where the datagrams of the floor go: a transient group, which
// nobody else joins.
var floorGroup = netip.MustParseAddrPort("[ff12::13]:7019")

// datagram returns a flood as it is sent.
func datagram(from netip.Addr) ([]byte, error) {
	o, value := flooded(), append([]byte{0x58, 64}, make([]byte, 64)...)
	return (&wire.Flood{
		SessionID: 1 << 31, Initiator: from, TTL: uint32(floodTTL.Milliseconds()),
		Objectives: []wire.Flooded{{Objective: wire.Objective{
			Name: o.Name, Flags: wire.FlagSynch, LoopCount: o.LoopCount, Value: value,
		}}},
	}).Append(nil)
}

// flood sends floods, on all links.
func flood(ctx context.Context, p *cli.Program, j job) (*result, error) {
	g, err := newInstance(ctx, p, grasp.Config{})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	a, err := g.RegisterASA("flood")
	if err != nil {
		return nil, err
	}
	if err := a.RegisterObj(flooded(), grasp.RegisterOptions{}); err != nil {
		return nil, err
	}
	pace := rate.NewLimiter(rate.Inf, 1)
	if j.rate > 0 {
		pace.SetLimit(rate.Limit(j.rate))
	}
	ours := func(ctx context.Context) error {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		return a.Flood(floodTTL, grasp.TaggedObjective{Objective: flooded()})
	}
	if !j.floor {
		return beside(ctx, j, ours, nil)
	}
	if !bare(p) {
		return nil, errors.New("the floor of floods is there for plane layer2 alone")
	}
	send, err := floorSender(g.Snapshot().Links)
	if err != nil {
		return nil, err
	}
	return beside(ctx, j, ours, func(ctx context.Context) error {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		return send()
	})
}

// floorSender returns a function that sends a datagram on each link.
func floorSender(links []acp.Link) (func() error, error) {
	var conns []net.Conn
	for _, l := range links {
		c, err := net.Dial("udp6", netip.AddrPortFrom(floorGroup.Addr().WithZone(l.Name), floorGroup.Port()).String())
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	if len(conns) == 0 {
		return nil, errors.New("no link")
	}
	msg, err := datagram(links[0].Addr.WithZone(""))
	return func() error {
		for _, c := range conns {
			if _, err := c.Write(msg); err != nil {
				return err
			}
		}
		return nil
	}, err
}

// counter counts what comes, and when.
type counter struct {
	n           atomic.Int64
	first, last atomic.Int64 // nanoseconds
}

func (c *counter) add() {
	now := time.Now().UnixNano()
	c.first.CompareAndSwap(0, now)
	c.last.Store(now)
	c.n.Add(1)
}

// floodSink counts the floods that come.
func floodSink(ctx context.Context, p *cli.Program, j job) (*result, error) {
	var floods, bareOnes counter
	g, err := newInstance(ctx, p, grasp.Config{Trace: func(e grasp.Event) {
		if e.Kind == grasp.Received && e.Message == "M_FLOOD" && e.Objective == flooded().Name {
			floods.add()
		}
	}})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if j.floor {
		links := g.Snapshot().Links
		if len(links) != 1 {
			return nil, fmt.Errorf("%d links; with -floor there must be one", len(links))
		}
		stop, err := floorReceiver(links[0], &bareOnes)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(j.number) * time.Second):
	}
	r := newResult("floodsink")
	r.N = int(floods.n.Load())
	r.OK = r.N
	r.Seconds = time.Duration(floods.last.Load() - floods.first.Load()).Seconds()
	r.PerSecond = float64(r.N) / math.Max(r.Seconds, 1e-9)
	r.FloorN = int(bareOnes.n.Load())
	return r, nil
}

// floorReceiver counts the datagrams that come by a link until it is stopped.
func floorReceiver(l acp.Link, count *counter) (stop func(), err error) {
	link, err := net.InterfaceByIndex(l.Index)
	if err != nil {
		return nil, err
	}
	c, err := net.ListenMulticastUDP("udp6", link, net.UDPAddrFromAddrPort(floorGroup))
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			if _, _, err := c.ReadFromUDPAddrPort(buf); err != nil {
				return
			}
			count.add()
		}
	}()
	return func() { _ = c.Close(); <-done }, nil
}
