package wrongpeer

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// discovery answers or relays a discovery.
func (p *Peer) discovery(l *link, from netip.AddrPort, m message) {
	o := m.objective
	if o.loop == 0 {
		p.die(FlawDiesOfLoop0)
	}
	if p.cfg.DULL {
		if o.loop != 1 && !p.is(FlawDULLAnyLoop) && !p.is(FlawDULLRelays) || !from.Addr().IsLinkLocalUnicast() && !p.is(FlawDULLAnySource) {
			return
		}
	}
	p.mu.Lock()
	p.asked["sid"+string(m.at(1))]++
	p.asked["ini"+string(m.initiator)+o.name]++
	p.asked[l.ifi.Name+o.name]++
	bySID, byInitiator, byName := p.asked["sid"+string(m.at(1))], p.asked["ini"+string(m.initiator)+o.name], p.asked[l.ifi.Name+o.name]
	p.mu.Unlock()
	switch {
	case p.is(FlawSessionByIDOnly) && bySID > 1,
		p.is(FlawAnswersOnce) && byInitiator > 1,
		p.is(FlawAnswersFirstOnly) && byName > 1,
		p.is(FlawAnswersOnlyLoop1) && o.loop != 1,
		p.is(FlawDULLRelays) && p.cfg.DULL && !p.has(o.name) && p.relay(l, from, m):
		return
	}
	if p.has(o.name) {
		if p.is(FlawRelaySupported) {
			p.relay(l, from, m)
		}
		p.respond(l, from, m)
		return
	}
	if p.cfg.DULL {
		return
	}
	if p.is(FlawRelaySupported) || !p.divert(l, from, m) {
		p.relay(l, from, m)
		if p.is(FlawRelaySupported) {
			p.divert(l, from, m)
		}
	}
}

// respond answers a discovery of what the peer has.
func (p *Peer) respond(l *link, from netip.AddrPort, m message) {
	own := l.addr.As16()
	locator := list{103, own[:], 6, l.port()}
	id, ini, ttl, to := any(m.items[1]), m.initiator, any(60000), from
	options := list{locator}
	switch p.cfg.Wrong {
	case FlawResponseOtherSID:
		id = m.id() ^ 1
	case FlawResponseOtherInitiator:
		ini = own[:]
	case FlawResponseTTL0:
		ttl = 0
	case FlawNestedLocators:
		options = list{list{locator}}
	case FlawResponseNoLocator:
		options = list{list{m.objective.name, 3, 6, nil}}
	case FlawLocatorUnreachable:
		options = list{list{103, own[:], 6, 9}}
	case FlawLocatorLoopback:
		options = append(options, list{103, netip.IPv6Loopback().AsSlice(), 6, l.port()})
	case FlawAnswersToInitiator:
		addr, _ := netip.AddrFromSlice(m.initiator)
		if addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(l.ifi.Name)
		}
		to = netip.AddrPortFrom(addr, from.Port())
	case FlawDULLGlobalLocator:
		options = list{list{103, netip.MustParseAddr("fd00::1").AsSlice(), 6, 7017}}
	case FlawDULLDivert:
		options = list{append(list{100}, options...)}
	}
	if p.is(FlawSessionIDAny) {
		id = cbor.RawMessage(m.at(1))
	}
	b := encode(append(list{2, id, ini, ttl}, options...)...)
	switch value := m.objective.value; {
	case p.is(FlawLongIntegers):
		b = append([]byte{b[0], 0x18}, b[1:]...)
	case p.is(FlawRapid) && len(value) > 1 && p.name(p.cfg.Negotiate, m.objective.name):
		b = encode(5, id, list{m.objective.name, 3, 5, "a counter-offer"})
	case p.is(FlawRapid) && len(value) > 1:
		b = encode(8, id, list{m.objective.name, 5, 6, "a value"})
	}
	if p.is(FlawResponseUDP) {
		_, _ = l.out.WriteToUDPAddrPort(b, from)
		return
	}
	p.answer(l, to, b)
}

// key returns what tells a session from others.
func (p *Peer) key(l *link, m message) key {
	k := key{kind: m.kind, id: m.id(), initiator: string(m.initiator)}
	if p.is(FlawSessionByIDOnly) {
		k.initiator = ""
	}
	if p.is(FlawRelayBackRound) {
		k.link = l.ifi.Name
	}
	return k
}

// remember reports whether a discovery or flood is new, and remembers it.
func (p *Peer) remember(l *link, from netip.AddrPort, m message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.key(l, m)
	memory := 120 * p.cfg.Second
	if p.is(FlawForgetsFloods) {
		memory /= 2
	}
	if old := p.seen[k]; old != nil && time.Since(old.at) < memory && !p.is(FlawRelayTwice) {
		return false
	}
	p.seen[k] = &seen{at: time.Now(), name: m.objective.name, from: from, link: l}
	return true
}

// loops returns the loop count of what is relayed, and whether it is.
func (p *Peer) loops(n uint64) (uint64, bool) {
	switch {
	case p.is(FlawRelayKeepsLoop) && n > 1:
		return n, true
	case p.is(FlawRelayLoop1) && n == 1, p.is(FlawDULLRelays) && n == 1:
		return 0, true
	case p.is(FlawRelayLoop0) && n == 0:
		return 255, true
	}
	return n - 1, n > 1
}

// relay relays a discovery.
func (p *Peer) relay(l *link, from netip.AddrPort, m message) bool {
	loop, ok := p.loops(m.objective.loop)
	if !ok || p.is(FlawRelaysNothing) || !p.remember(l, from, m) || !p.allow() {
		return true
	}
	o := parts(m.at(3))
	o[2] = item(loop)
	if p.is(FlawRelaySetsDisc) {
		o[1] = item(m.objective.flags | 1)
	}
	if p.is(FlawRelayAddsNull) && len(o) == 3 {
		o = append(o, item(nil))
	}
	p.reencode(o)
	p.send(l, encode(m.items[0], p.relayedSID(m), p.relayedInitiator(m), o))
	return true
}

// allow limits what is relayed.
func (p *Peer) allow() bool { return p.rate.Allow() || p.is(FlawRelayUnlimited) }

// reencode changes the encoding of a value, but not its meaning.
func (p *Peer) reencode(o []cbor.RawMessage) {
	var v any
	if p.is(FlawRelayReencodes) && len(o) == 4 && cbor.Unmarshal(o[3], &v) == nil {
		o[3] = item(v)
	}
}

func (p *Peer) relayedSID(m message) any {
	if p.is(FlawRelayOtherSID) {
		return m.id() ^ 1
	}
	return m.items[1]
}

func (p *Peer) relayedInitiator(m message) any {
	if p.is(FlawRelayOtherInitiator) {
		return bytes.Repeat([]byte{0xfd}, 16)
	}
	return m.items[2]
}

// send multicasts on all links but one.
func (p *Peer) send(but *link, b []byte) {
	for _, l := range p.links {
		if l != but || p.is(FlawRelayEcho) {
			p.multicast(l, b)
		}
	}
}

// learn takes a response to what was relayed.
func (p *Peer) learn(l *link, m message) {
	if p.is(FlawDiesOfResponse) {
		p.dead.Store(true)
	}
	p.mu.Lock()
	var q *seen
	for k, s := range p.seen {
		if k.kind == 1 && k.id == m.id() && (k.initiator == string(m.initiator) || p.is(FlawSessionByIDOnly)) ||
			k.kind == 1 && p.is(FlawTakesForeignResponse) && (q == nil || s.at.After(q.at)) {
			q = s
			if k.id == m.id() {
				break
			}
		}
	}
	p.mu.Unlock()
	if q == nil {
		return
	}
	ttl, _ := number(m.at(3))
	if ttl == 0 && !p.is(FlawTTL0Expired) {
		ttl = 600_000
	}
	var found list
	for _, b := range m.items[4:] {
		kind, _ := number(first(b))
		switch {
		case kind == 100 && !p.is(FlawDropsDivert):
			for _, x := range parts(b)[1:] {
				found = append(found, x)
			}
		case kind >= 103 && kind <= 106:
			found = append(found, b)
		case kind > 106 && p.is(FlawStrictOptions), b[0]>>5 == 4 && kind == 0 && p.is(FlawStrictResponse):
			return
		}
	}
	var passed list
	p.mu.Lock()
	for _, x := range found {
		b := []byte(x.(cbor.RawMessage))
		if !p.global(b) {
			continue
		}
		passed = append(passed, x)
		if p.is(FlawCachesOne) && len(p.cache[q.name]) > 0 || p.is(FlawNoCache) {
			continue
		}
		p.cache[q.name] = append(p.cache[q.name], cached{b, l, time.Now().Add(time.Duration(ttl) * time.Millisecond)})
	}
	p.mu.Unlock()
	id, ini := any(m.items[1]), any(m.items[2])
	switch {
	case len(passed) == 0, p.is(FlawRelayNoResult):
		return
	case p.is(FlawResultOtherSID):
		id = m.id() ^ 1
	case p.is(FlawResultOwnLocator):
		own := q.link.addr.As16()
		passed = list{list{103, own[:], 6, q.link.port()}}
	}
	p.answer(q.link, q.from, encode(2, id, ini, ttl, append(list{100}, passed...)))
}

// first is the first item of an array.
func first(b []byte) []byte {
	if items := parts(b); len(items) > 0 {
		return items[0]
	}
	return nil
}

// global reports whether a locator may be passed on.
func (p *Peer) global(b []byte) bool {
	items := parts(b)
	kind, _ := number(items[0])
	s, _ := octets(items[1])
	if kind >= 105 {
		return !p.is(FlawDropsNames) && (p.is(FlawDivertMDNS) || !strings.HasSuffix(string(s), ".local"))
	}
	addr, ok := netip.AddrFromSlice(s)
	if !ok {
		return false
	}
	addr = addr.Unmap()
	if addr.IsLinkLocalUnicast() {
		return p.is(FlawDivertLinkLocal)
	}
	return p.is(FlawDivertLoopback) || !addr.IsLoopback() && !addr.IsMulticast() && !addr.IsUnspecified()
}

// divert answers from the cache, and says whether it could.
func (p *Peer) divert(l *link, from netip.AddrPort, m message) bool {
	p.mu.Lock()
	locators := list{100}
	left := time.Duration(1<<32-1) * time.Millisecond
	for _, c := range p.cache[m.objective.name] {
		if d := time.Until(c.expires); (d > 0 || p.is(FlawKeepsExpired)) && (c.link != l || p.is(FlawDivertWhereLearned)) {
			locators = append(locators, cbor.RawMessage(c.locator))
			left = min(left, max(d, time.Second))
		}
	}
	p.mu.Unlock()
	if len(locators) == 1 {
		return false
	}
	if p.is(FlawDivertTTLLong) {
		left = 10 * time.Minute
	}
	var option any = locators
	if p.is(FlawNestedDivert) {
		option = list{100, locators[1:]}
	}
	p.answer(l, from, encode(2, m.items[1], m.items[2], left.Milliseconds(), option))
	return true
}

// flood relays a flood.
func (p *Peer) flood(l *link, from netip.AddrPort, m message) {
	if p.is(FlawAnswersFlood) {
		p.answer(l, from, encode(8, m.id(), list{"EX9", 4, 1, 1}))
	}
	for i, b := range m.items[4:] {
		pair := parts(b)
		kind := uint64(0)
		if len(pair) == 2 && len(parts(pair[0])) > 2 {
			kind, _ = number(first(pair[1]))
			proto := uint64(6)
			if n := len(parts(pair[1])); n > 2 {
				proto, _ = number(parts(pair[1])[2])
			}
			switch {
			case p.is(FlawStrictOptions) && (kind > 106 || len(parts(pair[1])) > 4),
				p.is(FlawStrictProtocols) && proto != 6 && proto != 17,
				p.is(FlawFloodDemandsLocator) && len(parts(pair[1])) == 0,
				p.is(FlawDemandsValue) && len(parts(pair[0])) == 3:
				return
			}
		} else if p.is(FlawStrictOptions) {
			return
		}
		if i == 0 {
			o := parts(pair[0])
			m.objective.loop, _ = number(o[2])
			local := bytes.HasPrefix(m.initiator, []byte{0xfe, 0x80})
			lenient := p.is(FlawFloodLinkLocal) || p.is(FlawFloodLinkLocalUnknown) && kind > 106
			if local && m.objective.loop != 1 && !lenient {
				return
			}
		}
	}
	loop, ok := p.loops(m.objective.loop)
	if !ok || p.is(FlawRelaysNothing) || p.cfg.DULL && !p.is(FlawDULLRelays) || !p.remember(l, from, m) || !p.allow() {
		return
	}
	items := list{m.items[0], p.relayedSID(m), p.relayedInitiator(m), m.items[3]}
	if p.is(FlawFloodTTL) {
		items[3] = 180000
	}
	for i, b := range m.items[4:] {
		pair := parts(b)
		if len(pair) == 2 && len(parts(pair[0])) > 2 {
			o := parts(pair[0])
			if n, _ := number(o[2]); i == 0 || p.is(FlawFloodDecrementsAll) && n > 0 {
				if i > 0 {
					loop = n - 1
				}
				o[2] = item(loop)
			}
			p.reencode(o)
			if i == 0 || !p.is(FlawFloodFirstOnly) {
				items = append(items, list{o, pair[1]})
			}
		} else {
			items = append(items, b)
		}
	}
	p.send(l, encode(items...))
}
