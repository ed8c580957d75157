package tlsplane

import (
	"errors"
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

// announce floods this node's address and port on every link, as a DULL instance
// would (RFC 8990 section 2.5.2). All that an announcement does is to have somebody dial.
func (e *endpoint) announce(own *standing) {
	now := e.plane.now()
	for _, l := range e.Links() {
		var sealed []byte
		to := netip.AddrPortFrom(l.Addr.WithZone(""), e.Port())
		err := errNoAnchor
		if own.anchor != nil {
			sealed, err = prove(own.cert, own.anchor, to, now)
		}
		if err != nil {
			e.log.Debug("an announcement goes without a proof", "link", l.Name, "error", err)
		}
		raw, err := announcement(to, sealed, e.plane.interval())
		if err == nil && len(raw) > e.under.MaxMulticast() {
			e.log.Debug("the proof of an announcement does not fit", "link", l.Name, "bytes", len(raw))
			raw, err = announcement(to, nil, e.plane.interval())
		}
		if err == nil {
			err = e.under.Send(l.Index, raw)
		}
		if err != nil {
			e.log.Debug("an announcement failed", "link", l.Name, "error", err)
		}
	}
}

var errNoAnchor = errors.New("no trust anchor")

// announcement returns a flood of AN_ACP. Without a proof its value is the name
// of the method, else an array that begins with it.
func announcement(at netip.AddrPort, sealed []byte, interval time.Duration) ([]byte, error) {
	addr, port := at.Addr(), at.Port()
	var offer any = method
	if sealed != nil {
		offer = []any{method, sealed}
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
		if sealed, ok := offers(o.Value); ok {
			return announced{
				to:  netip.AddrPortFrom(from.Addr.Addr(), uint16(at.Port)),
				ttl: time.Duration(flood.TTL) * time.Millisecond, sealed: sealed,
			}, true
		}
	}
	return a, false
}

// offers says that the value of an AN_ACP has our method: its name, or an array
// that begins with the name or with an array that does. A byte string that
// follows the name is a proof.
func offers(value []byte) (sealed []byte, ok bool) {
	var v any
	if cbor.Unmarshal(value, &v) != nil {
		return nil, false
	}
	for range 2 {
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0]
			if len(list) > 1 && v == method {
				sealed, _ = list[1].([]byte)
			}
		}
	}
	return sealed, v == method
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
	claim, there := e.plane.anchors.open(a.sealed)
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

// isOwn reports whether an address is this endpoint's, on any link: of two on one
// link, each hears the other.
func (e *endpoint) isOwn(to netip.AddrPort) bool {
	return to.Port() == e.Port() && slices.ContainsFunc(e.Links(), func(l acp.Link) bool {
		return l.Addr.WithZone("") == to.Addr().WithZone("")
	})
}
