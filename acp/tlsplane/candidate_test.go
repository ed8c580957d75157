package tlsplane

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// at returns a place on the link with index 3.
func at(host, port int) netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf("[fe80::%x%%3]:%d", host, port))
}

func anyone(*candidate) bool { return true }

// When there are too many candidates, who failed most often goes, or else the
// oldest; and never who has proven to be a member.
func TestCandidatesEvict(t *testing.T) {
	now := time.Unix(1000, 0)
	cs := newCandidates(3)
	hear := func(host int) *candidate {
		now = now.Add(time.Second)
		return cs.heard(announced{to: at(host, 1), ttl: time.Minute}, now, anyone)
	}
	trusted := cs.vouched(at(99, 1), proven, "member", now, anyone)
	for host := 1; host <= 3; host++ {
		require.NotNil(t, hear(host))
	}
	hear(2).failed(now, false)
	require.NotNil(t, hear(4))
	assert.NotContains(t, cs.byAddr, at(2, 1), "it failed")
	require.NotNil(t, hear(5))
	assert.NotContains(t, cs.byAddr, at(1, 1), "it is the oldest")
	assert.Same(t, trusted, cs.byAddr[at(99, 1)])
	assert.Len(t, cs.byAddr, 4)

	for _, c := range cs.byAddr {
		c.dial = &dial{}
	}
	assert.Nil(t, hear(6), "all are being dialed")
	assert.NotNil(t, hear(5), "which is there already")
}

// Of those with one address some are kept, and they do not crowd out others.
func TestCandidatesOfOneAddress(t *testing.T) {
	now := time.Unix(1000, 0)
	cs := newCandidates(100)
	other := cs.heard(announced{to: at(1, 1)}, now, anyone)
	for port := range 50 {
		now = now.Add(time.Second)
		require.NotNil(t, cs.heard(announced{to: at(2, 1+port)}, now, anyone))
	}
	assert.Len(t, cs.byAddr, 1+perAddress)
	assert.Same(t, other, cs.byAddr[at(1, 1)])
	assert.Contains(t, cs.byAddr, at(2, 50))
}

// A member with many addresses crowds out itself.
func TestCandidatesOfOneIdentity(t *testing.T) {
	now := time.Unix(1000, 0)
	cs := newCandidates(2)
	for _, name := range []string{"a", "b"} {
		require.NotNil(t, cs.vouched(at(int(name[0]), 1), known, name, now, anyone))
	}
	for port := range 20 {
		require.NotNil(t, cs.vouched(at(1, 1+port), proven, "many", now, anyone))
	}
	count := make(map[string]int)
	for _, c := range cs.byAddr {
		count[c.identity]++
	}
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "many": 2}, count)
	assert.Equal(t, known, cs.vouched(at('a', 1), proven, "a", now, anyone).trust, "a proof takes nothing away")
}

// Former neighbours are back when the link is, under another index too.
func TestFormerNeighbours(t *testing.T) {
	now := time.Unix(1000, 0)
	cs := newCandidates(10)
	c := cs.vouched(at(1, 1), known, "neighbour", now, anyone)
	c.failed(now, true)
	cs.vouched(at(2, 1), proven, "never met", now, anyone)
	cs.heard(announced{to: at(3, 1)}, now, anyone)
	again := newCandidates(10)
	again.restore(7, cs.former(), now)
	require.Len(t, again.byAddr, 1)
	c = again.byAddr[netip.MustParseAddrPort("[fe80::1%7]:1")]
	require.NotNil(t, c)
	assert.Equal(t, known, c.trust)
	assert.Zero(t, c.failures)
	assert.False(t, c.next.After(now), "it is dialed at once")
	for range maxFailures {
		assert.False(t, c.isOver(now))
		c.failed(now, false)
	}
	assert.True(t, c.isOver(now), "but not for ever")
}

// A proof counts once, and those before it do not: unless the clock was set back
// since, or all proofs would be old ones until it has caught up.
func TestNewerProofs(t *testing.T) {
	now := time.Unix(1e6, 0)
	c := &candidate{signed: now}
	for late, newer := range map[time.Duration]bool{-time.Second: false, 0: false, time.Second: true} {
		assert.Equal(t, newer, c.isNewer(proof{Time: now.Add(late).UnixMilli()}, now), "%v", late)
	}
	now = now.Add(-time.Hour)
	assert.True(t, c.isNewer(proof{Time: now.UnixMilli()}, now))
}

// Dials to members do without what those to others take. Of the others those on
// the link with most of them give way, and none that failed takes a place.
func TestDials(t *testing.T) {
	now := time.Unix(1000, 0)
	links := make(map[int]*link)
	for index := range 3 {
		links[index] = &link{Link: acp.Link{Index: index}, candidates: newCandidates(1000)}
	}
	ds := newDials()
	begin := func(index int, c *candidate) (*dial, *dial) {
		now = now.Add(time.Second) // so that rates are no matter
		require.True(t, ds.hasRoom(c, links[index], now))
		d := &dial{to: c, link: links[index]}
		return d, ds.add(d, now)
	}
	var first *dial
	for host := range maxDials {
		d, evicted := begin(0, &candidate{addr: at(host, 1)})
		require.Nil(t, evicted)
		if host == 0 {
			first = d
		}
	}
	assert.False(t, ds.hasRoom(&candidate{addr: at(1000, 1), failures: 1}, links[1], now))
	quiet, evicted := begin(1, &candidate{addr: at(1001, 1)})
	assert.Same(t, first, evicted)
	for host := range 10 {
		_, evicted := begin(0, &candidate{addr: at(2000+host, 1)})
		assert.NotSame(t, quiet, evicted)
		assert.NotNil(t, evicted)
	}
	_, evicted = begin(0, &candidate{addr: at(3000, 1), trust: proven, identity: "member"})
	assert.Nil(t, evicted)

	quiet.leave()
	quiet.leave()
	assert.Equal(t, maxDials-1, ds.others.Len())
}

// Dials to unproven candidates are bounded by source, and in time.
func TestDialRates(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &link{Link: acp.Link{Index: 3}, candidates: newCandidates(1000)}
	ds := newDials()
	for port := range perSource {
		c := &candidate{addr: at(1, 1+port)}
		require.True(t, ds.hasRoom(c, l, now))
		ds.add(&dial{to: c, link: l}, now)
	}
	assert.False(t, ds.hasRoom(&candidate{addr: at(1, 100)}, l, now))
	begun := 0
	for range 1000 { // in a second
		now = now.Add(time.Millisecond)
		c := &candidate{addr: at(2+begun, 1)}
		if ds.hasRoom(c, l, now) {
			ds.add(&dial{to: c, link: l}, now)
			begun++
		}
	}
	assert.InDelta(t, dialBurst-perSource+linkDialRate, begun, 1)
	assert.True(t, ds.hasRoom(&candidate{addr: at(1, 1), trust: known}, l, now))
}
