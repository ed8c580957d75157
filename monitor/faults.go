package monitor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// findFaults finds what is wrong, the worst first.
func (b *networkBuilder) findFaults() {
	for _, p := range b.parts {
		b.nodeFaults(p)
	}
	b.refusalFaults()
	b.hearingFaults()
	slices.SortStableFunc(b.Faults, func(x, y Fault) int { return oneIf(y.Bad) - oneIf(x.Bad) })
	b.Faults = b.Faults[:min(len(b.Faults), maxFaults)]
}

// fault notes a fault of a node.
func (b *networkBuilder) fault(p *part, bad bool, format string, args ...any) {
	b.Faults = append(b.Faults, Fault{p.Name, bad, fmt.Sprintf(format, args...)})
}

// nodeFaults finds the faults that a node itself knows of.
func (b *networkBuilder) nodeFaults(p *part) {
	if p.Trouble != "" {
		b.fault(p, true, "its monitor gives no answer: %s", p.Trouble)
	}
	if p.is == nil {
		return
	}
	if p.Closed {
		b.fault(p, true, "the instance is closed")
		return
	}
	s := &p.is.Snapshot
	if !s.Status.Secure {
		b.fault(p, true, "not secure: %s", s.Status.Reason)
	}
	if len(s.Links) == 0 {
		b.fault(p, true, "has no link")
	}
	if s.LinkTrouble != "" {
		b.fault(p, true, "trouble with links: %s", s.LinkTrouble)
	}
	for _, i := range s.Interfaces {
		if isUnused(&i) && len(p.Unused) < maxNodeValues {
			p.Unused = append(p.Unused, i)
			b.fault(p, i.Named || i.State == acp.LinkDuplicate, "no link: %v", i)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(p.is.Recent)) {
		if n := p.is.Recent[r]; n >= manyDrops && !isUsual(r) {
			b.fault(p, false, "dropped %d in the last minute: %v", n, r)
		}
	}
}

// isUnused reports whether an interface is not a link, but may be meant to be one.
func isUnused(i *acp.Interface) bool {
	switch i.State {
	case acp.LinkInUse, acp.LinkUnnamed, acp.LinkLoopback, acp.LinkBridgePort, acp.LinkNoGroups:
		return false
	case acp.LinkDown, acp.LinkNoAddress, acp.LinkTentative:
		return i.Named // others may be like that on purpose
	}
	return true
}

// manyDrops is how many drops of one reason in a minute are a fault.
const manyDrops = 10

// isUsual reports whether a healthy network has such drops.
func isUsual(r grasp.Reason) bool {
	switch r {
	case grasp.ReasonOwn, grasp.ReasonRelayedBefore, grasp.ReasonNoOtherLink, grasp.ReasonLoopCount, grasp.ReasonUnsolicited:
		return true
	}
	return false
}

// list names a few things, and counts the others.
func list(names []string) string {
	const most = 4
	if len(names) > most+1 {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// hearingTime is how late a node may hear what another one multicasts, and for how long
// the node must have been watched before that.
const hearingTime = 10 * time.Second

// hearingFaults finds nodes that do not hear another node, although both are on the same
// link because others there hear them.
func (b *networkBuilder) hearingFaults() {
	left := maxPairs
	for k := range b.Links {
		ends := b.endsOf(k)
		if left -= len(ends) * len(ends); left < 0 {
			return
		}
		for _, deaf := range ends {
			var unheard []string
			for _, other := range ends {
				if other.part != deaf.part && b.isDeaf(deaf, other) {
					unheard = append(unheard, other.part.Name)
				}
			}
			if len(unheard) > 0 {
				deaf.part.Ends[deaf.at].Fault = "does not hear all others"
				b.fault(deaf.part, true, "does not hear %s on %s, though on the same link", list(unheard), deaf.Name)
			}
		}
	}
}

// partEnd is a link of an instance.
type partEnd struct {
	part *part
	at   int // in its Ends
	acp.Link
}

// endsOf returns the ends of a link.
func (b *networkBuilder) endsOf(link int) (ends []partEnd) {
	for _, p := range b.parts {
		for i, e := range p.Ends {
			if e.Link == link && p.Trouble == "" && !p.Closed {
				ends = append(ends, partEnd{p, i, p.is.Snapshot.Links[i]})
			}
		}
	}
	return ends
}

// isDeaf reports whether one end did not hear the last multicast of the other. The clocks
// of nodes differ, so it compares how long ago things happened.
func (b *networkBuilder) isDeaf(deaf, other partEnd) bool {
	spoke := other.part.is.Spoke[other.Index]
	if spoke.IsZero() || len(other.part.is.Snapshot.Neighbours) > 0 {
		return false // it sent nothing, or sends to its neighbours by streams
	}
	ago := other.part.Time.Sub(spoke)
	watched := deaf.part.Time.Sub(deaf.part.is.Since)
	if ago < hearingTime || ago > watched-hearingTime {
		return false
	}
	addr := netip.AddrPortFrom(other.Addr.WithZone(""), other.part.is.Snapshot.Port)
	for _, h := range deaf.part.is.Heard {
		if h.Link == deaf.Index && h.Peer == addr && deaf.part.Time.Sub(h.Last) < ago+hearingTime {
			return false
		}
	}
	return true
}
