package dnssd

import (
	"context"
	"errors"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

const (
	// discoveryTime is how long an asker looks for somebody who answers.
	discoveryTime = 10 * time.Second
	// lookupTime is how long the answerer has to look a service up.
	lookupTime = time.Minute
	// maxServices bounds what an asker takes.
	maxServices = 4096
)

// ErrNobody says that there is nobody to ask.
var ErrNobody = errors.New("nobody found who looks up services")

// Asker asks for services.
type Asker struct {
	asa      *grasp.ASA
	outcomes *cli.Outcomes
}

// NewAsker registers an asker.
func NewAsker(g *grasp.Instance, outcomes *cli.Outcomes) (*Asker, error) {
	a, err := register(g, "AskDNSSD")
	return &Asker{a, outcomes}, err
}

// Close deregisters the asker.
func (a *Asker) Close() error { return a.asa.Deregister() }

// Ask returns the instances of a service, such as printer._tcp, in a domain. It
// blocks until all have come, for at most a minute while nothing comes, or until
// the context ends.
func (a *Asker) Ask(ctx context.Context, service, domain string) ([]Service, error) {
	out := cli.Outcome{ASA: a.asa.Name(), Asked: []string{service, domain}, Outcome: cli.Agreed}
	all, err := a.ask(ctx, service, domain, &out.Steps)
	if err != nil {
		out.Outcome, out.Reason = result(err)
		a.asa.Tprint("Failed:", out.Reason)
	} else {
		out.Value = all
	}
	a.outcomes.Add(out)
	return all, err
}

func (a *Asker) ask(ctx context.Context, service, domain string, steps *int) ([]Service, error) {
	s, o, err := a.open(ctx, service, domain)
	var all []Service
	for ; err == nil && s != nil; *steps++ {
		one, wrong := described(o)
		if len(all) == maxServices {
			wrong = errors.New("the answerer does not come to an end")
		}
		if wrong != nil {
			_ = s.EndNegotiate(false, wrong.Error()) // a peer that is gone need not be told
			return nil, wrong
		}
		all = append(all, one)
		o.Value, o.LoopCount = ack, loopCount
		*steps++
		s, o, err = s.NegotiateStep(ctx, o, lookupTime)
	}
	if err != nil && s != nil {
		_ = s.EndNegotiate(false, err.Error()) // a peer that is gone need not be told
	}
	return all, err
}

// open asks an answerer, and another one if what was known of the first is out
// of date.
func (a *Asker) open(ctx context.Context, service, domain string) (*grasp.Session, grasp.Objective, error) {
	var last error
	for _, flush := range []bool{false, true} {
		found, err := a.asa.Discover(ctx, objective(), discoveryTime, grasp.DiscoverOptions{First: true, Flush: flush})
		switch {
		case err != nil:
			return nil, grasp.Objective{}, err
		case len(found) == 0:
			return nil, grasp.Objective{}, errors.Join(ErrNobody, last)
		}
		o := objective()
		o.Value = request(service, domain)
		a.asa.Tprint("Asking", found[0], "for", service, "in", domain)
		s, o, err := a.asa.ReqNegotiate(ctx, o, &found[0], lookupTime)
		if !errors.Is(err, grasp.ErrSockErrNegRq) {
			return s, o, err
		}
		last = err
	}
	return nil, grasp.Objective{}, last
}
