package conform

import "bytes"

// sizeChecks are of the size of messages.
var sizeChecks = []Check{
	{"Z-01", "size/2048-negotiation", "2.8.3", Must, "A request of 2048 bytes is received.", negotiator, func(t *trial) {
		d, sid := t.connect(t.cfg.Negotiate), t.sid()
		d.sid = sid
		d.write(padded(2048, func(pad []byte) raw {
			return encode(list{mReqNeg, sid, list{t.cfg.Negotiate, fDisc | fNeg, 6, list{t.value(), pad}}})
		}))
		t.negotiates(d.reply())
		d.decline(t)
	}},
	{"T-08", "size/1232-discovery", "2.5.3", Text, "A discovery of 1232 bytes, which is as long as one may be, is received.", 0, func(t *trial) {
		t.answers(func(sid uint32, ini []byte) raw {
			return padded(t.cover.room(1232), func(pad []byte) raw {
				o := t.known()
				o[3] = pad
				return discovery(sid, ini, o)
			})
		})
	}},
	{"Z-02", "size/sent-negotiation", "2.8.3", Must, "The target sends no M_NEGOTIATE or M_END of more than 2048 bytes.", negotiator, func(t *trial) {
		d, _, m := t.negotiation(t.request(6))
		if n := len(m.raw); n > 2048 {
			t.fail("%v has %d bytes", m, n)
		}
		d.decline(t)
	}},
	{"Z-02", "size/sent-synchronization", "2.8.3", Must, "The target sends no M_SYNCH of more than 2048 bytes.", synchronizer, func(t *trial) {
		if _, _, m := t.synchronization(t.wanted()); len(m.raw) > 2048 {
			t.fail("%v has %d bytes", m, len(m.raw))
		}
	}},
	{"Z-03", "size/endless", "2.8.3", Text, "The target gives up a message that is too long, without waiting for its end.", negotiator | late | bare, func(t *trial) {
		d := t.connect(t.cfg.Negotiate)
		b := encode(list{mReqNeg, t.sid(), list{t.cfg.Negotiate, fDisc | fNeg, 6, 0}})
		b[len(b)-1] = 0x5a // a byte string of 1 GiB begins
		d.write(append(b, 0x40, 0, 0, 0))
		for range 16 {
			d.write(bytes.Repeat([]byte{'a'}, 4096))
		}
		d.ends("64 KiB into a message")
		t.works()
	}},
	{"Z-03", "size/many-items", "2.8.3", Text, "Counts of items that cannot be true do no harm.", late | bare, func(t *trial) {
		a := t.asker(0)
		for _, s := range []string{
			"9bffffffffffffffff", "9a7fffffff01", "84010150", "845bffffffffffffffff", "8401015b7fffffffffffffff",
			"bbffffffffffffffff", "9b0000000100000000010101", "7b7fffffffffffffff",
		} {
			t.multicast(a, unhex(s))
		}
		t.works()
	}},
	{"C-11", "size/nested", "2.2", Text, "A value that is nested a thousand deep does no harm.", late | bare, func(t *trial) {
		a := t.asker(0)
		o := t.known()
		o[3] = raw([]byte{0})
		b := discovery(t.sid(), t.ula(), o)
		b = append(b[:len(b)-1], append(bytes.Repeat([]byte{0x81}, 1000), 0)...)
		t.multicast(a, b)
		t.works()
	}},
}

// padded builds a message of a length.
func padded(n int, build func(pad []byte) raw) raw {
	pad := make([]byte, n-len(build(make([]byte, 300)))+300)
	return build(pad)
}
