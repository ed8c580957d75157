package grasp

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Typed is an objective whose values are of the Go type T, which may be a
// struct with cbor tags: see package fxamacker/cbor. Its methods call those of [ASA]
// and [Session] with the same names, which are documented there, and encode and decode
// the values. The Value of the Objective within is not used.
//
//	var mtu = grasp.Typed[int]{Objective: grasp.Objective{Name: "example.com:mtu", Neg: true}}
//
// If a received value is not of type T, the error matches [ErrCBORFail] and says what
// came.
type Typed[T any] struct{ Objective }

// With returns the objective with a value: for RegisterObj, ListenSynchronize
// and Flood, for one.
func (t Typed[T]) With(v T) Objective {
	o := t.Objective
	o.Value = v
	return o
}

// Of returns the value of an objective that came in.
func (t Typed[T]) Of(o Objective) (T, error) {
	var v T
	if err := o.Decode(&v); err != nil {
		var none T
		return none, fail("decode", o.Name, ErrCBORFail, fmt.Errorf("%s is no %T: %w", shortly(o.Value), v, err))
	}
	return v, nil
}

// shortly returns a value in CBOR's diagnostic notation, cut short if it is
// long.
func shortly(v any) string {
	raw, err := encodeValue(v)
	if err != nil {
		return fmt.Sprintf("%T", v)
	}
	const most = 80
	text := []rune(printable(diagnose(raw)))
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return string(text)
}

// Synchronize is [ASA.Synchronize].
func (t Typed[T]) Synchronize(ctx context.Context, a *ASA, peer *Locator, timeout time.Duration) (T, error) {
	o, err := a.Synchronize(ctx, t.Objective, peer, timeout)
	if err != nil {
		var none T
		return none, err
	}
	return t.Of(o)
}

// TypedFlood is a flooded value of type T.
type TypedFlood[T any] struct {
	Value  T
	Source *Locator // as in TaggedObjective
	Err    error    // the value is of another type
}

// flood returns a flood with its value decoded.
func (t Typed[T]) flood(f TaggedObjective) TypedFlood[T] {
	v, err := t.Of(f.Objective)
	return TypedFlood[T]{Value: v, Source: f.Source, Err: err}
}

// GetFlood is [ASA.GetFlood]. For a value of another type, Err of that TypedFlood is
// set; the others are returned all the same.
func (t Typed[T]) GetFlood(a *ASA) ([]TypedFlood[T], error) {
	floods, err := a.GetFlood(t.Objective)
	if err != nil {
		return nil, err
	}
	out := make([]TypedFlood[T], len(floods))
	for i, f := range floods {
		out[i] = t.flood(f)
	}
	return out, nil
}

// TypedFloodEvent is a change of a flooded value of type T: a FloodEvent with
// the value decoded.
type TypedFloodEvent[T any] struct {
	Change Change
	Flood  TypedFlood[T]
	Reason GoneReason
	Err    error // as in FloodEvent: the last event
}

// WatchFloods is [ASA.WatchFloods]. For a value of another type, Flood.Err is set, and
// the loop goes on.
func (t Typed[T]) WatchFloods(ctx context.Context, a *ASA) iter.Seq[TypedFloodEvent[T]] {
	return func(yield func(TypedFloodEvent[T]) bool) {
		for e := range a.WatchFloods(ctx, t.Objective) {
			typed := TypedFloodEvent[T]{Change: e.Change, Reason: e.Reason, Err: e.Err}
			if e.Err == nil {
				typed.Flood = t.flood(e.Flood)
			}
			if !yield(typed) {
				return
			}
		}
	}
}

// TypedSession is a session about values of type T. It is nil after the peer accepted:
// then NegotiateStep, EndNegotiate and Close may be called all the same, as those of
// Session.
type TypedSession[T any] struct {
	*Session
	t        Typed[T]
	received Objective
}

// ReqNegotiate is [ASA.ReqNegotiate]: it asks for a value and returns the
// peer's answer. If the answer is not of type T the session is declined.
func (t Typed[T]) ReqNegotiate(ctx context.Context, a *ASA, v T, peer *Locator, timeout time.Duration) (*TypedSession[T], T, error) {
	s, o, err := a.ReqNegotiate(ctx, t.With(v), peer, timeout)
	return t.answer(s, o, err)
}

// NegotiateStep is [Session.NegotiateStep] with the objective last received and
// a new value.
func (s *TypedSession[T]) NegotiateStep(ctx context.Context, v T, timeout time.Duration) (*TypedSession[T], T, error) {
	var none T
	if s == nil {
		_, _, err := (*Session)(nil).NegotiateStep(ctx, Objective{}, timeout)
		return nil, none, err
	}
	o := s.received
	o.Value = v
	next, answer, err := s.Session.NegotiateStep(ctx, o, timeout)
	if err != nil && next != nil {
		return s, none, err // nothing was sent
	}
	return s.t.answer(next, answer, err)
}

// EndNegotiate is [Session.EndNegotiate]. For no session it returns [ErrNoSession].
func (s *TypedSession[T]) EndNegotiate(accept bool, reason string) error {
	if s == nil {
		return (*Session)(nil).EndNegotiate(accept, reason)
	}
	return s.Session.EndNegotiate(accept, reason)
}

// Close is [Session.Close]. For no session it does nothing.
func (s *TypedSession[T]) Close() error {
	if s == nil {
		return nil
	}
	return s.Session.Close()
}

// answer returns the results of a step.
func (t Typed[T]) answer(s *Session, o Objective, err error) (*TypedSession[T], T, error) {
	var v T
	if err == nil {
		if v, err = t.Of(o); err != nil && s != nil {
			s.decline(fmt.Sprintf("the offer is no %T", v))
			s = nil
		}
	}
	if s == nil {
		return nil, v, err
	}
	return &TypedSession[T]{Session: s, t: t, received: o}, v, err
}
