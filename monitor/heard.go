package monitor

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
)

// Heard is a node whose multicasts came by a link.
type Heard struct {
	Link       int // the link's index
	Peer       netip.AddrPort
	Multicasts uint64
	Last       time.Time
}

// maxHeard is how many nodes are remembered. When full, the one heard longest ago is
// forgotten.
const maxHeard = 256

// ears remember which nodes' multicasts came to an instance, and when the instance
// multicast last.
type ears struct {
	mu    sync.Mutex // guards all following fields
	heard map[heardKey]*Heard
	spoke map[int]time.Time // by link
}

type heardKey struct {
	link int
	peer netip.AddrPort
}

func newEars() *ears { return &ears{heard: make(map[heardKey]*Heard), spoke: make(map[int]time.Time)} }

// listen takes an event.
func (h *ears) listen(e *grasp.Event) {
	multicast := e.Message == "M_DISCOVERY" || e.Message == "M_FLOOD"
	if !multicast || e.Link == 0 || len(e.Raw) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case e.Kind == grasp.Sent && !e.Peer.IsValid(), e.Kind == grasp.Relayed:
		if len(h.spoke) < maxHeard || !h.spoke[e.Link].IsZero() {
			h.spoke[e.Link] = e.Time
		}
	case !e.Peer.IsValid(), e.Kind == grasp.Sent, e.Reason == grasp.ReasonOwn, e.Reason == grasp.ReasonSendFailed:
	default:
		h.hearLocked(heardKey{e.Link, withoutZone(e.Peer)}, e.Time)
	}
}

func (h *ears) hearLocked(key heardKey, now time.Time) {
	if h.heard[key] == nil {
		if len(h.heard) >= maxHeard {
			var oldest heardKey
			var since time.Time
			for k, was := range h.heard {
				if since.IsZero() || was.Last.Before(since) {
					oldest, since = k, was.Last
				}
			}
			delete(h.heard, oldest)
		}
		h.heard[key] = &Heard{Link: key.link, Peer: key.peer}
	}
	h.heard[key].Multicasts++
	h.heard[key].Last = now
}

// all returns the nodes that were heard, in order, and when this one multicast last on
// each link.
func (h *ears) all() (heard []Heard, spoke map[int]time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	spoke = make(map[int]time.Time, len(h.spoke))
	for link, at := range h.spoke {
		spoke[link] = at
	}
	for _, one := range h.heard {
		heard = append(heard, *one)
	}
	slices.SortFunc(heard, func(a, b Heard) int { return cmp.Or(cmp.Compare(a.Link, b.Link), a.Peer.Compare(b.Peer)) })
	return heard, spoke
}
