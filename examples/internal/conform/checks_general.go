package conform

import "bytes"

// generalChecks are of what holds for all messages: their grammar, what is
// ignored, and what of CBOR is understood.
var generalChecks = []Check{
	{"C-01", "general/grammar-discovery", "4", Text, "An M_RESPONSE follows the grammar.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		t.obeysGrammar(t.response(a, sid).message)
	}},
	{"C-01", "general/grammar-negotiation", "4", Text, "The answers in a negotiation follow the grammar.", negotiator, func(t *trial) {
		d, _, m := t.negotiation(t.request(6))
		t.obeysGrammar(m)
		d.decline(t)
	}},
	{"C-01", "general/grammar-synchronization", "4", Text, "An M_SYNCH follows the grammar.", synchronizer, func(t *trial) {
		_, _, m := t.synchronization(t.wanted())
		t.obeysGrammar(m)
	}},
	{"C-05", "general/unknown-type-multicast", "2.8.1", Must, "A multicast of an unknown type is discarded without an answer.", 0, func(t *trial) {
		a := t.asker(0)
		for _, kind := range []int{10, 42, 98, 100, 255} {
			t.multicast(a, encode(list{kind, t.sid(), t.ula(), t.known()}))
		}
		t.silence(a, "a multicast of an unknown type")
		t.works()
	}},
	{"C-05", "general/unknown-type-unicast", "2.8.1", Must, "A unicast message of an unknown type is discarded: it begins no session.", negotiator | late, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(42, t.sid(), t.request(6))
		if m, e := d.next(t.cfg.Quiet); e == came && m.kind != mInvalid {
			t.fail("it was answered with %v", m)
		}
		t.works()
	}},
	{"C-04", "general/surplus-option-discovery", "2.8.2", Should, "An option that does not belong into M_DISCOVERY is ignored, and the rest used.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			return encode(list{mDiscovery, sid, ini, t.known(), list{oAccept}})
		})
	}},
	{"C-04", "general/surplus-option-negotiation", "2.8.2", Should, "An option that does not belong into M_REQ_NEG is ignored, and the rest used.", negotiator, func(t *trial) {
		d, sid := t.connect(t.cfg.Negotiate), t.sid()
		d.send(mReqNeg, sid, t.request(6), list{oDecline, "surplus"})
		t.negotiates(d.reply())
	}},
	{"C-04", "general/surplus-option-synchronization", "2.8.2", Should, "An option that does not belong into M_REQ_SYN is ignored, and the rest used.", synchronizer, func(t *trial) {
		d, sid := t.connect(t.cfg.Synch), t.sid()
		d.send(mReqSyn, sid, t.wanted(), list{oAccept})
		t.is(d.reply(), mSynch)
	}},
	{"C-03", "general/initiator-4", "4", Text, "An initiator of four bytes, an IPv4 address, is valid on any transport.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula()[:4], t.known()))
		t.response(a, sid)
	}},
	{"C-03", "general/initiator-5", "4", Text, "A discovery is discarded if its initiator has neither 4 nor 16 bytes.", 0, func(t *trial) {
		var wrong []raw
		for _, n := range []int{0, 3, 5, 15} {
			wrong = append(wrong, discovery(t.sid(), t.ula()[:n], t.known()))
		}
		t.discards(wrong...)
	}},
	{"C-02", "general/session-id-range", "4", Text, "A discovery is discarded if its session ID is no unsigned integer of 32 bits.", 0, func(t *trial) {
		var wrong []raw
		for _, sid := range []any{uint64(1) << 32, -1, "1", nil, 1.5} {
			wrong = append(wrong, encode(list{mDiscovery, sid, t.ula(), t.known()}))
		}
		t.discards(wrong...)
	}},
	{"C-02", "general/loop-count-range", "4", Text, "A discovery is discarded if its loop count is not from 0 to 255.", 0, func(t *trial) {
		var wrong []raw
		for _, loop := range []any{256, 1 << 20, -1, "1"} {
			o := t.known()
			o[2] = loop
			wrong = append(wrong, discovery(t.sid(), t.ula(), o))
		}
		t.discards(wrong...)
	}},
	{"C-10", "general/objective-shape", "2.10.1", Text, "A discovery is discarded if its objective is no array of name, flags, loop count and value.", 0, func(t *trial) {
		o := t.known()
		var wrong []raw
		for _, shape := range []any{o[:2], o[0], list{}, nil, list{o[1], o[0], 1, nil}, list{[]byte(o[0].(string)), o[1], 1, nil}} {
			wrong = append(wrong, discovery(t.sid(), t.ula(), shape))
		}
		t.discards(wrong...)
	}},
	{"C-11", "general/truncated", "2.2", Text, "Datagrams that end too early are discarded, and the target works on.", bare, func(t *trial) {
		b := discovery(t.sid(), t.ula(), t.known())
		a := t.asker(0)
		for n := 0; n < len(b); n += 3 {
			t.multicast(a, b[:n])
		}
		t.silence(a, "a truncated discovery")
		t.works()
	}},
	{"C-11", "general/no-array", "2.2", Text, "Datagrams that are no array that begins with a message type are discarded, and the target works on.", bare, func(t *trial) {
		a := t.asker(0)
		for _, b := range [][]byte{{0x00}, {0x01}, {0x80}, {0xa0}, {0x81, 0xf6}, {0x81, 0x20}, {0x63, 'a', 'b', 'c'}, {0xff}, {0x1c}, {0x9f}, {0xf7}, {0xfb}} {
			t.multicast(a, b)
		}
		t.multicast(a, encode(map[int]any{0: mDiscovery, 1: t.sid(), 2: t.ula(), 3: t.known()}))
		t.silence(a, "what is no message")
		t.works()
	}},
	{"V-05", "general/no-invalid-to-multicast", "2.8.2", Must, "Nothing that comes by multicast is answered with M_INVALID.", 0, func(t *trial) {
		a := t.asker(0)
		t.multicast(a, encode(list{77, t.sid(), "?"}))
		t.multicast(a, encode(list{mDiscovery, t.sid(), t.ula(), 5}))
		t.multicast(a, encode(list{mReqNeg, t.sid(), t.known()}))
		t.multicast(a, encode(list{mInvalid, t.sid(), "no"}))
		if x, ok := t.answer(a, t.cfg.Quiet, anything); ok {
			t.fail("came %v", x.message)
		}
	}},
	{"V-06", "general/noop-multicast", "2.8.13", Must, "A multicast M_NOOP is ignored silently.", 0, func(t *trial) {
		a := t.asker(0)
		t.multicast(a, encode(list{mNoop}))
		t.silence(a, "M_NOOP")
		t.works()
	}},
	{"V-06", "general/noop-unicast", "2.8.13", Must, "An M_NOOP over a connection is ignored silently.", negotiator | late, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.send(mNoop)
		if m, e := d.next(t.cfg.Quiet); e == came {
			t.fail("it was answered with %v", m)
		}
		t.works()
	}},
	{"C-11", "general/rubbish-unicast", "2.2", Text, "A connection on which no CBOR comes is ended, and the target works on.", negotiator | late | bare, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		d.write(bytes.Repeat([]byte{0xff, 0x1c}, 8))
		d.ends("after what is no CBOR")
		t.works()
	}},
	{"O-10", "general/name-utf8", "2.10.1", Text, "A discovery is discarded if the name in it is no UTF-8.", bare, func(t *trial) {
		o := t.known()
		o[0] = o[0].(string) + "\xff"
		t.discards(discovery(t.sid(), t.ula(), o))
	}},
	{"O-10", "general/name-case", "2.10.1", Text, "Names are compared byte by byte: another case is another name.", 0, func(t *trial) {
		o := t.known()
		o[0] = swapCase(o[0].(string))
		t.discards(discovery(t.sid(), t.ula(), o))
	}},
	{"O-10", "general/name-bytes", "2.10.1", Text, "Names are compared whole: a longer or shorter one is another name.", 0, func(t *trial) {
		o := t.known()
		name := o[0].(string)
		var wrong []raw
		for _, other := range []string{name + " ", name + "\x00", " " + name, name[:len(name)-1], ""} {
			o[0] = other
			wrong = append(wrong, discovery(t.sid(), t.ula(), o))
		}
		t.discards(wrong...)
	}},
	{"O-11", "general/flags-independent", "2.10.2", Text, "A discovery without the flag F_DISC is answered: the flags are independent.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			o := t.known()
			o[1] = o[1].(uint64) &^ fDisc
			return discovery(sid, ini, o)
		})
	}},
	{"C-10", "general/value-any", "2.10.1", Must, "The value of an objective may be any CBOR item: the core does not look into it.", 0, func(t *trial) {
		values := []string{
			"f97e00",                 // NaN
			"c11a514b67b0",           // a tag
			"bf61610161629f0203ffff", // of indefinite length
			"d9d9f7a2016161f5820102", // a tag on a map with an odd key
			"5f41014102ff",           // a byte string in pieces
			"f0",                     // an unassigned simple value
			"1b0000000000000000",     // not the shortest zero
			"c249010000000000000000", // a bignum
			"8181818181818181818100", // nested
		}
		for _, v := range values {
			t.answers(func(sid uint32, ini []byte) raw {
				o := t.known()
				o[3] = raw(unhex(v))
				return discovery(sid, ini, o)
			})
		}
	}},
	{"C-13", "general/value-absent", "2.10.3", Must, "A discovery whose objective has no value is answered.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw { return discovery(sid, ini, t.known()[:3]) })
	}},
	{"C-13", "general/value-zero", "A.1", Text, "A discovery whose objective has the value 0, as in the RFC's example, is answered.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			o := t.known()
			o[3] = 0
			return discovery(sid, ini, o)
		})
	}},
	{"C-12", "general/long-integers", "4", Text, "Integers that are not in their shortest encoding are understood.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			b := discovery(sid, ini, t.known())
			return append([]byte{b[0], 0x19, 0x00, b[1]}, b[2:]...)
		})
	}},
	{"C-12", "general/indefinite-array", "4", Text, "Arrays of indefinite length are understood.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			b := discovery(sid, ini, t.known())
			return append(append([]byte{0x9f}, b[1:]...), 0xff)
		})
	}},
	{"C-12", "general/indefinite-strings", "4", Text, "Strings of indefinite length are understood.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			o := t.known()
			name := encode(o[0])
			o[0] = raw(append(append([]byte{0x7f}, name...), 0xff))
			chunks := raw(append(append(append([]byte{0x5f}, encode(ini[:7])...), encode(ini[7:])...), 0xff))
			return encode(list{mDiscovery, sid, chunks, o})
		})
	}},
	{"C-12", "general/preferred-encoding", "4", Text, "An M_RESPONSE is sent in preferred encoding: integers as short as can be, and definite lengths.", 0, func(t *trial) {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		if x := t.response(a, sid); !preferred(x.raw) {
			t.fail("it is not: %x", x.raw)
		}
	}},
	{"Q-10", "general/unknown-flags", "2.10.2", Text, "Flags above bit 3, which have no meaning yet, are ignored.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			o := t.known()
			o[1] = o[1].(uint64) | 0x70
			return discovery(sid, ini, o)
		})
	}},
}
