// Package datagram decides what to do with a datagram that came in: which messages
// may come as datagrams, which are the instance's own, and which an instance for
// unprotected links takes (RFC 8990 sections 2.5.2, 2.5.6.2 and 2.8). It has no
// clock, no lock and no socket.
package datagram

import (
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// Rules are the rules of an instance.
type Rules struct {
	// DULL says that the instance is one for unprotected links (RFC 8990 section
	// 2.5.2), which handles only the Objectives.
	DULL       bool
	Objectives []string
	// Limits bounds a message.
	Limits wire.Limits
	// Own reports whether the instance itself sent a multicast with that key.
	Own func(key session.Key, now time.Time) bool
}

// Origin is where a datagram came from.
type Origin struct {
	Addr    netip.Addr
	Unicast bool      // it was sent to this node alone
	Self    bool      // from the address and port of this instance
	Secure  bool      // the network is protected
	At      time.Time // when it came
}

// Action says what to do with a datagram.
type Action uint8

// The actions.
const (
	Drop   Action = iota // drop it, count it and trace it: see the Refusal
	Ignore               // do nothing, and do not count it
	Answer               // a discovery: answer or relay it
	Cache                // a flood: cache it, and relay it unless the instance is DULL
)

// Refusal is why a datagram, or one objective of a flood, is dropped.
type Refusal uint8

// The refusals. None means that it is not dropped.
const (
	None            Refusal = iota
	Unreadable              // see the error
	Unexpected              // a message that does not come as a datagram
	Own                     // this instance sent it
	NotAllowed              // not allowed without protection
	LinkLocalSource         // the source is link-local, but the loop count lets it go further
	NotFlooded              // an objective for negotiation, not for synchronization
)

var refusals = [...]string{"none", "unreadable", "unexpected", "own", "not allowed", "link-local source", "not flooded"}

func (r Refusal) String() string { return refusals[r] }

// Verdict says what to do with a datagram, and what is in it.
type Verdict struct {
	Action  Action
	Refusal Refusal
	Err     error        // why it is unreadable
	Message wire.Message // nil if it is unreadable; a flood has only the objectives to be cached
	Key     session.Key  // of a discovery or flood
	Passed  []Passed     // the other objectives of the flood
}

// Passed is an objective of a flood that is passed over.
type Passed struct {
	Objective string // empty: it stands for all that are unreadable
	Refusal   Refusal
}

// Read decides what to do with a datagram.
func (r *Rules) Read(raw []byte, from Origin) Verdict {
	m, err := wire.Parse(raw, r.Limits)
	if err != nil {
		return Verdict{Refusal: Unreadable, Err: err}
	}
	v := Verdict{Message: m}
	switch m := m.(type) {
	case *wire.Noop:
		v.Action = Ignore // RFC 8990 section 2.8.13: silently
		return v
	case *wire.Discovery:
		v.Key = session.Key{ID: m.SessionID, Initiator: m.Initiator}
		v.Action = Answer
	case *wire.Flood:
		v.Key = session.Key{ID: m.SessionID, Initiator: m.Initiator}
		v.Action = Cache
		if from.Unicast { // section 2.8.11: a flood is a multicast
			return v.drop(Unexpected)
		}
	default:
		return v.drop(Unexpected)
	}
	switch {
	case from.Self, r.Own(v.Key, from.At):
		return v.drop(Own)
	case !r.DULL && !from.Secure:
		return v.drop(NotAllowed)
	case r.DULL && (from.Unicast || !cache.OnLinkOnly(from.Addr)):
		return v.drop(NotAllowed) // section 2.5.2: the source is link-local
	}
	switch m := m.(type) {
	case *wire.Discovery:
		if r.DULL && (m.Objective.LoopCount != 1 || !r.isFor(m.Objective.Name)) {
			return v.drop(NotAllowed)
		}
	case *wire.Flood:
		return r.flood(v, m, raw, from)
	}
	return v
}

// flood applies the rules for floods. Those for the whole message come first; they
// also apply to objectives that are passed over.
func (r *Rules) flood(v Verdict, m *wire.Flood, raw []byte, from Origin) Verdict {
	onLinkOnly := func(f wire.Flooded) bool {
		a := f.Locator.Addr
		return a.IsLinkLocalUnicast() || a.IsLoopback() && from.Addr.IsLoopback()
	}
	further := false // the loop count lets it go further than the link
	linkLocal := m.Initiator.IsLinkLocalUnicast()
	if r.DULL || linkLocal || slices.ContainsFunc(m.Objectives, onLinkOnly) {
		counts := wire.LoopCounts(raw)
		// Section 2.5.2: a message with a loop count other than 1 is dropped.
		if r.DULL && slices.ContainsFunc(counts, func(n uint8) bool { return n != 1 }) {
			return v.drop(NotAllowed)
		}
		// Section 2.5.6.2: a flood with a link-local source and a loop count other
		// than 1 is dropped. "Source" is the initiator, since the IP source of a
		// multicast is always link-local. The loop count of a flood is that of its first
		// objective.
		further = counts[0] != 1
		if further && linkLocal {
			return v.drop(LinkLocalSource)
		}
	}
	m.Objectives = slices.DeleteFunc(m.Objectives, func(f wire.Flooded) bool {
		p := Passed{Objective: f.Objective.Name}
		switch {
		case r.DULL && !r.isFor(p.Objective):
			p.Refusal = NotAllowed
		case further && onLinkOnly(f):
			p.Refusal = LinkLocalSource
		case f.Objective.Flags&wire.FlagNeg != 0 && f.Objective.Flags&wire.FlagSynch == 0:
			// Section 2.10.3: objectives for negotiation are not flooded.
			p.Refusal = NotFlooded
		default:
			return false
		}
		v.Passed = append(v.Passed, p)
		return true
	})
	if m.LeftOut > 0 {
		v.Passed = append(v.Passed, Passed{Refusal: Unreadable})
	}
	if r.DULL && len(m.Objectives) == 0 {
		return v.drop(NotAllowed)
	}
	return v
}

// isFor reports whether a DULL instance handles an objective.
func (r *Rules) isFor(name string) bool { return slices.Contains(r.Objectives, name) }

// drop returns the verdict that the datagram is dropped.
func (v Verdict) drop(why Refusal) Verdict {
	v.Action, v.Refusal, v.Passed = Drop, why, nil
	return v
}
