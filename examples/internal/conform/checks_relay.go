package conform

import (
	"bytes"
	"context"
	"net/netip"
	"time"
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

// Close closes the connection.
func (d *dialog) Close() error { return d.conn.Close() }

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

// cacheChecks are of a node that has learned, on the second link, who has an
// objective.
var cacheChecks = []Check{
	{"D-13", "cache/divert", "2.5.4.3", Should, "A node that has cached locators answers with a Divert that holds them.", relay, func(t *trial) {
		l := t.locator()
		name := t.teach(60000, l)
		if got := t.divert(name); !got.has(l) {
			t.fail("the locator %s is not in %s", diagnose(encode(l)), diagnose(got.raw))
		}
	}},
	{"C-01", "cache/grammar", "2.9.2", Text, "A Divert follows the grammar: its locators are its own items.", relay, func(t *trial) {
		t.obeysGrammar(t.divert(t.teach(60000, t.locator())).message)
	}},
	{"D-16", "cache/several", "2.5.4.3", Should, "Several locators are all kept.", relay, func(t *trial) {
		l1, l2 := t.locator(), t.locator()
		if got := t.divert(t.teach(60000, l1, l2)); !got.has(l1) || !got.has(l2) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"D-16", "cache/several-responders", "2.5.4.3", Should, "The locators of several responders are all kept.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		l1, l2 := t.locator(), t.locator()
		h := t.hears(q, q.named())
		for _, l := range []list{l1, l2} {
			t.respondTo(h, encode(list{mResponse, q.sid, q.initiator, 60000, l}))
		}
		t.answer(q.asker, t.cfg.Quiet, func(answer) bool { return false })
		if got := t.divert(q.objective[0].(string)); !got.has(l1) || !got.has(l2) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"D-14", "cache/not-where-learned", "2.5.4.3", Should, "A Divert is not sent on the link on which its locators were learned.", relay, func(t *trial) {
		name := t.teach(60000, t.locator())
		t.divert(name) // or there is nothing to judge
		a, sid := t.asker(1), t.sid()
		t.multicast(a, discovery(sid, t.ula(), obj(name, fDisc|fNeg, 1)))
		if _, ok := t.answer(a, t.cfg.Quiet, isResponse(sid)); ok {
			t.fail("it was answered there")
		}
	}},
	{"D-17", "cache/expired", "2.5.4.3", Must, "Cached locators whose lifetime is over are never used.", relay, func(t *trial) {
		name := t.teach(1000, t.locator())
		t.pause(1500 * time.Millisecond)
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), obj(name, fDisc|fNeg, 1)))
		if _, ok := t.answer(a, t.cfg.Quiet, isResponse(sid)); ok {
			t.fail("they were, 500 ms after that")
		}
	}},
	{"D-17", "cache/ttl", "2.5.4.3", Must, "The ttl of a Divert is not longer than that of what was learned.", relay, func(t *trial) {
		got := t.divert(t.teach(30000, t.locator()))
		if ttl, ok := number(got.at(3)); !ok || ttl > 30000 || ttl == 0 {
			t.fail("a locator for 30000 ms was passed on for %d ms", ttl)
		}
	}},
	{"O-05", "cache/no-link-local", "2.9.5.1", Must, "A Divert has no link-local address.", relay, func(t *trial) {
		l := t.locator()
		ll := list{oIPv6, append([]byte{0xfe, 0x80, 7: 0}, t.ula()[8:]...), protoTCP, 4711}
		if got := t.divert(t.teach(60000, ll, l)); got.has(ll) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"O-07", "cache/no-mdns", "2.9.5.3", Must, "A Divert has no name that is valid on one link only, such as one of multicast DNS.", relay, func(t *trial) {
		l := t.locator()
		local := list{oFQDN, "printer.local", protoTCP, 4711}
		if got := t.divert(t.teach(60000, local, l)); got.has(local) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"D-13", "cache/fqdn", "2.9.5.3", Should, "A locator with a name that is valid everywhere is passed on.", relay, func(t *trial) {
		l := list{oFQDN, "grasp.example.org", protoTCP, 4711}
		if got := t.divert(t.teach(60000, l)); !got.has(l) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"O-08", "cache/uri", "2.9.5.4", Should, "A locator with a URI is passed on, with protocol and port null.", relay, func(t *trial) {
		l := list{oURI, "coap://grasp.example.org/g", nil, nil}
		if got := t.divert(t.teach(60000, l)); !got.has(l) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"D-24", "cache/no-own-addresses", "3", Text, "Loopback, multicast and unspecified addresses, which are of no node in the domain, are not passed on.", relay, func(t *trial) {
		l := t.locator()
		wrong := []any{
			list{oIPv6, netip.MustParseAddr("::1").AsSlice(), protoTCP, 22}, list{oIPv6, make([]byte, 16), protoTCP, 22},
			list{oIPv6, netip.MustParseAddr("ff02::1").AsSlice(), protoTCP, 22}, list{oIPv4, []byte{127, 0, 0, 1}, protoTCP, 22},
			list{oIPv4, make([]byte, 4), protoTCP, 22}, list{oIPv6, netip.MustParseAddr("::ffff:127.0.0.1").AsSlice(), protoTCP, 22},
		}
		got := t.divert(t.teach(60000, append(wrong, l)...))
		for _, w := range wrong {
			if got.has(w) {
				t.fail("%s was", diagnose(encode(w)))
			}
		}
	}},
	{"C-04", "cache/unknown-option", "2.8.2", Should, "An unknown option in M_RESPONSE is ignored, and the locators beside it are used.", relay, func(t *trial) {
		l := t.locator()
		if got := t.divert(t.teach(60000, list{110, "what"}, l)); !got.has(l) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"D-10", "cache/objective", "2.8.5", May, "A copy of the objective may follow the locators in M_RESPONSE: they are used.", relay, func(t *trial) {
		q, l := t.query(t.unknown(), 6), t.locator()
		t.respond(q, 60000, l, q.objective)
		t.answer(q.asker, t.cfg.Quiet, isResponse(q.sid))
		if got := t.divert(q.objective[0].(string)); !got.has(l) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"O-01", "cache/learned-divert", "2.9.2", Text, "Locators that came in a Divert are passed on as well, flat.", relay, func(t *trial) {
		l := t.locator()
		got := t.divert(t.teach(60000, list{oDivert, l}))
		t.obeysGrammar(got.message)
		if !got.has(l) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"D-08", "cache/ttl-0", "2.8.5", Text, "A ttl of 0 stands for something much longer than 60 s, not for nothing.", relay, func(t *trial) {
		l := t.locator()
		name := t.teach(0, l)
		t.pause(1500 * time.Millisecond)
		if got := t.divert(name); !got.has(l) {
			t.fail("came %s", diagnose(got.raw))
		}
	}},
	{"R-02", "cache/not-relayed", "2.5.4.4", Text, "A discovery that is answered from the cache is not relayed.", relay, func(t *trial) {
		name := t.teach(60000, t.locator())
		t.divert(name)
		t.notRelayed(t.newQuery(name, 6), "a discovery of what the target has cached")
	}},
	{"D-25", "cache/foreign-session", "2.7", Must, "A response to a session that the target does not know is not used.", relay, func(t *trial) {
		q := t.query(t.unknown(), 6)
		h := t.hears(q, q.named())
		t.respondTo(h, encode(list{mResponse, t.sid(), q.initiator, 60000, t.locator()}))
		t.pause(t.cfg.Quiet)
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), obj(q.objective[0].(string), fDisc|fNeg, 1)))
		if x, ok := t.answer(a, t.cfg.Quiet, isResponse(sid)); ok {
			t.fail("it was: %s", diagnose(x.raw))
		}
	}},
}

// diverted is a response that came from a cache.
type diverted struct{ message }

// has says whether it holds a locator.
func (d diverted) has(locator any) bool { return bytes.Contains(d.raw, encode(locator)) }

// teach has the target learn, on the second link, who has an objective, whose
// name it returns.
func (t *trial) teach(ttl int, options ...any) string {
	q := t.query(t.unknown(), 6)
	t.respond(q, ttl, options...)
	t.answer(q.asker, t.cfg.Quiet, isResponse(q.sid)) // or not: that is another check's affair
	return q.objective[0].(string)
}

// divert asks on the first link for what the target has learned.
func (t *trial) divert(name string) diverted {
	a, sid := t.asker(0), t.sid()
	t.multicast(a, discovery(sid, t.ula(), obj(name, fDisc|fNeg, 1)))
	x, ok := t.answer(a, t.cfg.Patience, isResponse(sid))
	if !ok {
		t.fail("a discovery of what the target has learned was not answered")
	}
	if kind, _, _ := option(x.at(4)); kind != oDivert {
		t.fail("the answer has no Divert: %s", diagnose(x.raw))
	}
	return diverted{x.message}
}
