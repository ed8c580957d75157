package target

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A target that does not answer gets a hundred connections at once and a hundred
// a second; one that does gets as many as it asks for, and others are not
// concerned.
func TestLimiter(t *testing.T) {
	var l Limiter
	now := time.Unix(1000, 0)
	victim, asker := netip.MustParseAddr("fe80::1%3"), netip.MustParseAddr("fe80::2%3")
	sent, served := 0, 0
	for range 10_000 { // ten seconds
		now = now.Add(time.Millisecond)
		for range 10 {
			if l.Allow(victim, now) {
				sent++
			}
		}
		for range 2 {
			if l.Allow(asker, now) {
				l.Succeeded(asker, now)
				served++
			}
		}
	}
	assert.InDelta(t, Burst/FailCost+10*PerSecond/FailCost, sent, 2)
	assert.Equal(t, 20_000, served)
}

// Targets are remembered in a bounded number, those that got most at last.
func TestLimiterForgets(t *testing.T) {
	var l Limiter
	now := time.Unix(1000, 0)
	victim := netip.MustParseAddr("fe80::1%3")
	for l.Allow(victim, now) {
	}
	for i := range maxNodes + 200 {
		assert.True(t, l.Allow(netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)}), now))
		assert.LessOrEqual(t, len(l.nodes), maxNodes)
	}
	assert.False(t, l.Allow(victim, now))
	l.forget(now.Add(time.Hour))
	assert.Empty(t, l.nodes)
}
