package grasp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-grasp/grasp/internal/negotiation"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

const opSynchronize = "synchronize"

// Synchronize returns an objective with its value (RFC 8991 section 2.3.6). The
// objective must have Synch, and need not be registered. The value comes from the
// first of these that has one:
//
//  1. without a peer, the flooded values that are cached;
//  2. without a peer, discovery: the first locator that is known or found;
//  3. a value that came with a discovery response from that locator (rapid
//     mode), while it lives;
//  4. a request to the peer (M_REQ_SYN).
//
// Discovery and the request block, each for at most the timeout (0: 700 ms per loop
// count for discovery, 60 s for the request), or until the context ends. A flooded
// value needs no secure plane.
//
// Errors: [ErrNoASA], [ErrNotBoth], [ErrNotSynch], [ErrNoSecurity],
// [ErrTooLong] (the name does not fit a message), [ErrUnspec] (a name that is not
// UTF-8), [ErrNotFloodDisc], [ErrUnusableLocator], [ErrSockErrSynRq],
// [ErrNoListener], [ErrNoSynchReply], [ErrNoValidSynch], [ErrCBORFail],
// [ErrCancelled].
func (a *ASA) Synchronize(ctx context.Context, o Objective, peer *Locator, timeout time.Duration) (Objective, error) {
	if err := a.checkSynch(opSynchronize, o); err != nil {
		return Objective{}, err
	}
	if peer == nil {
		if flooded := a.g.floods.get(o.Name); len(flooded) > 0 {
			return decodeObjective(&flooded[0].Objective), nil
		}
	}
	if err := a.g.secure(); err != nil {
		return Objective{}, fail(opSynchronize, o.Name, ErrNoSecurity, err)
	}
	id := a.g.sessions.Begin()
	c := &outgoing{
		asa: a, op: opSynchronize, objective: o, peer: peer, timeout: timeout,
		message:   &wire.ReqSyn{SessionID: id, Objective: o.withoutValue()},
		noneFound: ErrNotFloodDisc, sockErr: ErrSockErrSynRq,
		rapid: null, rapidValue: true, // the value at once, or with a locator, is welcome
	}
	if peer != nil && c.suffices(*peer) {
		a.g.sessions.End(session.Key{ID: id})
		return decodeObjective(c.value), nil
	}
	s, err := c.send(ctx)
	switch {
	case err != nil || s == nil:
		a.g.sessions.End(session.Key{ID: id})
		if err != nil {
			return Objective{}, err
		}
		return decodeObjective(c.value), nil
	case s.session != 0:
		a.g.sessions.End(session.Key{ID: id})
		id = s.session
	}
	answer, err := a.readSynch(ctx, c, s, id)
	c.doubt(err)
	return answer, err
}

// readSynch reads the value that a peer sends, M_SYNCH, and ends the session.
func (a *ASA) readSynch(ctx context.Context, c *outgoing, s *stream, id uint32) (Objective, error) {
	defer a.g.sessions.End(session.Key{ID: id})
	defer s.close()
	defer context.AfterFunc(a.ctx, s.close)()
	failed := func(code ErrorCode, err error) (Objective, error) {
		return Objective{}, failWith(opSynchronize, c.objective.Name, s.Peer, code, err)
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	m, err := s.message(ctx, a.g.now().Add(c.timeout))
	if err != nil {
		code := synchCodes[readCode(err)]
		if insecure := a.g.secure(); insecure != nil {
			return failed(ErrNoSecurity, insecure)
		}
		if code == ErrCBORFail || code == ErrNoValidSynch {
			a.g.invalid(s, err)
		}
		return failed(code, err)
	}
	a.g.trace(Received, m, s.raw(), s.Peer, s.Link)
	answer, ok := m.(*wire.Synch)
	reason := ReasonInvalid
	switch {
	case !ok:
		reason, err = ReasonUnexpected, errSent(m)
	case answer.SessionID != id:
		err = negotiation.ErrWrongID
	case answer.Objective.Name != c.objective.Name:
		err = fmt.Errorf("the peer sent %q", answer.Objective.Name)
	case answer.Objective.Value == nil: // RFC 8990 section 2.10.3
		err = errNoValue
	default:
		return decodeObjective(&answer.Objective), nil
	}
	if m.Type() != wire.TypeInvalid { // which was heeded
		a.g.dropFrom(s, m, reason, err)
	}
	return failed(ErrNoValidSynch, err)
}

// errSent returns an error that says what a peer sent where it has no place.
func errSent(m wire.Message) error {
	if invalid, ok := m.(*wire.Invalid); ok {
		return fmt.Errorf("the peer sent %v: %s", m.Type(), diagnose(invalid.Info))
	}
	return fmt.Errorf("the peer sent %v", m.Type())
}

var errNoValue = errors.New("the peer sent no value")

// synchCodes are the codes of a failed synchronization for those of a failed
// negotiation.
var synchCodes = map[ErrorCode]ErrorCode{
	ErrCancelled:   ErrCancelled,
	ErrCBORFail:    ErrCBORFail,
	ErrNoPeer:      ErrNoListener,
	ErrNoNegReply:  ErrNoSynchReply,
	ErrNoValidStep: ErrNoValidSynch,
	ErrInvalidEnd:  ErrNoValidSynch,
	ErrNoSession:   ErrNoASA, // only Close closes the connection under a call
}

// checkSynch checks that the ASA is there and the objective is for
// synchronization.
func (a *ASA) checkSynch(op string, o Objective) error {
	if err := a.check(); err != nil {
		return fail(op, o.Name, ErrNoASA, err)
	}
	if err := o.check(); err != nil {
		return wrap(op, o.Name, err)
	}
	if !o.Synch {
		return fail(op, o.Name, ErrNotSynch, nil)
	}
	return nil
}

// checkListen does the checks of the calls for listening, in order.
func (a *ASA) checkListen(op string, o Objective) error {
	if err := o.check(); err != nil {
		return wrap(op, o.Name, err)
	}
	if !o.Synch {
		return fail(op, o.Name, ErrNotSynch, nil)
	}
	return a.checkOwned(op, o)
}

// ListenSynchronize makes the instance answer requests for the objective with its
// value from now on (RFC 8991 section 2.3.6). Another call replaces the value. From
// the first call on the objective can be discovered. The ASA must have registered the
// objective, with Synch. It does not block.
//
// Errors: [ErrNotBoth], [ErrNotSynch], [ErrNoASA], [ErrNotYourObj],
// [ErrNoSecurity], [ErrCBORFail], [ErrTooLong].
func (a *ASA) ListenSynchronize(o Objective) error {
	const op = "listen for synchronization of"
	if err := a.checkListen(op, o); err != nil {
		return err
	}
	if err := a.g.secure(); err != nil {
		return fail(op, o.Name, ErrNoSecurity, err)
	}
	w, err := o.encode()
	if err != nil {
		return wrap(op, o.Name, err)
	}
	if _, err := a.g.encode(&wire.Synch{SessionID: math.MaxUint32, Objective: w}); err != nil {
		return wrap(op, o.Name, err)
	}
	return wrap(op, o.Name, a.g.objectives.owned(a, o.Name, func(r *registration) error {
		r.listenSynch(synchListener{asa: a, value: w.Value}, w.LoopCount)
		return nil
	}))
}

// synchListener is an ASA that answers requests for synchronization.
type synchListener struct {
	asa    *ASA
	value  []byte      // the answer, or nil
	answer SynchAnswer // makes the answer, if there is no value
}

// synchListener returns the last one that does not drain, or the zero value.
func (r *registration) synchListener() synchListener {
	for _, l := range slices.Backward(r.answers) {
		if !l.asa.draining.Load() {
			return l
		}
	}
	return synchListener{}
}

// listenSynch has an ASA answer from now on.
func (r *registration) listenSynch(l synchListener, loops uint8) {
	r.stopSynch(l.asa)
	r.answers = append(r.answers, l)
	r.loops = loops
}

// stopSynch ends what an ASA answers when it is asked.
func (r *registration) stopSynch(asa *ASA) {
	r.answers = slices.DeleteFunc(r.answers, func(l synchListener) bool { return l.asa == asa })
}

// stopAnswers ends the answers of an ASA, with what it flooded, too.
func (r *registration) stopAnswers(asa *ASA) {
	r.stopSynch(asa)
	r.stopFlooded(asa)
}

// SynchRequest is a request for synchronization, as [ASA.AnswerSynchronize]
// gives it to its function.
type SynchRequest struct {
	Objective Objective      // as the peer sent it; it has no value
	Peer      netip.AddrPort // who asks
	Identity  string         // what the peer has proven to be: see [Session.Identity]
}

// SynchAnswer returns the value for one request. It may be called concurrently. The
// context ends with the ASA, when the connection has to give way to others
// (Limits.MaxIdle), and after 60 s, since no peer waits for longer by default. It must not
// call Instance.Close, which waits for it.
type SynchAnswer func(ctx context.Context, r SynchRequest) (any, error)

// AnswerSynchronize is ListenSynchronize with a value that depends on who asks,
// or when: it calls a function for each request from now on. An error of the
// function, or a panic, refuses the request by closing, as if nobody listened,
// and is logged. In rapid mode (RegisterOptions) the objective is discovered
// without a value.
//
// Errors: [ErrUnspec] (there is no function), and those of ListenSynchronize.
func (a *ASA) AnswerSynchronize(o Objective, answer SynchAnswer) error {
	const op = "answer synchronization of"
	if answer == nil {
		return fail(op, o.Name, ErrUnspec, errors.New("there is no function"))
	}
	if err := a.checkListen(op, o); err != nil {
		return err
	}
	if err := a.g.secure(); err != nil {
		return fail(op, o.Name, ErrNoSecurity, err)
	}
	return wrap(op, o.Name, a.g.objectives.owned(a, o.Name, func(r *registration) error {
		r.listenSynch(synchListener{asa: a, answer: func(ctx context.Context, request SynchRequest) (any, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(a.ctx, cancel)()
			return answer(ctx, request)
		}}, o.loops())
		return nil
	}))
}

// StopSynchronize ends the ASA's answers of ListenSynchronize, and those with values
// that it flooded (stop_listen_synchronize of RFC 8991): from now on requests for the
// objective are refused by closing, unless another ASA answers them. ListenSynchronize
// starts the answers again. It does not block.
//
// Errors: [ErrNotBoth], [ErrNotSynch], [ErrNoASA], [ErrNotYourObj].
func (a *ASA) StopSynchronize(o Objective) error {
	const op = "stop synchronization of"
	if err := a.checkListen(op, o); err != nil {
		return err
	}
	return wrap(op, o.Name, a.g.objectives.owned(a, o.Name, func(r *registration) error {
		r.stopAnswers(a)
		return nil
	}))
}

// flooded is what an ASA flooded of an objective last.
type flooded struct {
	asa       *ASA
	objective wire.Objective
	expire    time.Time // zero: never
}

// livingFlooded returns what was flooded last, of what has not expired, by an ASA that
// does not drain.
func (r *registration) livingFlooded(now time.Time) (o wire.Objective, ok bool) {
	for _, f := range slices.Backward(r.flooded) {
		if (f.expire.IsZero() || f.expire.After(now)) && !f.asa.draining.Load() {
			return f.objective, true
		}
	}
	return wire.Objective{}, false
}

// stopFlooded ends the answers with what an ASA flooded.
func (r *registration) stopFlooded(asa *ASA) {
	r.flooded = slices.DeleteFunc(r.flooded, func(f flooded) bool { return f.asa == asa })
}

// rememberFlooded remembers what an ASA has flooded. RFC 8990 section 2.5.6.2:
// whoever floods an objective should also answer requests for it.
func (a *ASA) rememberFlooded(m *wire.Flood) {
	expire := expiry(a.g.now(), time.Duration(m.TTL)*time.Millisecond) // which a sleep that is over does not age
	for _, f := range m.Objectives {
		// An error says that it was deregistered meanwhile.
		_ = a.g.objectives.owned(a, f.Objective.Name, func(r *registration) error {
			r.stopFlooded(a)
			r.flooded = append(r.flooded, flooded{a, f.Objective, expire})
			return nil
		})
	}
}

// answer returns the answer to M_REQ_SYN: what an ASA that listens gives, perhaps
// with a function that makes the value, or else what was flooded last.
func (t objectiveTable) answer(name string) (o wire.Objective, f SynchAnswer, ok bool) {
	t.Look(name, func(r *registration, owners map[*ASA]bool) {
		switch l := r.synchListener(); {
		case drained(owners):
		case l.asa != nil:
			o, f, ok = wire.Objective{Name: name, Flags: r.flags, LoopCount: r.loops, Value: l.value}, l.answer, true
		default:
			o, ok = r.livingFlooded(time.Now())
		}
	})
	return o, f, ok
}

// mostAtOnce is the longest value, in bytes, that is sent without a goroutine for it:
// the buffers of a new connection hold that much, whether or not the peer reads.
const mostAtOnce = 1024

// answerSynch answers M_REQ_SYN with the value of this moment. RFC 8990
// section 2.8.6: if nobody listens, the connection is closed at once; a
// request whose session ID is in use is discarded. It does not wait for anybody.
func (g *Instance) answerSynch(s *stream, m *wire.ReqSyn) {
	o, answer, ok := g.objectives.answer(m.Objective.Name)
	if !ok {
		g.dropFrom(s, m, ReasonNoListener, nil)
		s.close()
		return
	}
	if g.sessions.InUse(session.Key{ID: m.SessionID, Initiator: s.Peer.Addr()}, s.local) {
		g.dropFrom(s, m, ReasonIDClash, nil)
		g.linger(s)
		return
	}
	reply := func() {
		defer s.close()
		if answer != nil {
			var err error
			if o.Value, err = g.callAnswer(answer, s, m); err != nil {
				if s.table.has(s) { // else it was evicted meanwhile, which is counted
					g.log.Warn("a request for synchronization was refused", "objective", o.Name, "peer", s.Peer, "error", err)
					g.dropFrom(s, m, ReasonNoListener, err)
				}
				return
			}
		}
		g.reply(s, &wire.Synch{SessionID: m.SessionID, Objective: o})
	}
	if answer == nil && len(o.Value) <= mostAtOnce {
		reply()
	} else if !g.spawn(reply) {
		s.close()
	}
}

// callAnswer returns the value that a function of an ASA has for a request.
func (g *Instance) callAnswer(answer SynchAnswer, s *stream, m *wire.ReqSyn) (value []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	open, done := s.whileOpen(g.ctx)
	defer done()
	ctx, cancel := context.WithTimeout(open, DefaultTimeout)
	defer cancel()
	asked := decodeObjective(&m.Objective)
	asked.Value = nil
	v, err := answer(ctx, SynchRequest{Objective: asked, Peer: s.Peer, Identity: s.Identity})
	if err != nil {
		return nil, err
	}
	return encodeValue(v)
}

// reply sends the only answer a stream gets.
func (g *Instance) reply(s *stream, m wire.Message) {
	raw, err := g.encode(m)
	if err == nil {
		err = s.send(raw, sendTimeout)
	}
	if err != nil {
		g.dropUnsent(s, m, raw, err)
		return
	}
	g.trace(Sent, m, raw, s.Peer, s.Link)
}
