package conform

import (
	"bytes"
)

// floodChecks are of a node on two links that relays floods.
var floodChecks = []Check{
	{"F-08", "flood/relayed", "2.5.6.2", Must, "A flood is relayed to the target's other links.", relay, func(t *trial) {
		t.floods(t.newFlood(6))
	}},
	{"F-09", "flood/session-id", "2.5.6.2", Must, "The relayed flood has the session ID of the original.", relay, func(t *trial) {
		f := t.newFlood(6)
		if got, _ := t.floods(f).sid(); got != f.sid {
			t.fail("the session ID is %d, not %d", got, f.sid)
		}
	}},
	{"F-09", "flood/initiator", "2.5.6.2", Must, "The relayed flood has the initiator of the original.", relay, func(t *trial) {
		f := t.newFlood(6)
		if got, _ := octets(t.floods(f).at(2)); !bytes.Equal(got, f.initiator) {
			t.fail("the initiator is h'%x', not h'%x'", got, f.initiator)
		}
	}},
	{"F-09", "flood/ttl", "2.5.6.2", Text, "The relayed flood has the ttl of the original.", relay, func(t *trial) {
		for _, ttl := range []uint64{210000, 0, 1<<32 - 1} {
			f := t.newFlood(6)
			f.ttl = ttl
			if got, _ := number(t.floods(f).at(3)); got != ttl {
				t.fail("the ttl is %d, not %d", got, ttl)
			}
		}
	}},
	{"F-09", "flood/unchanged", "2.5.6.2", Text, "Everything in a relayed flood but the first loop count is as it was, bit for bit in the values.", relay, func(t *trial) {
		for _, v := range []string{"1b0000000000000005", "f97e00", "c1fb41d452d9edc00000", "bf61620161639f02ffff", "d9d9f76161"} {
			f := t.newFlood(6)
			f.pairs = []any{
				list{list{f.name, fSynch, 6, raw(unhex(v))}, list{oIPv6, t.ula(), protoTCP, 4711}},
				list{list{f.name + "2", fSynch, 9, raw(unhex(v))}, list{}},
			}
			f.first = 6
			t.sameButLoopCount(f, t.floods(f))
		}
	}},
	{"F-10", "flood/loop-count", "2.5.6.2", Must, "The loop count of the first objective of a relayed flood is decremented.", relay, func(t *trial) {
		for _, loop := range []uint64{6, 2, 255} {
			if got := t.floods(t.newFlood(loop)).flooded(0); got.loop != loop-1 {
				t.fail("the loop count is %d after %d", got.loop, loop)
			}
		}
	}},
	{"F-10", "flood/other-loop-counts", "2.5.6.2", Text, "Only the first objective's loop count is decremented.", relay, func(t *trial) {
		f := t.newFlood(5)
		f.pairs = append(f.pairs, list{obj(f.name+"2", fDisc|fSynch, 9), list{}}, list{obj(f.name+"3", fDisc|fSynch, 1), list{}})
		h := t.floods(f)
		if a, b := h.flooded(1).loop, h.flooded(2).loop; a != 9 || b != 1 {
			t.fail("those of the second and the third are %d and %d, not 9 and 1", a, b)
		}
	}},
	{"F-10", "flood/loop-count-1", "2.5.6.2", Must, "A flood with loop count 1 is not relayed.", relay, func(t *trial) {
		t.notFlooded(t.newFlood(1), "a flood with loop count 1")
	}},
	{"F-10", "flood/loop-count-0", "2.5.6.2", Must, "A flood with loop count 0 is not relayed.", relay, func(t *trial) {
		t.notFlooded(t.newFlood(0), "a flood with loop count 0")
	}},
	{"F-12", "flood/once", "2.5.6.2", Must, "A flood is not relayed twice.", relay, func(t *trial) {
		f := t.newFlood(6)
		t.floods(f)
		for range 3 {
			t.multicast(f.asker, f.bytes())
		}
		t.pause(t.cfg.Quiet)
		if n := len(f.hearer.all(f.named())); n > 1 {
			t.fail("the same session ID and initiator were relayed %d times", n)
		}
	}},
	{"F-12", "flood/once-in-two-minutes", "2.5.6.2", Must, "A flood is remembered for 120 s at least: 110 s later it is not relayed again.", relay | slow, func(t *trial) {
		f := t.newFlood(6)
		t.floods(f)
		t.pause(110 * t.cfg.second)
		t.multicast(f.asker, f.bytes())
		t.pause(2 * t.cfg.Quiet)
		if n := len(f.hearer.all(f.named())); n > 1 {
			t.fail("it was relayed %d times", n)
		}
	}},
	{"F-12", "flood/loop", "2.5.6.2", Must, "A flood that comes back round a loop is not relayed again.", relay, func(t *trial) {
		back := t.listen(0)
		f := t.newFlood(6)
		h := t.floods(f)
		t.multicast(t.asker(1), h.raw)
		if _, ok := t.hear(back, t.cfg.Quiet, f.named()); ok {
			t.fail("it came back to the first link")
		}
	}},
	{"F-08", "flood/not-back", "2.5.6.2", Must, "A flood is relayed to the other links, not to the one on which it came.", relay, func(t *trial) {
		back := t.listen(0)
		f := t.newFlood(6)
		t.floods(f)
		if _, ok := t.hear(back, t.cfg.Quiet, f.named()); ok {
			t.fail("it came back")
		}
	}},
	{"S-06", "flood/equal-session-ids", "2.7", Must, "Floods of different initiators with equal session IDs are both relayed.", relay, func(t *trial) {
		f := t.newFlood(6)
		t.floods(f)
		other := t.newFlood(6)
		other.sid = f.sid
		t.floods(other)
	}},
	{"F-13", "flood/link-local", "2.5.6.2", Must, "A flood with a link-local initiator and a loop count other than 1 is discarded.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.initiator = append([]byte{0xfe, 0x80, 7: 0}, f.initiator[8:]...)
		t.notFlooded(f, "a flood with a link-local initiator and loop count 6")
	}},
	{"F-13", "flood/link-local-unknown-locator", "2.5.6.2", Must, "That holds too if the flood begins with a locator option that is unknown.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.initiator = append([]byte{0xfe, 0x80, 7: 0}, f.initiator[8:]...)
		f.pairs = append([]any{list{obj(f.name, fDisc|fSynch, 6), list{110, "what"}}}, f.pairs...)
		t.notFlooded(f, "a flood with a link-local initiator and loop count 6")
	}},
	{"F-04", "flood/no-locator", "2.8.11", Must, "A flooded objective without a locator, with the empty array in its place, is relayed.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.pairs = []any{list{obj(f.name, fDisc|fSynch, 6), list{}}}
		t.sameButLoopCount(f, t.floods(f))
	}},
	{"Q-05", "flood/no-value", "2.10.3", Text, "A flooded objective without a value, as RFC 8994 has it, is relayed.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.pairs = []any{list{list{f.name, fSynch, 6}, list{oIPv6, t.ula(), protoTCP, 443}}}
		t.sameButLoopCount(f, t.floods(f))
	}},
	{"F-08", "flood/many-objectives", "2.5.6.2", Must, "A flood of many objectives is relayed with all of them.", relay, func(t *trial) {
		f := t.newFlood(6)
		for i := range 15 {
			f.pairs = append(f.pairs, list{obj(f.name+string(rune('a'+i)), fDisc|fSynch, 6), list{}})
		}
		if n := len(t.floods(f).items) - 4; n != 16 {
			t.fail("%d of 16 were", n)
		}
	}},
	{"C-04", "flood/unknown-locator", "2.8.2", Should, "A flood with a locator option that is unknown is relayed all the same.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.pairs = append(f.pairs, list{obj(f.name+"2", fDisc|fSynch, 6), list{110, "what"}})
		t.sameButLoopCount(f, t.floods(f))
	}},
	{"C-04", "flood/long-locator", "2.8.2", Should, "A flood with a locator option that has an item more than it should is relayed all the same.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.pairs = append(f.pairs, list{obj(f.name+"2", fDisc|fSynch, 6), list{oIPv6, t.ula(), protoTCP, 4711, "more"}})
		t.sameButLoopCount(f, t.floods(f))
	}},
	{"C-04", "flood/unknown-option", "2.8.2", Should, "A flood with an option after its objectives, such as the 107 of a draft for signatures, is relayed intact.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.pairs = append(f.pairs, list{107, bytes.Repeat([]byte{7}, 64)})
		t.sameButLoopCount(f, t.floods(f))
	}},
	{"O-09", "flood/other-protocols", "2.9.5.1", Text, "Locators with protocols other than TCP and UDP, such as the 258 of a draft for QUIC, are relayed.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.pairs = append(f.pairs, list{obj(f.name+"2", fDisc|fSynch, 6), list{oIPv6, t.ula(), 258, 4711}},
			list{obj(f.name+"3", fDisc|fSynch, 6), list{oURI, "https://agent.example.org/a2a", 259, nil}})
		t.sameButLoopCount(f, t.floods(f))
	}},
	{"C-05", "flood/unanswered", "2.8.11", Text, "A flood is not answered.", 0, func(t *trial) {
		a := t.asker(0)
		t.multicast(a, encode(list{mFlood, t.sid(), t.ula(), 5000, list{obj(t.unknown(), fDisc|fSynch, 1), list{}}}))
		t.silence(a, "a flood")
	}},
	{"C-01", "flood/malformed", "4", Text, "A flood whose initiator has 5 bytes is not relayed.", relay, func(t *trial) {
		f := t.newFlood(6)
		f.initiator = f.initiator[:5]
		t.notFlooded(f, "a flood with an initiator of 5 bytes")
	}},
	{"F-11", "flood/rate", "2.5.6.2", Must, "The total rate of relayed floods is limited.", relay | alone | slow, func(t *trial) {
		t.limited(func(ini []byte) raw {
			return encode(list{mFlood, t.sid(), ini, 5000, list{obj("judge.invalid:rate", fDisc|fSynch, 3), list{}}})
		})
	}},
}

// aFlood is a flood that the judge sends on the first link, and listens for on
// the second.
type aFlood struct {
	sid       uint32
	initiator []byte
	ttl       uint64
	name      string // of the first objective; those of others begin with it
	first     uint64 // its loop count
	pairs     []any
	asker     *asker
	hearer    *hearer
}

func (t *trial) newFlood(loop uint64) *aFlood {
	name := t.unknown()
	return &aFlood{
		sid: t.sid(), initiator: t.ula(), ttl: 5000, name: name, first: loop, asker: t.asker(0), hearer: t.listen(1),
		pairs: []any{list{list{name, fDisc | fSynch, loop, "judge"}, list{oIPv6, t.ula(), protoTCP, 4711}}},
	}
}

func (f *aFlood) bytes() raw {
	return encode(append(list{mFlood, f.sid, f.initiator, f.ttl}, f.pairs...))
}

// named wants floods of the first objective, whose name no other has.
func (f *aFlood) named() func(heard) bool {
	return func(h heard) bool { return h.kind == mFlood && bytes.Contains(h.raw, encode(f.name)) }
}

// floods sends it, and waits for what is relayed, which must come.
func (t *trial) floods(f *aFlood) heard {
	t.multicast(f.asker, f.bytes())
	h, ok := t.hear(f.hearer, t.cfg.Patience, f.named())
	if !ok {
		t.fail("nothing was relayed to link %v within %v", f.hearer.link, t.cfg.Patience)
	}
	return h
}

// notFlooded sends what must not be relayed.
func (t *trial) notFlooded(f *aFlood, what string) {
	t.multicast(f.asker, f.bytes())
	if _, ok := t.hear(f.hearer, t.cfg.Quiet, f.named()); ok {
		t.fail("%s was relayed", what)
	}
}

// sameButLoopCount fails unless what was relayed is what was sent, but for the
// first loop count.
func (t *trial) sameButLoopCount(f *aFlood, h heard) {
	sent := parse(f.bytes())
	pair, _ := array(sent.at(4))
	o, _ := array(pair[0])
	o[2] = encode(f.first - 1)
	pair[0], sent.items[4] = encode(o), encode(list{encode(o), pair[1]})
	if want := encode(sent.items); !bytes.Equal(h.raw, want) {
		t.fail("it was to be %s", diagnose(want))
	}
}

// flooded is the objective number i of a flood.
func (h heard) flooded(i int) objective {
	pair, _ := array(h.at(4 + i))
	if len(pair) == 0 {
		return objective{}
	}
	o, _ := asObjective(pair[0])
	return o
}
