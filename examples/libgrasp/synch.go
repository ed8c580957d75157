package main

/*
#define GRASP_NO_PROTOTYPES
#include "grasp.h"
*/
import "C"

import (
	"context"
	"unsafe"

	"github.com/go-grasp/grasp"
)

//export grasp_synchronize
func grasp_synchronize(handle C.grasp_asa, o *C.grasp_objective, peer *C.grasp_locator, timeout C.uint32_t, got *C.grasp_objective, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if got == nil {
		return status(unspec("nowhere to put the objective"))
	}
	return call[grasp.Objective]{
		start: toPeer(handle, o, peer, timeout, func(ctx context.Context, q question) (grasp.Objective, error) {
			return q.asa.Synchronize(ctx, q.objective, q.peer, q.timeout)
		}),
		give: func(o grasp.Objective) { putObjective(got, o) },
	}.do(op)
}

//export grasp_listen_synchronize
func grasp_listen_synchronize(handle C.grasp_asa, o *C.grasp_objective) (result C.int) {
	defer guard(&result)
	a, obj, err := asked(handle, o)
	if err != nil {
		return status(err)
	}
	return status(a.ListenSynchronize(obj))
}

//export grasp_stop_listen_synchronize
func grasp_stop_listen_synchronize(handle C.grasp_asa, o *C.grasp_objective) (result C.int) {
	defer guard(&result)
	a, obj, err := asked(handle, o)
	if err != nil {
		return status(err)
	}
	return status(a.StopSynchronize(obj))
}

// tagged copies a flood from C.
func tagged(f *C.grasp_tagged_objective) (grasp.TaggedObjective, error) {
	o, err := objective(&f.objective)
	if err != nil {
		return grasp.TaggedObjective{}, err
	}
	source, err := locator(&f.source)
	return grasp.TaggedObjective{Objective: o, Source: source}, err
}

//export grasp_flood
func grasp_flood(handle C.grasp_asa, ttl C.uint32_t, list *C.grasp_tagged_objective, n C.size_t) (result C.int) {
	defer guard(&result)
	a, ok := asas.get(uint64(handle))
	switch {
	case !ok:
		return status(errNoASA)
	case list == nil || n == 0 || n > 1<<16:
		return status(unspec("%d objectives to flood", n))
	}
	var floods []grasp.TaggedObjective
	all := unsafe.Slice(list, n)
	for i := range all {
		f, err := tagged(&all[i])
		if err != nil {
			return status(err)
		}
		floods = append(floods, f)
	}
	return status(a.Flood(milliseconds(ttl), floods...))
}

//export grasp_get_flood
func grasp_get_flood(handle C.grasp_asa, o *C.grasp_objective, list **C.grasp_tagged_objective, n *C.size_t) (result C.int) {
	defer guard(&result)
	if list == nil || n == nil {
		return status(unspec("nowhere to put the floods"))
	}
	a, obj, err := asked(handle, o)
	if err != nil {
		return status(err)
	}
	floods, err := a.GetFlood(obj)
	if err != nil {
		return status(err)
	}
	first, all := array[C.grasp_tagged_objective](len(floods))
	for i, f := range floods {
		putObjective(&all[i].objective, f.Objective)
		putLocator(&all[i].source, f.Source)
	}
	*list, *n = first, C.size_t(len(floods))
	return C.GRASP_OK
}

//export grasp_expire_flood
func grasp_expire_flood(handle C.grasp_asa, flood *C.grasp_tagged_objective) (result C.int) {
	defer guard(&result)
	a, ok := asas.get(uint64(handle))
	switch {
	case !ok:
		return status(errNoASA)
	case flood == nil:
		return status(unspec("no flood"))
	}
	f, err := tagged(flood)
	if err != nil {
		return status(err)
	}
	return status(a.ExpireFlood(f))
}
