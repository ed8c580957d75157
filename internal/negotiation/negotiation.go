// Package negotiation holds the rules of one negotiation (RFC 8990 sections
// 2.5.5, 2.8.7 to 2.8.9 and 2.8.12) as one of its two sides sees it: what it may
// send, what a message from the peer means, how long to wait for the peer, and when
// the session is over.
//
// There is no clock, lock, goroutine or connection here. The owner of a Session tells
// it what was called, what came and what time it is, and does what the Session
// returns.
package negotiation

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// ErrNotNegotiable says that an objective is not one for negotiation.
var ErrNotNegotiable = errors.New("not an objective for negotiation")

// The reasons for which a call is refused. The session stays as it was.
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

// The reasons for which a session fails.
var (
	// ErrTimeout says that the peer did not answer in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrOther says that an M_NEGOTIATE has another objective than the session, or
	// another mode (dry run or not). A call that would send one is refused.
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
	Wait    time.Duration // the longest time that an M_WAIT gives the peer
}

// Session is one side of a negotiation. [New] makes one; its methods must not be
// called concurrently.
type Session struct {
	limits Limits
	id     uint32
	name   string
	dry    bool
	state  state

	loops    uint8     // of the objective sent last
	waits    int       // how many M_WAIT came
	deadline time.Time // until when to wait for the peer
}

type state uint8

const (
	idle    state = iota // it is the ASA's turn
	offered              // Offer was called; Await comes next
	waiting              // waiting for the peer's answer, until deadline
	hearing              // waiting for something that is no message of a negotiation
	ended
)

// Check returns an error that wraps ErrNotNegotiable if an objective lacks the flag
// for negotiation (RFC 8990 section 2.10.2), or also has the one for synchronization
// (RFC 8991 section 2.3.2.3).
func Check(o *wire.Objective) error {
	if o.Flags&(wire.FlagNeg|wire.FlagSynch) != wire.FlagNeg {
		return fmt.Errorf("%w: it has flags %#x", ErrNotNegotiable, uint64(o.Flags))
	}
	return nil
}

// New returns a session that began with an M_REQ_NEG, or with an M_DISCOVERY in its
// place (section 2.5.5.1). It is the same for both sides. The ID and the objective are
// those of the message; the objective has passed Check.
func New(limits Limits, id uint32, asked *wire.Objective) Session {
	return Session{
		limits: limits, id: id, name: asked.Name, dry: asked.Flags&wire.FlagNegDry != 0, loops: asked.LoopCount,
	}
}

// Ended reports whether the session is over.
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

// MayOffer returns nil if an objective with this name, and the loop count that was
// received last, can be offered, or an error that says why not. Section 2.8.7: the
// sender decrements the loop count, and MUST NOT send 0.
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

// Offer returns the M_NEGOTIATE for a new offer. Send it, then call Await. The loop
// count is the one received last, as for MayOffer. A session is a dry run from its
// first message to its last, or not at all (section 2.10.2), whatever the flags of
// the offer say.
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

// Await begins to wait for the peer, after the first message or an Offer was sent.
// It returns when to call Expired if nothing comes before.
func (s *Session) Await(now time.Time, timeout time.Duration) (deadline time.Time, err error) {
	switch s.state {
	case ended:
		return time.Time{}, ErrEnded
	case waiting, hearing:
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
// a reason, which may be empty. The session is over. While it is the peer's turn there is
// nothing to accept: the peer would take the M_END for an answer to what it offers next.
func (s *Session) End(accept bool, reason string) (Sending, error) {
	if accept && (s.state == offered || s.state == waiting) {
		return Sending{}, ErrBusy
	}
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

// Close ends the session without a message, because the connection is broken or
// nobody is interested any more. It returns false if the session had ended before.
func (s *Session) Close() bool {
	was := s.state
	s.state = ended
	return was != ended
}

// Output is what follows from a message or from a timeout.
type Output struct {
	What      What
	Objective *wire.Objective // Offered: what the peer offers
	Reason    string          // Declined: why, if the peer says so
	Err       error           // Failed: why
	Deadline  time.Time       // Waiting: when to call Expired
	Shortened bool            // Waiting: the peer asked for more than Limits.Wait
}

// What says what to do next.
type What uint8

// The values of What. After the last three the session has ended.
const (
	Waiting  What = iota // go on waiting for the peer
	Offered              // it is the ASA's turn
	Accepted             // the peer agrees to what was sent last
	Declined
	Failed
)

// Receive takes a message from the peer.
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

// extend restarts the timer with the time that the peer asks for, even if that is
// less than what is left (section 2.8.9).
func (s *Session) extend(now time.Time, m *wire.Wait) Output {
	if s.waits++; s.waits > s.limits.Waits {
		return s.fail(ErrTooManyWaits)
	}
	asked := time.Duration(m.Wait) * time.Millisecond
	s.deadline = now.Add(min(asked, s.limits.Wait))
	return Output{Deadline: s.deadline, Shortened: asked > s.limits.Wait}
}

// take takes an offer. It must have the objective of the session (section 2.8.7), and
// must be a dry run if the session is one, and only then (section 2.10.2).
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
	// A peer that never decrements the loop count must not go on for ever.
	offer.LoopCount = min(offer.LoopCount, s.loops)
	return Output{What: Offered, Objective: &offer}
}

// Age brings the deadline forward by a time that the machine slept and the clock did not
// measure.
func (s *Session) Age(by time.Duration) { s.deadline = s.deadline.Add(-by) }

// Expired notes that nothing has come until now. At the deadline the negotiation
// fails (sections 2.8.6 and 2.8.9); before, the wait goes on.
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

// Hear begins to wait for something that is no message of a negotiation, until Rest is
// called.
func (s *Session) Hear() error {
	switch s.state {
	case ended:
		return ErrEnded
	case idle:
		s.state = hearing
		return nil
	}
	return ErrBusy
}

// Rest ends the wait that Hear began.
func (s *Session) Rest() {
	if s.state == hearing {
		s.state = idle
	}
}
