package wire

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
)

// Parse decodes b, which must be exactly one message. What is accepted is in the
// package comment. The error is always an *Error.
func Parse(b []byte, lim Limits) (Message, error) {
	if err := wellFormed(b, lim.withDefaults()); err != nil {
		return nil, unreadable(b, err)
	}
	return ParseScanned(b)
}

// ParseScanned is Parse of an item that Scan has found: it is not scanned again.
func ParseScanned(b []byte) (Message, error) {
	r := reader{b: b}
	m := r.anyMessage()
	if r.err != nil {
		return nil, unreadable(b, r.err)
	}
	return m, nil
}

// anyMessage reads a message. If r.err is set afterwards, the message must not be
// used. Items left over at the end are ignored, RFC 8990 section 2.8.2.
func (r *reader) anyMessage() Message {
	a := r.open("message")
	at := r.i
	t := r.uint(&a, "message type", math.MaxUint64)
	if r.err != nil {
		return nil
	}
	if t > math.MaxUint8 {
		r.err = &fault{class: ErrUnknownType, what: fmt.Sprint(t), at: at}
		return nil
	}
	switch Type(t) {
	case TypeNoop:
		return &Noop{}
	case TypeDiscovery:
		m := &Discovery{SessionID: r.session(&a)}
		m.Initiator = r.initiator(&a)
		m.Objective = r.objective(&a)
		return m
	case TypeResponse:
		m := &Response{SessionID: r.session(&a)}
		m.Initiator = r.initiator(&a)
		m.TTL = r.uint32(&a, "ttl")
		r.responseOptions(&a, m)
		return m
	case TypeReqNeg:
		m := &ReqNeg{SessionID: r.session(&a)}
		m.Objective = r.objective(&a)
		return m
	case TypeReqSyn:
		m := &ReqSyn{SessionID: r.session(&a)}
		m.Objective = r.objective(&a)
		return m
	case TypeNegotiate:
		m := &Negotiate{SessionID: r.session(&a)}
		m.Objective = r.objective(&a)
		return m
	case TypeEnd:
		m := &End{SessionID: r.session(&a)}
		r.endOptions(&a, m)
		return m
	case TypeWait:
		m := &Wait{SessionID: r.session(&a)}
		m.Wait = r.uint32(&a, "waiting time")
		return m
	case TypeSynch:
		m := &Synch{SessionID: r.session(&a)}
		m.Objective = r.objective(&a)
		return m
	case TypeFlood:
		m := &Flood{SessionID: r.session(&a)}
		m.Initiator = r.initiator(&a)
		m.TTL = r.uint32(&a, "ttl")
		r.flooded(&a, m)
		return m
	case TypeInvalid:
		m := &Invalid{SessionID: r.session(&a)}
		if r.more(&a) {
			m.Info = bytes.Clone(r.raw())
		}
		return m
	default:
		r.err = &fault{class: ErrUnknownType, what: fmt.Sprint(t), at: at}
		return nil
	}
}

// session reads a session ID, which has 32 bits, RFC 8990 section 2.7.
func (r *reader) session(a *array) uint32 { return r.uint32(a, "session ID") }

func (r *reader) uint32(a *array, what string) uint32 {
	return uint32(r.uint(a, what, math.MaxUint32))
}

// initiator reads the initiator of a message: an address of either family, whatever
// it came by (C-03).
func (r *reader) initiator(a *array) netip.Addr { return r.addr(a, "initiator") }

// toFlooded goes to the next item of a whose first item shows that it is an objective
// with its locator. It skips options, which have no place there, and other items.
func (r *reader) toFlooded(a *array) bool {
	for r.more(a) {
		if s, _ := r.peek(); s == shapePair {
			return true
		}
		r.raw()
	}
	return false
}

// flooded reads the objectives of an M_FLOOD. RFC 8990 section 4:
//
//	flood-message = [M_FLOOD, session-id, initiator, ttl,
//	                 +[objective, (locator-option / [])]]
func (r *reader) flooded(a *array, m *Flood) {
	const least = 6 // bytes of the shortest: [["", 0, 0], []]
	at := r.i
	any := false
	for r.toFlooded(a) {
		any = true
		f, usable := r.pair(m)
		if r.err != nil {
			return
		}
		if !usable {
			continue
		}
		if m.Objectives == nil {
			m.Objectives = make([]Flooded, 0, 1+min(max(a.left, 0), (len(r.b)-r.i)/least))
		}
		m.Objectives = append(m.Objectives, f)
	}
	if !any {
		r.fail(at, "no objective")
	}
}

// pair reads an objective of m with its locator. If it cannot be used, because the
// locator is unknown or something is wrong that does not concern the others, pair
// skips it and returns false. Name, flags and loop count have to be valid, because the
// rules for the whole message need them.
func (r *reader) pair(m *Flood) (f Flooded, usable bool) {
	start := r.i
	pair := r.open("objective with locator")
	if !r.toObjective(&pair) {
		return f, false
	}
	o := r.open("objective")
	f.Objective = r.objectiveHead(&o)
	if r.err != nil {
		return f, false
	}
	r.objectiveValue(&o, &f.Objective)
	usable = r.floodedLocator(&pair, &f.Locator)
	r.end(&pair, "objective with locator")
	if wrong, ok := r.err.(*fault); ok && !wrong.hard {
		r.i, r.err = start, nil
		r.raw()
		m.LeftOut++
		return f, false
	}
	return f, usable
}

// LoopCounts returns the loop counts of all objectives of an M_FLOOD that Parse
// accepts, including those that Parse leaves out: the rules for the whole message
// apply to them as well (RFC 8990 sections 2.5.2 and 2.5.6.2). The first is the one
// that a relay decrements.
func LoopCounts(flood []byte) []uint8 {
	r := reader{b: flood}
	a := r.open("message")
	r.uint(&a, "message type", math.MaxUint64)
	r.session(&a)
	r.initiator(&a)
	r.uint32(&a, "ttl")
	var counts []uint8
	for r.toFlooded(&a) {
		pair := r.item()
		items := pair.open("objective with locator")
		if pair.toObjective(&items) {
			_, count := pair.loopCount()
			counts = append(counts, uint8(count))
		}
	}
	return counts
}

// floodedLocator reads the tag of a flooded objective. It returns false if the tag is
// an unknown option: then the objective cannot be told from others of its name, and
// must not be taken for one without locator.
func (r *reader) floodedLocator(pair *array, l *Locator) bool {
	if !r.need(pair, "locator") {
		return false
	}
	at := r.i
	s, number := r.peek()
	switch {
	case s == shapeEmpty:
		r.raw()
		return true
	case s == shapeOption && isLocator(number):
		*l = r.locator()
		return true
	case s == shapeOption:
		r.raw()
		return false
	default:
		r.fail(at, "neither locator nor empty array")
		return false
	}
}
