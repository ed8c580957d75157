// Package loop decides what a relay passes on (RFC 8990 sections 2.5.4.4 and
// 2.5.6.2), so that no message goes round in a loop and no storm fills the links.
// It only decides: it sends nothing and has no clock, no lock and no goroutine.
package loop

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// Memory is how long a message is remembered: twice the default timeout of 60 s.
// RFC 8990 section 2.5.6.2 asks for that at least.
const Memory = 120 * time.Second

// ResultTime is how long the results of a relayed discovery are passed back. RFC
// 8990 section 2.5.4.4 suggests 100 ms for each loop count; initiators may wait
// for longer.
const ResultTime = 60 * time.Second

// Relay makes the decisions of an instance's relay. A is what the instance needs to
// answer the sender of a message.
type Relay[A any] struct {
	relayed  memory[struct{}]
	own      memory[struct{}]  // sent by this instance
	asked    memory[*Asked[A]] // discoveries that were relayed, or handled in another way
	answered answers
	rates    rates
	later    later[A]
	random   func() float64
}

// MaxRelayed is how many relayed messages an instance remembers. It suffices for all that a
// relay of ten links can send at DefaultRate in the time of Memory, discoveries and floods,
// even if each message goes on one link only. Each takes 70 to 90 bytes.
const MaxRelayed = 1 << 19

// Config is how a relay is set up.
type Config struct {
	Limit  int            // how many relayed messages it remembers
	Others int            // how many own messages, senders of discoveries, and answers, each
	Rate   int            // how many discoveries it relays to each link in a second, and as many floods
	Wait   time.Duration  // how long it waits at most, at random, before it relays; 0: not at all
	Random func() float64 // returns numbers from 0 to 1
}

// New returns a relay.
func New[A any](c Config) *Relay[A] {
	c.Rate = min(c.Rate, math.MaxInt/(2*BurstTime)) // what comes at once must not overflow
	return &Relay[A]{
		relayed: newMemory[struct{}](c.Limit), own: newMemory[struct{}](c.Others), asked: newMemory[*Asked[A]](c.Others),
		answered: newAnswers(c.Others), rates: newRates(c.Rate, c.Random), random: c.Random,
		later: later[A]{most: c.Wait, limit: 2 * BurstTime * c.Rate}, // no link takes more at a time
	}
}

// Message is an M_DISCOVERY or M_FLOOD that came in.
type Message struct {
	Type      wire.Type
	Key       session.Key
	Objective string // the name of its first objective
	Raw       []byte // as it came
	Parsed    wire.Message
	Link      int        // the link it came by, 0 if it came from beyond the links
	Neighbour netip.Addr // the node that sent it
	Unicast   bool       // it was sent to this node alone
}

// Refusal is why a message is not relayed.
type Refusal uint8

// The refusals. None means that the message is relayed.
const (
	None          Refusal = iota
	NoOtherLink           // the only link is the one that it came by
	RelayedBefore         // or sent by this instance
	LoopCount             // the loop count would be 0
	Invalid               // the loop count cannot be read
	Rate                  // the neighbour has sent its share, or too many messages wait
)

var refusals = [...]string{"none", "no other link", "relayed before", "loop count", "invalid", "relay rate"}

func (r Refusal) String() string { return refusals[r] }

// Decision is what is to be done with a message.
type Decision struct {
	Refusal Refusal
	Raw     []byte // what to send; it shares no memory with the message
	Links   []int  // the links to send it on
	Full    []int  // the links that it is not sent on because their rate is used up
	Waits   bool   // nothing is to be sent yet: see Due
	Spared  bool   // it was waiting to be sent on the link by which this copy came, and now is not
}

// Pass decides what is done with a message. It is sent on all links but the one that
// it came by; only its loop count changes. links are those in use; Pass overwrites the
// slice. asker gets the results of a discovery.
//
// With Config.Wait the message waits first. If a multicast comes by a link meanwhile that is
// the same, byte for byte, as what would be sent there, it is not sent there.
func (r *Relay[A]) Pass(m *Message, links []int, asker A, now time.Time) Decision {
	// RFC 8990 sections 2.5.4.4 and 2.5.6.2: on all other interfaces.
	links = slices.DeleteFunc(links, func(l int) bool { return l == m.Link })
	if len(links) == 0 {
		return Decision{Refusal: NoOtherLink}
	}
	// The same session ID and initiator MUST NOT be relayed twice.
	if r.isKnown(m.Key, now) {
		return Decision{Refusal: RelayedBefore, Spared: r.later.heard(m)}
	}
	raw, err := wire.AppendRelayed(make([]byte, 0, len(m.Raw)), m.Raw)
	switch {
	case errors.Is(err, wire.ErrLoopExhausted):
		return Decision{Refusal: LoopCount}
	case err != nil:
		return Decision{Refusal: Invalid}
	case r.later.most > 0 && r.later.isFull(), !r.rates.allowFrom(m.Type, m.Link, m.Neighbour, now):
		return Decision{Refusal: Rate}
	}
	var d Decision
	if r.later.most > 0 {
		r.later.add(waiting[A]{Message: *m, raw: raw, asker: asker, links: slices.Clone(links)}, r.random(), now)
		d.Waits = true
	} else if d = r.send(m.Type, raw, links, now); len(d.Links) == 0 {
		return d // the rate limit bounds only what is sent, and so what has to be remembered
	}
	r.relayed.add(m.Key, struct{}{}, now)
	if m.Type == wire.TypeDiscovery {
		r.asked.add(m.Key, &Asked[A]{Objective: m.Objective, Asker: asker, addedAt: now}, now)
	}
	return d
}

// isKnown reports whether a message was relayed, sent or handled before.
func (r *Relay[A]) isKnown(k session.Key, now time.Time) bool {
	_, relayed := r.relayed.get(k, now)
	_, asked := r.asked.get(k, now)
	return relayed || asked || r.IsOwn(k, now)
}

// send returns the decision to send a message on those of the links that have room.
func (r *Relay[A]) send(kind wire.Type, raw []byte, links []int, now time.Time) Decision {
	d := Decision{Raw: raw}
	d.Links = slices.DeleteFunc(links, func(l int) bool {
		if r.rates.allowOn(kind, l, now) {
			return false
		}
		d.Full = append(d.Full, l)
		return true
	})
	return d
}

// Remember remembers a discovery that was handled in another way, so that it is not
// relayed. It returns false if the message is remembered already.
func (r *Relay[A]) Remember(key session.Key, asked Asked[A], now time.Time) bool {
	if r.isKnown(key, now) {
		return false
	}
	asked.addedAt = now
	r.asked.add(key, &asked, now)
	return true
}

// RememberOwn remembers a message that this instance sends, so that it is recognized
// if it comes back.
func (r *Relay[A]) RememberOwn(key session.Key, now time.Time) {
	if !r.IsOwn(key, now) {
		r.own.add(key, struct{}{}, now)
	}
}

// IsOwn reports whether a message was sent by this instance.
func (r *Relay[A]) IsOwn(key session.Key, now time.Time) bool {
	_, own := r.own.get(key, now)
	return own
}

// Leave notes that the asker of a message has gone: nobody is left to get results.
func (r *Relay[A]) Leave(key session.Key, now time.Time) {
	if a, ok := r.asked.get(key, now); ok {
		var gone A
		a.Asker, a.Left = gone, true
	}
}

// Asker returns who gets the results of the discovery with that key. It returns
// false if no such discovery was relayed, or too long ago.
func (r *Relay[A]) Asker(key session.Key, now time.Time) (Asked[A], bool) {
	a, ok := r.asked.get(key, now)
	if !ok || now.Sub(a.addedAt) > ResultTime {
		return Asked[A]{}, false
	}
	return *a, true
}

// Answered notes that an initiator got cached locators of an objective, which live
// for the given time. It reports whether the initiator had asked before, with another
// session ID, and got locators that should still live. Then those were no good, and
// the discovery has to be relayed although the cache has an answer.
func (r *Relay[A]) Answered(key session.Key, neighbour netip.Addr, objective string, life time.Duration, now time.Time) (again bool) {
	return r.answered.add(question{key.Initiator, objective}, key.ID, neighbour, now.Add(life), now)
}

// Len returns how many relayed messages are remembered.
func (r *Relay[A]) Len() int { return len(r.relayed.byKey) }

// Forget forgets what has been remembered for long enough, and gives back the memory that
// it took. It reports whether something is left for a later call.
func (r *Relay[A]) Forget(now time.Time) (left bool) {
	r.relayed.forget(now)
	r.own.forget(now)
	r.asked.forget(now)
	r.answered.forget(now)
	r.rates.forget(now)
	return r.relayed.order.len+r.own.order.len+r.asked.order.len+len(r.answered.byQuestion)+len(r.rates.neighbours) > 0
}
