package wrongpeer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// accept takes connections.
func (p *Peer) accept(l *link) {
	for {
		c, err := l.tcp.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			_ = c.Close()
			return
		}
		p.ended.Go(func() {
			if p.is(FlawOneAtATime) {
				p.one.Lock()
				defer p.one.Unlock()
			}
			s := &session{p: p, l: l, conn: c}
			s.serve()
			_ = c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			delete(p.sessions, s.key)
			p.mu.Unlock()
		})
	}
}

// session is a connection, and what is negotiated on it.
type session struct {
	p    *Peer
	l    *link
	conn net.Conn
	buf  []byte
	key  key
	id   uint64 // of the negotiation; 0: there is none
	dry  bool
	wait time.Duration
	// waits counts M_WAIT.
	waits int
}

// most is the longest message that is read.
const most = 2048

var errRubbish = errors.New("rubbish")

// next reads the next message.
func (s *session) next() (message, error) {
	p := s.p
	wait := s.wait
	if wait == 0 {
		wait = 60 * p.cfg.Second
	}
	deadline := time.Now().Add(wait)
	if p.is(FlawNeverExpires) {
		deadline = time.Time{}
	}
	_ = s.conn.SetReadDeadline(deadline)
	for {
		if len(s.buf) > 0 {
			d := cbor.NewDecoder(bytes.NewReader(s.buf))
			switch err := d.Skip(); {
			case err == nil:
				n := d.NumBytesRead()
				m, ok := p.parse(bytes.Clone(s.buf[:n]))
				s.buf = s.buf[n:]
				if p.is(FlawOneRead) {
					s.buf = nil
				}
				if !ok {
					p.die(FlawDiesOfRubbish)
					return m, errRubbish
				}
				return m, nil
			case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
				p.die(FlawDiesOfRubbish)
				if p.is(FlawKeepsRubbishOpen) {
					_, _ = io.Copy(io.Discard, s.conn)
				}
				return message{}, errRubbish
			case p.is(FlawOneRead), len(s.buf) > most && !p.is(FlawReadsForEver), len(s.buf) > 1024 && p.is(FlawSmallBuffer):
				return message{}, errRubbish
			}
		}
		chunk := make([]byte, 4096)
		n, err := s.conn.Read(chunk)
		s.buf = append(s.buf, chunk[:n]...)
		if n == 0 {
			if !errors.Is(err, os.ErrDeadlineExceeded) && s.id != 0 && !errors.Is(err, net.ErrClosed) {
				p.die(FlawDiesOfReset)
			}
			return message{}, err
		}
	}
}

func (s *session) send(items ...any) { _, _ = s.conn.Write(encode(items...)) }

// serve serves a connection to its end.
func (s *session) serve() {
	p := s.p
	for !p.dead.Load() {
		m, err := s.next()
		if err != nil {
			if errors.Is(err, errRubbish) && m.kind == 3 && p.is(FlawInvalidOtherSID) {
				s.send(99, m.id()^1)
			}
			return
		}
		if p.is(FlawSmallBuffer) && len(m.raw) > 1024 || p.dead.Load() {
			return
		}
		if !s.handle(m) {
			return
		}
	}
	_, _ = io.Copy(io.Discard, s.conn)
}

// handle handles a message and says whether the connection goes on.
func (s *session) handle(m message) bool {
	p := s.p
	switch {
	case m.kind == 0:
		if p.is(FlawAnswersNoop) {
			s.send(0)
		}
		return true
	case m.kind == 1 && p.has(m.objective.name) && !p.is(FlawDeafToUnicastTCP):
		own := s.l.addr.As16()
		s.send(2, m.items[1], m.items[2], 60000, list{103, own[:], 6, s.l.port()})
		return false
	case m.kind == 2:
		p.learn(s.l, m)
		return false
	case m.kind == 42 && p.is(FlawUnknownTypeIsRequest):
		s.send(6, m.id(), list{101})
		return false
	case m.kind == 4:
		return s.synchronize(m)
	case s.id == 0 && (m.kind == 3 || m.kind == 5 && p.is(FlawTakesStepAsRequest)):
		return s.request(m)
	case s.id == 0 && m.kind == 7 && p.is(FlawTakesWaitAsRequest):
		s.send(6, m.id(), list{101})
		return false
	case s.id == 0:
		return false
	}
	return s.step(m)
}

// count counts sessions, of which some peers bear few only.
func (p *Peer) tired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun++
	return p.is(FlawFewSessions) && p.begun > 5
}

// unknown ends a request for what is not served.
func (s *session) unknown() bool {
	s.p.die(FlawStopsServing)
	if s.p.is(FlawKeepsUnknownOpen) {
		_, _ = io.Copy(io.Discard, s.conn)
	}
	return false
}

// request begins a negotiation.
func (s *session) request(m message) bool {
	p, o := s.p, m.objective
	switch {
	case p.name(p.cfg.Synch, o.name) && p.is(FlawNegotiatesSynch):
	case !p.name(p.cfg.Negotiate, o.name):
		return s.unknown()
	case p.tired(), o.flags&8 != 0 && p.is(FlawClosesDry),
		p.is(FlawLoopCountSigned) && o.loop > 127,
		p.is(FlawDemandsRequestValue) && bytes.Equal(o.value, []byte{0xf6}):
		return false
	case p.is(FlawNegotiatesSilently):
		_, _ = io.Copy(io.Discard, s.conn)
		return false
	}
	from := s.conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	s.key = key{id: m.id(), initiator: from.String()}
	p.mu.Lock()
	clash := p.sessions[s.key]
	p.sessions[s.key] = true
	p.mu.Unlock()
	if clash && !p.is(FlawTakesClash) {
		s.key = key{}
		return false
	}
	s.id, s.dry = m.id(), o.flags&8 != 0
	return s.offer(o.loop)
}

// offer makes a counter-offer.
func (s *session) offer(loop uint64) bool {
	p := s.p
	if !p.is(FlawNegotiateKeepsLoop) {
		loop--
	}
	if loop == 0 && !p.is(FlawNegotiateLoop0) || loop > 255 {
		return true // and say nothing: the peer's timer ends it
	}
	id, name, flags, value := s.id, p.cfg.Negotiate, 3, any("a counter-offer")
	if s.dry {
		flags |= 8
	}
	switch p.cfg.Wrong {
	case FlawNegotiateOtherSID:
		id ^= 1
	case FlawNegotiateOtherName:
		name += "?"
	case FlawNegotiateNoFlag:
		flags = 1
	case FlawDropsDry:
		flags &^= 8
	case FlawAddsDry:
		flags |= 8
	case FlawLongMessages:
		value = make([]byte, 3000)
	}
	o := list{name, flags, loop, value}
	if p.is(FlawNegotiateNoValue) {
		o = o[:3]
	}
	if p.is(FlawNegotiateExtraItem) {
		s.send(5, id, o, list{101})
	} else {
		s.send(5, id, o)
	}
	return true
}

// step takes a message of a negotiation.
func (s *session) step(m message) bool {
	p, o := s.p, m.objective
	s.wait = 0
	if m.kind == 99 {
		if p.is(FlawAnswersInvalid) {
			s.send(99, m.id())
		}
		return false
	}
	if m.id() != s.id && !p.is(FlawTakesOtherSID) {
		return false
	}
	switch m.kind {
	case 5:
		if len(s.buf) > 0 {
			p.die(FlawDiesOfTwoSteps)
		}
		switch dry := o.flags&8 != 0; {
		case o.name != p.cfg.Negotiate && !p.is(FlawTakesOtherObjective),
			o.flags&2 == 0 && !p.is(FlawTakesNoFlag),
			dry != s.dry && !p.is(FlawMixesDry):
			return false
		}
		return s.offer(o.loop)
	case 6:
		kind, _ := number(first(m.at(2)))
		switch {
		case kind != 101 && kind != 102 && p.is(FlawTakesAnyEnd):
			s.send(6, s.id, list{101})
		case p.is(FlawAnswersEnd):
			s.send(6, s.id, list{101})
		}
		if p.is(FlawKeepsOpenAfterEnd) || p.is(FlawStrictDecline) && len(parts(m.at(2))) > 1 {
			_, _ = io.Copy(io.Discard, s.conn)
		}
		return false
	case 7:
		s.waits++
		switch {
		case p.is(FlawEndsOnWait), p.is(FlawFewWaits) && s.waits > 10:
			return false
		case p.is(FlawAnswersWait):
			s.send(7, s.id, 1000)
		}
		ms, _ := number(m.at(2))
		s.wait = time.Duration(ms) * p.cfg.Second / 1000
		if p.is(FlawWaitNotLonger) {
			s.wait = min(s.wait, 60*p.cfg.Second)
		}
		return true
	}
	return false
}

// synchronize answers a request for a value.
func (s *session) synchronize(m message) bool {
	p, o := s.p, m.objective
	switch {
	case p.name(p.cfg.Negotiate, o.name) && p.is(FlawSynchNegotiated):
	case !p.name(p.cfg.Synch, o.name):
		return s.unknown()
	case p.is(FlawSynchMute):
		_, _ = io.Copy(io.Discard, s.conn)
		return false
	case p.tired(), p.is(FlawSynchLoop6) && o.loop != 6:
		return false
	}
	id, name, flags, value := m.id(), o.name, 5, any("a value")
	switch p.cfg.Wrong {
	case FlawSynchOtherSID:
		id ^= 1
	case FlawSynchOtherName:
		name += "?"
	case FlawSynchNoFlag:
		flags = 1
	case FlawLongMessages:
		value = make([]byte, 3000)
	}
	answer := list{name, flags, 6, value}
	if p.is(FlawSynchNoValue) {
		answer = answer[:3]
	}
	if p.is(FlawSynchExtraItem) {
		s.send(8, id, answer, list{101})
	} else {
		s.send(8, id, answer)
	}
	if p.is(FlawKeepsOpenAfterSynch) {
		_, _ = io.Copy(io.Discard, s.conn)
	}
	return false
}
