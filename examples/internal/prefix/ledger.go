package prefix

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

const (
	// maxPeers bounds the peers whose last prefix is remembered, maxOut the
	// prefixes on offer and in doubt. Who asks beyond that gets nothing.
	maxPeers = 10_000
	maxOut   = 10_000
)

// Errors of a ledger.
var (
	// ErrNothing says that there is no prefix to give.
	ErrNothing = errors.New("no prefix available")
	// ErrBusy says that too many prefixes are on offer or in doubt, or that
	// there are too many peers.
	ErrBusy = errors.New("too many prefixes in doubt")
	// ErrWithdrawn says that an offer no longer stands.
	ErrWithdrawn = errors.New("the offer was withdrawn")
	// ErrHeld says that an offered prefix overlaps one that is held already.
	ErrHeld = errors.New("overlaps a prefix that is held")
)

// Ledger is what a prefix manager holds: prefixes in its pool, delegated, on
// offer to a peer, or in doubt. Each change is durable before the method that
// makes it returns, and only then is a message about it sent: so what a peer
// was told still holds when the device comes back after a failure.
//
// Its methods may be called concurrently. Those that return an error block
// while the journal is written; after it could not be, all of them fail.
type Ledger struct {
	journal Journal       // nil: nothing is durable
	writing chan struct{} // holds a value while somebody writes

	mu    sync.Mutex // guards all following fields
	state state
	queue []Record // made, but not yet durable
	err   error    // of the journal
}

// Journal keeps records. Its methods are called by one goroutine at a time.
type Journal interface {
	// Append makes records durable, in this order.
	Append([]Record) error
	// Full says that there are so many that it is time for Replace, which
	// puts these in the place of all.
	Full() bool
	Replace([]Record) error
}

// NewLedger returns a ledger with what the records of a journal add up to. A
// nil journal is none: what the ledger holds ends with the process.
func NewLedger(records []Record, j Journal) (*Ledger, error) {
	l := &Ledger{journal: j, writing: make(chan struct{}, 1), state: newState()}
	for i, r := range records {
		if err := l.state.apply(r); err != nil {
			return nil, fmt.Errorf("record %d, %s: %w", i+1, r, err)
		}
	}
	// Nobody knows how the sessions of these offers ended.
	for _, o := range l.state.out {
		l.state.doubt(o)
	}
	return l, nil
}

// change makes the changes that decide finds right.
func (l *Ledger) change(decide func(*state) ([]Record, error)) error {
	changed, err := l.apply(decide)
	if !changed {
		return err
	}
	return errors.Join(err, l.flush())
}

func (l *Ledger) apply(decide func(*state) ([]Record, error)) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false, l.err
	}
	records, err := decide(&l.state)
	for _, r := range records {
		if err := l.state.apply(r); err != nil {
			return changed, fmt.Errorf("%v: %w", r.Prefix, err)
		}
		l.queue = append(l.queue, r)
		changed = true
	}
	return changed, err
}

// flush returns when all changes made so far are durable. One caller writes
// for all that wait.
func (l *Ledger) flush() error {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	records, write, err := l.unwritten()
	if err != nil || len(records) == 0 {
		return err
	}
	if err := write(records); err != nil {
		return l.fail(fmt.Errorf("cannot keep what was decided: %w", err))
	}
	return nil
}

// unwritten returns the records that are to be written, and how.
func (l *Ledger) unwritten() (records []Record, write func([]Record) error, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	records, l.queue = l.queue, nil
	switch {
	case l.journal == nil:
		return nil, nil, nil
	case len(records) > 0 && l.journal.Full():
		return l.state.records(), l.journal.Replace, l.err
	}
	return records, l.journal.Append, l.err
}

func (l *Ledger) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	return err
}

// Own adds a prefix that nobody gave: one that the network is to live on. It
// does nothing if that was done before.
func (l *Ledger) Own(p netip.Prefix) error {
	return l.change(func(s *state) ([]Record, error) {
		if s.owned[p] {
			return nil, nil
		}
		return []Record{{What: Own, Prefix: p}}, nil
	})
}

// Offer takes a prefix of a length out of the pool to offer it to a peer, or
// if there is none the largest there is, but none longer than max. Each offer
// ends with Give, Withdraw or Doubt.
func (l *Ledger) Offer(f prefixpool.Family, length, max int, to netip.Addr) (o *Offer, err error) {
	var p netip.Prefix
	err = l.change(func(s *state) ([]Record, error) {
		if _, known := s.given[to]; len(s.out) >= maxOut || !known && len(s.given) >= maxPeers {
			return nil, ErrBusy
		}
		var ok bool
		if p, ok = s.free.Fit(f, length, max); !ok {
			return nil, ErrNothing
		}
		return []Record{{What: Offered, Prefix: p, Peer: to}}, nil
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.out[p], nil
}

// Give gives the peer what it was offered. A peer that confirmed the offer, instead of
// just accepting it, owns nothing else that is in doubt, so its other offers in doubt
// are put back in the pool. Give fails with [ErrWithdrawn] if the offer no longer
// stands.
func (l *Ledger) Give(o *Offer, confirmed bool) error {
	return l.change(func(s *state) ([]Record, error) {
		if s.out[o.Prefix] != o || o.doubt {
			return nil, ErrWithdrawn
		}
		records := []Record{{What: Gave, Prefix: o.Prefix, Peer: o.Peer}}
		if confirmed {
			records = append(records, s.clear(o.Peer)...)
		}
		return records, nil
	})
}

// clear returns the records that put all of a peer's offers that are in doubt
// back in the pool.
func (s *state) clear(peer netip.Addr) (records []Record) {
	for o := range s.doubts[peer] {
		records = append(records, Record{What: Back, Prefix: o.Prefix, Peer: peer})
	}
	return records
}

// Withdraw puts an offer back in the pool that the peer did not take, nor will.
func (l *Ledger) Withdraw(o *Offer) error {
	return l.change(func(s *state) ([]Record, error) {
		if s.out[o.Prefix] != o {
			return nil, nil
		}
		return []Record{{What: Back, Prefix: o.Prefix, Peer: o.Peer}}, nil
	})
}

// Doubt notes that the session of an offer ended before the peer said whether it took
// the prefix, which stays out of the pool until that is known. It does not block.
func (l *Ledger) Doubt(o *Offer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.out[o.Prefix] == o {
		l.state.doubt(o)
	}
}

// Expire puts back in the pool what has been in doubt for a time.
func (l *Ledger) Expire(after time.Duration) ([]netip.Prefix, error) {
	var back []netip.Prefix
	return back, l.change(func(s *state) (records []Record, err error) {
		for peer, all := range s.doubts {
			for o := range all {
				if time.Since(o.Since) >= after {
					records = append(records, Record{What: Back, Prefix: o.Prefix, Peer: peer})
					back = append(back, o.Prefix)
				}
			}
		}
		return records, nil
	})
}

// IsYours answers a peer that does not know whether it was given a prefix. If it was
// not, IsYours puts an offer of it that is out back in the pool, so that the answer
// stays true.
func (l *Ledger) IsYours(p netip.Prefix, peer netip.Addr) (yours bool, err error) {
	err = l.change(func(s *state) ([]Record, error) {
		yours = s.given[peer] == p
		records := s.clear(peer)
		if o := s.out[p]; o != nil && o.Peer == peer && !o.doubt {
			records = append(records, Record{What: Back, Prefix: p, Peer: peer})
		}
		return records, nil
	})
	return yours, err
}

// Claim notes that a peer offered a prefix, and that it is about to be told
// that this is wanted. It fails with [ErrHeld] if it overlaps what is held.
// Each claim ends with Got or Drop.
func (l *Ledger) Claim(p netip.Prefix, from netip.Addr) error {
	return l.change(func(s *state) ([]Record, error) {
		if s.held.Overlaps(p) || s.claims[p] != from && s.claimed.Overlaps(p) {
			return nil, ErrHeld
		}
		return []Record{{What: Claimed, Prefix: p, Peer: from}}, nil
	})
}

// Got puts a prefix in the pool that was claimed.
func (l *Ledger) Got(p netip.Prefix, from netip.Addr) error {
	return l.change(func(*state) ([]Record, error) {
		return []Record{{What: Got, Prefix: p, Peer: from}}, nil
	})
}

// Drop ends a claim: the peer did not give the prefix, nor will it.
func (l *Ledger) Drop(p netip.Prefix) error {
	return l.change(func(s *state) ([]Record, error) {
		return []Record{{What: Dropped, Prefix: p, Peer: s.claims[p]}}, nil
	})
}

// Delegate takes a prefix of a length out of the pool to be used, by what has
// a name or, if that is empty, just so. It fails with [ErrNothing] if there is none.
func (l *Ledger) Delegate(f prefixpool.Family, length int, use string) (p netip.Prefix, err error) {
	err = l.change(func(s *state) ([]Record, error) {
		var ok bool
		if p, ok = s.free.Fit(f, length, length); !ok {
			return nil, ErrNothing
		}
		return []Record{{What: Delegated, Prefix: p, Use: use}}, nil
	})
	return p, err
}

// Release puts a prefix back in the pool that was delegated.
func (l *Ledger) Release(p netip.Prefix) error {
	return l.change(func(*state) ([]Record, error) {
		return []Record{{What: Released, Prefix: p}}, nil
	})
}

// Count returns how many prefixes of a length the pool has room for.
func (l *Ledger) Count(f prefixpool.Family, length int) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.free.Count(f, length)
}

// Claims returns the prefixes that peers may have given, by the peer.
func (l *Ledger) Claims() map[netip.Prefix]netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.state.claims)
}

// IsDurable reports whether what the ledger holds outlives the process.
func (l *Ledger) IsDurable() bool { return l.journal != nil }

// Holdings returns what the ledger holds.
func (l *Ledger) Holdings() Holdings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.holdings()
}
