// Package lazyctx merges two contexts, and costs nothing until somebody waits for
// their end.
package lazyctx

import (
	"context"
	"sync"
	"time"
)

// Context ends with either of two contexts, or after a time. The first call that
// needs the timer and the rest sets them up, so that an operation that is over at
// once does without.
type Context struct {
	either   [2]context.Context
	deadline time.Time // zero: only that of the two contexts

	mu     sync.Mutex         // guards all following fields
	full   context.Context    // nil: not needed yet
	cancel context.CancelFunc // of full
	stop   func() bool        // of the link from the second context
	over   bool
}

// New returns a context that ends with either context or after the timeout, if
// it is not 0; with a negative one it has ended. Values are those of the first.
// Release must be called when it is no longer needed.
func New(first, second context.Context, timeout time.Duration) *Context {
	c := &Context{either: [2]context.Context{first, second}}
	if timeout != 0 {
		c.deadline = time.Now().Add(timeout)
	}
	return c
}

// complete returns a context of the standard library that does the work, and makes it
// when it is called first.
func (c *Context) complete() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full != nil {
		return c.full
	}
	full, end := context.WithCancelCause(c.either[0])
	c.full, c.cancel = full, func() { end(nil) }
	if !c.deadline.IsZero() {
		var release context.CancelFunc
		c.full, release = context.WithDeadline(full, c.deadline)
		c.cancel = func() { release(); end(nil) }
	}
	second := c.either[1]
	if second.Err() != nil {
		end(context.Cause(second)) // before this returns
	}
	c.stop = context.AfterFunc(second, func() { end(context.Cause(second)) })
	if c.over {
		c.releaseLocked()
	}
	return c.full
}

// Release ends the context and frees what it holds.
func (c *Context) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.releaseLocked()
}

func (c *Context) releaseLocked() {
	if c.full != nil {
		c.stop()
		c.cancel()
	}
}

// Deadline implements [context.Context].
func (c *Context) Deadline() (time.Time, bool) {
	theirs, ok := c.either[0].Deadline()
	if c.deadline.IsZero() || ok && theirs.Before(c.deadline) {
		return theirs, ok
	}
	return c.deadline, true
}

// Done implements [context.Context].
func (c *Context) Done() <-chan struct{} { return c.complete().Done() }

// Err implements [context.Context].
func (c *Context) Err() error {
	c.mu.Lock()
	idle := c.full == nil && !c.over
	c.mu.Unlock()
	if idle && c.either[0].Err() == nil && c.either[1].Err() == nil && (c.deadline.IsZero() || time.Now().Before(c.deadline)) {
		return nil
	}
	return c.complete().Err()
}

// Value implements [context.Context].
func (c *Context) Value(key any) any { return c.complete().Value(key) }
