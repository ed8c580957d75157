// Package negotiation holds the rules of one negotiation (RFC 8990 sections
// 2.5.5, 2.8.7 to 2.8.9 and 2.8.12) as one of its two sides sees it: what may be
// sent, what a message from the peer means, how long it is waited for, and when
// the session is over.
//
// There is no clock, lock, goroutine or connection here. Whoever owns a Session
// tells it what was called, what came and what time it is, and does what the
// Session answers.
package negotiation

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// ErrNotNegotiable says that an objective is not one for negotiation.
var ErrNotNegotiable = errors.New("not an objective for negotiation")

// Why a call is refused. The session is as it was before.
var (
	// ErrEnded says that the session is over.
	ErrEnded = errors.New("the session has ended")
	// ErrBusy says that another call waits for the peer.
	ErrBusy = errors.New("another call waits for the peer")
	// ErrLoopExhausted says that the loop count would be sent as 0.
	ErrLoopExhausted = errors.New("loop count exhausted")
	// ErrTooLong says that the message is longer than Limits.Message.
	ErrTooLong = errors.New("too long")
)

// Why a session failed.
var (
	// ErrTimeout says that the peer did not answer in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrOther says that an M_NEGOTIATE is about another objective than the
	// session, or in another mode. A call that would send one is refused with it.
	ErrOther = errors.New("not about the objective of the session")
	// ErrWrongID says that a message has another session ID.
	ErrWrongID = errors.New("wrong session ID")
	// ErrTooManyWaits says that the peer exceeded Limits.Waits.
	ErrTooManyWaits = errors.New("asked for more time too often")
	// ErrInvalid says that the peer sent M_INVALID.
	ErrInvalid = errors.New("the peer found our last message invalid")
	// ErrUnexpected says that a message has no place in a negotiation.
	ErrUnexpected = errors.New("not a message of a negotiation")
)

// Limits bounds a session.
type Limits struct {
	Message int           // the longest message that is sent, in bytes
	Waits   int           // how many M_WAIT the peer may send
	Wait    time.Duration // how much time an M_WAIT gives it at most
}

// Session is one negotiation. [New] makes one; its methods must not be called at
// the same time.
type Session struct {
	limits Limits
	id     uint32
	name   string
	dry    bool
	state  state

	loops    uint8     // of the objective sent last
	waits    int       // M_WAIT that came
	deadline time.Time // of the wait for the peer
}

type state uint8

const (
	idle    state = iota // nothing is waited for: it is the ASA's turn, or it may wait
	offered              // an offer was made, and will be waited for
	waiting              // until deadline
	ended
)

// Check returns an error that wraps ErrNotNegotiable for an objective that lacks
// the flag for negotiation (RFC 8990 section 2.10.2) or is for synchronization,
// too (RFC 8991 section 2.3.2.3).
func Check(o *wire.Objective) error {
	if o.Flags&(wire.FlagNeg|wire.FlagSynch) != wire.FlagNeg {
		return fmt.Errorf("%w: it has flags %#x", ErrNotNegotiable, uint64(o.Flags))
	}
	return nil
}

// New returns a session that began with an M_REQ_NEG, or an M_DISCOVERY in its
// stead (section 2.5.5.1), of the ID and with the objective, which has passed
// Check. It does not matter which side sent it.
func New(limits Limits, id uint32, asked *wire.Objective) Session {
	return Session{
		limits: limits, id: id, name: asked.Name, dry: asked.Flags&wire.FlagNegDry != 0, loops: asked.LoopCount,
	}
}

// Ended says that the session is over.
func (s *Session) Ended() bool { return s.state == ended }

// Sending is a message to be sent.
type Sending struct {
	Message wire.Message
	Bytes   []byte
}

// usualSize is enough room for most messages.
const usualSize = 128

// encode returns a message as it is sent.
func (s *Session) encode(m wire.Message) (Sending, error) {
	if s.state == ended {
		return Sending{}, ErrEnded
	}
	raw, err := m.Append(make([]byte, 0, usualSize))
	if err != nil {
		return Sending{}, err
	}
	if len(raw) > s.limits.Message {
		return Sending{}, fmt.Errorf("%w: %v of %d bytes, the limit is %d", ErrTooLong, m.Type(), len(raw), s.limits.Message)
	}
	return Sending{m, raw}, nil
}

// MayOffer returns why an offer cannot be made of an objective with a name and
// the loop count last received, or nil. Section 2.8.7: the sender decrements the
// loop count, and MUST NOT send 0.
func (s *Session) MayOffer(name string, loops uint8) error {
	switch {
	case s.state == ended:
		return ErrEnded
	case name != s.name:
		return fmt.Errorf("%w: that is %q, not %q", ErrOther, s.name, name)
	case s.state != idle:
		return ErrBusy
	case loops <= 1:
		return ErrLoopExhausted
	}
	return nil
}

// Offer returns the M_NEGOTIATE for a new offer, to be sent and then waited for
// with Await. The loop count is the one last received, as for MayOffer. A session
// is a dry run from its first message to its last, or not at all (section
// 2.10.2), whatever the flags of the offer say.
func (s *Session) Offer(o wire.Objective) (Sending, error) {
	if err := s.MayOffer(o.Name, o.LoopCount); err != nil {
		return Sending{}, err
	}
	o.LoopCount--
	o.Flags &^= wire.FlagNegDry
	if s.dry {
		o.Flags |= wire.FlagNegDry
	}
	out, err := s.encode(&wire.Negotiate{SessionID: s.id, Objective: o})
	if err == nil {
		s.state, s.loops = offered, o.LoopCount
	}
	return out, err
}

// Await begins to wait for the peer, after the first message or an Offer was
// sent. It returns when to call Expired unless something comes before.
func (s *Session) Await(now time.Time, timeout time.Duration) (deadline time.Time, err error) {
	switch s.state {
	case ended:
		return time.Time{}, ErrEnded
	case waiting:
		return time.Time{}, ErrBusy
	}
	s.state, s.deadline = waiting, now.Add(timeout)
	return s.deadline, nil
}

// Delay returns the M_WAIT that asks the peer for more time, in milliseconds.
// It changes nothing on this side.
func (s *Session) Delay(wait uint32) (Sending, error) {
	return s.encode(&wire.Wait{SessionID: s.id, Wait: wait})
}

// End returns the M_END that accepts the peer's last offer, or declines it with
// a reason, which may be empty. The session is over.
func (s *Session) End(accept bool, reason string) (Sending, error) {
	if accept {
		reason = ""
	}
	return s.last(&wire.End{SessionID: s.id, Accept: accept, Reason: reason})
}

// Refuse returns the M_INVALID that tells the peer that its last message made no
// sense. The session is over.
func (s *Session) Refuse(info []byte) (Sending, error) {
	return s.last(&wire.Invalid{SessionID: s.id, Info: info})
}

func (s *Session) last(m wire.Message) (Sending, error) {
	out, err := s.encode(m)
	if err == nil {
		s.state = ended
	}
	return out, err
}

// Close ends the session without a word: the connection is broken, or nobody is
// interested any more. It returns false if it had ended.
func (s *Session) Close() bool {
	was := s.state
	s.state = ended
	return was != ended
}

// Output is what follows from what came, or did not come.
type Output struct {
	What      What
	Objective *wire.Objective // Offered: what the peer offers
	Reason    string          // Declined: why, if the peer says so
	Err       error           // Failed: why
	Deadline  time.Time       // Waiting: when to call Expired
	Shortened bool            // Waiting: the peer asked for more than Limits.Wait
}

// What is what there is to do.
type What uint8

// After the last three the session has ended.
const (
	Waiting  What = iota // go on waiting for the peer
	Offered              // it is the ASA's turn
	Accepted             // the peer agrees to what was sent last
	Declined
	Failed
)

// Receive takes a message of the peer's, which was waited for.
func (s *Session) Receive(now time.Time, m wire.Message) Output {
	switch {
	case s.state == ended:
		return Output{What: Failed, Err: ErrEnded}
	case wire.SessionID(m) != s.id: // section 2.7: all messages of a session have its ID
		return s.fail(ErrWrongID)
	case s.state != waiting: // section 2.5.5: each side speaks in its turn
		return s.fail(ErrUnexpected)
	}
	switch m := m.(type) {
	case *wire.Wait:
		return s.extend(now, m)
	case *wire.Negotiate:
		return s.take(&m.Objective)
	case *wire.End:
		s.state = ended
		if m.Accept {
			return Output{What: Accepted}
		}
		return Output{What: Declined, Reason: m.Reason}
	case *wire.Invalid:
		return s.fail(ErrInvalid)
	default:
		return s.fail(ErrUnexpected)
	}
}

func (s *Session) fail(err error) Output {
	s.state = ended
	return Output{What: Failed, Err: err}
}

// extend restarts the timer with the time that the peer asks for, which may be
// less than what is left (section 2.8.9).
func (s *Session) extend(now time.Time, m *wire.Wait) Output {
	if s.waits++; s.waits > s.limits.Waits {
		return s.fail(ErrTooManyWaits)
	}
	asked := time.Duration(m.Wait) * time.Millisecond
	s.deadline = now.Add(min(asked, s.limits.Wait))
	return Output{Deadline: s.deadline, Shortened: asked > s.limits.Wait}
}

// take takes an offer. Section 2.8.7: it is about the objective of the session;
// section 2.10.2: dry runs and others are not mixed.
func (s *Session) take(o *wire.Objective) Output {
	const mode = wire.FlagNeg | wire.FlagSynch | wire.FlagNegDry
	want := wire.FlagNeg
	if s.dry {
		want |= wire.FlagNegDry
	}
	if o.Name != s.name || o.Flags&mode != want {
		return s.fail(fmt.Errorf("%w: an offer of %q with flags %#x", ErrOther, o.Name, uint64(o.Flags)))
	}
	s.state = idle
	offer := *o
	// A peer that never counts down must not go on for ever.
	offer.LoopCount = min(offer.LoopCount, s.loops)
	return Output{What: Offered, Objective: &offer}
}

// Expired says that nothing came until now. At the deadline the negotiation has
// failed (sections 2.8.6 and 2.8.9); before, the wait goes on.
func (s *Session) Expired(now time.Time) Output {
	switch {
	case s.state == ended:
		return Output{What: Failed, Err: ErrEnded}
	case s.state != waiting:
		return Output{}
	case now.Before(s.deadline):
		return Output{Deadline: s.deadline}
	}
	return s.fail(ErrTimeout)
}

// Rest ends a wait by something that is no message of a negotiation: it is the
// ASA's turn.
func (s *Session) Rest() {
	if s.state == waiting {
		s.state = idle
	}
}
