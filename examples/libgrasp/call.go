package main

/*
#define GRASP_NO_PROTOTYPES
#include <stdlib.h>
#include "grasp.h"
#include "text.h"
*/
import "C"

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"github.com/go-grasp/grasp"
)

// table holds what C has handles of.
type table[T any] struct {
	mu   sync.Mutex // guards all following fields
	byID map[uint64]T
}

// add returns a handle: a random number, since others must not guess it (RFC
// 8991 section 2.3.2.2 of the asa_handle).
func (t *table[T]) add(v T) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[uint64]T)
	}
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id := binary.NativeEndian.Uint64(b[:])
		if _, taken := t.byID[id]; id != 0 && !taken {
			t.byID[id] = v
			return id
		}
	}
}

func (t *table[T]) get(id uint64) (v T, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok = t.byID[id]
	return v, ok
}

// remove forgets a handle and returns what it stood for.
func (t *table[T]) remove(id uint64) (v T, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok = t.byID[id]
	delete(t.byID, id)
	return v, ok
}

// removeIf forgets the handles of what matches.
func (t *table[T]) removeIf(match func(T) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, v := range t.byID {
		if match(v) {
			delete(t.byID, id)
		}
	}
}

var (
	instances table[*node]
	asas      table[*grasp.ASA]
	sessions  table[*session]
	ops       table[*op]
)

// session is a session and whose it is.
type session struct {
	*grasp.Session
	asa *grasp.ASA
}

// status returns the status of a call and keeps the text of its error for
// grasp_last_error.
func status(err error) C.int {
	if err == nil {
		return C.GRASP_OK
	}
	text := err.Error()
	c := C.CString(text)
	C.grasp_set_last_error(c, C.int(len(text)))
	C.free(unsafe.Pointer(c))
	return C.int(grasp.Code(err))
}

// codeError is an error of this library's own.
type codeError struct {
	code grasp.ErrorCode
	text string
}

func (e *codeError) Error() string { return "grasp: " + e.text }
func (e *codeError) Unwrap() error { return e.code }

func unspec(format string, args ...any) error {
	return &codeError{grasp.ErrUnspec, fmt.Sprintf(format, args...)}
}

// guard turns a panic into a status: none may cross into C.
func guard(result *C.int) {
	if r := recover(); r != nil {
		*result = status(unspec("internal error: %v", r))
	}
}

// question is what a call asks a peer.
type question struct {
	asa       *grasp.ASA
	objective grasp.Objective
	peer      *grasp.Locator // nil: one is discovered
	timeout   time.Duration
}

// toPeer is the start of a call that asks a peer.
func toPeer[T any](handle C.grasp_asa, o *C.grasp_objective, peer *C.grasp_locator, timeout C.uint32_t, run func(context.Context, question) (T, error)) func() (func(context.Context) (T, error), error) {
	return func() (func(context.Context) (T, error), error) {
		a, obj, err := asked(handle, o)
		if err != nil {
			return nil, err
		}
		l, err := locator(peer)
		q := question{a, obj, l, milliseconds(timeout)}
		return func(ctx context.Context) (T, error) { return run(ctx, q) }, err
	}
}

// op is a call in the polling form.
type op struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the following are there
	result any
	err    error
	drop   func() // gives up the result

	read, write *os.File // read is readable when it is done
}

func (o *op) close() {
	o.cancel()
	_ = o.read.Close()
	_ = o.write.Close()
}

// call is a call of C that may block.
type call[T any] struct {
	// start takes all that is needed from C's memory and returns what blocks.
	start func() (func(ctx context.Context) (T, error), error)
	// give hands the result out to C. It runs in a call of C.
	give func(T)
	// drop gives up a result that nobody takes; nil if there is nothing to do.
	drop func(T)
}

// do does the call: at once if C gave no operation, else in a goroutine, and C
// polls for the result.
func (c call[T]) do(handle *C.grasp_op) C.int {
	if handle != nil && *handle != 0 {
		return c.poll(handle)
	}
	run, err := c.start()
	if err != nil {
		return status(err)
	}
	if handle == nil {
		v, err := run(context.Background())
		return c.finish(v, err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return status(unspec("no descriptors for an operation: %v", err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := &op{cancel: cancel, done: make(chan struct{}), read: read, write: write}
	go func() {
		defer func() {
			if r := recover(); r != nil {
				o.err = unspec("internal error: %v", r)
			}
			close(o.done)
			_, _ = write.Write([]byte{1})
		}()
		v, err := run(ctx)
		o.result, o.err = v, err
		if c.drop != nil && err == nil {
			o.drop = func() { c.drop(v) }
		}
	}()
	*handle = C.grasp_op(ops.add(o))
	return C.GRASP_NO_REPLY
}

// poll returns the status of an operation, and its result when it is there.
func (c call[T]) poll(handle *C.grasp_op) C.int {
	o, ok := ops.get(uint64(*handle))
	if !ok {
		return status(unspec("no such operation"))
	}
	select {
	case <-o.done:
	default:
		return C.GRASP_NO_REPLY
	}
	v, same := o.result.(T)
	if !same && o.err == nil {
		return status(unspec("the operation belongs to another function"))
	}
	if _, mine := ops.remove(uint64(*handle)); !mine {
		return status(unspec("another thread took the answer of this operation"))
	}
	*handle = 0
	o.close()
	return c.finish(v, o.err)
}

func (c call[T]) finish(v T, err error) C.int {
	if err != nil {
		return status(err)
	}
	c.give(v)
	return C.GRASP_OK
}

//export grasp_op_fd
func grasp_op_fd(handle C.grasp_op, fd *C.int) (result C.int) {
	defer guard(&result)
	o, ok := ops.get(uint64(handle))
	if !ok || fd == nil {
		return status(unspec("no such operation, or nowhere to put its descriptor"))
	}
	*fd = C.int(o.read.Fd())
	return C.GRASP_OK
}

//export grasp_op_cancel
func grasp_op_cancel(handle *C.grasp_op) (result C.int) {
	defer guard(&result)
	if handle == nil {
		return status(unspec("no operation"))
	}
	o, ok := ops.remove(uint64(*handle))
	*handle = 0
	if !ok {
		return status(unspec("no such operation"))
	}
	o.cancel()
	go func() {
		<-o.done
		if o.drop != nil {
			o.drop()
		}
		o.close()
	}()
	return C.GRASP_OK
}

// texts guards the texts of statuses, which are made when they are asked for.
var texts sync.Mutex

//export grasp_strerror
func grasp_strerror(code C.int) *C.char {
	if code < 0 || code > 255 {
		code = 255 // a code that there is not
	}
	texts.Lock()
	defer texts.Unlock()
	if C.grasp_status_texts[code] == nil {
		C.grasp_status_texts[code] = C.CString(grasp.ErrorCode(code).Error())
	}
	return C.grasp_status_texts[code]
}

// milliseconds returns a duration of C's.
func milliseconds(ms C.uint32_t) time.Duration { return time.Duration(ms) * time.Millisecond }
