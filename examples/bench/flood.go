package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
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

// floodTurn is how many floods are in a turn: several times what the buffers of the sinks
// hold. After each turn the sinks have the time of drain for what is left, lest one side pay
// for the other's.
const (
	floodTurn = 5000
	drain     = 500 * time.Millisecond
)

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
	how, err := newSealer(p)
	if err != nil {
		return nil, err
	}
	send, err := floorSender(g.Snapshot().Links, j.number, how)
	if err != nil {
		return nil, err
	}
	turns := max(j.number/floodTurn, 1)
	return inTurns(ctx, j, each(ours), timed(func(ctx context.Context) error {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		return send()
	}), turns, drain)
}

// look is how often a sink looks how many floods have come.
const look = 20 * time.Millisecond

// floodSink counts the floods that come, until none has for as many seconds as
// the job says. An ASA follows the objective's values, as in any node that uses floods.
func floodSink(ctx context.Context, p *cli.Program, j job) (*result, error) {
	var cfg grasp.Config
	if j.observe {
		cfg.Trace = func(grasp.Event) {}
	}
	g, err := newInstance(ctx, p, j, cfg)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	a, err := g.RegisterASA("sink")
	if err != nil {
		return nil, err
	}
	var bareOnes counter
	if j.floor {
		how, err := newSealer(p)
		if err != nil {
			return nil, err
		}
		links := g.Snapshot().Links
		if len(links) != 1 {
			return nil, fmt.Errorf("%d links; with --floor there must be one", len(links))
		}
		stop, err := floorReceiver(links[0], how, &bareOnes)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	watching, cancel := context.WithCancel(ctx)
	sent := make(chan int, 1)
	go func() { sent <- watch(watching, a) }()
	quiet := time.Duration(j.number) * time.Second
	var floods, bareFloods pulse
	for last := time.Now(); ctx.Err() == nil && time.Since(last) < quiet; {
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
		n := int(g.Snapshot().Received["M_FLOOD"])
		floods.see(n, lastFlood(a))
		bareFloods.see(bareOnes.lately())
		for _, at := range []time.Time{floods.at, bareFloods.at} {
			if at.After(last) {
				last = at
			}
		}
	}
	cancel()
	r := newResult("floodsink")
	r.N, r.OK = <-sent, floods.n
	if r.FloorN, r.FloorOK, err = bareOnes.tally(); err != nil {
		return nil, err
	}
	r.Seconds, r.PerSecond = floods.took.Seconds(), floods.perSecond()
	if j.floor {
		r.Floor = bareFloods.perSecond()
		r.Ratio = r.PerSecond / r.Floor
	}
	return r, nil
}

// lastFlood returns when the last flood came: a ttl before it expires.
func lastFlood(a *grasp.ASA) (at time.Time) {
	all, _ := a.GetFlood(flooded(0)) // a failure would be that of the whole sink
	for _, f := range all {
		at = f.Source.Expire.Add(-floodTTL)
	}
	return at
}

// pulse is the rate at which something comes while it does.
type pulse struct {
	n      int       // how many have come
	at     time.Time // when the last one did
	moving bool      // there were others since the look before
	came   int       // since looks that saw some, to others that did
	took   time.Duration
}

// see notes how many have come and when the last one did.
func (p *pulse) see(n int, at time.Time) {
	moves := n > p.n && !at.IsZero()
	if moves && p.moving {
		p.came += n - p.n
		p.took += at.Sub(p.at)
	}
	if p.moving = moves; moves {
		p.n, p.at = n, at
	}
}

func (p *pulse) perSecond() float64 {
	return float64(p.came) / max(p.took.Seconds(), 1e-9)
}

// watch follows what is flooded, and returns how many floods there are, by the last of
// their values.
func watch(ctx context.Context, a *grasp.ASA) (sent int) {
	for e := range a.WatchFloods(ctx, flooded(0)) {
		var value []byte
		if e.Flood.Objective.Decode(&value) == nil && len(value) >= 4 {
			sent = int(binary.BigEndian.Uint32(value))
		}
	}
	return sent
}
