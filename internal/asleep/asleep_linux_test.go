package asleep

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// A program that does not run for a while has not slept, whichever reading of a clock that
// happens before.
func TestTotalStalled(t *testing.T) {
	for stalled := range 4 {
		awake, readings := time.Hour, 0
		slept := total(func(id int32) (time.Duration, error) {
			if readings == stalled {
				awake += 2 * time.Second
			}
			readings++
			awake += time.Microsecond
			if id == unix.CLOCK_BOOTTIME {
				return awake + time.Minute, nil
			}
			return awake, nil
		})
		assert.InDelta(t, time.Minute, slept, float64(time.Millisecond), "before reading %d", stalled)
	}
}
