package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// opened is the objective of negotiations that stay open.
func opened() grasp.Objective {
	o := grasp.NewObjective("example.com:bench-open")
	o.Neg, o.Value = true, 0.0
	return o
}

// openTime bounds how long they do.
const openTime = 10 * time.Minute

// holdOpen answers each request with a step, in which it tells what memory this
// process has, and waits for the end.
func holdOpen(ctx context.Context, a *grasp.ASA) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s, o, err := a.ListenNegotiate(ctx, opened())
		switch {
		case errors.Is(err, grasp.ErrCancelled):
			return nil
		case errors.Is(err, grasp.ErrNoASA):
			return err
		case err != nil:
			continue // the peer, which counts them, is told
		}
		all.Go(func() {
			o.Value = resident()
			if s, _, _ := s.NegotiateStep(ctx, o, openTime); s != nil {
				_ = s.Close()
			}
		})
	}
}

// open has negotiations open all at once, and measures what they cost.
func open(ctx context.Context, p *cli.Program, j job) (*result, error) {
	g, a, peer, err := newClient(ctx, p, j)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if err := a.RegisterObj(opened(), grasp.RegisterOptions{}); err != nil {
		return nil, err
	}
	var (
		mu       sync.Mutex // guards all following variables
		sessions []*grasp.Session
		theirs   float64
	)
	var all series
	all.measure(ctx, j.number, listeners, func(ctx context.Context) error {
		s, o, err := a.ReqNegotiate(ctx, opened(), peer, openTime)
		if err != nil {
			return err
		}
		if s == nil {
			return fmt.Errorf("%v is done at once", peer)
		}
		var mib float64
		err = o.Decode(&mib)
		mu.Lock()
		defer mu.Unlock()
		sessions = append(sessions, s)
		theirs = max(theirs, mib)
		return err
	})
	r := all.result(j.verb)
	r.OK, r.PeerRSS = len(g.Snapshot().Sessions), theirs
	err = all.first
	for _, s := range sessions {
		if e := s.EndNegotiate(true, ""); err == nil { // the first will do
			err = e
		}
	}
	return r, err
}
