package quads

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds on attempts to learn what a recorded message says by altering it and watching
// what the node does. A message that makes sense at its beginning and not at its end was
// altered. Each of them tells its sender a little, so those who send them are listened to
// less and less often. A message under another password makes no sense from the
// beginning on, and does not count.
const (
	firstSilence = time.Second // doubles with each altered message
	maxDoublings = 14          // up to four and a half hours
	forgiven     = 24 * time.Hour
	slack        = 8 // of all altered messages, wherever from, so many count as one
	maxGood      = 256
	maxPrefixes  = 1024
)

// wary remembers where altered messages came from. For a while nothing that comes from
// an address with the same prefix is listened to, whether it makes sense or not, except
// from addresses whose messages made sense before the first altered one came.
type wary struct {
	mu       sync.Mutex // guards all following fields
	anywhere suspicion
	prefixes map[place]*record
}

// place is a prefix, which belongs to a link if it is link-local.
type place struct {
	prefix netip.Prefix
	link   int
}

// placeOf returns the place of an address. A host can give itself any address with the
// same prefix.
func placeOf(addr netip.Addr, link int) place {
	bits := 64
	if addr.Is4() {
		bits = 24
	}
	if !addr.IsLinkLocalUnicast() {
		link = 0
	}
	p, _ := addr.WithZone("").Prefix(bits) // fails for the zero Addr only
	return place{p, link}
}

// record is what is known of a place.
type record struct {
	suspicion
	good map[netip.Addr]bool // who was heard before the first altered message
}

// suspicion is a number of altered messages.
type suspicion struct {
	count       int
	last, until time.Time
}

func (s *suspicion) add(each int, now time.Time) {
	if now.Sub(s.last) > forgiven {
		s.count = 0
	}
	s.count++
	s.last = now
	if level := s.count / each; level > 0 {
		s.until = now.Add(firstSilence << min(level-1, maxDoublings))
	}
}

// listens reports whether what comes from an address is looked at.
func (w *wary) listens(addr netip.Addr, link int, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.prefixes[placeOf(addr, link)]
	if q != nil && q.good[addr] {
		return true
	}
	return !now.Before(w.anywhere.until) && (q == nil || !now.Before(q.until))
}

// right notes that a message from an address made sense.
func (w *wary) right(addr netip.Addr, link int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.recordLocked(placeOf(addr, link), now)
	if q != nil && (q.count == 0 || now.Sub(q.last) > forgiven) && len(q.good) < maxGood {
		q.good[addr] = true
	}
}

// altered notes that a message from an address was altered.
func (w *wary) altered(addr netip.Addr, link int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anywhere.add(slack, now)
	if q := w.recordLocked(placeOf(addr, link), now); q != nil {
		delete(q.good, addr)
		q.add(1, now)
	}
}

// recordLocked returns what is known of a place. If there are too many places, it
// forgets one that no altered message came from lately. If there is none, it returns
// nil: then only what is known of all together counts.
func (w *wary) recordLocked(at place, now time.Time) *record {
	if q := w.prefixes[at]; q != nil {
		return q
	}
	if len(w.prefixes) >= maxPrefixes && !w.forgetLocked(now) {
		return nil
	}
	if w.prefixes == nil {
		w.prefixes = make(map[place]*record)
	}
	q := &record{good: make(map[netip.Addr]bool)}
	w.prefixes[at] = q
	return q
}

func (w *wary) forgetLocked(now time.Time) bool {
	for at, q := range w.prefixes {
		if q.count == 0 || now.Sub(q.last) > forgiven {
			delete(w.prefixes, at)
			return true
		}
	}
	return false
}

// beginsRightly reports whether a decrypted message begins as those of GRASP do: an
// array, a message type and the beginning of a session ID. One that was encrypted with
// another key does so by chance, once in about two thousand times. M_NOOP does not
// count: it has no session ID, and nothing can be learned by altering it.
func beginsRightly(plain []byte) bool {
	if len(plain) < 4 {
		return false
	}
	n := plain[0] & 0x1f
	if plain[0]>>5 != 4 || n == 0 || n > 23 && n != 31 {
		return false
	}
	if plain[1] == 0x18 && plain[2] == 99 { // M_INVALID
		return plain[3]>>5 == 0
	}
	return plain[1] > 0 && plain[1] <= 9 && plain[2]>>5 == 0
}
