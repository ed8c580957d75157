package capture

import (
	"maps"
	"net/netip"
	"slices"
)

// Flow is one direction of a connection.
type Flow struct{ Src, Dst netip.AddrPort }

// Reverse is the other direction.
func (f Flow) Reverse() Flow { return Flow{f.Dst, f.Src} }

// The bounds of what is kept of a direction until what comes before it is
// there, and of the directions that are followed at the same time.
const (
	maxEarly = 256
	maxFlows = 1 << 16
)

// Streams brings the segments of TCP connections into order.
type Streams struct {
	flows map[Flow]*stream
}

// stream is one direction of a connection.
type stream struct {
	next    uint32 // the sequence number that comes next
	early   map[uint32][]byte
	dead    bool // it has a gap that nothing will fill
	endSeen bool
}

// Bytes are the next bytes of a direction.
type Bytes struct {
	Flow Flow
	New  bool // the first ones of this connection
	Data []byte
	// Gap says that something before Data was not captured.
	Gap bool
}

// Add takes a segment and returns what it allows to be read. A connection whose beginning
// was not captured begins with the first segment that was.
func (t *Streams) Add(s Segment) (Bytes, bool) {
	if t.flows == nil {
		t.flows = make(map[Flow]*stream)
	}
	flow := Flow{s.Src, s.Dst}
	f := t.flows[flow]
	seq := s.Seq
	if s.SYN {
		seq++
		f = nil // the ports are used again
	}
	out := Bytes{Flow: flow}
	if f == nil {
		if len(s.Payload) == 0 && !s.SYN || len(t.flows) >= maxFlows {
			return out, false
		}
		f = &stream{next: seq, early: make(map[uint32][]byte)}
		t.flows[flow] = f
		out.New = true
	}
	f.endSeen = f.endSeen || s.End
	if len(s.Payload) > 0 {
		out.Data, out.Gap = f.take(seq, s)
	}
	if f.endSeen && len(f.early) == 0 {
		delete(t.flows, flow)
	}
	return out, out.New || len(out.Data) > 0 || out.Gap
}

// take returns what can be read now.
func (f *stream) take(seq uint32, s Segment) (data []byte, gap bool) {
	switch ahead := int32(seq - f.next); {
	case f.dead:
		return nil, false
	case ahead > 0 && len(f.early) < maxEarly && !s.Cut:
		if len(f.early[seq]) < len(s.Payload) {
			f.early[seq] = slices.Clone(s.Payload)
		}
		return nil, false
	case ahead > 0 || s.Cut:
		f.dead, f.early = true, nil
		return nil, true
	case int64(len(s.Payload)) <= -int64(ahead):
		return nil, false // sent again
	default:
		data = slices.Clone(s.Payload[-ahead:])
		f.next += uint32(len(data))
	}
	for moved := true; moved; {
		moved = false
		for _, at := range slices.Collect(maps.Keys(f.early)) {
			ahead := int32(at - f.next)
			if ahead > 0 {
				continue
			}
			if more := f.early[at]; len(more) > int(-ahead) {
				data = append(data, more[-ahead:]...)
				f.next += uint32(len(more)) - uint32(-ahead)
				moved = true
			}
			delete(f.early, at)
		}
	}
	return data, false
}

// Rest returns the directions, in no order, of which something is left that what
// comes before it never came for.
func (t *Streams) Rest() []Flow {
	var out []Flow
	for flow, f := range t.flows {
		if len(f.early) > 0 {
			out = append(out, flow)
		}
	}
	return out
}
