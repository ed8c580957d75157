package conform

import "time"

// synchChecks are of a node from which an objective is synchronized.
var synchChecks = []Check{
	{"K-01", "synchronization/answered", "2.5.6.1", Must, "M_REQ_SYN is answered with M_SYNCH on the same connection.", synchronizer, func(t *trial) {
		_, _, m := t.synchronization(t.wanted())
		t.is(m, mSynch)
	}},
	{"S-02", "synchronization/session-id", "2.7", Must, "M_SYNCH has the session ID of the request.", synchronizer, func(t *trial) {
		_, sid, m := t.synchronization(t.wanted())
		if got, _ := m.sid(); got != sid {
			t.fail("the session ID is %d, not %d", got, sid)
		}
	}},
	{"K-07", "synchronization/objective", "2.8.10", Text, "M_SYNCH has the objective of the request.", synchronizer, func(t *trial) {
		if o := t.synch(); o.name != t.cfg.Synch {
			t.fail("the objective is %q, not %q", o.name, t.cfg.Synch)
		}
	}},
	{"K-07", "synchronization/flags", "2.10.2", Text, "M_SYNCH has an objective with the flag F_SYNCH.", synchronizer, func(t *trial) {
		if o := t.synch(); o.flags&fSynch == 0 || o.flags&fNeg != 0 {
			t.fail("the flags are %d", o.flags)
		}
	}},
	{"K-08", "synchronization/value", "2.10.3", Must, "M_SYNCH has an objective with a value.", synchronizer, func(t *trial) {
		if o := t.synch(); o.value == nil {
			t.fail("there is none")
		}
	}},
	{"K-05", "synchronization/closed", "2.5.6.1", Should, "The connection is closed after M_SYNCH.", synchronizer, func(t *trial) {
		d, _, _ := t.synchronization(t.wanted())
		d.ends("after M_SYNCH")
	}},
	{"K-06", "synchronization/nobody", "2.8.6", Must, "A request for an objective that nobody synchronizes leads to immediate closing of the connection.", synchronizer | late, func(t *trial) {
		d := t.connect(t.cfg.Synch)
		d.send(mReqSyn, t.sid(), list{t.unknown(), fDisc | fSynch, 6, nil})
		d.endsAtOnce("after a request for an unknown objective")
	}},
	{"K-06", "synchronization/not-negotiated", "2.8.6", Must, "An objective that is negotiated only is not synchronized: the connection is closed.", synchronizer | negotiator | late, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mReqSyn, t.sid(), list{t.cfg.Negotiate, fDisc | fSynch, 6, nil})
		d.endsAtOnce("after a request to synchronize a negotiated objective")
	}},
	{"N-13", "synchronization/no-negotiation", "2.8.6", Must, "An objective that is synchronized only is not negotiated: the connection is closed.", synchronizer | late, func(t *trial) {
		d := t.connect(t.cfg.Synch)
		d.send(mReqNeg, t.sid(), list{t.cfg.Synch, fDisc | fNeg, 6, nil})
		d.endsAtOnce("after a request to negotiate a synchronized objective")
	}},
	{"C-13", "synchronization/no-value", "2.10.3", Must, "A request whose objective has no value is answered.", synchronizer, func(t *trial) {
		_, _, m := t.synchronization(t.wanted()[:3])
		t.is(m, mSynch)
	}},
	{"C-13", "synchronization/value-zero", "A.3", Text, "A request whose objective has the value 0, as in the RFC's example, is answered.", synchronizer, func(t *trial) {
		o := t.wanted()
		o[3] = 0
		_, _, m := t.synchronization(o)
		t.is(m, mSynch)
	}},
	{"N-17", "synchronization/concurrent", "2.5.6.1", Text, "Two synchronizations at the same time are both answered.", synchronizer, func(t *trial) {
		d1 := t.connect(t.cfg.Synch)
		t.pause(50 * time.Millisecond) // for the target to have accepted it
		d2 := t.connect(t.cfg.Synch)
		sid1, sid2 := t.sid(), t.sid()
		d2.send(mReqSyn, sid2, t.wanted())
		t.is(d2.reply(), mSynch)
		d1.send(mReqSyn, sid1, t.wanted())
		t.is(d1.reply(), mSynch)
	}},
	{"K-07", "synchronization/loop-count-1", "2.8.6", Text, "A request is answered whatever its loop count.", synchronizer, func(t *trial) {
		for _, loop := range []int{1, 255} {
			o := t.wanted()
			o[2] = loop
			_, _, m := t.synchronization(o)
			t.is(m, mSynch)
		}
	}},
	{"K-07", "synchronization/many", "2.5.6.1", Text, "One synchronization after another is answered.", synchronizer, func(t *trial) {
		for range 10 {
			d, _, m := t.synchronization(t.wanted())
			t.is(m, mSynch)
			_ = d.conn.Close()
		}
	}},
}

// wanted is the objective that is synchronized, as it is asked for.
func (t *trial) wanted() list { return obj(t.cfg.Synch, fDisc|fSynch, 6) }

// synchronization sends a request and returns what is answered.
func (t *trial) synchronization(o list) (*dialog, uint32, message) {
	d, sid := t.connect(t.cfg.Synch), t.sid()
	d.send(mReqSyn, sid, o)
	return d, sid, d.reply()
}

// synch returns the objective that an M_SYNCH gives.
func (t *trial) synch() objective {
	_, _, m := t.synchronization(t.wanted())
	t.is(m, mSynch)
	o, err := asObjective(m.at(2))
	if err != nil {
		t.fail("%v: %v", m, err)
	}
	return o
}
