package grasp

import (
	"net/netip"
	"sync"
	"time"
)

// seenTime is how long a multicast is remembered: twice the default timeout
// (RFC 8990 section 2.5.6.2 asks for that at least).
const seenTime = 2 * DefaultTimeout

// seenTable remembers multicasts by session ID and initiator, for a time and
// up to a number of them: the oldest gives way.
type seenTable struct {
	limit int

	mu    sync.Mutex // guards all following fields
	own   map[sessionKey]struct{}
	order []seenEntry // a queue, oldest first
}

type seenEntry struct {
	key sessionKey
	at  time.Time
}

func newSeenTable(limit int) *seenTable {
	return &seenTable{limit: limit, own: make(map[sessionKey]struct{})}
}

// addOwn remembers a multicast that this instance sends, so as to know it
// when it comes back.
func (t *seenTable) addOwn(id uint32, initiator netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for len(t.order) > 0 && (len(t.order) >= t.limit || now.Sub(t.order[0].at) > seenTime) {
		delete(t.own, t.order[0].key)
		t.order = t.order[1:]
	}
	key := sessionKey{id, initiator}
	t.own[key] = struct{}{}
	t.order = append(t.order, seenEntry{key, now})
}

// isOwn says that a multicast is one that this instance sent.
func (t *seenTable) isOwn(id uint32, initiator netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, own := t.own[sessionKey{id, initiator}]
	return own
}
