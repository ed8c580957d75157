package acp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestRush: datagrams that come fast, and few at a time, are a rush, until the receiver has
// looked in vain once.
func TestRush(t *testing.T) {
	var r rush
	now := time.Now()
	came := func(n int, after time.Duration) bool {
		now = now.Add(after)
		r.came(n, now)
		return r.ends()
	}
	assert.False(t, r.ends(), "before the first one")
	assert.False(t, came(1, 0), "the first one")
	assert.True(t, came(1, rushTime-1))
	assert.False(t, r.ends(), "nothing more has come")
	assert.True(t, came(rushFew, rushTime-1), "it goes on")
	assert.False(t, came(rushFew+1, rushTime-1), "several at once, without waiting for them")
	assert.True(t, came(1, rushTime-1))
	assert.False(t, came(1, rushTime))
	assert.False(t, came(1, time.Hour))
}
