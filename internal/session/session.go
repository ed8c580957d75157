// Package session holds the table of an instance's sessions: which are under way,
// who started them, and which session IDs must not be used again.
package session

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"github.com/go-grasp/grasp/internal/share"
)

// Key tells sessions apart: by ID and the address of the node that started it
// (RFC 8990 section 2.7). The zero address stands for this instance.
type Key struct {
	ID        uint32
	Initiator netip.Addr
}

// The errors of Accept.
var (
	ErrInUse    = errors.New("session ID in use") // RFC 8990 section 2.8.6
	ErrFull     = errors.New("too many sessions")
	ErrPeerFull = errors.New("too many sessions of one peer")
)

// Table holds the sessions under way, and the IDs that were in use lately. Its
// methods may be called concurrently.
type Table[S any] struct {
	limit, perPeer int

	mu     sync.Mutex // guards all following fields
	active map[Key]entry[S]
	counts map[share.Holder]int // how many sessions a peer has started
	recent recentIDs
	closed bool
}

// entry is a session ID in use.
type entry[S any] struct {
	session  S
	attached bool // session is set; not for a discovery, flood or synchronization
	local    bool // with this instance itself
	counted  bool // a peer has started it
	peer     share.Holder
}

// NewTable returns a table for at most limit sessions, of which one peer may have
// started perPeer.
func NewTable[S any](limit, perPeer int) *Table[S] {
	return &Table[S]{
		limit: limit, perPeer: perPeer, active: make(map[Key]entry[S]), counts: make(map[share.Holder]int),
	}
}

// Begin draws an ID for a session that this instance starts: a random one that
// is not in use and was not lately (RFC 8990 section 2.7).
func (t *Table[S]) Begin() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		id := binary.NativeEndian.Uint32(b[:])
		key := Key{ID: id}
		if _, used := t.active[key]; used || id == 0 || t.recent.has(id) {
			continue
		}
		t.recent.add(id)
		t.active[key] = entry[S]{}
		return id
	}
}

// Attach connects an ID from Begin with its session.
func (t *Table[S]) Attach(key Key, s S) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active[key] = entry[S]{session: s, attached: true}
}

// Accept enters a session that a peer started, and that counts as its. A local session is one that this
// instance started with itself: it is in the table twice. The error is ErrInUse,
// ErrFull or ErrPeerFull.
func (t *Table[S]) Accept(key Key, peer share.Holder, s S, local bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inUseLocked(key, local) {
		return ErrInUse
	}
	if t.closed || len(t.active) >= t.limit {
		return ErrFull
	}
	if !local {
		if t.counts[peer] >= t.perPeer {
			return ErrPeerFull
		}
		t.counts[peer]++
	}
	t.recent.add(key.ID)
	t.active[key] = entry[S]{session: s, attached: true, local: local, counted: !local, peer: peer}
	return nil
}

// InUse reports whether the ID of a request is in use: by another session of the
// same peer or, unless the request is local, by one that this instance started.
func (t *Table[S]) InUse(key Key, local bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inUseLocked(key, local)
}

func (t *Table[S]) inUseLocked(key Key, local bool) bool {
	if _, own := t.active[Key{ID: key.ID}]; own && !local {
		return true
	}
	_, theirs := t.active[key]
	return theirs
}

// End removes a session. Its ID stays among the recent ones.
func (t *Table[S]) End(key Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.active[key]
	delete(t.active, key)
	if !e.counted {
		return
	}
	if t.counts[e.peer]--; t.counts[e.peer] == 0 {
		delete(t.counts, e.peer)
	}
}

// All returns the sessions under way, in no order.
func (t *Table[S]) All() []S {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []S
	for _, e := range t.active {
		if e.attached {
			all = append(all, e.session)
		}
	}
	return all
}

// Len returns how many IDs are in use.
func (t *Table[S]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.active)
}

// Close makes Accept return ErrFull from now on.
func (t *Table[S]) Close() {
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
