package main

/*
#define GRASP_NO_PROTOTYPES
#include <stdlib.h>
#include "grasp.h"
*/
import "C"

import (
	"fmt"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
)

// item returns one CBOR item of C's memory as a value.
func item(data *C.uint8_t, n C.size_t) (any, error) {
	if data == nil {
		return nil, nil
	}
	raw := C.GoBytes(unsafe.Pointer(data), C.int(min(n, 1<<30)))
	if err := cbor.Wellformed(raw); err != nil {
		return nil, &codeError{grasp.ErrCBORFail, fmt.Sprintf("the value is not one CBOR item: %v", err)}
	}
	return cbor.RawMessage(raw), nil
}

// objective copies an objective from C.
func objective(o *C.grasp_objective) (grasp.Objective, error) {
	if o == nil || o.name == nil {
		return grasp.Objective{}, unspec("an objective needs a name")
	}
	value, err := item(o.value, o.value_len)
	return grasp.Objective{
		Name: C.GoString(o.name), Neg: o.neg != 0, Dry: o.dry != 0, Synch: o.synch != 0,
		LoopCount: uint8(o.loop_count), Value: value,
	}, err
}

// putObjective copies an objective to C.
func putObjective(to *C.grasp_objective, o grasp.Objective) {
	if to == nil {
		return
	}
	*to = C.grasp_objective{
		name: C.CString(o.Name), neg: truth(o.Neg), dry: truth(o.Dry), synch: truth(o.Synch),
		loop_count: C.uint8_t(o.LoopCount),
	}
	raw, err := grasp.Encode(o.Value)
	if err != nil || len(raw) == 0 {
		return // what came in can be encoded
	}
	to.value = (*C.uint8_t)(C.CBytes(raw))
	to.value_len = C.size_t(len(raw))
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// locator copies a locator from C; nil and one of kind 0 are none.
func locator(l *C.grasp_locator) (*grasp.Locator, error) {
	if l == nil || l.kind == 0 {
		return nil, nil
	}
	out := &grasp.Locator{
		Protocol: int(l.protocol), Port: int(l.port), IfIndex: int(l.if_index), Diverted: l.diverted != 0,
	}
	if l.expire_ms != 0 {
		out.Expire = time.Now().Add(milliseconds(l.expire_ms))
	}
	if l.text == nil {
		return nil, unspec("a locator needs a text")
	}
	text := C.GoString(l.text)
	switch l.kind {
	case C.GRASP_IPV6, C.GRASP_IPV4:
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Is4() != (l.kind == C.GRASP_IPV4) {
			return nil, &codeError{grasp.ErrInvalidLoc, fmt.Sprintf("%q is no address of kind %d", text, l.kind)}
		}
		out.IP = addr
	case C.GRASP_FQDN:
		out.FQDN = text
	case C.GRASP_URI:
		out.URI = text
	default:
		return nil, &codeError{grasp.ErrInvalidLoc, fmt.Sprintf("there is no locator of kind %d", l.kind)}
	}
	return out, nil
}

// putLocator copies a locator to C.
func putLocator(to *C.grasp_locator, l *grasp.Locator) {
	*to = C.grasp_locator{}
	if l == nil {
		return
	}
	*to = C.grasp_locator{
		protocol: C.uint16_t(min(l.Protocol, math.MaxUint16)), port: C.uint16_t(l.Port),
		if_index: C.uint32_t(l.IfIndex), diverted: truth(l.Diverted),
	}
	if !l.Expire.IsZero() {
		to.expire_ms = C.uint32_t(max(1, min(time.Until(l.Expire).Milliseconds(), 1<<32-1)))
	}
	switch {
	case l.IP.Is4():
		to.kind, to.text = C.GRASP_IPV4, C.CString(l.IP.String())
	case l.IP.IsValid():
		to.kind, to.text = C.GRASP_IPV6, C.CString(l.IP.String())
	case l.FQDN != "":
		to.kind, to.text = C.GRASP_FQDN, C.CString(l.FQDN)
	case l.URI != "":
		to.kind, to.text = C.GRASP_URI, C.CString(l.URI)
	}
}

// array returns room for n structs of a type in C's memory, zeroed.
func array[T any](n int) (first *T, all []T) {
	if n == 0 {
		return nil, nil
	}
	var one T
	first = (*T)(C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(one))))
	return first, unsafe.Slice(first, n)
}

//export grasp_free
func grasp_free(p unsafe.Pointer) { C.free(p) }

//export grasp_objective_release
func grasp_objective_release(o *C.grasp_objective) {
	if o == nil {
		return
	}
	C.free(unsafe.Pointer(o.name))
	C.free(unsafe.Pointer(o.value))
	*o = C.grasp_objective{}
}

//export grasp_locator_release
func grasp_locator_release(l *C.grasp_locator) {
	if l == nil {
		return
	}
	C.free(unsafe.Pointer(l.text))
	*l = C.grasp_locator{}
}

//export grasp_locators_release
func grasp_locators_release(list *C.grasp_locator, n C.size_t) {
	if list == nil {
		return
	}
	all := unsafe.Slice(list, n)
	for i := range all {
		grasp_locator_release(&all[i])
	}
	C.free(unsafe.Pointer(list))
}

//export grasp_floods_release
func grasp_floods_release(list *C.grasp_tagged_objective, n C.size_t) {
	if list == nil {
		return
	}
	all := unsafe.Slice(list, n)
	for i := range all {
		grasp_objective_release(&all[i].objective)
		grasp_locator_release(&all[i].source)
	}
	C.free(unsafe.Pointer(list))
}

// putText copies a text to a buffer of C's, cut to fit.
func putText(to *C.char, size C.size_t, text string) {
	if to == nil || size == 0 {
		return
	}
	buf := unsafe.Slice((*byte)(unsafe.Pointer(to)), size)
	n := copy(buf[:size-1], text)
	buf[n] = 0
}
