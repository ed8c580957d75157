package conform

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"golang.org/x/time/rate"
)

// answers sends a discovery of an objective of the target, and fails unless it
// is answered.
func (t *trial) answers(build func(sid uint32, initiator []byte) raw) {
	a, sid := t.asker(0), t.sid()
	t.multicast(a, build(sid, t.ula()))
	t.response(a, sid)
}

// discards sends messages that must be discarded silently.
func (t *trial) discards(messages ...raw) {
	a := t.asker(0)
	for _, m := range messages {
		t.multicast(a, m)
	}
	t.silence(a, "what must be discarded")
}

// notRapid fails unless M_RESPONSE is the answer to a discovery.
func (t *trial) notRapid(o list) {
	a := t.asker(0)
	t.multicast(a, discovery(t.sid(), t.ula(), o))
	x, ok := t.answer(a, t.cfg.Patience, anything)
	if !ok {
		t.fail("no answer within %v", t.cfg.Patience)
	}
	t.is(x.message, mResponse)
}

// anyResponse waits for a response, whatever its session ID.
func (t *trial) anyResponse(a *asker) answer {
	x, ok := t.answer(a, t.cfg.Patience, func(x answer) bool { return x.kind == mResponse })
	if !ok {
		t.fail("no M_RESPONSE within %v", t.cfg.Patience)
	}
	return x
}

// targetOn is the address of the target on a link.
func (t *trial) targetOn(i int) netip.Addr {
	return t.links[i].zoned(t.targets[i])
}

// pause waits in real time.
func (t *trial) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.skip("interrupted")
	}
}

// limited fails if the target relays all of what the judge multicasts faster
// than it otherwise does.
func (t *trial) limited(build func(initiator []byte) raw) {
	const perSecond = 400
	n := max(1000, int(8*t.cfg.second.Seconds()*perSecond)) // more than an implementation allows in a burst
	t.hurry = rate.NewLimiter(perSecond, 10)
	h, a, ini := t.listen(1), t.asker(0), t.ula()
	begun := time.Now()
	for range n {
		t.multicast(a, build(ini))
	}
	took := time.Since(begun)
	t.pause(t.cfg.Quiet)
	relayed := len(h.all(func(h heard) bool { got, _ := octets(h.at(2)); return bytes.Equal(got, ini) }))
	if relayed >= n*95/100 {
		t.fail("%d of %d, which came within %v, were relayed", relayed, n, took.Round(time.Millisecond))
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}
