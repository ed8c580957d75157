package prefix

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

// Record is a change of what a ledger holds.
type Record struct {
	What   Change
	Prefix netip.Prefix
	Peer   netip.Addr // whom it was offered to or got from, if anybody
	Use    string     // what it was delegated to, if that has a name
}

// Change is a kind of record.
type Change string

// The kinds of records.
const (
	Own       Change = "own"       // the operator put it in the pool
	Offered   Change = "offered"   // out of the pool, for the peer if it wants it
	Back      Change = "back"      // in the pool again: the peer did not get it
	Gave      Change = "gave"      // the peer's
	Claimed   Change = "claimed"   // the peer offered it, and is told that it is wanted
	Got       Change = "got"       // in the pool: the peer gave it
	Dropped   Change = "dropped"   // the peer did not give what was claimed
	Delegated Change = "delegated" // out of the pool, in use
	Released  Change = "released"  // in the pool again: no longer in use
	// Two more, by which a shorter list of records tells the same.
	Owned     Change = "owned"     // the operator once put it in the pool
	Remembers Change = "remembers" // what the peer was given last
)

// Offer is a prefix that is out on offer to a peer.
type Offer struct {
	Prefix netip.Prefix
	Peer   netip.Addr
	Since  time.Time // since it was made, or in doubt
	doubt  bool
}

// state is what the records add up to.
type state struct {
	owned     map[netip.Prefix]bool
	free      prefixpool.Pool // what can be given and delegated
	held      prefixpool.Pool // all but what was claimed: free, out, delegated
	out       map[netip.Prefix]*Offer
	doubts    map[netip.Addr]map[*Offer]bool // of out, those in doubt
	given     map[netip.Addr]netip.Prefix    // the last to each peer, if it has not come back
	claims    map[netip.Prefix]netip.Addr
	claimed   prefixpool.Pool         // the same
	delegated map[netip.Prefix]string // to what
}

func newState() state {
	return state{
		owned:     make(map[netip.Prefix]bool),
		out:       make(map[netip.Prefix]*Offer),
		doubts:    make(map[netip.Addr]map[*Offer]bool),
		given:     make(map[netip.Addr]netip.Prefix),
		claims:    make(map[netip.Prefix]netip.Addr),
		delegated: make(map[netip.Prefix]string),
	}
}

var errNotThere = errors.New("not there")

// apply makes one change. On error nothing is changed.
func (s *state) apply(r Record) error {
	p := r.Prefix
	switch r.What {
	case Own, Got:
		if err := s.held.Put(p); err != nil {
			return err
		}
		s.unclaim(p)
		if r.What == Own {
			s.owned[p] = true
		}
		// Who was given it has passed it on, and so knows that it had it.
		maps.DeleteFunc(s.given, func(_ netip.Addr, q netip.Prefix) bool { return q.Overlaps(p) })
		return s.free.Put(p)
	case Offered:
		if !s.free.Remove(p) {
			return errNotThere
		}
		s.out[p] = &Offer{Prefix: p, Peer: r.Peer, Since: time.Now()}
	case Back, Gave:
		o := s.out[p]
		if o == nil {
			return errNotThere
		}
		delete(s.out, p)
		s.settle(o)
		if r.What == Back {
			return s.free.Put(p)
		}
		s.held.Remove(p)
		s.given[r.Peer] = p
	case Claimed:
		if s.claims[p].IsValid() {
			break // again
		}
		if err := s.claimed.Put(p); err != nil {
			return err
		}
		s.claims[p] = r.Peer
	case Dropped:
		s.unclaim(p)
	case Delegated:
		if !s.free.Remove(p) {
			return errNotThere
		}
		s.delegated[p] = r.Use
	case Released:
		if _, ok := s.delegated[p]; !ok {
			return errNotThere
		}
		delete(s.delegated, p)
		return s.free.Put(p)
	case Owned:
		s.owned[p] = true
	case Remembers:
		s.given[r.Peer] = p
	default:
		return fmt.Errorf("unknown kind of record %q", r.What)
	}
	return nil
}

func (s *state) unclaim(p netip.Prefix) {
	if s.claims[p].IsValid() {
		delete(s.claims, p)
		s.claimed.Remove(p)
	}
}

// doubt says that nobody knows whether the peer took the offer.
func (s *state) doubt(o *Offer) {
	o.doubt, o.Since = true, time.Now()
	if s.doubts[o.Peer] == nil {
		s.doubts[o.Peer] = make(map[*Offer]bool)
	}
	s.doubts[o.Peer][o] = true
}

// settle says that it is known.
func (s *state) settle(o *Offer) {
	delete(s.doubts[o.Peer], o)
	if len(s.doubts[o.Peer]) == 0 {
		delete(s.doubts, o.Peer)
	}
}

// records returns a short list that adds up to the same.
func (s *state) records() []Record {
	var all []Record
	add := func(what Change, p netip.Prefix, peer netip.Addr) {
		all = append(all, Record{What: what, Prefix: p, Peer: peer})
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.owned), netip.Prefix.Compare) {
		add(Owned, p, netip.Addr{})
	}
	for p := range s.held.All() {
		add(Got, p, netip.Addr{})
	}
	for p, o := range s.out {
		add(Offered, p, o.Peer)
	}
	for p, use := range s.delegated {
		all = append(all, Record{What: Delegated, Prefix: p, Use: use})
	}
	for p, from := range s.claims {
		add(Claimed, p, from)
	}
	for peer, p := range s.given {
		add(Remembers, p, peer)
	}
	return all
}

// Holdings is what a ledger holds, for people and tests.
type Holdings struct {
	Free      []netip.Prefix
	Delegated []netip.Prefix
	Uses      map[netip.Prefix]string // what those are delegated to, if that has a name
	Offered   []Offer                 // a session is on
	InDoubt   []Offer                 // none is
	Claims    map[netip.Prefix]netip.Addr
}

func (s *state) holdings() Holdings {
	h := Holdings{
		Free:      slices.Collect(s.free.All()),
		Delegated: slices.SortedFunc(maps.Keys(s.delegated), netip.Prefix.Compare),
		Uses:      maps.Clone(s.delegated),
		Claims:    maps.Clone(s.claims),
	}
	for _, o := range s.out {
		if o.doubt {
			h.InDoubt = append(h.InDoubt, *o)
		} else {
			h.Offered = append(h.Offered, *o)
		}
	}
	return h
}
