package conform

import (
	"bytes"
	"context"
)

// relayChecks are of a node on two links that relays discoveries: what is
// asked on the first link comes out on the second.
var relayChecks = []Check{
	{"R-02", "relay/relayed", "2.5.4.4", Must, "A discovery of what the target neither supports nor has cached is relayed to its other links.", relay, func(t *trial) {
		t.relayed(t.unknown(), 6)
	}},
	{"R-03", "relay/session-id", "2.5.4.4", Must, "The relayed discovery has the session ID of the original.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		h := t.hears(q, q.named())
		if got, _ := h.sid(); got != q.sid {
			t.fail("the session ID is %d, not %d", got, q.sid)
		}
	}},
	{"R-03", "relay/initiator", "2.5.4.4", Must, "The relayed discovery has the initiator of the original.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		h := t.hears(q, q.named())
		if got, _ := octets(h.at(2)); !bytes.Equal(got, q.initiator) {
			t.fail("the initiator is h'%x', not h'%x'", got, q.initiator)
		}
	}},
	{"R-03", "relay/initiator-4", "2.5.4.4", Must, "A discovery whose initiator has four bytes is relayed with it.", relay, func(t *trial) {
		q := t.newQuery(t.unknown(), 6)
		q.initiator = q.initiator[:4]
		t.ask(q)
		h := t.hears(q, q.named())
		if got, _ := octets(h.at(2)); !bytes.Equal(got, q.initiator) {
			t.fail("the initiator is h'%x', not h'%x'", got, q.initiator)
		}
	}},
	{"R-03", "relay/flags", "2.5.4.4", Text, "The relayed discovery has the flags of the original.", relay, func(t *trial) {
		q := t.newQuery(t.unknown(), 6)
		q.objective[1] = uint64(fNeg)
		t.ask(q)
		h := t.hears(q, q.named())
		if o, _ := asObjective(h.at(3)); o.flags != fNeg {
			t.fail("the flags are %d, not %d", o.flags, fNeg)
		}
	}},
	{"C-10", "relay/value", "2.10.1", Text, "The relayed discovery has the value of the original, bit for bit.", relay, func(t *trial) {
		for _, v := range []string{"1b0000000000000005", "f97e00", "c1fb41d452d9edc00000", "bf61620161639f02ffff", "d9d9f76161"} {
			q := t.newQuery(t.unknown(), 6)
			q.objective[3] = raw(unhex(v))
			t.ask(q)
			h := t.hears(q, q.named())
			if o, _ := asObjective(h.at(3)); !bytes.Equal(o.value, unhex(v)) {
				t.fail("the value is %x, not %s", []byte(o.value), v)
			}
		}
	}},
	{"R-03", "relay/no-value", "2.5.4.4", Text, "A discovery whose objective has no value is relayed without one.", relay, func(t *trial) {
		q := t.newQuery(t.unknown(), 6)
		q.objective = q.objective[:3]
		t.ask(q)
		h := t.hears(q, q.named())
		if o, _ := asObjective(h.at(3)); o.value != nil {
			t.fail("the value is %s", diagnose(o.value))
		}
	}},
	{"R-04", "relay/loop-count", "2.5.4.4", Must, "The loop count of a relayed discovery is decremented.", relay, func(t *trial) {
		for _, loop := range []uint64{6, 2, 255} {
			h := t.relayed(t.unknown(), loop)
			if o, _ := asObjective(h.at(3)); o.loop != loop-1 {
				t.fail("the loop count is %d after %d", o.loop, loop)
			}
		}
	}},
	{"R-04", "relay/loop-count-1", "2.5.4.4", Must, "A discovery with loop count 1 is not relayed.", relay, func(t *trial) {
		t.notRelayed(t.newQuery(t.unknown(), 1), "a discovery with loop count 1")
	}},
	{"R-04", "relay/loop-count-0", "2.5.4.4", Must, "A discovery with loop count 0 is not relayed.", relay, func(t *trial) {
		t.notRelayed(t.newQuery(t.unknown(), 0), "a discovery with loop count 0")
	}},
	{"R-06", "relay/once", "2.5.4.4", Must, "A discovery is not relayed twice.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		t.hears(q, q.named())
		for range 3 {
			t.multicast(q.asker, q.bytes())
		}
		t.pause(t.cfg.Quiet)
		if n := len(q.hearer.all(q.named())); n > 1 {
			t.fail("the same session ID and initiator were relayed %d times", n)
		}
	}},
	{"R-06", "relay/loop", "2.5.4.4", Must, "A discovery that comes back round a loop is not relayed again.", relay, func(t *trial) {
		back := t.listen(0)
		q := t.query(t.unknown(), 6)
		h := t.hears(q, q.named())
		t.multicast(t.asker(1), h.raw) // as another relay would, from the second link to the first
		if got, ok := t.hear(back, t.cfg.Quiet, q.named()); ok {
			t.fail("it came back to the first link, from %v", got.from)
		}
	}},
	{"R-02", "relay/not-back", "2.5.4.4", Must, "A discovery is relayed to the other links, not to the one on which it came.", relay, func(t *trial) {
		back := t.listen(0)
		q := t.query(t.unknown(), 6)
		t.hears(q, q.named())
		if got, ok := t.hear(back, t.cfg.Quiet, q.named()); ok {
			t.fail("it came back from %v", got.from)
		}
	}},
	{"S-06", "relay/equal-session-ids", "2.7", Must, "Discoveries of different initiators with equal session IDs are both relayed.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		t.hears(q, q.named())
		other := t.newQuery(t.unknown(), 6)
		other.sid = q.sid
		t.ask(other)
		t.hears(other, other.named())
	}},
	{"R-02", "relay/supported", "2.5.4.4", Text, "A discovery of what the target supports itself is not relayed.", relay, func(t *trial) {
		q := t.newQuery(t.unknown(), 6)
		q.objective = t.known()
		q.objective[2] = 6
		t.notRelayed(q, "a discovery of what the target has")
	}},
	{"R-02", "relay/malformed", "2.8.2", Text, "A malformed discovery is not relayed.", relay, func(t *trial) {
		q := t.newQuery(t.unknown(), 6)
		q.initiator = q.initiator[:5]
		t.notRelayed(q, "a discovery with an initiator of 5 bytes")
	}},
	{"T-11", "relay/response-port", "2.8.4", Must, "The target accepts responses on the TCP port that equals the source port of its discovery.", relay, func(t *trial) {
		h := t.relayed(t.unknown(), 6)
		c := t.dialBack(h)
		_ = c.Close()
	}},
	{"R-08", "relay/result", "2.5.4.4", Must, "What is found is sent, as M_RESPONSE, to the node from which the discovery came.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		t.respond(q, 60000, t.locator())
		t.response(q.asker, q.sid)
	}},
	{"R-08", "relay/result-ids", "2.5.4.4", Must, "What is found is sent with the session ID and the initiator of the discovery.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		t.respond(q, 60000, t.locator())
		x := t.anyResponse(q.asker)
		sid, _ := x.sid()
		ini, _ := octets(x.at(2))
		if sid != q.sid || !bytes.Equal(ini, q.initiator) {
			t.fail("they are %d and h'%x', not %d and h'%x'", sid, ini, q.sid, q.initiator)
		}
		t.obeysGrammar(x.message)
	}},
	{"R-08", "relay/result-locator", "2.8.5", Must, "What is found is sent with the locator that the responder gave.", relay, func(t *trial) {
		q, l := t.query(t.unknown(), 6), t.locator()
		t.respond(q, 60000, l)
		if x := t.response(q.asker, q.sid); !bytes.Contains(x.raw, encode(l)) {
			t.fail("the locator %s is not in %s", diagnose(encode(l)), diagnose(x.raw))
		}
	}},
	{"S-06", "relay/foreign-response", "2.7", Must, "A response with another initiator belongs to another session: it is not passed on.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		h := t.hears(q, q.named())
		t.respondTo(h, encode(list{mResponse, q.sid, t.ula(), 60000, t.locator()}))
		if x, ok := t.answer(q.asker, t.cfg.Quiet, anything); ok {
			t.fail("came %v", x.message)
		}
	}},
	{"R-05", "relay/rate", "2.5.4.4", Must, "The total rate of relayed discoveries is limited.", relay | alone | slow, func(t *trial) {
		t.limited(func(ini []byte) raw { return discovery(t.sid(), ini, obj(t.unknown(), fDisc|fNeg, 3)) })
	}},
}

// query is a discovery that the judge asks on the first link, and listens for
// on the second.
type query struct {
	sid       uint32
	initiator []byte
	objective list
	asker     *asker
	hearer    *hearer
}

func (t *trial) newQuery(name string, loop uint64) *query {
	return &query{sid: t.sid(), initiator: t.ula(), objective: obj(name, fDisc|fNeg, loop), asker: t.asker(0), hearer: t.listen(1)}
}

func (q *query) bytes() raw { return discovery(q.sid, q.initiator, q.objective) }

// named wants discoveries of the query's objective, whose name no other has.
func (q *query) named() func(heard) bool {
	return func(h heard) bool {
		o, err := asObjective(h.at(3))
		return h.kind == mDiscovery && err == nil && o.name == q.objective[0]
	}
}

// ask sends it, query makes and sends one.
func (t *trial) ask(q *query) { t.multicast(q.asker, q.bytes()) }

func (t *trial) query(name string, loop uint64) *query {
	q := t.newQuery(name, loop)
	t.ask(q)
	return q
}

// hears waits for what is relayed, which must come.
func (t *trial) hears(q *query, want func(heard) bool) heard {
	h, ok := t.hear(q.hearer, t.cfg.Patience, want)
	if !ok {
		t.fail("nothing was relayed to link %v within %v", q.hearer.link, t.cfg.Patience)
	}
	return h
}

// relayed asks and waits for what is relayed.
func (t *trial) relayed(name string, loop uint64) heard {
	q := t.query(name, loop)
	return t.hears(q, ofSession(mDiscovery, q.sid, q.initiator))
}

// notRelayed asks what must not be relayed.
func (t *trial) notRelayed(q *query, what string) {
	t.ask(q)
	if _, ok := t.hear(q.hearer, t.cfg.Quiet, q.named()); ok {
		t.fail("%s was relayed", what)
	}
}

// locator makes up a locator, of which nobody is the owner.
func (t *trial) locator() list { return list{oIPv6, t.ula(), protoTCP, 7 + t.sid()%60000} }

// dialBack connects to the port from which a discovery was sent.
func (t *trial) dialBack(h heard) *dialog {
	t.wait()
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Patience)
	defer cancel()
	c, err := t.links[1].dial(ctx, h.from)
	if err != nil {
		t.fail("the target does not listen where its discovery came from: %v", err)
	}
	t.connections.Add(1)
	t.note(true, nil, "connection to %v", h.from)
	t.closers = append(t.closers, func() { _ = c.Close() })
	return &dialog{t: t, stream: stream{conn: c, cover: t.cover}}
}

// respondTo answers a relayed discovery, as a node on the second link.
func (t *trial) respondTo(h heard, b []byte) {
	d := t.dialBack(h)
	d.write(b)
	_ = d.Close()
}

// respond waits for the relayed discovery and answers it.
func (t *trial) respond(q *query, ttl int, options ...any) {
	h := t.hears(q, q.named())
	t.respondTo(h, encode(append(list{mResponse, q.sid, q.initiator, ttl}, options...)))
}
