package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// listeners is how many requests are accepted at the same time.
const listeners = 64

// findTime is how long to look for the other end, which may be a busy machine or one
// that only starts to serve.
const findTime = 30 * time.Second

// The objectives of both ends.
func negotiated() grasp.Objective {
	o := grasp.NewObjective("example.com:bench-neg")
	o.Neg, o.Value = true, 1
	return o
}

func rapid() grasp.Objective {
	o := grasp.NewObjective("example.com:bench-rapid")
	o.Neg, o.Value = true, 1
	return o
}

func synchronized() grasp.Objective {
	o := grasp.NewObjective("example.com:bench-syn")
	o.Synch, o.Value = true, 1
	return o
}

// links is the plane under the one that the user chose. It is for IPv6 alone without
// --ipv4, which is the default of the library, though not of the other examples.
func links(p *cli.Program) *acp.Layer2 { return &acp.Layer2{Links: p.Links} }

func newInstance(ctx context.Context, p *cli.Program, j job, cfg grasp.Config) (*grasp.Instance, error) {
	plane := links(p)
	plane.FastOpen, plane.IPv4 = j.fast, j.ipv4
	g, err := p.NewInstance(plane, cfg)
	if err == nil {
		p.AwaitLink(ctx, g)
	}
	return g, err
}

// serve accepts whatever is asked for, and serves the floor of it.
func serve(ctx context.Context, p *cli.Program, j job) (*result, error) {
	g, err := newInstance(ctx, p, j, grasp.Config{})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	a, err := g.RegisterASA("server")
	if err != nil {
		return nil, err
	}
	if err := a.RegisterObj(negotiated(), grasp.RegisterOptions{}); err != nil {
		return nil, err
	}
	if err := a.RegisterObj(rapid(), grasp.RegisterOptions{Rapid: true}); err != nil {
		return nil, err
	}
	if err := a.RegisterObj(opened(), grasp.RegisterOptions{}); err != nil {
		return nil, err
	}
	if err := offer(a, synchronized()); err != nil {
		return nil, err
	}
	port, stop, err := serveFloor(p)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := offer(a, floorPort(port)); err != nil {
		return nil, err
	}
	var accepted, failed atomic.Int64
	accept := func(o grasp.Objective) error {
		for {
			s, _, err := a.ListenNegotiate(ctx, o)
			if errors.Is(err, grasp.ErrCancelled) {
				return nil
			}
			if err == nil {
				err = s.EndNegotiate(true, "")
			}
			switch {
			case err == nil:
				accepted.Add(1)
			case errors.Is(err, grasp.ErrNoASA):
				return err
			default:
				failed.Add(1)
			}
		}
	}
	errs := make(chan error)
	for range listeners {
		go func() { errs <- accept(negotiated()) }()
	}
	go func() { errs <- accept(rapid()) }()
	go func() { errs <- holdOpen(ctx, a) }()
	for range listeners + 2 {
		err = errors.Join(err, <-errs)
	}
	r := newResult("serve")
	r.OK = int(accepted.Load())
	r.N = r.OK + int(failed.Load())
	return r, err
}

// offer has an objective's value synchronized by whoever asks.
func offer(a *grasp.ASA, o grasp.Objective) error {
	return errors.Join(a.RegisterObj(o, grasp.RegisterOptions{}), a.ListenSynchronize(o))
}

// newClient makes an instance and finds the other end.
func newClient(ctx context.Context, p *cli.Program, j job) (*grasp.Instance, *grasp.ASA, *grasp.Locator, error) {
	g, err := newInstance(ctx, p, j, grasp.Config{})
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := g.RegisterASA("client")
	if err == nil {
		err = errors.Join(a.RegisterObj(negotiated(), grasp.RegisterOptions{}), a.RegisterObj(rapid(), grasp.RegisterOptions{Rapid: true}))
	}
	var found []grasp.Locator
	if err == nil {
		found, err = a.Discover(ctx, negotiated(), findTime, grasp.DiscoverOptions{First: true})
	}
	if err == nil && len(found) == 0 {
		err = errors.New("nobody answers: is bench serve running at the other end?")
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, g.Close())
	}
	return g, a, &found[0], nil
}

// exchanges measures what one end asks of the other.
func exchanges(ctx context.Context, p *cli.Program, j job) (*result, error) {
	g, a, peer, err := newClient(ctx, p, j)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	negotiate := func(ctx context.Context, o grasp.Objective, peer *grasp.Locator) error {
		s, _, err := a.ReqNegotiate(ctx, o, peer, 0)
		if s != nil {
			return errors.Join(fmt.Errorf("%v goes on", peer), s.Close())
		}
		return err
	}
	operation := map[string]func(context.Context) error{
		"neg": func(ctx context.Context) error { return negotiate(ctx, negotiated(), peer) },
		"syn": func(ctx context.Context) error {
			_, err := a.Synchronize(ctx, synchronized(), peer, 0)
			return err
		},
		"disc": func(ctx context.Context) error {
			found, err := a.Discover(ctx, negotiated(), 0, grasp.DiscoverOptions{First: true, Flush: true})
			if err == nil && len(found) == 0 {
				err = grasp.ErrNoDiscReply
			}
			return err
		},
		"cold": func(ctx context.Context) error {
			if _, err := a.Discover(ctx, negotiated(), 0, grasp.DiscoverOptions{Flush: true, CacheOnly: true}); err != nil {
				return err
			}
			return negotiate(ctx, negotiated(), nil)
		},
		"rapid": func(ctx context.Context) error { return negotiate(ctx, rapid(), nil) },
	}[j.verb]
	if !j.floor {
		return beside(ctx, j, each(operation), nil)
	}
	bare, err := newFloor(ctx, p, a, peer, j.verb)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	r, err := beside(ctx, j, each(operation), bare.measure)
	if r != nil {
		r.FloorBy = bare.by()
	}
	return r, err
}

// idle is what an instance costs that has nothing to do.
func idle(ctx context.Context, p *cli.Program, j job) (*result, error) {
	g, err := newInstance(ctx, p, j, grasp.Config{})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	a, err := g.RegisterASA("idle")
	if err != nil {
		return nil, err
	}
	const objectives = 100
	for i := range objectives {
		o := grasp.NewObjective(fmt.Sprintf("example.com:idle-%d", i))
		o.Synch = true
		if err := offer(a, o); err != nil {
			return nil, err
		}
	}
	r := newResult("idle")
	r.N, r.OK = objectives, len(g.Snapshot().Objectives)
	return r, nil
}
