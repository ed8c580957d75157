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

//export grasp_open_session
func grasp_open_session(handle C.grasp_asa, o *C.grasp_objective, peer *C.grasp_locator, timeout C.uint32_t, to *C.grasp_session, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if to == nil {
		return status(unspec("nowhere to put the session"))
	}
	return call[step]{
		start: toPeer(handle, o, peer, timeout, func(ctx context.Context, q question) (step, error) {
			s, err := q.asa.OpenSession(ctx, q.objective, q.peer, q.timeout)
			return step{asa: q.asa, session: s}, err
		}),
		give: func(s step) { *to = C.grasp_session(sessions.add(&session{s.session, s.asa})) },
		drop: func(s step) { _ = s.session.Close() },
	}.do(op)
}

//export grasp_send
func grasp_send(handle C.grasp_session, data *C.uint8_t, n C.size_t) (result C.int) {
	defer guard(&result)
	v, err := item(data, n)
	if err != nil {
		return status(err)
	}
	s, ok := sessions.get(uint64(handle))
	if !ok {
		return status(errNoSession)
	}
	return status(s.Send(v))
}

//export grasp_recv
func grasp_recv(handle C.grasp_session, timeout C.uint32_t, data **C.uint8_t, n *C.size_t, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if data == nil || n == nil {
		return status(unspec("nowhere to put the item"))
	}
	return call[grasp.EncodedCBOR]{
		start: func() (func(context.Context) (grasp.EncodedCBOR, error), error) {
			s, ok := sessions.get(uint64(handle))
			if !ok {
				return nil, errNoSession
			}
			limit := milliseconds(timeout)
			return func(ctx context.Context) (grasp.EncodedCBOR, error) {
				v, err := s.Recv(ctx, limit)
				if err != nil {
					return nil, err
				}
				return grasp.Encode(v)
			}, nil
		},
		give: func(raw grasp.EncodedCBOR) {
			*data, *n = (*C.uint8_t)(C.CBytes(raw)), C.size_t(len(raw))
		},
	}.do(op)
}
