package main

/*
#define GRASP_NO_PROTOTYPES
#include "grasp.h"
*/
import "C"

import (
	"context"

	"github.com/go-grasp/grasp"
)

// step is the result of a call that negotiates.
type step struct {
	asa     *grasp.ASA
	session *grasp.Session // nil: the peer accepted
	value   grasp.Objective
}

// drop ends the session of a step that nobody takes.
func (s step) drop() {
	if s.session != nil {
		_ = s.session.EndNegotiate(false, "cancelled")
	}
}

// put hands the step out to C.
func (s step) put(handle *C.grasp_session, o *C.grasp_objective) {
	*handle = 0
	if s.session != nil {
		*handle = C.grasp_session(sessions.add(&session{s.session, s.asa}))
	}
	putObjective(o, s.value)
}

//export grasp_request_negotiate
func grasp_request_negotiate(handle C.grasp_asa, o *C.grasp_objective, peer *C.grasp_locator, timeout C.uint32_t, to *C.grasp_session, got *C.grasp_objective, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if to == nil {
		return status(unspec("nowhere to put the session"))
	}
	return call[step]{
		start: toPeer(handle, o, peer, timeout, func(ctx context.Context, q question) (step, error) {
			s, offer, err := q.asa.ReqNegotiate(ctx, q.objective, q.peer, q.timeout)
			return step{q.asa, s, offer}, err
		}),
		give: func(s step) { s.put(to, got) },
		drop: step.drop,
	}.do(op)
}

//export grasp_listen_negotiate
func grasp_listen_negotiate(handle C.grasp_asa, o *C.grasp_objective, to *C.grasp_session, got *C.grasp_objective, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if to == nil {
		return status(unspec("nowhere to put the session"))
	}
	return call[step]{
		start: func() (func(context.Context) (step, error), error) {
			a, obj, err := asked(handle, o)
			return func(ctx context.Context) (step, error) {
				s, request, err := a.ListenNegotiate(ctx, obj)
				return step{a, s, request}, err
			}, err
		},
		give: func(s step) { s.put(to, got) },
		drop: step.drop,
	}.do(op)
}

//export grasp_stop_listen_negotiate
func grasp_stop_listen_negotiate(handle C.grasp_asa, o *C.grasp_objective) (result C.int) {
	defer guard(&result)
	a, obj, err := asked(handle, o)
	if err != nil {
		return status(err)
	}
	return status(a.StopNegotiate(obj))
}

var errNoSession = &codeError{grasp.ErrNoSession, "no such session"}

//export grasp_negotiate_step
func grasp_negotiate_step(handle C.grasp_session, o *C.grasp_objective, timeout C.uint32_t, next *C.grasp_session, got *C.grasp_objective, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if next == nil {
		return status(unspec("nowhere to put the session"))
	}
	return call[step]{
		start: func() (func(context.Context) (step, error), error) {
			s, ok := sessions.get(uint64(handle))
			if !ok {
				return nil, errNoSession
			}
			obj, err := objective(o)
			limit := milliseconds(timeout)
			return func(ctx context.Context) (step, error) {
				alive, offer, err := s.NegotiateStep(ctx, obj, limit)
				if alive == nil {
					sessions.remove(uint64(handle))
				}
				return step{s.asa, alive, offer}, err
			}, err
		},
		give: func(s step) {
			*next = 0
			if s.session != nil {
				*next = handle
			}
			putObjective(got, s.value)
		},
		drop: func(s step) {
			s.drop()
			sessions.remove(uint64(handle))
		},
	}.do(op)
}

//export grasp_negotiate_wait
func grasp_negotiate_wait(handle C.grasp_session, timeout C.uint32_t) (result C.int) {
	defer guard(&result)
	s, ok := sessions.get(uint64(handle))
	if !ok {
		return status(errNoSession)
	}
	return status(s.NegotiateWait(milliseconds(timeout)))
}

//export grasp_end_negotiate
func grasp_end_negotiate(handle C.grasp_session, accept C.int, reason *C.char) (result C.int) {
	defer guard(&result)
	s, ok := sessions.remove(uint64(handle))
	if !ok {
		return status(errNoSession)
	}
	why := ""
	if reason != nil {
		why = C.GoString(reason)
	}
	err := s.EndNegotiate(accept != 0, why)
	_ = s.Close() // in case that the message could not be sent
	return status(err)
}

//export grasp_close_session
func grasp_close_session(handle C.grasp_session) (result C.int) {
	defer guard(&result)
	s, ok := sessions.remove(uint64(handle))
	if !ok {
		return status(errNoSession)
	}
	return status(s.Close())
}

//export grasp_send_invalid
func grasp_send_invalid(handle C.grasp_session, info *C.uint8_t, n C.size_t) (result C.int) {
	defer guard(&result)
	v, err := item(info, n)
	if err != nil {
		return status(err)
	}
	s, ok := sessions.remove(uint64(handle))
	if !ok {
		return status(errNoSession)
	}
	err = s.SendInvalid(v)
	_ = s.Close()
	return status(err)
}

//export grasp_session_peer
func grasp_session_peer(handle C.grasp_session, addr *C.char, addrLen C.size_t, identity *C.char, identityLen C.size_t) (result C.int) {
	defer guard(&result)
	s, ok := sessions.get(uint64(handle))
	if !ok {
		return status(errNoSession)
	}
	putText(addr, addrLen, s.Source().String())
	putText(identity, identityLen, s.Identity())
	return C.GRASP_OK
}
