package conform

import "time"

// dryChecks are of dry runs of a negotiation.
var dryChecks = []Check{
	{"Y-01", "dry/answered", "2.10.2", Text, "A request for a dry run is answered, if only with a decline.", negotiator, func(t *trial) {
		d, _, m := t.negotiation(t.dryRequest(6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"Y-02", "dry/stays-dry", "2.10.2", Text, "In a dry run the target's objectives have the flag F_NEG_DRY too.", negotiator, func(t *trial) {
		d, _, o := t.dryOffer()
		if o.flags&fDry == 0 {
			t.fail("the flags are %d", o.flags)
		}
		d.decline(t)
	}},
	{"Y-02", "dry/stays-live", "2.10.2", Text, "In a negotiation that is no dry run the target's objectives have no flag F_NEG_DRY.", negotiator, func(t *trial) {
		d, _, o := t.offer(6)
		if o.flags&fDry != 0 {
			t.fail("the flags are %d", o.flags)
		}
		d.decline(t)
	}},
	{"Y-02", "dry/live-turns-dry", "2.10.2", Text, "A negotiation does not turn into a dry run: the two modes cannot be mixed.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mNegotiate, sid, t.dryRequest(4))
		d.noStep("an M_NEGOTIATE with F_NEG_DRY")
	}},
	{"Y-02", "dry/dry-turns-live", "2.10.2", Text, "A dry run does not turn into a negotiation: the two modes cannot be mixed.", negotiator, func(t *trial) {
		d, sid, _ := t.dryOffer()
		d.send(mNegotiate, sid, t.request(4))
		d.noStep("an M_NEGOTIATE without F_NEG_DRY")
	}},
}

// dryRequest is the objective that is negotiated, in a dry run.
func (t *trial) dryRequest(loop uint64) list {
	return list{t.cfg.Negotiate, fDisc | fNeg | fDry, loop, t.value()}
}

// dryOffer begins a dry run in which the target makes a counter-offer.
func (t *trial) dryOffer() (*dialog, uint32, objective) {
	d, sid := t.connect(t.cfg.Negotiate), t.sid()
	d.sid = sid
	d.send(mReqNeg, sid, t.dryRequest(6))
	m, e := d.next(t.cfg.Patience)
	if e != came || m.kind != mNegotiate {
		t.skip("the target made no counter-offer in a dry run")
	}
	o, err := asObjective(m.at(2))
	if err != nil {
		t.fail("%v: %v", m, err)
	}
	return d, sid, o
}

// waitChecks are of M_WAIT and of what happens when nothing comes.
var waitChecks = []Check{
	{"N-16", "wait/initiator", "2.8.9", Text, "An M_WAIT of the initiator is accepted: the negotiation goes on after it.", negotiator, func(t *trial) {
		d, sid, o := t.offer(6)
		d.send(mWait, sid, 20000)
		t.pause(t.cfg.Quiet) // so that it comes by itself
		d.send(mNegotiate, sid, t.request(o.loop-1))
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"N-14", "wait/unanswered", "2.8.9", Text, "M_WAIT is not answered.", negotiator, func(t *trial) {
		d, sid, _ := t.offer(6)
		d.send(mWait, sid, 20000)
		if m, e := d.next(t.cfg.Quiet); e == came {
			t.fail("came %v", m)
		} else if e == closed {
			t.fail("the connection was closed")
		}
		d.decline(t)
	}},
	{"C-08", "wait/surplus-option", "2.8.2", Should, "What an M_WAIT carries besides the waiting time is ignored, and the time used.", negotiator, func(t *trial) {
		d, sid, o := t.offer(6)
		d.send(mWait, sid, 20000, list{oDecline})
		t.pause(t.cfg.Quiet)
		d.send(mNegotiate, sid, t.request(o.loop-1))
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"N-15", "wait/many", "2.8.9", Text, "The initiator may ask for time again and again: 20 times are nothing special.", negotiator, func(t *trial) {
		d, sid, o := t.offer(6)
		for range 20 {
			d.send(mWait, sid, 20000)
			t.pause(20 * time.Millisecond)
		}
		d.send(mNegotiate, sid, t.request(o.loop-1))
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"N-15", "wait/no-session", "2.8.9", Text, "An M_WAIT that no request went before begins no session.", negotiator, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mWait, t.sid(), 20000)
		d.noStep("an M_WAIT without a request")
		t.works()
	}},
	{"N-15", "wait/expired", "2.8.9", Must, "When the time of an M_WAIT is over without a message, the negotiation has failed.", negotiator | slow, func(t *trial) {
		d, sid, o := t.offer(6)
		d.send(mWait, sid, 1000)
		t.pause(6 * t.cfg.second)
		d.send(mNegotiate, sid, t.request(o.loop-1))
		d.noStep("an M_NEGOTIATE 5 s after the time was over")
	}},
	{"N-14", "wait/longer-than-default", "2.8.9", Text, "An M_WAIT replaces the default of 60 s: after 65 of 90 s the negotiation can go on.", negotiator | slow, func(t *trial) {
		d, sid, o := t.offer(6)
		d.send(mWait, sid, 90000)
		t.pause(65 * t.cfg.second)
		d.send(mNegotiate, sid, t.request(o.loop-1))
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"N-04", "wait/timer", "2.8.6", Must, "The negotiation timer ends a negotiation in which nothing comes: 60 s by default, and here within 90 s.", negotiator | slow, func(t *trial) {
		d, sid, o := t.offer(6)
		t.pause(90 * t.cfg.second)
		d.send(mNegotiate, sid, t.request(o.loop-1))
		d.noStep("an M_NEGOTIATE 90 s after the last message")
	}},
}
