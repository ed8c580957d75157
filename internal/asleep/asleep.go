// Package asleep tells how long the machine has slept: time that passed for the
// network, and not for the clock by which package time measures.
package asleep

import "time"

// least is what counts as sleep: less is between the readings of two clocks.
const least = time.Second

// Meter tells of sleep since it was last asked. It is not for concurrent use.
type Meter struct {
	// Total returns how long the machine has slept since it started; nil means
	// that of this package. Tests have their own.
	Total func() time.Duration

	asked time.Time // when Total was asked last
	last  time.Duration
}

// Since returns how long the machine slept between the last call and now, which is the time
// of this one. It returns 0 at the first.
func (m *Meter) Since(now time.Time) time.Duration {
	total := m.Total
	if total == nil {
		if !m.asked.IsZero() && !m.suspects(now) {
			return 0
		}
		total = Total
	}
	first := m.asked.IsZero()
	m.asked = now
	slept := total() - m.last
	if !first && slept < least {
		return 0
	}
	m.last += slept
	if first {
		return 0
	}
	return slept
}

// suspects is true if the time of day has gone on by another measure than the
// clock that stands still during sleep, which spares asking the kernel.
func (m *Meter) suspects(now time.Time) bool {
	apart := now.Round(0).Sub(m.asked.Round(0)) - now.Sub(m.asked)
	return apart.Abs() >= least/2
}
