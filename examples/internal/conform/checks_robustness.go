package conform

import (
	"math/rand/v2"
	"net"
	"time"
)

// robustnessChecks are of peers that are slow, odd or hostile.
var robustnessChecks = []Check{
	{"T-05", "robustness/dribble", "2.5.3", Text, "A request that comes byte by byte is understood: TCP has no message boundaries.", negotiator | late, func(t *trial) {
		d, sid := t.connect(t.cfg.Negotiate), t.sid()
		d.sid = sid
		rest := d.writePart(encode(list{mReqNeg, sid, t.request(6)}), 0)
		for i := range rest {
			t.pause(2 * time.Millisecond)
			d.bytes(rest[i : i+1])
		}
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"T-05", "robustness/halves", "2.5.3", Text, "A request that comes in two segments is understood.", synchronizer | late, func(t *trial) {
		d := t.connect(t.cfg.Synch)
		rest := d.writePart(encode(list{mReqSyn, t.sid(), t.wanted()}), 0.5)
		t.pause(100 * time.Millisecond)
		d.bytes(rest)
		t.is(d.reply(), mSynch)
	}},
	{"T-05", "robustness/coalesced", "2.5.3", Text, "Two messages that come in one segment are both understood.", negotiator | late, func(t *trial) {
		d, sid, o := t.offer(6)
		wait, step := encode(list{mWait, sid, 20000}), encode(list{mNegotiate, sid, t.request(o.loop - 1)})
		d.note(wait)
		d.note(step)
		d.bytes(append(d.cover.seal(wait), d.cover.seal(step)...))
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"N-17", "robustness/idle", "2.5.5", Text, "A connection on which nothing is sent does not keep others waiting.", negotiator | late, func(t *trial) {
		for range 20 {
			t.connect(t.cfg.Negotiate)
		}
		d, _, m := t.negotiation(t.request(6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"N-17", "robustness/half-sent", "2.5.5", Text, "A request of which the end does not come does not keep others waiting.", synchronizer | late | bare, func(t *trial) {
		for range 5 {
			t.connect(t.cfg.Synch).writePart(encode(list{mReqSyn, t.sid(), t.wanted()}), 0.8)
		}
		_, _, m := t.synchronization(t.wanted())
		t.is(m, mSynch)
	}},
	{"G-01", "robustness/service-goes-on", "2.2", Text, "A request for an objective that nobody negotiates does not end the service of others.", negotiator | late, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mReqNeg, t.sid(), list{t.unknown(), fDisc | fNeg, 6, nil})
		d.ends("after a request for an unknown objective")
		t.pause(t.cfg.Quiet) // for what comes of it
		d, _, m := t.negotiation(t.request(6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"G-01", "robustness/reset", "2.2", Text, "Connections that are reset in a negotiation do no harm.", negotiator | late, func(t *trial) {
		for range 5 {
			d, _, _ := t.negotiation(t.request(6))
			d.reset()
		}
		d, _, m := t.negotiation(t.request(6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"G-01", "robustness/half-closed", "2.2", Text, "A peer that closes its side of the connection in a negotiation does no harm.", negotiator | late, func(t *trial) {
		d, _, _ := t.negotiation(t.request(6))
		if c, ok := d.conn.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
		d.next(t.cfg.Quiet)
		t.works()
	}},
	{"G-01", "robustness/unreachable", "2.2", Text, "Discoveries to whose source no response can be brought do no harm.", late, func(t *trial) {
		a := t.asker(0)
		_ = a.tcp.Close()
		for range 10 {
			t.multicast(a, discovery(t.sid(), t.ula(), t.known()))
		}
		t.works()
	}},
	{"C-11", "robustness/rubbish", "2.2", Text, "A flood of rubbish does no harm.", alone | late | bare, func(t *trial) {
		a := t.asker(0)
		r := rand.New(rand.NewPCG(1, 2)) // the same each time
		good := discovery(t.sid(), t.ula(), t.known())
		for range 300 {
			b := append([]byte(nil), good...)
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
			if r.IntN(4) == 0 {
				b = b[:r.IntN(len(b))]
			}
			t.multicast(a, b)
		}
		t.works()
	}},
	{"C-11", "robustness/rubbish-unicast", "2.2", Text, "Rubbish over connections does no harm.", negotiator | alone | late | bare, func(t *trial) {
		r := rand.New(rand.NewPCG(3, 4))
		good := encode(list{mReqNeg, t.sid(), t.request(6)})
		for range 40 {
			b := append([]byte(nil), good...)
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
			d := t.connect(t.cfg.Negotiate)
			d.write(b)
			_ = d.conn.Close()
		}
		t.works()
		d, _, m := t.negotiation(t.request(6))
		t.negotiates(m)
		d.decline(t)
	}},
	{"G-04", "robustness/many-discoveries", "2.4", Text, "After a few hundred discoveries the target still answers.", alone | late, func(t *trial) {
		a := t.asker(0)
		for range 300 {
			t.multicast(a, discovery(t.sid(), t.ula(), t.known()))
		}
		t.works()
	}},
	{"G-04", "robustness/many-floods", "2.4", Text, "Hundreds of flooded objectives with as many names do no harm.", alone | late, func(t *trial) {
		a := t.asker(0)
		for range 300 {
			t.multicast(a, encode(list{mFlood, t.sid(), t.ula(), 5000, list{list{t.unknown(), fDisc | fSynch, 1, 1}, list{}}}))
		}
		t.works()
	}},
}
