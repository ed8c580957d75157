package asleep

import (
	"time"

	"golang.org/x/sys/unix"
)

// Total returns how long the machine has slept since it started.
func Total() time.Duration { return total(clock) }

// clock reads one of the system's clocks, as a time since some moment.
func clock(id int32) (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(id, &t)
	return time.Duration(t.Nano()), err
}

// total is Total by some clock. What passes between two readings, as when others have the
// processor, is no sleep: then they are read again.
func total(clock func(id int32) (time.Duration, error)) time.Duration {
	for {
		before, err := clock(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0
		}
		boot, err := clock(unix.CLOCK_BOOTTIME)
		if err != nil {
			return 0
		}
		after, err := clock(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0
		}
		if after-before < least/2 {
			return boot - before
		}
	}
}
