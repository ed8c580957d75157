package grasp

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
)

// sessionKey tells sessions apart: by ID and the address of whoever started
// it (RFC 8990 section 2.7). The zero address stands for this instance.
type sessionKey struct {
	id        uint32
	initiator netip.Addr
}

// sessionTable holds the sessions under way and the IDs lately in use.
type sessionTable struct {
	limit, perPeer int

	mu     sync.Mutex              // guards all following fields
	active map[sessionKey]*Session // nil: a discovery, flood or synchronization
	of     map[netip.Addr]int      // how many a peer has started
	recent recentIDs
	closed bool
}

func newSessionTable(limit, perPeer int) *sessionTable {
	return &sessionTable{
		limit: limit, perPeer: perPeer, active: make(map[sessionKey]*Session), of: make(map[netip.Addr]int),
	}
}

// begin draws an ID for a session that this instance starts: a random one
// that is neither in use nor was lately.
func (t *sessionTable) begin() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		id := binary.NativeEndian.Uint32(b[:])
		key := sessionKey{id: id}
		if _, used := t.active[key]; used || id == 0 || t.recent.has(id) {
			continue
		}
		t.recent.add(id)
		t.active[key] = nil
		return id
	}
}

// accept enters a session that a peer started. The error is ErrIDClash if its
// ID is in use (RFC 8990 section 2.8.6), errTooMany if the table is full,
// errTooManyOf if the peer has its share. A session that this instance has
// with itself is there twice.
func (t *sessionTable) accept(s *Session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inUseLocked(s.key, s.stream.local) {
		return ErrIDClash
	}
	if t.closed || len(t.active) >= t.limit {
		return errTooMany
	}
	if !s.stream.local {
		if t.of[s.key.initiator] >= t.perPeer {
			return errTooManyOf
		}
		t.of[s.key.initiator]++
	}
	t.recent.add(s.key.id)
	t.active[s.key] = s
	return nil
}

// inUse says that the ID of a request is in use: by a session of this instance,
// unless it is the one that it has with itself, or by another of the peer's.
func (t *sessionTable) inUse(key sessionKey, local bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inUseLocked(key, local)
}

func (t *sessionTable) inUseLocked(key sessionKey, local bool) bool {
	if _, own := t.active[sessionKey{id: key.id}]; own && !local {
		return true
	}
	_, theirs := t.active[key]
	return theirs
}

// attach connects an ID from begin with its session.
func (t *sessionTable) attach(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active[s.key] = s
}

// end forgets a session; its ID stays among the recent ones.
func (t *sessionTable) end(key sessionKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.active[key]
	delete(t.active, key)
	if s == nil || !key.initiator.IsValid() || s.stream.local {
		return
	}
	if t.of[key.initiator]--; t.of[key.initiator] == 0 {
		delete(t.of, key.initiator)
	}
}

// sessions returns the sessions of an ASA, or all with nil.
func (t *sessionTable) sessions(of *ASA) []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*Session
	for _, s := range t.active {
		if s != nil && (of == nil || s.owner() == of) {
			out = append(out, s)
		}
	}
	return out
}

// close lets no further session in.
func (t *sessionTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// recentIDs remembers at least the last recentLimit IDs, and at most twice as
// many, in constant time each.
type recentIDs struct {
	young, old map[uint32]struct{}
}

const recentLimit = 4096

func (r *recentIDs) has(id uint32) bool {
	_, young := r.young[id]
	_, old := r.old[id]
	return young || old
}

func (r *recentIDs) add(id uint32) {
	if r.young == nil || len(r.young) >= recentLimit {
		r.young, r.old = make(map[uint32]struct{}, recentLimit), r.young
	}
	r.young[id] = struct{}{}
}
