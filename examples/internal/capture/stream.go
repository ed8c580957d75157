package capture

import (
	"container/list"
	"maps"
	"net/netip"
	"slices"
)

// Flow is one direction of a connection.
type Flow struct{ Src, Dst netip.AddrPort }

// Reverse is the other direction.
func (f Flow) Reverse() Flow { return Flow{f.Dst, f.Src} }

// The bounds of what is kept of a direction until what comes before it is
// there, of that of all of them, and of the directions that are followed at the
// same time.
const (
	maxEarly      = 256
	maxEarlyBytes = 32 << 20
	maxFlows      = 1 << 14
)

// Streams brings the segments of TCP connections into order. When there are too many
// connections, the one that was silent longest is given up.
type Streams struct {
	// Forget, if it is set, is told of each direction that is no longer followed although
	// it did not end: it was given up, or its ports are used again. Left says that
	// something came for which what comes before it never did.
	Forget func(f Flow, left bool)

	flows map[Flow]*stream
	used  list.List // of the flows, that with the latest segment in front
	early int       // bytes in all of them
}

// stream is one direction of a connection.
type stream struct {
	next    uint32 // the sequence number that comes next
	early   map[uint32][]byte
	dead    bool // it has a gap that nothing will fill
	endSeen bool
	used    *list.Element
}

// Bytes are the next bytes of a direction.
type Bytes struct {
	Flow Flow
	New  bool // the first ones of this connection
	Data []byte
	// Gap says that something before Data was not captured.
	Gap bool
	// End says that there will be no more.
	End bool
}

// Add takes a segment and returns what it allows to be read. A connection whose beginning
// was not captured begins with the first segment that was.
func (t *Streams) Add(s Segment) (Bytes, bool) {
	flow := Flow{s.Src, s.Dst}
	f := t.flows[flow]
	seq := s.Seq
	if s.SYN {
		seq++
		t.forget(flow) // the ports are used again
		f = nil
	}
	out := Bytes{Flow: flow}
	if f == nil {
		if len(s.Payload) == 0 && !s.SYN {
			return out, false
		}
		f = t.open(flow, seq)
		out.New = true
	}
	t.used.MoveToFront(f.used)
	f.endSeen = f.endSeen || s.End
	if len(s.Payload) > 0 {
		out.Data, out.Gap = t.take(f, seq, s)
	}
	if f.endSeen && len(f.early) == 0 {
		out.End = true
		t.remove(flow, f)
	}
	return out, out.New || len(out.Data) > 0 || out.Gap || out.End
}

// open begins to follow a direction.
func (t *Streams) open(flow Flow, next uint32) *stream {
	if t.flows == nil {
		t.flows = make(map[Flow]*stream)
	}
	if len(t.flows) >= maxFlows {
		t.forget(t.used.Back().Value.(Flow))
	}
	f := &stream{next: next, early: make(map[uint32][]byte), used: t.used.PushFront(flow)}
	t.flows[flow] = f
	return f
}

// forget gives a direction up, if it is followed.
func (t *Streams) forget(flow Flow) {
	f := t.flows[flow]
	if f == nil {
		return
	}
	left := len(f.early) > 0
	t.remove(flow, f)
	if t.Forget != nil {
		t.Forget(flow, left)
	}
}

func (t *Streams) remove(flow Flow, f *stream) {
	for seq := range f.early {
		t.dropEarly(f, seq)
	}
	t.used.Remove(f.used)
	delete(t.flows, flow)
}

func (t *Streams) dropEarly(f *stream, seq uint32) {
	t.early -= len(f.early[seq])
	delete(f.early, seq)
}

// take returns what can be read now.
func (t *Streams) take(f *stream, seq uint32, s Segment) (data []byte, gap bool) {
	ahead := int32(seq - f.next)
	fits := len(f.early) < maxEarly && t.early+len(s.Payload) <= maxEarlyBytes
	switch {
	case f.dead:
		return nil, false
	case ahead > 0 && fits && !s.Cut:
		if len(f.early[seq]) < len(s.Payload) {
			t.early += len(s.Payload) - len(f.early[seq])
			f.early[seq] = slices.Clone(s.Payload)
		}
		return nil, false
	case ahead > 0 || s.Cut:
		f.dead = true
		for seq := range f.early {
			t.dropEarly(f, seq)
		}
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
			t.dropEarly(f, at)
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
