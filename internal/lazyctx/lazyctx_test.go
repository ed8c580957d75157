package lazyctx_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/internal/lazyctx"
)

type key struct{}

func TestEndsWithEither(t *testing.T) {
	why := errors.New("why")
	for _, which := range []string{"first", "second"} {
		t.Run(which, func(t *testing.T) {
			first, endFirst := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
			defer endFirst(nil)
			second, endSecond := context.WithCancelCause(t.Context())
			defer endSecond(nil)
			c := lazyctx.New(first, second, time.Hour)
			defer c.Release()
			derived, cancel := context.WithCancel(c)
			defer cancel()
			assert.NoError(t, c.Err())
			assert.Equal(t, "value", c.Value(key{}))
			if which == "first" {
				endFirst(why)
			} else {
				endSecond(why)
			}
			<-derived.Done()
			assert.ErrorIs(t, c.Err(), context.Canceled)
			assert.ErrorIs(t, context.Cause(c), why)
			assert.ErrorIs(t, context.Cause(derived), why)
		})
	}
}

// TestTimeout: the time counts from New, not from the first look.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := lazyctx.New(t.Context(), context.Background(), time.Minute)
		defer c.Release()
		deadline, ok := c.Deadline()
		assert.True(t, ok)
		assert.Equal(t, time.Minute, deadline.Sub(start))
		time.Sleep(20 * time.Second)
		<-c.Done()
		assert.Equal(t, time.Minute, time.Since(start))
		assert.ErrorIs(t, c.Err(), context.DeadlineExceeded)
		assert.ErrorIs(t, context.Cause(c), context.DeadlineExceeded)
	})
}

// TestEndedBefore: a context may be over before anybody looks.
func TestEndedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		over, end := context.WithCancelCause(t.Context())
		end(why)
		for _, c := range []*lazyctx.Context{
			lazyctx.New(over, t.Context(), time.Second),
			lazyctx.New(t.Context(), over, time.Second),
		} {
			assert.ErrorIs(t, c.Err(), context.Canceled)
			assert.ErrorIs(t, context.Cause(c), why)
			c.Release()
		}
		late := lazyctx.New(t.Context(), t.Context(), time.Second)
		defer late.Release()
		time.Sleep(time.Second)
		assert.ErrorIs(t, late.Err(), context.DeadlineExceeded)
	})
}

func TestDeadlineOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := lazyctx.New(first, context.Background(), time.Minute)
		defer c.Release()
		deadline, ok := c.Deadline()
		assert.True(t, ok)
		assert.Equal(t, time.Second, time.Until(deadline))
		forever := lazyctx.New(t.Context(), context.Background(), 0)
		defer forever.Release()
		_, ok = forever.Deadline()
		assert.False(t, ok)
	})
}

func TestRelease(t *testing.T) {
	before := lazyctx.New(t.Context(), t.Context(), time.Hour)
	before.Release()
	assert.ErrorIs(t, before.Err(), context.Canceled)
	before.Release()

	after := lazyctx.New(t.Context(), t.Context(), 0)
	assert.NoError(t, after.Err())
	after.Release()
	<-after.Done()
	assert.ErrorIs(t, after.Err(), context.Canceled)
}

// TestNothingUntilNeeded: an operation that needs no context pays for one
// value.
func TestNothingUntilNeeded(t *testing.T) {
	first, cancel := context.WithCancel(t.Context())
	defer cancel()
	allocations := testing.AllocsPerRun(100, func() {
		c := lazyctx.New(first, first, time.Second)
		c.Deadline()
		assert.NoError(t, c.Err())
		c.Release()
	})
	assert.LessOrEqual(t, allocations, 1.0)
}
