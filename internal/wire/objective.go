package wire

import (
	"bytes"
	"math"
)

// Flags are the flags of an objective, RFC 8990 section 2.10.2. Bits that the RFC does
// not define are kept when received and are not sent.
type Flags uint64

// The flags of RFC 8990 section 2.10.2.
const (
	FlagDisc   Flags = 1 << iota // F_DISC: valid for discovery
	FlagNeg                      // F_NEG: valid for negotiation
	FlagSynch                    // F_SYNCH: valid for synchronization
	FlagNegDry                   // F_NEG_DRY: the negotiation is a dry run

	knownFlags = FlagDisc | FlagNeg | FlagSynch | FlagNegDry
)

// Objective is an objective option, RFC 8990 section 2.10.1.
type Objective struct {
	Name      string
	Flags     Flags
	LoopCount uint8
	Value     []byte // exactly one CBOR item as it is on the wire, nil if absent
}

// objective reads the objective of a message. Options before it, which have no place
// there, are ignored (section 2.8.2).
func (r *reader) objective(a *array) Objective {
	if !r.toObjective(a) {
		return Objective{}
	}
	return r.objectiveItem()
}

// toObjective goes to the item of a that is the place of an objective.
func (r *reader) toObjective(a *array) bool {
	for r.need(a, "objective") {
		if s, _ := r.peek(); s != shapeOption {
			return true
		}
		r.raw()
	}
	return false
}

// objectiveItem reads an objective. RFC 8990 section 2.10.1:
//
//	objective = [objective-name, objective-flags, loop-count, ?objective-value]
//
// The RFC allows the value to be absent in some messages only, but senders also leave
// it out in others, so it is optional everywhere (O-12).
func (r *reader) objectiveItem() Objective {
	a := r.open("objective")
	o := r.objectiveHead(&a)
	r.objectiveValue(&a, &o)
	return o
}

// objectiveHead reads what every objective has.
func (r *reader) objectiveHead(a *array) Objective {
	var o Objective
	o.Name = r.text(a, "name of the objective")
	o.Flags = Flags(r.uint(a, "flags", math.MaxUint64))
	o.LoopCount = uint8(r.uint(a, "loop count", math.MaxUint8))
	return o
}

// objectiveValue reads what may follow that.
func (r *reader) objectiveValue(a *array, o *Objective) {
	if r.more(a) {
		o.Value = bytes.Clone(r.raw())
		r.end(a, "objective")
	}
}

// objective writes o, which is held by as many arrays as levels says.
func (w *writer) objective(o *Objective, levels int) {
	items := uint64(3)
	if o.Value != nil {
		items = 4
	}
	w.head(majorArray, items)
	w.text("name of the objective", o.Name)
	w.head(majorUint, uint64(o.Flags&knownFlags))
	w.head(majorUint, uint64(o.LoopCount))
	if o.Value != nil {
		w.raw("value", o.Value, levels+1)
	}
}
