package asleep

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestMeter(t *testing.T) {
	total := time.Hour
	m := Meter{Total: func() time.Duration { return total }}
	assert.Zero(t, m.Since(time.Now()), "before it was asked")
	total += least / 2
	assert.Zero(t, m.Since(time.Now()), "what two readings are apart")
	total += least / 2
	assert.Equal(t, least, m.Since(time.Now()), "in sum")
	assert.Zero(t, m.Since(time.Now()))
	total += 8 * time.Hour
	assert.Equal(t, 8*time.Hour, m.Since(time.Now()))
	total -= time.Millisecond
	assert.Zero(t, m.Since(time.Now()))
}

// TestTotal: this machine does not sleep while it is tested.
func TestTotal(t *testing.T) {
	var m Meter
	assert.Zero(t, m.Since(time.Now()))
	time.Sleep(10 * time.Millisecond)
	assert.Zero(t, m.Since(time.Now()))
}

func BenchmarkSince(b *testing.B) {
	var m Meter
	for b.Loop() {
		m.Since(time.Now())
	}
}
