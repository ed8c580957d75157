package conform

import (
	"bytes"
	"net/netip"
	"time"
)

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

// has reports whether it holds a locator.
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
