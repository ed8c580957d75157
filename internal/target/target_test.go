package target

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A target that does not answer gets a hundred connections at once and a hundred
// a second, if it was met before; one that does gets as many as it asks for, and others
// are not concerned.
func TestLimiter(t *testing.T) {
	var l Limiter
	now := time.Unix(1000, 0)
	victim, asker := netip.MustParseAddr("fe80::1%3"), netip.MustParseAddr("fe80::2%3")
	require.True(t, l.Allow(victim, now))
	l.Succeeded(victim, now)
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

// no returns an address where nobody is.
func no(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

// Those that were never met share a rate, of what fails: who answers does not count,
// and who was met before is not concerned.
func TestStrangers(t *testing.T) {
	var l Limiter
	now := time.Unix(1000, 0)
	met := netip.MustParseAddr("fe80::2%3")
	for i := range 10 * Strangers { // that answer
		require.True(t, l.Allow(no(1_000_000+i), now))
		l.Succeeded(no(1_000_000+i), now)
	}
	require.True(t, l.Allow(met, now))
	l.Succeeded(met, now)
	tried := 0
	for i := range 10_000 { // ten seconds
		now = now.Add(time.Millisecond)
		for j := range 2 {
			if l.Allow(no(2*i+j), now) {
				tried++
			}
		}
		require.True(t, l.Allow(met, now))
		l.Succeeded(met, now)
	}
	assert.InDelta(t, Strangers+10*Strangers, tried, 2)
	assert.True(t, l.Allow(netip.MustParseAddr("fe80::9%4"), now), "a stranger on another link")
	assert.LessOrEqual(t, len(l.nodes), maxNodes)
}

// Where many more strangers ask than may fail, by addresses that are never used again, one
// that is there and asks again need not wait any longer. It is no matter how often: the
// rate of what fails stays as it is.
func TestStrangersAskAgain(t *testing.T) {
	for _, perSecond := range []int{200, 2000, 10_000} {
		var l Limiter
		start := time.Unix(1000, 0)
		now, forged, tried := start, 0, 0
		flood := func(d time.Duration) {
			for range int(d.Seconds() * float64(perSecond)) {
				now = now.Add(time.Second / time.Duration(perSecond))
				forged++
				if l.Allow(no(forged), now) {
					tried++
				}
			}
		}
		flood(3 * time.Second)
		served, asked := 0, 20
		for i := range asked {
			honest := no(1<<23 + i)
			for _, pause := range []time.Duration{0, 600 * time.Millisecond, 1200 * time.Millisecond} {
				flood(pause)
				if l.Allow(honest, now) {
					l.Succeeded(honest, now)
					served++
					break
				}
			}
		}
		assert.Greater(t, served, asked*9/10, "at %d a second", perSecond)
		assert.LessOrEqual(t, float64(tried), Strangers+Again+now.Sub(start).Seconds()*Strangers+1)
	}
}

// What is remembered of those that had to go without is forgotten in time.
func TestRefused(t *testing.T) {
	var r refused
	now := time.Unix(1000, 0)
	require.False(t, r.has(no(1), now))
	r.add(no(1), now)
	for range 3 {
		require.True(t, r.has(no(1), now))
		require.False(t, r.has(no(2), now))
		now = now.Add(refusedTime - 1)
		r.add(no(3), now)
		require.True(t, r.has(no(1), now), "in time")
		now = now.Add(refusedTime)
		require.True(t, r.has(no(3), now))
		r.add(no(1), now)
	}
	now = now.Add(2 * refusedTime)
	require.False(t, r.has(no(1), now))
	require.False(t, r.has(no(3), now))
	assert.Nil(t, r.now)
	assert.Nil(t, r.old)

	// Few are taken for remembered that are not.
	for i := range 2000 * int(refusedTime/time.Second) {
		r.add(no(i), now)
	}
	wrong := 0
	for i := range 10_000 {
		if r.has(no(1<<22+i), now) {
			wrong++
		}
	}
	assert.Less(t, wrong, 30, "of 10,000")
}

// Targets are remembered in a bounded number, those that got most at last, and
// strangers before all others.
func TestLimiterForgets(t *testing.T) {
	var l Limiter
	now := time.Unix(1000, 0)
	victim, met := netip.MustParseAddr("fe80::1%3"), netip.MustParseAddr("fe80::2%3")
	for l.Allow(victim, now) {
	}
	now = now.Add(time.Second)
	require.True(t, l.Allow(met, now))
	l.Succeeded(met, now)
	for l.Allow(victim, now) {
	}
	for i := range maxNodes + 200 {
		now = now.Add(time.Second / Strangers)
		assert.True(t, l.Allow(no(i), now))
		assert.LessOrEqual(t, len(l.nodes), maxNodes)
	}
	l.forget(now.Add(time.Hour))
	assert.Len(t, l.nodes, 1)
	assert.Contains(t, l.nodes, met)
	l.forget(now.Add(time.Hour))
	assert.Empty(t, l.nodes, "when there is need")
}

// Links that come and go leave nothing behind.
func TestLimiterForgetsLinks(t *testing.T) {
	var l Limiter
	now := time.Now()
	for i := range 1000 {
		require.True(t, l.Allow(netip.MustParseAddr("fe80::1").WithZone(strconv.Itoa(i)), now))
		now = now.Add(time.Second)
	}
	require.Len(t, l.strangers, 1)
}

// After a storm of forged addresses the memory of those that had to go without goes back.
func TestForget(t *testing.T) {
	var l Limiter
	now := time.Now()
	require.False(t, l.Forget(now))
	for i := range 2 * Strangers {
		l.Allow(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), now)
	}
	require.True(t, l.Forget(now))
	require.True(t, l.Forget(now.Add(refusedTime)), "they may ask again")
	require.False(t, l.Forget(now.Add(2*refusedTime)))
	require.Zero(t, l.refused.now)
	require.Zero(t, l.refused.old)
}
