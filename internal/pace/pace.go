// Package pace slows down loops whose calls fail again and again, and logs that
// peers could fill.
package pace

import (
	"context"
	"time"
)

// Backoff paces a loop whose calls fail again and again. The zero value is
// ready to use.
type Backoff struct{ delay time.Duration }

// MaxBackoff is the longest time that Wait waits.
const MaxBackoff = time.Second

// Wait waits: a millisecond at first, then twice as long each time, up to
// MaxBackoff. It returns false if the context ended.
func (b *Backoff) Wait(ctx context.Context) bool {
	b.delay = min(max(2*b.delay, time.Millisecond), MaxBackoff)
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Reset says that a call succeeded.
func (b *Backoff) Reset() { b.delay = 0 }
