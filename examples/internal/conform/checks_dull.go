package conform

import (
	"bytes"
)

// dullChecks are of an instance for discovery and floods on one link only
// (RFC 8990 section 2.5.2).
var dullChecks = []Check{
	{"D-06", "dull/answered", "2.5.2", Should, "A DULL instance answers a discovery with loop count 1 of what it has.", dull, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw { return discovery(sid, ini, t.known()) })
	}},
	{"L-04", "dull/loop-count", "2.5.2", Must, "A DULL instance discards silently a discovery with a loop count other than 1.", dull, func(t *trial) {
		for _, loop := range []int{0, 2, 6, 255} {
			o := t.known()
			o[2] = loop
			t.discards(discovery(t.sid(), t.ula(), o))
		}
	}},
	{"L-04", "dull/source", "2.5.2", Must, "A DULL instance discards silently what has a source that is not link-local.", dull, func(t *trial) {
		l := t.links[0]
		if len(l.global) == 0 {
			t.skip("link %v has no address that is not link-local", l)
		}
		a, err := l.newAsker(l.global[0])
		t.must(err)
		t.closers = append(t.closers, a.close)
		t.multicast(a, discovery(t.sid(), t.ula(), t.known()))
		t.silence(a, "a discovery from "+l.global[0].String())
	}},
	{"L-06", "dull/unknown", "2.5.2", Must, "A DULL instance discards silently what it has no use for.", dull, func(t *trial) {
		t.discards(discovery(t.sid(), t.ula(), obj(t.unknown(), fDisc|fSynch, 1)), encode(list{mReqSyn, t.sid(), t.known()}))
	}},
	{"L-07", "dull/locator", "2.5.2", Must, "The responses of a DULL instance give a link-local address.", dull, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		at := tcpAddrs(t.response(a, sid).message)
		for _, l := range at {
			if !l.Addr().IsLinkLocalUnicast() {
				t.fail("the locator is %v", l)
			}
		}
		if len(at) == 0 {
			t.fail("there is no locator with an IP address")
		}
	}},
	{"L-07", "dull/no-divert", "2.5.2", Must, "The responses of a DULL instance have no Divert.", dull, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		for _, b := range t.response(a, sid).items[4:] {
			if kind, _, _ := option(b); kind == oDivert {
				t.fail("there is one")
			}
		}
	}},
	{"L-05", "dull/no-relayed-discovery", "2.5.2", Must, "A DULL instance relays no discovery.", dull | relay, func(t *trial) {
		for _, loop := range []uint64{6, 2, 1} {
			t.notRelayed(t.newQuery(t.unknown(), loop), "a discovery")
		}
	}},
	{"L-05", "dull/no-relayed-flood", "2.5.2", Must, "A DULL instance relays no flood.", dull | relay, func(t *trial) {
		for _, loop := range []uint64{6, 2, 1} {
			t.notFlooded(t.newFlood(loop), "a flood")
		}
	}},
	{"L-02", "dull/sent-loop-count", "2.5.2", Must, "What a DULL instance multicasts has loop count 1.", dull | slow, func(t *trial) {
		h := t.listen(0)
		from := t.targetOn(0).WithZone("")
		got, ok := t.hear(h, floodPeriod*t.cfg.second, func(h heard) bool {
			return h.from.Addr().WithZone("") == from && (h.kind == mDiscovery || h.kind == mFlood)
		})
		if !ok {
			t.skip("the target multicast nothing within %d s", floodPeriod)
		}
		if o := got.first(); o.loop != 1 {
			t.fail("the loop count is %d", o.loop)
		}
	}},
	{"C-11", "dull/rubbish", "2.2", Text, "Rubbish does a DULL instance no harm.", dull, func(t *trial) {
		a := t.asker(0)
		good := discovery(t.sid(), t.ula(), t.known())
		for i := range good {
			t.multicast(a, append(bytes.Clone(good[:i]), 0xff))
		}
		t.works()
	}},
}

// first is the first objective of a discovery or flood.
func (h heard) first() objective {
	if h.kind == mFlood {
		return h.flooded(0)
	}
	o, _ := asObjective(h.at(3))
	return o
}

// floodPeriod is longer than the period in which a DULL instance should flood
// what it has (RFC 8994 section 6.4: 60 s), in seconds.
const floodPeriod = 75
