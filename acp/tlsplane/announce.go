package tlsplane

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// The objective by which neighbours are found (RFC 8994 section 6.4), and the
// name there of what this plane does.
const (
	announcedBy = "AN_ACP"
	method      = "GRASP-TLS"
)

// firstInterval is the time between the first two announcements; it doubles up
// to Plane.Interval.
const firstInterval = 250 * time.Millisecond

// answerPause is the least time between two announcements of which the second answers
// others: it is all that forged ones can cause.
const answerPause = time.Second

// proofLife is how long a proof is announced before there is a new one: of the first
// announcements one can be lost, or some parts of each.
const proofLife = 2 * time.Second

// announcer floods the address and port of an endpoint's node.
type announcer struct {
	e      *endpoint
	proofs map[int]*announcedProof // by link
}

// announcedProof is a proof that is announced for a while.
type announcedProof struct {
	to     netip.AddrPort
	cert   [][]byte
	anchor *anchorKey
	made   time.Time
	values [][]any // what follows the name of the method, an announcement each
}

// announce floods this node's address and port on every link, as a DULL instance
// would (RFC 8990 section 2.5.2). All that an announcement does is to have somebody dial.
func (a *announcer) announce(own *standing) {
	e := a.e
	links := e.Links()
	maps.DeleteFunc(a.proofs, func(index int, _ *announcedProof) bool {
		return !slices.ContainsFunc(links, func(l acp.Link) bool { return l.Index == index })
	})
	for _, l := range links {
		to := netip.AddrPortFrom(l.Addr.WithZone(""), e.Port())
		values, err := a.values(own, l.Index, to, time.Now())
		if err != nil {
			e.log.Debug("an announcement goes without a proof", "link", l.Name, "error", err)
			values = [][]any{nil}
		}
		for _, v := range values {
			raw, err := announcement(to, e.plane.interval(), v...)
			if err == nil {
				err = e.under.Send(l.Index, raw)
			}
			if err != nil {
				e.log.Debug("an announcement failed", "link", l.Name, "error", err)
				break
			}
			e.plane.counters.announced.Add(1)
		}
	}
}

// values returns what the announcements on a link say besides the name of the method.
func (a *announcer) values(own *standing, index int, to netip.AddrPort, now time.Time) ([][]any, error) {
	if own.anchor == nil {
		return nil, errNoAnchor
	}
	p := a.proofs[index]
	if p == nil || p.to != to || p.anchor != own.anchor || now.Sub(p.made) >= proofLife ||
		!slices.EqualFunc(p.cert, own.cert.Certificate, bytes.Equal) {
		plain, err := prove(own.cert, to, a.e.plane.now())
		if err != nil {
			return nil, err
		}
		p = &announcedProof{to: to, cert: own.cert.Certificate, anchor: own.anchor, made: now}
		if p.values, err = own.anchor.offer(plain, to, a.e.plane.interval(), a.e.under.MaxMulticast()); err != nil {
			return nil, err
		}
		a.proofs[index] = p
	}
	return p.values, nil
}

// offer encrypts a proof for an announcement, or in parts for as many, of which each has at
// most a size.
func (k *anchorKey) offer(plain []byte, to netip.AddrPort, interval time.Duration, size int) ([][]any, error) {
	whole := []any{k.seal(plain, nil)}
	raw, err := announcement(to, interval, whole...)
	if err != nil {
		return nil, err
	}
	if len(raw) <= size {
		return [][]any{whole}, nil
	}
	parts, err := k.cut(plain, to, size)
	if err != nil {
		return nil, err
	}
	var values [][]any
	for _, p := range parts {
		values = append(values, []any{partMark, p})
	}
	return values, nil
}

var errNoAnchor = errors.New("no trust anchor")

// announcement returns a flood of AN_ACP. Its value is the name of the method, or an array
// that begins with it: then comes a proof, or the mark of a part and that part.
func announcement(at netip.AddrPort, interval time.Duration, proof ...any) ([]byte, error) {
	addr, port := at.Addr(), at.Port()
	var offer any = method
	if len(proof) > 0 {
		offer = append([]any{method}, proof...)
	}
	value, err := cbor.Marshal(offer)
	if err != nil {
		return nil, err
	}
	kind := wire.LocatorIPv6
	if addr.Is4() {
		kind = wire.LocatorIPv4
	}
	m := &wire.Flood{
		SessionID: rand.Uint32(),
		Initiator: addr,
		TTL:       uint32(lifetime(interval).Milliseconds()),
		Objectives: []wire.Flooded{{
			Objective: wire.Objective{Name: announcedBy, Flags: wire.FlagSynch, LoopCount: 1, Value: value},
			Locator:   wire.Locator{Kind: kind, Addr: addr, Protocol: wire.ProtoTCP, Port: int(port)},
		}},
	}
	return m.Append(nil)
}

// lifetime is how long an announcement is valid: 210 s for one each minute.
func lifetime(interval time.Duration) time.Duration { return interval * 7 / 2 }

// announced is what an announcement says.
type announced struct {
	to     netip.AddrPort // with the zone of the packet's source
	ttl    time.Duration
	sealed []byte // a proof; nil: there is none
	part   []byte // of a proof; nil: there is none
}

// parseAnnouncement returns what an announcement says, which need not be true.
func parseAnnouncement(raw []byte, from acp.Origin) (a announced, ok bool) {
	m, err := wire.Parse(raw, wire.Limits{})
	if err != nil {
		return a, false
	}
	flood, isFlood := m.(*wire.Flood)
	if !isFlood || flood.Initiator != from.Addr.Addr().WithZone("") {
		return a, false
	}
	for _, f := range flood.Objectives {
		o, at := &f.Objective, &f.Locator
		if o.Name != announcedBy || o.LoopCount != 1 || at.Addr != flood.Initiator ||
			at.Protocol != wire.ProtoTCP || at.Port <= 0 {
			continue
		}
		if sealed, part, ok := offers(o.Value); ok {
			return announced{
				to:  netip.AddrPortFrom(from.Addr.Addr(), uint16(at.Port)),
				ttl: time.Duration(flood.TTL) * time.Millisecond, sealed: sealed, part: part,
			}, true
		}
	}
	return a, false
}

// offers says that the value of an AN_ACP has our method: its name, or an array
// that begins with the name or with an array that does. A byte string that
// follows the name is a proof; if it follows the mark of a part, it is that part.
func offers(value []byte) (sealed, part []byte, ok bool) {
	var v any
	if cbor.Unmarshal(value, &v) != nil {
		return nil, nil, false
	}
	for range 2 {
		list, isList := v.([]any)
		if !isList || len(list) == 0 {
			break
		}
		v = list[0]
		if v == method && len(list) > 1 {
			sealed, _ = list[1].([]byte)
			if list[1] == partMark && len(list) > 2 {
				part, _ = list[2].([]byte)
			}
		}
	}
	return sealed, part, v == method
}

// listen hears announcements, until the endpoint closes. Whatever else is sent
// in clear is not for us.
func (e *endpoint) listen() {
	buf := make([]byte, wire.DefaultBytes+1)
	for delay := time.Duration(0); ; {
		n, from, err := e.under.Receive(buf)
		if errors.Is(err, acp.ErrForeign) {
			e.plane.counters.clear.Add(1)
			continue
		}
		if err != nil {
			delay = min(max(2*delay, time.Millisecond), time.Second)
			if !e.pause(delay) {
				return
			}
			continue
		}
		delay = 0
		a, ok := parseAnnouncement(buf[:n], from)
		switch {
		case !ok:
			e.plane.counters.clear.Add(1)
		case e.isOwn(a.to):
		default:
			e.plane.counters.announcements.Add(1)
			if e.hearOf(from.Link, a) {
				e.poke()
			}
		}
	}
}

// hearOf takes an announcement. It returns true if somebody has to be dialed.
func (e *endpoint) hearOf(index int, a announced) bool {
	now := time.Now()
	claim, there := e.claimOf(a, now)
	if !there || !e.isWorthChecking(index, a.to, claim, now) {
		return e.consider(index, a, now)
	}
	identity, at, err := e.plane.check(claim, netip.AddrPortFrom(a.to.Addr().WithZone(""), a.to.Port()), e.plane.now())
	if err != nil {
		e.plane.counters.disproved.Add(1)
		e.chargeForCheck(index, costOf(claim))
		return e.consider(index, a, now)
	}
	e.plane.counters.proven.Add(1)
	return e.considerProven(index, a, identity, at, now)
}

// claimOf returns the proof that an announcement has, or finishes. It returns false if there
// is none, or none for this node.
func (e *endpoint) claimOf(a announced, now time.Time) (claim proof, there bool) {
	if a.part == nil {
		return e.plane.anchors.open(a.sealed)
	}
	p, ok := e.plane.anchors.openPart(a.part, a.to)
	if !ok {
		return claim, false
	}
	e.plane.counters.parts.Add(1)
	whole := e.assemble(a.to, p, now)
	return claim, whole != nil && cbor.Unmarshal(whole, &claim) == nil
}

// assemble adds a part of a proof. It returns the proof if no other is missing.
func (e *endpoint) assemble(to netip.AddrPort, p part, now time.Time) (whole []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	whole, givenUp := e.assembly.add(to, p, now)
	e.plane.counters.unfinished.Add(uint64(givenUp))
	return whole
}

// giveUpParts forgets the proofs that were not finished in time.
func (e *endpoint) giveUpParts(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.plane.counters.unfinished.Add(uint64(e.assembly.expire(now)))
}

// isOwn reports whether an address is this endpoint's, on any link: of two on one
// link, each hears the other.
func (e *endpoint) isOwn(to netip.AddrPort) bool {
	return to.Port() == e.Port() && slices.ContainsFunc(e.Links(), func(l acp.Link) bool {
		return l.Addr.WithZone("") == to.Addr().WithZone("")
	})
}
