package conform

// negotiationChecks are of a node with which an objective is negotiated.
var negotiationChecks = []Check{
	{"N-06", "negotiation/answered", "2.5.5", Text, "M_REQ_NEG is answered with M_NEGOTIATE, M_END or M_WAIT, on the same connection.", negotiator, func(t *trial) {
		d, _, m := t.negotiation(t.request(6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"S-02", "negotiation/session-id", "2.7", Must, "All messages of a negotiation have the session ID of the request.", negotiator, func(t *trial) {
		d, sid, m := t.negotiation(t.request(6))
		for range 2 {
			if got, _ := m.sid(); got != sid {
				t.fail("the session ID is %d, not %d", got, sid)
			}
			if m.kind != mNegotiate {
				return
			}
			d.send(mNegotiate, sid, t.request(4))
			m = d.reply()
		}
		d.decline(t)
	}},
	{"N-07", "negotiation/objective", "2.8.7", Must, "M_NEGOTIATE has the objective of the session.", negotiator, func(t *trial) {
		_, _, o := t.offer(6)
		if o.name != t.cfg.Negotiate {
			t.fail("the objective is %q, not %q", o.name, t.cfg.Negotiate)
		}
	}},
	{"N-07", "negotiation/flags", "2.8.7", Must, "M_NEGOTIATE has an objective with the flag F_NEG.", negotiator, func(t *trial) {
		if _, _, o := t.offer(6); o.flags&fNeg == 0 || o.flags&fSynch != 0 {
			t.fail("the flags are %d", o.flags)
		}
	}},
	{"O-12", "negotiation/value", "2.10.3", Must, "M_NEGOTIATE has an objective with a value.", negotiator, func(t *trial) {
		if _, _, o := t.offer(6); o.value == nil {
			t.fail("there is none")
		}
	}},
	{"N-08", "negotiation/loop-count", "2.8.7", Must, "The sender of M_NEGOTIATE decrements the loop count by one.", negotiator, func(t *trial) {
		d, sid, o := t.offer(6)
		if o.loop != 5 {
			t.fail("after a request with loop count 6 came %d", o.loop)
		}
		d.send(mNegotiate, sid, t.request(o.loop-1))
		if m := d.reply(); m.kind == mNegotiate {
			if next, _ := asObjective(m.at(2)); next.loop != o.loop-2 {
				t.fail("after M_NEGOTIATE with loop count %d came %d", o.loop-1, next.loop)
			}
			d.decline(t)
		}
	}},
	{"N-09", "negotiation/loop-count-exhausted", "2.8.7", Must, "An M_NEGOTIATE whose loop count would be zero is not sent.", negotiator, func(t *trial) {
		d, sid := t.connect(t.cfg.Negotiate), t.sid()
		d.send(mReqNeg, sid, t.request(1))
		if m, e := d.next(2 * t.cfg.Quiet); e == came && m.kind == mNegotiate {
			o, _ := asObjective(m.at(2))
			t.fail("after a request with loop count 1 came M_NEGOTIATE with loop count %d", o.loop)
		}
	}},
	{"N-13", "negotiation/nobody", "2.8.6", Must, "A request for an objective that nobody negotiates leads to immediate closing of the connection.", negotiator | late, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mReqNeg, t.sid(), list{t.unknown(), fDisc | fNeg, 6, nil})
		d.endsAtOnce("after a request for an unknown objective")
	}},
	{"N-12", "negotiation/closed-after-accept", "2.5.5", Should, "The connection is closed when the negotiation has been accepted.", negotiator, func(t *trial) {
		d, sid, m := t.negotiation(t.request(6))
		if m.kind == mNegotiate {
			d.send(mEnd, sid, list{oAccept})
		}
		d.ends("after M_END with an accept option")
	}},
	{"N-12", "negotiation/closed-after-decline", "2.5.5", Should, "The connection is closed when the negotiation has been declined.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mEnd, sid, list{oDecline})
		d.ends("after M_END with a decline option")
	}},
	{"N-18", "negotiation/decline-reason", "2.9.4", Text, "A decline may have a reason: the negotiation ends.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mEnd, sid, list{oDecline, "zu teuer – 高い"})
		d.ends("after a decline with a reason")
		t.works()
	}},
	{"N-11", "negotiation/no-answer-to-end", "2.8.8", Text, "M_END is not answered.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mEnd, sid, list{oAccept})
		if m, e := d.next(t.cfg.Quiet); e == came {
			t.fail("came %v", m)
		}
	}},
	{"N-17", "negotiation/concurrent", "2.5.5", Text, "Two negotiations of one peer about one objective run at the same time, without mixing.", negotiator, func(t *trial) {
		d1, sid1, _ := t.negotiation(t.request(6))
		d2, sid2, m2 := t.negotiation(t.request(6))
		if got, _ := m2.sid(); got != sid2 {
			t.fail("the second was answered with the session ID %d, not %d", got, sid2)
		}
		d1.send(mEnd, sid1, list{oDecline})
		d2.send(mEnd, sid2, list{oDecline})
	}},
	{"S-07", "negotiation/session-id-clash", "2.8.6", Must, "A request with a session ID that is active is discarded.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		again := t.connect(t.cfg.Negotiate)
		again.send(mReqNeg, sid, t.request(6))
		if m, e := again.next(2 * t.cfg.Quiet); e == came && (m.kind == mNegotiate || m.kind == mEnd) {
			t.fail("it was answered with %v", m)
		}
		d.decline(t)
	}},
	{"N-07", "negotiation/other-objective", "2.8.7", Text, "An M_NEGOTIATE with another objective than the session's is no step of it.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mNegotiate, sid, list{t.unknown(), fDisc | fNeg, 4, t.value()})
		d.noStep("an M_NEGOTIATE with another objective")
	}},
	{"N-07", "negotiation/no-negotiation-flag", "2.10.2", Text, "An M_NEGOTIATE whose objective has no flag F_NEG is no step of a session.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mNegotiate, sid, list{t.cfg.Negotiate, fDisc, 4, t.value()})
		d.noStep("an M_NEGOTIATE without the flag F_NEG")
	}},
	{"S-02", "negotiation/other-session-id", "2.7", Text, "An M_NEGOTIATE with another session ID is no step of the session.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mNegotiate, sid^1, t.request(4))
		d.noStep("an M_NEGOTIATE with another session ID")
	}},
	{"C-09", "negotiation/end-without-option", "2.8.8", Text, "An M_END with neither an accept nor a decline option does not let the negotiation go on.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mEnd, sid, list{oIPv6, t.ula(), protoTCP, 1})
		d.noStep("an M_END with a locator")
	}},
	{"N-06", "negotiation/no-session", "2.8.7", Text, "An M_NEGOTIATE that no request went before begins no session.", negotiator, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mNegotiate, t.sid(), t.request(5))
		d.noStep("an M_NEGOTIATE without a request")
	}},
	{"V-05", "negotiation/invalid-unanswered", "2.8.12", Must, "M_INVALID is never answered with M_INVALID.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mInvalid, sid, "what?")
		if m, e := d.next(t.cfg.Quiet); e == came && m.kind == mInvalid {
			t.fail("came %v", diagnose(m.raw))
		}
		t.works()
	}},
	{"V-02", "negotiation/invalid-session-id", "2.8.12", Must, "If an invalid message is answered with M_INVALID, it has that message's session ID.", negotiator | late, func(t *trial) {
		d, sid := t.connect(t.cfg.Negotiate), t.sid()
		d.send(mReqNeg, sid, "no objective")
		m, e := d.next(t.cfg.Quiet)
		if got, _ := m.sid(); e == came && (m.kind != mInvalid || got != sid) {
			t.fail("came %s", diagnose(m.raw))
		}
	}},
	{"O-02", "negotiation/accept-in-step", "2.9.3", Should, "An accept option outside M_END is ignored, and the rest of the message used.", negotiator, func(t *trial) {
		d, sid, o := t.offer(6)
		d.send(mNegotiate, sid, t.request(o.loop-1), list{oAccept})
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"N-17", "negotiation/many", "2.5.5", Text, "One negotiation after another is answered.", negotiator, func(t *trial) {
		for range 10 {
			d, _, m := t.negotiation(t.request(6))
			t.negotiates(m)
			d.decline(t)
			_ = d.conn.Close()
		}
	}},
	{"N-18", "negotiation/null", "2.10.3", Text, "A request with the value null is answered.", negotiator, func(t *trial) {
		d, _, m := t.negotiation(obj(t.cfg.Negotiate, fDisc|fNeg, 6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"N-10", "negotiation/two-steps", "2.8.7", Text, "Two M_NEGOTIATE at once, though the sides take turns, do no harm.", negotiator | late, func(t *trial) {
		d, sid, o := t.offer(6)
		step := encode(list{mNegotiate, sid, t.request(o.loop - 1)})
		d.note(step)
		d.note(step)
		d.bytes(append(d.cover.seal(step), d.cover.seal(step)...))
		d.next(t.cfg.Quiet)
		t.works()
	}},
	{"N-03", "negotiation/loop-count-255", "2.8.6", Text, "A request with loop count 255 is answered.", negotiator, func(t *trial) {
		if _, _, o := t.offer(255); o.loop > 255 || o.loop < 253 {
			t.fail("the loop count of the answer is %d", o.loop)
		}
	}},
}

// value is what is asked for.
func (t *trial) value() raw { return t.cfg.Value }

// request is the objective that is negotiated.
func (t *trial) request(loop uint64) list {
	return list{t.cfg.Negotiate, fDisc | fNeg, loop, t.value()}
}

// negotiation sends a request and returns what is answered.
func (t *trial) negotiation(o list) (*dialog, uint32, message) {
	d, sid := t.connect(t.cfg.Negotiate), t.sid()
	d.sid = sid
	d.send(mReqNeg, sid, o)
	return d, sid, d.reply()
}

// offer begins a negotiation in which the target makes a counter-offer.
func (t *trial) offer(loop uint64) (*dialog, uint32, objective) {
	d, sid, m := t.negotiation(t.request(loop))
	switch m.kind {
	case mEnd:
		t.skip("the target made no counter-offer; give a value that it haggles over")
	case mNegotiate:
	default:
		t.fail("the answer is %v", m)
	}
	o, err := asObjective(m.at(2))
	if err != nil {
		t.fail("%v: %v", m, err)
	}
	return d, sid, o
}

// negotiates fails unless a message is a step of a negotiation.
func (t *trial) negotiates(m message) {
	if m.kind != mNegotiate && m.kind != mEnd && m.kind != mWait {
		t.fail("the answer is %v", m)
	}
}

// is fails unless a message is of a type.
func (t *trial) is(m message, kind int) {
	if m.kind != kind {
		t.fail("the answer is %v, not %s", m, typeNames[kind])
	}
}

// decline ends the judge's negotiation, so that none is left behind.
func (d *dialog) decline(t *trial) {
	if d.sid != 0 {
		d.send(mEnd, d.sid, list{oDecline})
	}
}

// endsAtOnce is ends without any message.
func (d *dialog) endsAtOnce(after string) {
	m, e := d.next(d.t.cfg.Patience)
	switch {
	case e == silent:
		d.t.fail("%s, the connection was not closed within %v", after, d.t.cfg.Patience)
	case e == came && m.kind == mInvalid:
		d.ends(after)
	case e == came:
		d.t.fail("%s came %v", after, m)
	}
}

// noStep fails if a negotiation goes on.
func (d *dialog) noStep(after string) {
	if m, e := d.next(d.t.cfg.Quiet); e == came && (m.kind == mNegotiate || isAccept(m)) {
		d.t.fail("%s, the target goes on with %v", after, m)
	}
}

func isAccept(m message) bool {
	kind, _, ok := option(m.at(2))
	return m.kind == mEnd && ok && kind == oAccept
}
