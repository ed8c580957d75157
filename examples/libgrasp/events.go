package main

/*
#define GRASP_NO_PROTOTYPES
#include "grasp.h"
*/
import "C"

import (
	"cmp"
	"context"
	encodejson "encoding/json"
	"time"

	"github.com/go-grasp/grasp"
)

// node is an instance with the events that C takes of it.
type node struct {
	*grasp.Instance
	events chan grasp.Event // nil if C wants none
	closed chan struct{}    // closed before the instance is
}

// newNode has the instance report these kinds of events, a sum of GRASP_EVENT_... .
func newNode(g *grasp.Instance, kinds C.int) *node {
	n := &node{Instance: g, closed: make(chan struct{})}
	if kinds == 0 {
		return n
	}
	n.events = make(chan grasp.Event)
	g.Observe(grasp.Observer{Trace: func(e grasp.Event) {
		if kinds&(1<<(e.Kind-grasp.Sent)) == 0 {
			return
		}
		select { // what C has not asked for yet waits in the observer's queue
		case n.events <- e:
		case <-n.closed:
		}
	}})
	return n
}

// next waits for an event.
func (n *node) next(ctx context.Context, limit time.Duration) (grasp.Event, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case e := <-n.events:
		return e, nil
	case <-n.closed:
		return grasp.Event{}, errNoInstance
	case <-late.C:
		return grasp.Event{}, &codeError{grasp.ErrNoReply, "nothing happened in time"}
	case <-ctx.Done():
		return grasp.Event{}, &codeError{grasp.ErrCancelled, "cancelled"}
	}
}

//export grasp_next_event
func grasp_next_event(handle C.grasp_instance, timeout C.uint32_t, json **C.char, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if json == nil {
		return status(unspec("nowhere to put the event"))
	}
	return call[grasp.Event]{
		start: func() (func(context.Context) (grasp.Event, error), error) {
			n, ok := instances.get(uint64(handle))
			switch {
			case !ok:
				return nil, errNoInstance
			case n.events == nil:
				return nil, unspec("this node was opened without events in its grasp_config")
			}
			limit := cmp.Or(milliseconds(timeout), grasp.DefaultTimeout)
			return func(ctx context.Context) (grasp.Event, error) { return n.next(ctx, limit) }, nil
		},
		give: func(e grasp.Event) { *json = jsonText(e) },
	}.do(op)
}

// jsonText returns what can be encoded as JSON as a text for C.
func jsonText(v any) *C.char {
	text, err := encodejson.Marshal(v)
	if err != nil {
		panic(err) // guard makes it a status
	}
	return C.CString(string(text))
}
