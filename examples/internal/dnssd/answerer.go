package dnssd

import (
	"context"
	"errors"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// maxRequests bounds the requests that are answered at the same time. More wait
// in the library's queue, and are refused when it is full.
const maxRequests = 20

// Why requests are declined, beside those that make no sense.
const (
	notFound   = "Service not found"
	noDryRun   = "Dry run not supported"
	noAnswer   = "The DNS cannot be asked"
	unexpected = "Unexpected reply"
)

// Answerer answers requests from the DNS.
type Answerer struct {
	asa      *grasp.ASA
	dns      querier
	outcomes *cli.Outcomes
}

// NewAnswerer registers an answerer that asks there.
func NewAnswerer(g *grasp.Instance, dns Both, outcomes *cli.Outcomes) (*Answerer, error) {
	a, err := register(g, "GetDNSSD")
	return &Answerer{asa: a, dns: dns, outcomes: outcomes}, err
}

// register registers an ASA and the objective.
func register(g *grasp.Instance, name string) (*grasp.ASA, error) {
	a, err := g.RegisterASA(name)
	if err != nil {
		return nil, err
	}
	if err := a.RegisterObj(objective(), grasp.RegisterOptions{Overlap: true}); err != nil {
		_ = a.Deregister() // the first error is the one to tell
		return nil, err
	}
	return a, nil
}

// Run answers requests until the context ends; then it deregisters the
// answerer. It is called once.
func (a *Answerer) Run(ctx context.Context) error {
	defer func() {
		a.asa.Tprint(a.outcomes.Summary(a.asa.Name()))
		_ = a.asa.Deregister() // fails only if the instance was closed before
	}()
	a.asa.Tprint("Looking up services for whoever asks")
	return cli.Serve(ctx, a.asa, objective(), maxRequests, a.serve)
}

// serve answers one request.
func (a *Answerer) serve(ctx context.Context, s *grasp.Session, o grasp.Objective) {
	out := cli.Outcome{ASA: a.asa.Name()}
	defer func() {
		if out.Outcome != cli.Agreed {
			a.asa.Tprint("Failed:", out.Reason)
		}
		a.outcomes.Add(out)
	}()
	decline := func(reason string) {
		out.Outcome, out.Reason = cli.Declined, reason
		_ = s.EndNegotiate(false, reason) // a peer that is gone need not be told
	}
	service, domain, err := asked(o)
	switch {
	case err != nil:
		decline(err.Error())
		return
	case o.Dry:
		decline(noDryRun)
		return
	}
	out.Asked = []string{service, domain}
	a.asa.Tprint("Got request for", service, "in", domain, "from", s.Source().Addr())
	found, err := lookup(ctx, a.dns, service, domain)
	switch {
	case err != nil:
		a.asa.Tprint(err)
		decline(noAnswer)
		return
	case len(found) == 0:
		decline(notFound)
		return
	}
	switch err := a.send(ctx, s, o, found, &out.Steps); {
	case errors.Is(err, errReply):
		decline(unexpected)
	case err != nil:
		a.asa.Ttprint(err)
		out.Outcome, out.Reason = result(err)
	default:
		out.Outcome, out.Value = cli.Agreed, len(found)
		a.asa.Tprint("Sent", len(found), "of", service, "in", domain)
	}
}

var errReply = errors.New("the asker answered something else than " + ack)

// send sends each in a step, then accepts.
func (a *Answerer) send(ctx context.Context, s *grasp.Session, o grasp.Objective, all []Service, steps *int) error {
	_, encoded := o.Value.(grasp.EncodedCBOR)
	for _, service := range all {
		o.LoopCount = loopCount // it counts the instances anew
		o.Value = reply(service)
		if encoded {
			raw, err := grasp.Encode(o.Value)
			if err != nil {
				return err
			}
			o.Value = raw
		}
		*steps++
		next, answer, err := s.NegotiateStep(ctx, o, patience)
		switch {
		case err != nil:
			_ = s.EndNegotiate(false, err.Error()) // a peer that is gone need not be told
			return err
		case next == nil:
			return nil // it has had enough
		}
		*steps++
		var said string
		if err := answer.Decode(&said); err != nil || said != ack {
			return errReply
		}
		o = answer
	}
	return s.EndNegotiate(true, "")
}

// result returns what an error is as an outcome.
func result(err error) (cli.Result, string) {
	var declined *grasp.DeclinedError
	if errors.As(err, &declined) && declined.Reason != "" {
		return cli.Declined, declined.Reason
	}
	return cli.Failed, err.Error()
}
