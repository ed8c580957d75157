package asleep

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestMeter(t *testing.T) {
	total := time.Hour
	m := Meter{Total: func() time.Duration { return total }}
	assert.Zero(t, m.Since(), "before it was asked")
	total += least / 2
	assert.Zero(t, m.Since(), "what two readings are apart")
	total += least / 2
	assert.Equal(t, least, m.Since(), "in sum")
	assert.Zero(t, m.Since())
	total += 8 * time.Hour
	assert.Equal(t, 8*time.Hour, m.Since())
	total -= time.Millisecond
	assert.Zero(t, m.Since())
}

// TestTotal: this machine does not sleep while it is tested.
func TestTotal(t *testing.T) {
	var m Meter
	assert.Zero(t, m.Since())
	time.Sleep(10 * time.Millisecond)
	assert.Zero(t, m.Since())
}

func BenchmarkSince(b *testing.B) {
	var m Meter
	for b.Loop() {
		m.Since()
	}
}
