package tlsplane

import (
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
	announced = "AN_ACP"
	method    = "GRASP-TLS"
)

// firstInterval is the time between the first two announcements; it doubles up
// to Plane.Interval.
const firstInterval = 250 * time.Millisecond

// announce floods, on every link, that there is a node. It goes out in clear
// and is unauthenticated, like that of a DULL instance (RFC 8990 section 2.5.2):
// all it can do is to have somebody dial.
func (e *endpoint) announce() {
	for _, l := range e.Links() {
		raw, err := announcement(l.Addr, e.Port(), e.plane.interval())
		if err == nil {
			err = e.under.Send(l.Index, raw)
		}
		if err != nil {
			e.log.Debug("an announcement failed", "link", l.Name, "error", err)
		}
	}
}

func announcement(addr netip.Addr, port uint16, interval time.Duration) ([]byte, error) {
	addr = addr.WithZone("")
	value, err := cbor.Marshal(method)
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
			Objective: wire.Objective{Name: announced, Flags: wire.FlagSynch, LoopCount: 1, Value: value},
			Locator:   wire.Locator{Kind: kind, Addr: addr, Protocol: wire.ProtoTCP, Port: int(port)},
		}},
	}
	return m.Append(nil)
}

// lifetime is how long an announcement is valid: 210 s for one each minute.
func lifetime(interval time.Duration) time.Duration { return interval * 7 / 2 }

// parseAnnouncement returns where a node is to be dialed, and for how long.
func parseAnnouncement(raw []byte, from acp.Origin) (to netip.AddrPort, ttl time.Duration, ok bool) {
	m, err := wire.Parse(raw, wire.Limits{})
	if err != nil {
		return netip.AddrPort{}, 0, false
	}
	flood, isFlood := m.(*wire.Flood)
	if !isFlood || flood.Initiator != from.Addr.Addr().WithZone("") {
		return netip.AddrPort{}, 0, false
	}
	for _, f := range flood.Objectives {
		o, at := &f.Objective, &f.Locator
		if o.Name == announced && o.LoopCount == 1 && offers(o.Value) &&
			at.Addr == flood.Initiator && at.Protocol == wire.ProtoTCP && at.Port > 0 {
			// The address of the packet, which has a zone.
			to = netip.AddrPortFrom(from.Addr.Addr(), uint16(at.Port))
			return to, time.Duration(flood.TTL) * time.Millisecond, true
		}
	}
	return netip.AddrPort{}, 0, false
}

// offers says that the value of an AN_ACP has our method: its name, or an array
// that begins with the name or with an array that does.
func offers(value []byte) bool {
	var v any
	if cbor.Unmarshal(value, &v) != nil {
		return false
	}
	for range 2 {
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0]
		}
	}
	return v == method
}

// listen hears announcements, until the endpoint closes. Whatever else is sent
// in clear is not for us.
func (e *endpoint) listen() {
	buf := make([]byte, wire.DefaultBytes+1)
	for delay := time.Duration(0); ; {
		n, from, err := e.under.Receive(buf)
		if err != nil {
			delay = min(max(2*delay, time.Millisecond), time.Second)
			if !e.pause(delay) {
				return
			}
			continue
		}
		delay = 0
		to, ttl, ok := parseAnnouncement(buf[:n], from)
		switch {
		case !ok:
			e.plane.counters.clear.Add(1)
		case e.isOwn(to):
		default:
			e.plane.counters.announcements.Add(1)
			if e.consider(from.Link, to, ttl) {
				e.poke()
			}
		}
	}
}

// isOwn says that an address is this endpoint's, on any link: of two on one
// link, each hears the other.
func (e *endpoint) isOwn(to netip.AddrPort) bool {
	return to.Port() == e.Port() && slices.ContainsFunc(e.Links(), func(l acp.Link) bool {
		return l.Addr.WithZone("") == to.Addr().WithZone("")
	})
}
