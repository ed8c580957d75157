package grasp

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

var (
	peerA = netip.MustParseAddr("fd00::a")
	peerB = netip.MustParseAddr("fd00::b")
)

// incomingSession is one that a peer started.
func incomingSession(id uint32, from netip.Addr, local bool) *Session {
	return &Session{
		key:    sessionKey{id, from},
		stream: &stream{Stream: &acp.Stream{Peer: netip.AddrPortFrom(from, 4000)}, local: local},
	}
}

// IDs are neither in use nor were lately.
func TestSessionIDsAreNew(t *testing.T) {
	table := newSessionTable(10, 10)
	seen := make(map[uint32]bool)
	for range recentLimit {
		id := table.begin()
		require.False(t, seen[id], "%d is given out twice", id)
		seen[id] = true
		table.end(sessionKey{id: id})
	}
	require.Empty(t, table.active)
}

// An ID stays out of use for a while after its session.
func TestSessionIDsAreRemembered(t *testing.T) {
	table := newSessionTable(10, 10)
	id := table.begin()
	require.Contains(t, table.active, sessionKey{id: id})
	table.end(sessionKey{id: id})
	require.True(t, table.recent.has(id))
	require.NoError(t, table.accept(incomingSession(7, peerA, false)))
	require.True(t, table.recent.has(7), "those of peers, too")
}

// S-06, S-07: a request clashes with a session of our own and with one of the
// same peer, not with one of another peer.
func TestSessionClashes(t *testing.T) {
	table := newSessionTable(10, 10)
	own := table.begin()
	require.ErrorIs(t, table.accept(incomingSession(own, peerA, false)), ErrIDClash)
	require.NoError(t, table.accept(incomingSession(own, peerA, true)), "with ourselves")
	other := own + 1
	require.NoError(t, table.accept(incomingSession(other, peerA, false)))
	require.ErrorIs(t, table.accept(incomingSession(other, peerA, false)), ErrIDClash)
	require.NoError(t, table.accept(incomingSession(other, peerB, false)))
	table.end(sessionKey{other, peerA})
	require.NoError(t, table.accept(incomingSession(other, peerA, false)), "after its end")
}

func TestSessionTableIsBounded(t *testing.T) {
	table := newSessionTable(2, 2)
	require.NoError(t, table.accept(incomingSession(1, peerA, false)))
	require.NoError(t, table.accept(incomingSession(2, peerA, false)))
	require.ErrorIs(t, table.accept(incomingSession(3, peerA, false)), errTooMany)
	table.end(sessionKey{1, peerA})
	require.NoError(t, table.accept(incomingSession(3, peerA, false)))
	table.close()
	table.end(sessionKey{2, peerA})
	require.ErrorIs(t, table.accept(incomingSession(4, peerA, false)), errTooMany)
}

func TestSessionsOfAnASA(t *testing.T) {
	table := newSessionTable(10, 10)
	x, y := &ASA{name: "x"}, &ASA{name: "y"}
	for i, a := range []*ASA{x, y, nil, x} {
		s := incomingSession(uint32(i), peerA, false)
		s.asa = a
		require.NoError(t, table.accept(s))
	}
	table.begin() // has no session
	require.Len(t, table.sessions(nil), 4)
	require.Len(t, table.sessions(x), 2)
	require.Len(t, table.sessions(y), 1)
	require.Empty(t, table.sessions(&ASA{}))
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

func TestSessionTableConcurrently(t *testing.T) {
	table := newSessionTable(1<<20, 1<<20)
	var all sync.WaitGroup
	for g := range uint32(8) {
		all.Go(func() {
			for i := range uint32(500) {
				id := table.begin()
				s := incomingSession(g<<16|i, peerB, false)
				if err := table.accept(s); err != nil {
					t.Error(err)
				}
				table.sessions(nil)
				table.end(sessionKey{id: id})
				table.end(s.key)
			}
		})
	}
	all.Wait()
	require.Empty(t, table.active)
}
