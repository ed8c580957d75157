package conform

import (
	"bytes"
	"net/netip"
)

// discoveryChecks are of a node that is asked for an objective that it has.
var discoveryChecks = []Check{
	{"D-06", "discovery/negotiation-objective", "2.5.4.3", Should, "Who supports the negotiation objective answers with M_RESPONSE.", negotiator, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), obj(t.cfg.Negotiate, fDisc|fNeg, 6)))
		t.response(a, sid)
	}},
	{"D-06", "discovery/synchronization-objective", "2.5.4.3", Should, "Who supports the synchronization objective answers with M_RESPONSE.", synchronizer, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), obj(t.cfg.Synch, fDisc|fSynch, 6)))
		t.response(a, sid)
	}},
	{"D-07", "discovery/session-id", "2.8.5", Must, "The response repeats the session ID of the discovery.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		x := t.anyResponse(a)
		if got, _ := x.sid(); got != sid {
			t.fail("the session ID is %d, not %d", got, sid)
		}
	}},
	{"D-07", "discovery/initiator", "2.8.5", Must, "The response repeats the initiator of the discovery.", 0, func(t *trial) {
		a, sid, ini := t.asker(0), t.sid(), t.ula()
		t.multicast(a, discovery(sid, ini, t.known()))
		if got, _ := octets(t.response(a, sid).at(2)); !bytes.Equal(got, ini) {
			t.fail("the initiator is h'%x', not h'%x'", got, ini)
		}
	}},
	{"D-08", "discovery/ttl", "2.8.5", Must, "The response has a ttl: a positive number of milliseconds.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		if ttl, ok := number(t.response(a, sid).at(3)); !ok || ttl == 0 || ttl>>32 != 0 {
			t.fail("the ttl is %d", ttl)
		}
	}},
	{"D-09", "discovery/locator", "2.8.5", Must, "The response of who supports the objective has a locator at least.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		x := t.response(a, sid)
		if _, err := asLocator(x.at(4)); err != nil {
			t.fail("%v", err)
		}
	}},
	{"D-09", "discovery/locator-reachable", "2.8.5", Text, "The locator of the response accepts connections.", negotiator, func(t *trial) {
		t.connect(t.cfg.Negotiate)
	}},
	{"D-24", "discovery/locator-own", "3", Must, "The locator of the response is an address of a node in the secure domain: neither a loopback, nor multicast, nor unspecified.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		for _, at := range tcpAddrs(t.response(a, sid).message) {
			if ip := at.Addr().Unmap(); ip.IsLoopback() || ip.IsMulticast() || ip.IsUnspecified() {
				t.fail("the locator is %v", at)
			}
		}
	}},
	{"D-11", "discovery/same-link", "2.8.5", Text, "The response comes to the source of the discovery, over the link on which that came in.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		if x := t.response(a, sid); x.udp || x.from.Addr().Zone() != "" && !t.links[0].has(x.from.Addr()) {
			t.fail("it came from %v (by UDP: %v)", x.from, x.udp)
		}
	}},
	{"D-12", "discovery/closed", "2.8.5", Should, "The connection of the response is closed after it.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		t.response(a, sid)
		if _, ok := t.answer(a, t.cfg.Patience, func(x answer) bool { return x.closed }); !ok {
			t.fail("it was not closed within %v", t.cfg.Patience)
		}
	}},
	{"D-15", "discovery/unknown", "2.5.4.3", Must, "A discovery of what the target does not know is discarded silently, when it may not be relayed.", 0, func(t *trial) {
		t.discards(discovery(t.sid(), t.ula(), obj(t.unknown(), fDisc|fNeg, 1)))
	}},
	{"S-06", "discovery/equal-session-ids", "2.7", Must, "Equal session IDs of different initiators are different sessions: both discoveries are answered.", 0, func(t *trial) {
		sid := t.sid()
		for range 2 {
			a, ini := t.asker(0), t.ula()
			t.multicast(a, discovery(sid, ini, t.known()))
			if got, _ := octets(t.response(a, sid).at(2)); !bytes.Equal(got, ini) {
				t.fail("the initiator is h'%x', not h'%x'", got, ini)
			}
		}
	}},
	{"D-06", "discovery/repeated", "2.5.4.3", Should, "A repeated discovery with a new session ID is answered again.", 0, func(t *trial) {
		a, ini := t.asker(0), t.ula()
		for range 3 {
			sid := t.sid()
			t.multicast(a, discovery(sid, ini, t.known()))
			t.response(a, sid)
		}
	}},
	{"S-08", "discovery/initiator-no-address", "2.5.4.4", Text, "The response goes to the source of the discovery, never to its initiator.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw { return discovery(sid, ini, t.known()) })
	}},
	{"D-15", "discovery/loop-count-0", "2.5.4.4", Text, "A discovery with loop count 0 does no harm.", 0, func(t *trial) {
		o := t.known()
		o[2] = 0
		a := t.asker(0)
		t.multicast(a, discovery(t.sid(), t.ula(), o))
		t.works()
	}},
	{"D-21", "discovery/unicast", "2.5.4.2", May, "A discovery that comes by UDP to the target alone, on port 7017, is answered like a multicast.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.sendTo(a, netip.AddrPortFrom(t.targetOn(0), port), discovery(sid, t.ula(), t.known()))
		t.response(a, sid)
	}},
	{"D-21", "discovery/unicast-tcp", "2.8.4", May, "A discovery that comes over a connection is answered on it.", negotiator | late, func(t *trial) {
		d, sid := t.connect(t.cfg.Negotiate), t.sid()
		d.write(discovery(sid, t.ula(), t.known()))
		t.is(d.reply(), mResponse)
	}},
	{"P-01", "discovery/not-rapid-negotiation", "2.5.5.1", Should, "Rapid mode is off by default: a discovery with a value is answered with M_RESPONSE, not M_NEGOTIATE.", negotiator, func(t *trial) {
		t.notRapid(list{t.cfg.Negotiate, fDisc | fNeg, 1, t.value()})
		t.notRapid(list{t.cfg.Negotiate, fDisc | fNeg, 1, "a value"})
	}},
	{"P-01", "discovery/not-rapid-synchronization", "2.5.6.3", Should, "Rapid mode is off by default: a discovery is answered with M_RESPONSE, not M_SYNCH.", synchronizer, func(t *trial) {
		t.notRapid(obj(t.cfg.Synch, fDisc|fSynch, 1))
		t.notRapid(list{t.cfg.Synch, fDisc | fSynch, 1, "a value"})
	}},
	{"D-25", "discovery/unasked-response", "2.8.5", Text, "An M_RESPONSE that nobody asked for does no harm.", negotiator | late, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mResponse, t.sid(), t.ula(), 60000, list{oIPv6, t.ula(), protoTCP, 4})
		if m, e := d.next(t.cfg.Quiet); e == came && m.kind != mInvalid {
			t.fail("it was answered with %v", m)
		}
		t.works()
	}},
}
