package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// flooded is what is flooded: its value begins with how many floods there are.
func flooded(n int) grasp.Objective {
	o := grasp.NewObjective(floodName)
	o.Synch, o.Value = true, floodValue(n)
	return o
}

const floodName = "example.com:bench-flood"

func floodValue(n int) []byte {
	value := make([]byte, 64)
	binary.BigEndian.PutUint32(value, uint32(n))
	return value
}

// floodTTL is short: nobody needs what is flooded here.
const floodTTL = 10 * time.Second

// floorGroup is where the datagrams of the floor go: a transient group, which
// nobody else joins.
var floorGroup = netip.MustParseAddrPort("[ff12::13]:7019")

// datagram returns a flood as it is sent.
func datagram(from netip.Addr, n int) ([]byte, error) {
	o, value := flooded(n), append([]byte{0x58, 64}, floodValue(n)...)
	return (&wire.Flood{
		SessionID: 1 << 31, Initiator: from, TTL: uint32(floodTTL.Milliseconds()),
		Objectives: []wire.Flooded{{Objective: wire.Objective{
			Name: o.Name, Flags: wire.FlagSynch, LoopCount: o.LoopCount, Value: value,
		}}},
	}).Append(nil)
}

// catchUp is the part of a second's floods that --rate sends at once, if they are
// late.
const catchUp = 50

// flood sends floods, on all links.
func flood(ctx context.Context, p *cli.Program, j job) (*result, error) {
	g, err := newInstance(ctx, p, j, grasp.Config{})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	a, err := g.RegisterASA("flood")
	if err != nil {
		return nil, err
	}
	o := flooded(j.number)
	if err := a.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		return nil, err
	}
	pace := rate.NewLimiter(rate.Inf, 1)
	if j.rate > 0 {
		pace.SetLimit(rate.Limit(j.rate))
		pace.SetBurst(max(1, j.rate/catchUp)) // a sleep takes longer than asked for
	}
	ours := func(ctx context.Context) error {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		return a.Flood(floodTTL, grasp.TaggedObjective{Objective: o})
	}
	if !j.floor {
		return beside(ctx, j, each(ours), nil)
	}
	if !bare(p) {
		return nil, errors.New("the floor of floods is there for plane layer2 alone")
	}
	send, err := floorSender(g.Snapshot().Links, j.number)
	if err != nil {
		return nil, err
	}
	return beside(ctx, j, each(ours), timed(func(ctx context.Context) error {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		return send()
	}))
}

// floorSender returns a function that sends a datagram on each link.
func floorSender(links []acp.Link, n int) (func() error, error) {
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
	msg, err := datagram(links[0].Addr.WithZone(""), n)
	return func() error {
		for _, c := range conns {
			if _, err := c.Write(msg); err != nil {
				return err
			}
		}
		return nil
	}, err
}

// counter counts the datagrams that come, and when.
type counter struct {
	mu          sync.Mutex // guards all following fields
	n           int
	first, last time.Time
	example     []byte // the first one
}

func (c *counter) add(raw []byte) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		c.first, c.example = now, bytes.Clone(raw)
	}
	c.last = now
	c.n++
}

// lastly returns when the last one came.
func (c *counter) lastly() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// tally returns how many there were, by what the first one says, how many of
// them came, and in what time.
func (c *counter) tally() (sent, came int, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		return 0, 0, 0, nil
	}
	m, err := wire.Parse(c.example, wire.Limits{})
	if err != nil {
		return 0, 0, 0, err
	}
	f, ok := m.(*wire.Flood)
	if !ok || len(f.Objectives) == 0 || len(f.Objectives[0].Objective.Value) != 2+len(floodValue(0)) {
		return 0, 0, 0, fmt.Errorf("%x is none of the floods of bench", c.example)
	}
	sent = int(binary.BigEndian.Uint32(f.Objectives[0].Objective.Value[2:]))
	return sent, c.n, c.last.Sub(c.first), nil
}

// floodSink counts the floods that come, until none has for as many seconds as
// the job says.
func floodSink(ctx context.Context, p *cli.Program, j job) (*result, error) {
	var floods, bareOnes counter
	g, err := newInstance(ctx, p, j, grasp.Config{Trace: func(e grasp.Event) {
		if e.Kind == grasp.Received && e.Message == "M_FLOOD" && e.Objective == floodName {
			floods.add(e.Raw)
		}
	}})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if j.floor {
		links := g.Snapshot().Links
		if len(links) != 1 {
			return nil, fmt.Errorf("%d links; with --floor there must be one", len(links))
		}
		stop, err := floorReceiver(links[0], &bareOnes)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	quiet := time.Duration(j.number) * time.Second
	for last := time.Now(); ctx.Err() == nil && time.Since(last) < quiet; {
		select {
		case <-ctx.Done():
		case <-time.After(quiet - time.Since(last)):
		}
		for _, at := range []time.Time{floods.lastly(), bareOnes.lastly()} {
			if at.After(last) {
				last = at
			}
		}
	}
	r := newResult("floodsink")
	var took time.Duration
	if r.N, r.OK, took, err = floods.tally(); err != nil {
		return nil, err
	}
	if r.FloorN, r.FloorOK, _, err = bareOnes.tally(); err != nil {
		return nil, err
	}
	r.Seconds = took.Seconds()
	r.PerSecond = float64(r.OK) / math.Max(r.Seconds, 1e-9)
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
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			count.add(buf[:n])
		}
	}()
	return func() { _ = c.Close(); <-done }, nil
}
