// Command peers compares GRASP with what might be used instead: negotiations with calls
// of gRPC, discoveries with queries of multicast DNS, each between two processes on one
// link, in turns.
//
//	go run . serve LINK          # at one end
//	go run . compare LINK        # at the other
//
// It is a module of its own, so that nobody else needs those libraries. With GRASPY in
// the environment, a checkout of the Python prototype, compare also runs the comparison
// with that, which needs root.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

const (
	// turns is how often each contestant has its turn. The figures are medians.
	turns = 7
	// calls is how many calls a turn has, and queries how many discoveries.
	calls   = 4000
	queries = 200
	// together is how many calls are made at a time in the second table.
	together = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := map[string]func(context.Context, string) error{"serve": serve, "compare": compare}
	if len(os.Args) != 3 || run[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peers serve|compare LINK")
		os.Exit(2)
	}
	if err := run[os.Args[1]](ctx, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// The objectives of both ends.
func negotiated() grasp.Objective {
	o := grasp.NewObjective("example.com:peers-neg")
	o.Neg, o.Value = true, 1
	return o
}

func portOfRPC(port int) grasp.Objective {
	o := grasp.NewObjective("example.com:peers-grpc")
	o.Synch, o.Value = true, port
	return o
}

// join makes an instance on the link.
func join(ctx context.Context, link, name string) (*grasp.Instance, *grasp.ASA, error) {
	g, err := grasp.New(grasp.Config{Plane: &acp.Layer2{Links: []string{link}}})
	if err != nil {
		return nil, nil, err
	}
	if err := g.WaitForLink(ctx); err != nil {
		return nil, nil, errors.Join(err, g.Close())
	}
	a, err := g.RegisterASA(name)
	if err == nil {
		err = a.RegisterObj(negotiated(), grasp.RegisterOptions{})
	}
	if err != nil {
		return nil, nil, errors.Join(err, g.Close())
	}
	return g, a, nil
}

// serve answers all contestants until it is interrupted.
func serve(ctx context.Context, link string) error {
	g, a, err := join(ctx, link, "server")
	if err != nil {
		return err
	}
	defer g.Close()
	port, stopRPC, err := serveRPC()
	if err != nil {
		return err
	}
	defer stopRPC()
	stopDNS, err := serveDNS(link)
	if err != nil {
		return err
	}
	defer stopDNS()
	if err := a.RegisterObj(portOfRPC(port), grasp.RegisterOptions{}); err != nil {
		return err
	}
	if err := a.ListenSynchronize(portOfRPC(port)); err != nil {
		return err
	}
	return a.Serve(ctx, negotiated(), func(_ context.Context, s *grasp.Session, _ grasp.Objective) error {
		return s.EndNegotiate(true, "")
	}, grasp.ServeOptions{})
}

// contestant is one way to do something.
type contestant struct {
	name string
	do   func(context.Context) error
}

// compare measures all contestants.
func compare(ctx context.Context, link string) error {
	g, a, err := join(ctx, link, "client")
	if err != nil {
		return err
	}
	defer g.Close()
	found, err := a.Discover(ctx, negotiated(), 30*time.Second, grasp.DiscoverOptions{First: true})
	if err == nil && len(found) == 0 {
		err = errors.New("nobody answers: does peers serve run at the other end?")
	}
	if err != nil {
		return err
	}
	peer := &found[0]
	o, err := a.Synchronize(ctx, portOfRPC(0), peer, 0)
	if err != nil {
		return err
	}
	var port int
	if err := o.Decode(&port); err != nil {
		return err
	}
	rpc, err := newRPC(peer, port)
	if err != nil {
		return err
	}
	defer rpc.close()
	dns, err := newDNS(link)
	if err != nil {
		return err
	}
	defer dns.close()

	talk := []contestant{
		{"GRASP: a negotiation, with a connection of its own", func(ctx context.Context) error {
			s, _, err := a.ReqNegotiate(ctx, negotiated(), peer, 0)
			if s != nil {
				err = errors.Join(errors.New("the negotiation goes on"), s.Close())
			}
			return err
		}},
		{"gRPC: a call, on a connection that stays open", rpc.call},
		{"gRPC: a call, with a connection of its own", rpc.callAnew},
	}
	find := []contestant{
		{"GRASP: a discovery", func(ctx context.Context) error {
			found, err := a.Discover(ctx, negotiated(), 0, grasp.DiscoverOptions{First: true, Flush: true})
			if err == nil && len(found) == 0 {
				err = grasp.ErrNoDiscReply
			}
			return err
		}},
		{"multicast DNS: a query", dns.query},
	}
	fmt.Println("| what | at a time | a second | GRASP's rate, in turns |\n|---|---|---|---|")
	return errors.Join(
		race(ctx, talk, calls, 1), race(ctx, talk, calls, together), race(ctx, find, queries, 1),
		prototype(ctx))
}

// race has the contestants do what they do by turns, and prints their rates. The
// first is GRASP.
func race(ctx context.Context, all []contestant, n, times int) error {
	rates := make([][]float64, len(all))
	for range turns {
		for i, c := range all {
			rate, err := measure(ctx, c, n, times)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			rates[i] = append(rates[i], rate)
		}
	}
	for i, c := range all {
		var ratios []float64
		for turn, rate := range rates[i] {
			ratios = append(ratios, rates[0][turn]/rate)
		}
		fmt.Printf("| %s | %d | %.0f | %.2f times |\n", c.name, times, median(rates[i]), median(ratios))
	}
	return nil
}

// measure returns how many times a second a contestant does what it does.
func measure(ctx context.Context, c contestant, n, times int) (float64, error) {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, times)
	var running sync.WaitGroup
	start := time.Now()
	for i := range times {
		running.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				errs[i] = c.do(ctx)
			}
		})
	}
	running.Wait()
	return float64(n) / time.Since(start).Seconds(), errors.Join(errs...)
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// prototype runs the comparison with the Python prototype, if there is one.
func prototype(ctx context.Context) error {
	if os.Getenv("GRASPY") == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "InteropPrototypeRate", ".")
	cmd.Dir = ".." // of this program's directory, from where go run runs it
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
