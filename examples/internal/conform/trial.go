package conform

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// trial is one run of a check. Its methods end the run when the target has
// failed.
type trial struct {
	*judge
	check *Check
	ctx   context.Context
	begun time.Time

	hurry     *rate.Limiter // instead of the usual pace; nil: that
	exchanges []Exchange
	closers   []func()
	verdict   Verdict
	why       string
	lost      bool // the target does not accept connections any more
}

// stop ends a run from within.
type stop struct{}

// protect runs the check to its end, or to the first failure.
func (t *trial) protect(run func()) {
	defer func() {
		for _, c := range slices.Backward(t.closers) {
			c()
		}
		if r := recover(); r != nil {
			if _, ok := r.(stop); !ok {
				panic(r)
			}
		}
	}()
	run()
}

// fail ends the run: the target has failed.
func (t *trial) fail(format string, args ...any) {
	t.verdict, t.why = Fail, fmt.Sprintf(format, args...)
	panic(stop{})
}

// skip ends the run: the target gave no occasion to judge it.
func (t *trial) skip(format string, args ...any) {
	t.verdict, t.why = Skipped, fmt.Sprintf(format, args...)
	panic(stop{})
}

// must ends the run if the judge itself cannot go on.
func (t *trial) must(err error) {
	if err != nil {
		t.skip("the judge is in trouble: %v", err)
	}
}

// obeysGrammar ends the run if a message breaks the grammar.
func (t *trial) obeysGrammar(m message) {
	if err := m.grammar(); err != nil {
		t.fail("%v", err)
	}
}

// mostExchanges bounds what is kept of a run.
const mostExchanges = 40

func (t *trial) note(sent bool, b []byte, format string, args ...any) {
	if len(t.exchanges) < mostExchanges {
		t.exchanges = append(t.exchanges, Exchange{
			At: time.Since(t.begun), Sent: sent, Where: fmt.Sprintf(format, args...), Bytes: bytes.Clone(b),
		})
	}
}

// sid draws a session ID.
func (t *trial) sid() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		var b [4]byte
		_, _ = rand.Read(b[:])
		if n := binary.BigEndian.Uint32(b[:]); n > 1<<24 && !t.sids[n] { // no short encoding, no clash
			t.sids[n] = true
			return n
		}
	}
}

// ula makes up a unique local address, which nobody has.
func (t *trial) ula() []byte {
	a := make([]byte, 16)
	_, _ = rand.Read(a)
	a[0] = 0xfd
	return a
}

// unknown makes up the name of an objective that nobody has.
func (t *trial) unknown() string { return fmt.Sprintf("judge.invalid:%08x", t.sid()) }

// obj is an objective with the value null, and what to discover it with.
func obj(name string, flags, loop uint64) list { return list{name, flags, loop, nil} }

// known is an objective of the target, as it is discovered.
func (t *trial) known() list {
	if t.cfg.Negotiate != "" {
		return obj(t.cfg.Negotiate, fDisc|fNeg, 1)
	}
	return obj(t.cfg.Synch, fDisc|fSynch, 1)
}

// asker makes an asker on a link, for this run.
func (t *trial) asker(link int) *asker { return t.askerOn(t.links[link]) }

func (t *trial) askerOn(l *link) *asker {
	a, err := l.newAsker(l.addr)
	t.must(err)
	t.closers = append(t.closers, a.close)
	return a
}

// listen makes a hearer on a link, for this run.
func (t *trial) listen(link int) *hearer {
	h := t.links[link].listen()
	t.closers = append(t.closers, h.close)
	return h
}

// wait waits for the next permission to send.
func (t *trial) wait() {
	pace := t.pace
	if t.hurry != nil {
		pace = t.hurry
	}
	t.must(pace.Wait(t.ctx))
}

// multicast sends bytes to the group.
func (t *trial) multicast(a *asker, b []byte) { t.sendTo(a, a.link.group(), b) }

// sendTo sends a datagram.
func (t *trial) sendTo(a *asker, to netip.AddrPort, b []byte) {
	t.wait()
	t.note(true, b, "UDP to %v", to)
	b = t.cover.seal(b)
	_, err := a.udp.WriteToUDPAddrPort(b, to)
	for tries := 0; err != nil && tries < 20; tries++ { // a new link has no route yet
		t.pause(50 * time.Millisecond)
		_, err = a.udp.WriteToUDPAddrPort(b, to)
	}
	t.must(err)
	t.datagrams.Add(1)
}

// answer waits for an answer that is wanted.
func (t *trial) answer(a *asker, within time.Duration, want func(answer) bool) (answer, bool) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case x := <-a.answers:
			t.noteAnswer(a, x)
			if want(x) {
				return x, true
			}
		case <-timer.C:
			return answer{}, false
		case <-t.ctx.Done():
			t.skip("interrupted")
		}
	}
}

func (t *trial) noteAnswer(a *asker, x answer) {
	switch {
	case x.closed && x.junk != nil:
		t.note(false, nil, "%v from %v", x.junk, x.from)
	case x.closed:
		t.note(false, nil, "connection closed by %v", x.from)
	case x.udp:
		t.note(false, x.raw, "UDP from %v to port %d", x.from, a.port())
	default:
		t.note(false, x.raw, "TCP from %v to port %d", x.from, a.port())
	}
}

// isResponse wants an M_RESPONSE to a session.
func isResponse(sid uint32) func(answer) bool {
	return func(x answer) bool {
		got, ok := x.sid()
		return !x.closed && ok && got == sid && x.kind == mResponse
	}
}

func anything(x answer) bool { return !x.closed }

// response waits for the response to a session, which must come.
func (t *trial) response(a *asker, sid uint32) answer {
	x, ok := t.answer(a, t.cfg.Patience, isResponse(sid))
	if !ok {
		t.fail("no M_RESPONSE within %v", t.cfg.Patience)
	}
	return x
}

// silence fails if anything comes to an asker for a while.
func (t *trial) silence(a *asker, to string) {
	if x, ok := t.answer(a, t.cfg.Quiet, anything); ok {
		t.fail("%s was answered with %v", to, x.message)
	}
}

// discovery builds an M_DISCOVERY.
func discovery(sid uint32, initiator []byte, objective any) raw {
	return encode(list{mDiscovery, sid, initiator, objective})
}

// works fails unless the target still answers a plain discovery.
func (t *trial) works() {
	t.pause(50 * time.Millisecond) // for what came before to take effect
	for range tries {
		a, sid := t.asker(0), t.sid()
		t.multicast(a, discovery(sid, t.ula(), t.known()))
		if _, ok := t.answer(a, t.cfg.Patience, isResponse(sid)); ok {
			return
		}
	}
	t.fail("after that the target answers no discovery any more")
}

// hear waits for a multicast on a link that is wanted.
func (t *trial) hear(h *hearer, within time.Duration, want func(heard) bool) (heard, bool) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		if got := h.all(want); len(got) > 0 {
			t.note(false, got[0].raw, "multicast from %v on link %v", got[0].from, h.link)
			return got[0], true
		}
		select {
		case <-h.more:
		case <-timer.C:
			return heard{}, false
		case <-t.ctx.Done():
			t.skip("interrupted")
		}
	}
}

// ofSession wants multicasts of one session.
func ofSession(kind int, sid uint32, initiator []byte) func(heard) bool {
	return func(h heard) bool {
		got, ok := h.sid()
		ini, _ := octets(h.at(2))
		return h.kind == kind && ok && got == sid && bytes.Equal(ini, initiator)
	}
}

// find asks for an objective on a link and returns who has it, and where.
func (t *trial) find(l *link, name string) map[netip.Addr][]netip.AddrPort {
	a, sid := t.askerOn(l), t.sid()
	found := make(map[netip.Addr][]netip.AddrPort)
	flags := uint64(fDisc | fNeg)
	if name != t.cfg.Negotiate {
		flags = fDisc | fSynch
	}
	t.multicast(a, discovery(sid, l.addr.AsSlice(), obj(name, flags, 1)))
	within := t.cfg.Patience / tries
	for {
		x, ok := t.answer(a, within, func(x answer) bool { return x.kind == mResponse })
		if !ok {
			return found
		}
		if kind, _, _ := option(x.at(4)); kind != oDivert || t.cfg.DULL {
			from := x.from.Addr().WithZone("")
			found[from] = append(found[from], tcpAddrs(x.message)...)
		}
		within = min(within, 200*time.Millisecond) // for others on the link
	}
}

// tcpAddrs are the locators of a response that can be connected to.
func tcpAddrs(m message) []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range m.items[min(4, len(m.items)):] {
		if l, err := asLocator(b); err == nil && l.addr != nil && l.proto == protoTCP {
			addr, _ := netip.AddrFromSlice(l.addr)
			out = append(out, netip.AddrPortFrom(addr, uint16(l.port)))
		}
	}
	return out
}
