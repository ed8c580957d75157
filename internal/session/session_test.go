package session

import (
	"math/bits"
	"net/netip"
	"sync"
	"testing"
	"testing/cryptotest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/share"
)

var (
	peerA = netip.MustParseAddr("fd00::a")
	peerB = netip.MustParseAddr("fd00::b")
)

// accept accepts a session that a peer started.
func accept(table *Table[string], id uint32, from netip.Addr, local bool) error {
	return table.Accept(Key{id, from}, share.HolderOf("", from, true), "session", local)
}

// IDs are neither in use nor were lately.
func TestSessionIDsAreNew(t *testing.T) {
	table := NewTable[string](10, 10)
	seen := make(map[uint32]bool)
	for range recentLimit {
		id := table.Begin()
		require.False(t, seen[id], "%d is given out twice", id)
		seen[id] = true
		table.End(Key{ID: id})
	}
	require.Empty(t, table.active)
}

// An ID stays out of use for a while after its session.
func TestSessionIDsAreRemembered(t *testing.T) {
	table := NewTable[string](10, 10)
	id := table.Begin()
	require.Contains(t, table.active, Key{ID: id})
	table.End(Key{ID: id})
	require.True(t, table.recent.has(id))
	require.NoError(t, accept(table, 7, peerA, false))
	require.True(t, table.recent.has(7), "those of peers, too")
}

// S-06, S-07: a request clashes with a session of our own and with one of the
// same peer, not with one of another peer.
func TestSessionClashes(t *testing.T) {
	table := NewTable[string](10, 10)
	own := table.Begin()
	require.ErrorIs(t, accept(table, own, peerA, false), ErrInUse)
	require.NoError(t, accept(table, own, peerA, true), "with ourselves")
	other := own + 1
	require.NoError(t, accept(table, other, peerA, false))
	require.ErrorIs(t, accept(table, other, peerA, false), ErrInUse)
	require.NoError(t, accept(table, other, peerB, false))
	table.End(Key{other, peerA})
	require.NoError(t, accept(table, other, peerA, false), "after its end")
}

func TestSessionTableIsBounded(t *testing.T) {
	table := NewTable[string](2, 2)
	require.NoError(t, accept(table, 1, peerA, false))
	require.NoError(t, accept(table, 2, peerA, false))
	require.ErrorIs(t, accept(table, 3, peerA, false), ErrFull)
	table.End(Key{1, peerA})
	require.NoError(t, accept(table, 3, peerA, false))
	table.Close()
	table.End(Key{2, peerA})
	require.ErrorIs(t, accept(table, 4, peerA, false), ErrFull)
}

func TestAllSessions(t *testing.T) {
	table := NewTable[string](10, 10)
	require.NoError(t, table.Accept(Key{1, peerA}, share.Holder{}, "theirs", false))
	require.NoError(t, table.Accept(Key{2, peerB}, share.Holder{}, "local", true))
	table.Begin() // has no session
	id := table.Begin()
	table.Attach(Key{ID: id}, "ours")
	require.ElementsMatch(t, []string{"theirs", "local", "ours"}, table.All())
	require.Equal(t, 4, table.Len())
}

// A peer has a share, and leaves nothing behind.
func TestSharePerPeer(t *testing.T) {
	table := NewTable[string](10, 2)
	require.NoError(t, accept(table, 1, peerA, false))
	require.NoError(t, accept(table, 2, peerA, false))
	require.ErrorIs(t, accept(table, 3, peerA, false), ErrPeerFull)
	require.NoError(t, accept(table, 3, peerA, true), "with ourselves")
	require.NoError(t, accept(table, 3, peerB, false))
	table.End(Key{1, peerA})
	require.NoError(t, accept(table, 4, peerA, false))
	for _, k := range []Key{{2, peerA}, {3, peerA}, {4, peerA}, {3, peerB}, {9, peerB}} {
		table.End(k)
	}
	require.Empty(t, table.counts)
	require.Zero(t, table.Len())
}

// A peer that has proven who it is has one share, at whatever addresses.
func TestShareOfMember(t *testing.T) {
	table := NewTable[string](10, 2)
	begin := func(id uint32, identity string, at netip.Addr) error {
		return table.Accept(Key{id, at}, share.HolderOf(identity, at, true), "session", false)
	}
	require.NoError(t, begin(1, "member", peerA))
	require.NoError(t, begin(2, "member", peerB))
	require.ErrorIs(t, begin(3, "member", peerB), ErrPeerFull)
	require.NoError(t, begin(3, "other", peerB))
	table.End(Key{1, peerA})
	require.NoError(t, begin(1, "member", peerB))
}

// The last 4096 IDs are remembered, and never more than twice as many.
func TestRecentIDsAreBounded(t *testing.T) {
	var r recentIDs
	require.False(t, r.has(0))
	for id := range uint32(5 * recentLimit) {
		r.add(id)
		require.LessOrEqual(t, len(r.young)+len(r.old), 2*recentLimit)
		if id%997 == 0 {
			for back := range min(id+1, recentLimit) {
				require.True(t, r.has(id-back), "%d of %d", back, id)
			}
		}
	}
	require.False(t, r.has(0))
}

func TestTableConcurrently(t *testing.T) {
	table := NewTable[string](1<<20, 1<<20)
	var all sync.WaitGroup
	for g := range uint32(8) {
		all.Go(func() {
			for i := range uint32(500) {
				id := table.Begin()
				key := Key{g<<16 | i, peerB}
				if err := table.Accept(key, share.Holder{}, "", false); err != nil {
					t.Error(err)
				}
				table.All()
				table.End(Key{ID: id})
				table.End(key)
			}
		})
	}
	all.Wait()
	require.Zero(t, table.Len())
}

// Section 2.7: IDs come from a good generator: all 32 bits vary, each on its
// own, and there are no collisions to speak of.
func TestS03SessionIDsAreRandom(t *testing.T) {
	const draws = 4096
	a, b := NewTable[string](1<<20, 1<<20), NewTable[string](1<<20, 1<<20)
	var ones [32]int
	seen := make(map[uint32]int)
	last := uint32(0)
	changes := 0
	for range draws {
		for _, table := range []*Table[string]{a, b} {
			id := table.Begin()
			seen[id]++
			for bit := range ones {
				ones[bit] += int(id >> bit & 1)
			}
			changes += bits.OnesCount32(id ^ last)
			last = id
		}
	}
	// Eight standard deviations.
	const n = 2 * draws
	for bit, count := range ones {
		require.InDelta(t, n/2, count, 8*45, "bit %d", bit)
	}
	require.InDelta(t, n*16, changes, 8*256)
	require.Greater(t, len(seen), n-3)
}

// Section 2.7: an ID that is in use is not drawn, nor one that was lately.
func TestS04S05SessionIDsInUse(t *testing.T) {
	table := NewTable[string](1<<20, 1<<20)
	draw := func(n int) (ids []uint32) {
		cryptotest.SetGlobalRandom(t, 1) // the same numbers each time
		for range n {
			ids = append(ids, table.Begin())
		}
		return ids
	}
	first := draw(2)
	table.End(Key{ID: first[1]})
	second := draw(2)
	require.NotContains(t, second, first[0], "it is in use")
	require.NotContains(t, second, first[1], "it was in use")

	// One that is in use for long is not drawn either, however many come after.
	cryptotest.SetGlobalRandom(t, 2)
	for range 3 * recentLimit {
		table.End(Key{ID: table.Begin()})
	}
	third := draw(2)
	require.NotContains(t, third, first[0], "it is still in use")
	require.Contains(t, third, first[1], "its use is long ago")

	// Nor one that a peer uses, or used.
	table = NewTable[string](1<<20, 1<<20)
	peer := Key{ID: first[0], Initiator: netip.MustParseAddr("fd00::1")}
	require.NoError(t, table.Accept(peer, share.Holder{}, "", false))
	require.NotContains(t, draw(2), first[0])
	table.End(peer)
	require.NotContains(t, draw(2), first[0])

	// The control: with a new table the numbers are the same.
	table = NewTable[string](1<<20, 1<<20)
	require.Equal(t, first, draw(2))
}
