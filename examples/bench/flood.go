package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
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
	return beside(ctx, j, each(ours), timed(func(ctx context.Context) error {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		return send()
	}))
}

// look is how often a sink looks how many floods have come.
const look = 50 * time.Millisecond

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
	came, first := 0, time.Now()
	last := first
	for lastly := first; ctx.Err() == nil && time.Since(lastly) < quiet; {
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
		if n := int(g.Snapshot().Received["M_FLOOD"]); n > came {
			if last = time.Now(); came == 0 {
				first = last
			}
			came, lastly = n, last
		}
		if at := bareOnes.lastly(); at.After(lastly) {
			lastly = at
		}
	}
	cancel()
	r := newResult("floodsink")
	r.N, r.OK = <-sent, came
	if r.FloorN, r.FloorOK, err = bareOnes.tally(); err != nil {
		return nil, err
	}
	r.Seconds = last.Sub(first).Seconds()
	r.PerSecond = float64(r.OK) / math.Max(r.Seconds, 1e-9)
	return r, nil
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
