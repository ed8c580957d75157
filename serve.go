package grasp

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Handler handles one negotiation that a peer began: s is the session, asked the
// objective that the peer sent. If asked.Dry is set it is a dry run, in which the
// handler must not commit to anything. The context ends when Serve no longer lets
// handlers run.
//
// If the session is still open when the handler returns, it is declined. If the
// handler returned a [*DeclinedError], the peer gets its reason, unless that is too long
// for a message or not UTF-8. Any other error is logged, and the peer learns only that
// there was one.
type Handler func(ctx context.Context, s *Session, asked Objective) error

// ServeOptions are the settings of Serve. The zero value is the default.
type ServeOptions struct {
	// Concurrency is how many sessions are handled at once; 0 means 64.
	// Further requests wait in the backlog (Config.Backlog).
	Concurrency int
	// Grace is how long handlers may go on after the context of Serve has
	// ended; 0 means 5 s. Then their context ends, too.
	Grace time.Duration
}

const (
	defaultConcurrency = 64
	defaultGrace       = 5 * time.Second
)

// Serve listens for negotiation of an objective, as ListenNegotiate does, and
// calls the handler for each request in a goroutine of its own, until the
// context ends. Then it stops listening, as StopNegotiate does, and waits for the
// handlers that run. If any of them runs for longer than the Grace, Serve ends its
// context, waits for it, and returns an error that wraps [ErrCancelled]; otherwise it
// returns nil. Only one Serve of an objective may run in an ASA at a time.
//
// Serve ignores a request whose session ID is in use. While the plane is not secure,
// Serve waits. If a handler panics, its session is declined, and the panic is logged
// with its stack to Config.Logger.
//
// Errors: [ErrUnspec] (options that make no sense), and those of
// ListenNegotiate but [ErrIDClash]: [ErrNotBoth], [ErrNoASA],
// [ErrNotYourObj], [ErrNotNeg], [ErrNoSecurity] (only of a DULL instance),
// [ErrStopped].
func (a *ASA) Serve(ctx context.Context, o Objective, handle Handler, opt ServeOptions) error {
	const op = "serve"
	if opt.Concurrency < 0 || opt.Grace < 0 || handle == nil {
		return fail(op, o.Name, ErrUnspec, errors.New("no handler, or a negative option"))
	}
	if opt.Concurrency == 0 {
		opt.Concurrency = defaultConcurrency
	}
	if opt.Grace == 0 {
		opt.Grace = defaultGrace
	}
	handling, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	var running sync.WaitGroup
	err := a.serve(ctx, o, opt.Concurrency, func(s *Session, asked Objective, done func()) {
		running.Go(func() {
			defer done()
			a.handle(handling, s, asked, handle)
		})
	})
	_ = a.StopNegotiate(o) // the ASA may be gone: then it has stopped
	late := time.AfterFunc(opt.Grace, func() { cut(errGrace) })
	running.Wait()
	if !late.Stop() && err == nil {
		return fail(op, o.Name, ErrCancelled, errGrace)
	}
	return err
}

var errGrace = errors.New("handlers still ran at the end of the grace time")

// serve takes requests until the context ends, and then returns nil, or until an error
// that does not pass. It bounds the number of sessions at the same time.
func (a *ASA) serve(ctx context.Context, o Objective, most int, start func(s *Session, asked Objective, done func())) error {
	slots := make(chan struct{}, most)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		case <-a.gone:
		}
		changed := a.g.changed.wait()
		s, asked, err := a.ListenNegotiate(ctx, o)
		switch {
		case err == nil:
			start(s, asked, func() { <-slots })
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrIDClash):
		case errors.Is(err, ErrNoSecurity) && !a.g.cfg.DULL:
			select {
			case <-changed:
			case <-ctx.Done():
			case <-a.gone:
			}
		default:
			return err
		}
		<-slots
	}
}

// handle has a handler handle a session, and ends the session.
func (a *ASA) handle(ctx context.Context, s *Session, asked Objective, handle Handler) {
	var err error
	defer func() {
		reason := "no decision"
		var declined *DeclinedError
		switch r := recover(); {
		case r != nil:
			reason = "internal error"
			a.g.log.Error("a handler panicked", "asa", a.name, "objective", asked.Name,
				"peer", s.Source(), "panic", r, "stack", string(debug.Stack()))
		case errors.As(err, &declined):
			reason = declined.Reason
		case err != nil:
			reason = "internal error"
			a.g.log.Warn("a negotiation failed", "asa", a.name, "objective", asked.Name, "peer", s.Source(), "error", err)
		}
		s.decline(reason)
	}()
	err = handle(ctx, s, asked)
}

// decline ends a session that is not over yet, with a reason, or without it if it cannot
// be sent.
func (s *Session) decline(reason string) {
	if s.EndNegotiate(false, reason) != nil {
		_ = s.EndNegotiate(false, "") // most often it is over
	}
	_ = s.Close()
}

// Decision is what a policy answers to an offer: [Accept], [Counter], [Wait] or
// [Decline]. The zero Decision declines.
type Decision[T any] struct {
	kind   decisionKind
	offer  T
	wait   time.Duration
	decide func(context.Context) (Decision[T], error)
	reason string
}

type decisionKind uint8

const (
	declined decisionKind = iota
	accepted
	countered
	waiting
)

// Accept accepts the peer's offer.
func Accept[T any]() Decision[T] { return Decision[T]{kind: accepted} }

// Counter answers the peer's offer with another.
func Counter[T any](offer T) Decision[T] { return Decision[T]{kind: countered, offer: offer} }

// Wait asks the peer to wait for a time (M_WAIT; 0 means 60 s), while decide comes to
// another decision, which may be to Wait again.
func Wait[T any](d time.Duration, decide func(ctx context.Context) (Decision[T], error)) Decision[T] {
	return Decision[T]{kind: waiting, wait: d, decide: decide}
}

// Decline ends the negotiation without agreement, with a reason for the peer.
func Decline[T any](reason string) Decision[T] { return Decision[T]{reason: reason} }

// Policy negotiates an objective whose values are of type T on the responder's
// side. Its Handle is a [Handler] for Serve.
type Policy[T any] struct {
	// Decide is called for each offer of the peer, the first included. In a
	// dry run it says what would be decided and must not commit to anything.
	// An error declines: see Handler.
	Decide func(ctx context.Context, asked T, dry bool) (Decision[T], error)
	// Done, if not nil, is called once at the end of each session that was no
	// dry run and for which Decide was called: with the offer that was last
	// made, by either side, and whether it was agreed on.
	Done func(last T, agreed bool)
	// Timeout is how long the peer may take to answer an offer; 0 means 60 s.
	Timeout time.Duration
}

// Handle is a [Handler]. It declines an offer that is not of type T, with a reason
// that says what came. If the loop count is exhausted, it declines instead of making a
// counter-offer.
func (p Policy[T]) Handle(ctx context.Context, s *Session, asked Objective) error {
	dry := asked.Dry
	var last T
	agreed, decided := false, false
	if p.Done != nil && !dry {
		defer func() {
			if decided {
				p.Done(last, agreed)
			}
		}()
	}
	for {
		var offer T
		if err := asked.Decode(&offer); err != nil {
			return &DeclinedError{Objective: asked.Name, Peer: s.Source(), Reason: fmt.Sprintf("the offer is no %T: %s", offer, shortly(asked.Value))}
		}
		last, decided = offer, true
		d, err := p.Decide(ctx, offer, dry)
		for err == nil && d.kind == waiting {
			if err = s.NegotiateWait(d.wait); err == nil {
				d, err = d.decide(ctx)
			}
		}
		if err != nil {
			return err
		}
		switch d.kind {
		case accepted:
			err := s.EndNegotiate(true, "")
			agreed = err == nil
			return err
		case declined:
			return s.EndNegotiate(false, d.reason)
		}
		asked.Value = d.offer
		next, answer, err := s.NegotiateStep(ctx, asked, p.Timeout)
		if err == nil || next == nil { // else it was not sent
			last = d.offer
		}
		switch {
		case err == nil && next == nil:
			agreed = true
			return nil
		case errors.Is(err, ErrLoopExhausted):
			return s.EndNegotiate(false, "the loop count is exhausted")
		case err != nil:
			return err
		}
		asked = answer
	}
}
