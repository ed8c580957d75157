package grasp

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-grasp/grasp/internal/registry"
	"github.com/go-grasp/grasp/internal/value"
	"github.com/go-grasp/grasp/internal/wire"
)

// DefaultLoopCount is the loop count of a new objective
// (GRASP_DEF_LOOPCT, RFC 8990 section 2.6).
const DefaultLoopCount = 6

// DefaultTTL is the lifetime that discovery responses announce for an
// objective registered without one. It is RFC 8991's; the Python prototype
// says 600 s.
const DefaultTTL = 60 * time.Second

// Objective is a GRASP objective (RFC 8990 section 2.10, RFC 8991 section
// 2.3.2.3): a named parameter or function that ASAs discover, negotiate or
// synchronize. It is passed by value, and values are copied wherever they
// enter or leave an instance: neither side can change the other's.
type Objective struct {
	// Name tells objectives apart, byte by byte. A private name has a colon
	// after a string that is globally unique, such as a domain name.
	Name string
	// Neg says that the objective is for negotiation, Dry that the negotiation is a
	// dry run, Synch that the objective is for synchronization. Dry requires Neg;
	// Synch excludes both.
	Neg, Dry, Synch bool
	// NoDisc has the objective sent without F_DISC: it is not for discovery, as RFC
	// 8995 wants those that it floods. Where it is registered so, discovery of it is
	// not answered. Discover takes no notice, and in received objectives it is false.
	NoDisc bool
	// LoopCount limits the relays that a discovery or flood passes, and the steps
	// of a negotiation. In a call that begins one of these, 0 means 6.
	LoopCount uint8
	// Value is any value that CBOR can express, nested no deeper than a message may
	// be. Calls return [ErrCBORFail] for other values: channels, functions, text that
	// is not UTF-8, values that contain themselves.
	//
	// Received values are of Go's plain types: nil, bool, int64, float64, string,
	// []byte, []any, map[any]any, time.Time (tags 0 and 1), *big.Int,
	// [EncodedCBOR] (tag 24), cbor.Tag (other tags), or cbor.RawMessage for what
	// none of these can hold, such as a map with an array as key, a time that is
	// not a number or a tag 24 of more than one item. A received value can be sent on
	// and means the same.
	Value any
}

// NewObjective returns an objective with the default loop count and without
// flags or value.
func NewObjective(name string) Objective {
	return Objective{Name: name, LoopCount: DefaultLoopCount}
}

// Decode puts the value into the variable that v points to, by way of CBOR
// and with the rules of fxamacker/cbor. If the value is an [EncodedCBOR], Decode
// decodes its content, unless v points to an EncodedCBOR. The error matches
// [ErrCBORFail].
func (o Objective) Decode(v any) error {
	raw, err := encodeValue(o.Value)
	if err == nil {
		if inner, ok := o.Value.(EncodedCBOR); ok {
			if _, same := v.(*EncodedCBOR); !same {
				raw = inner
			}
		}
		err = codec.Unmarshal(raw, v)
	}
	if err != nil {
		return fail("decode", o.Name, ErrCBORFail, err)
	}
	return nil
}

// check returns the code of the first rule of section 2.3.2.3 of RFC 8991
// that the flags break.
func (o Objective) check() error {
	if o.Synch && (o.Neg || o.Dry) {
		return ErrNotBoth
	}
	return nil
}

// loops returns the loop count to begin with.
func (o Objective) loops() uint8 {
	if o.LoopCount == 0 {
		return DefaultLoopCount
	}
	return o.LoopCount
}

func (o Objective) flags() wire.Flags {
	var flags wire.Flags
	if !o.NoDisc {
		flags |= wire.FlagDisc
	}
	if o.Neg {
		flags |= wire.FlagNeg
	}
	if o.Dry {
		flags |= wire.FlagNegDry
	}
	if o.Synch {
		flags |= wire.FlagSynch
	}
	return flags
}

// encode returns the objective as it is sent. A missing value is sent as
// null: some peers cannot do without.
func (o Objective) encode() (wire.Objective, error) {
	raw, err := encodeValue(o.Value)
	if err != nil {
		return wire.Objective{}, err
	}
	return wire.Objective{Name: o.Name, Flags: o.flags(), LoopCount: o.loops(), Value: raw}, nil
}

// withoutValue returns the objective as it is sent where no value is meant.
func (o Objective) withoutValue() wire.Objective {
	return wire.Objective{Name: o.Name, Flags: o.flags(), LoopCount: o.loops(), Value: null}
}

// inDiscovery returns the objective as it is asked for.
func (o Objective) inDiscovery() wire.Objective {
	o.NoDisc = false
	return o.withoutValue()
}

// decodeObjective returns a received objective as an ASA sees it.
func decodeObjective(w *wire.Objective) Objective {
	return Objective{
		Name:      w.Name,
		Neg:       w.Flags&wire.FlagNeg != 0,
		Dry:       w.Flags&wire.FlagNegDry != 0,
		Synch:     w.Flags&wire.FlagSynch != 0,
		LoopCount: w.LoopCount,
		Value:     decodeValue(w.Value),
	}
}

// RegisterOptions are the settings of RegisterObj. The zero value is the
// default.
type RegisterOptions struct {
	// TTL is the lifetime that discovery responses announce; 0 means
	// [DefaultTTL]. It is sent in milliseconds, 32 bits.
	TTL time.Duration
	// Discoverable makes the objective discoverable at once. Otherwise it is
	// discoverable while an ASA listens for it.
	Discoverable bool
	// Overlap lets other ASAs of the instance register the objective too, if all of
	// them set it. The settings of the first registration apply. Each request goes to
	// one of the ASAs that listen. Of the ASAs that answer requests for synchronization,
	// the one that was last to call ListenSynchronize or AnswerSynchronize counts.
	Overlap bool
	// Local makes responses give the link-local address of the link that the
	// discovery came by.
	Local bool
	// Rapid turns on rapid mode; so does Config.Rapid for all objectives.
	//
	// For synchronization, responses to discovery carry the value given to
	// ListenSynchronize, so that the initiator need not ask for it: the form that
	// the Python prototype understands. They do not if there is a Config.Authorize.
	//
	// For negotiation (RFC 8990 section 2.5.5.1), ReqNegotiate without a peer
	// discovers with the value it asks for, and a listener takes such a
	// discovery from the link as a request. Python initiators put values into
	// every discovery and do not understand rapid answers: their discovery of
	// an objective with Rapid fails.
	Rapid bool
	// Locators are sent in responses, all of them and in order, instead of the
	// instance's own. A locator with a link-local address is sent on its link only (RFC
	// 8990 section 2.9.5.1). The zone of the address, a name or an index, says which
	// link that is; without a zone it is the link on which this node has the address.
	Locators []Locator
}

// registration is an entry of the objective registry.
type registration struct {
	flags   wire.Flags
	loops   uint8
	ttl     uint32
	opt     RegisterOptions
	backlog *backlog        // requests for negotiation; nil before the first listener
	answers []synchListener // to M_REQ_SYN; the last one counts
	flooded []flooded       // of each ASA the last; the last one answers M_REQ_SYN when nobody listens
	replies []ownLocator    // opt.Locators as they are sent
}

// isDiscoverable reports whether discovery is answered.
func (r *registration) isDiscoverable(owners map[*ASA]bool) bool {
	return r.flags&wire.FlagDisc != 0 && !drained(owners) &&
		(r.opt.Discoverable || r.synchListener().asa != nil || r.backlog.Listening())
}

// drained reports whether all ASAs that have registered an objective are draining.
func drained(owners map[*ASA]bool) bool {
	for a := range owners {
		if !a.draining.Load() {
			return false
		}
	}
	return true
}

// objectiveTable is the objective registry.
type objectiveTable struct {
	*registry.Table[*ASA, *registration]
}

func newObjectiveTable(limit int) objectiveTable {
	return objectiveTable{registry.NewTable[*ASA, *registration](limit)}
}

// registryError returns the error of a call for one of the registry.
func registryError(err error) error {
	for _, code := range []struct {
		of error
		is ErrorCode
	}{
		{registry.ErrFull, ErrObjFull}, {registry.ErrTaken, ErrObjReg},
		{registry.ErrUnknown, ErrNotObj}, {registry.ErrNotOwner, ErrNotYourObj},
		{registry.ErrStopped, ErrStopped}, {registry.ErrGone, ErrNoASA},
	} {
		if errors.Is(err, code.of) {
			return code.is
		}
	}
	return err
}

// add registers an objective for an ASA.
func (t objectiveTable) add(asa *ASA, name string, r *registration) error {
	return registryError(t.Add(asa, name, r, func(there *registration) bool {
		return there.opt.Overlap && r.opt.Overlap && there.flags&kinds == r.flags&kinds
	}))
}

// kinds are the flags in which registrations that overlap must agree.
const kinds = wire.FlagNeg | wire.FlagSynch

// remove ends an ASA's share of an objective, and the listening of the ASA.
func (t objectiveTable) remove(asa *ASA, name string) error {
	r, err := t.Remove(asa, name)
	if err != nil {
		return registryError(err)
	}
	stopListening(r.backlog, asa, ErrStopped)
	t.Look(name, func(r *registration, _ map[*ASA]bool) { r.stopAnswers(asa) })
	return nil
}

// owned calls f with the registration of an objective that the ASA has
// registered. f runs under the table's lock.
func (t objectiveTable) owned(asa *ASA, name string, f func(*registration) error) error {
	return registryError(t.Owned(asa, name, f))
}

// stopListening makes an ASA take no more requests: its listeners wake up with an
// error. If no other ASA takes requests, the queued ones are refused by closing.
func stopListening(b *backlog, asa *ASA, err error) {
	refuseAll(b.Stop(err, func(other *ASA) bool { return other == asa }))
}

func refuseAll(requests []request) {
	for _, r := range requests {
		r.session.finish()
	}
}

// offer is what a discovery response may say of an objective.
type offer struct {
	objective wire.Objective // with the value, if it is rapid
	ttl       uint32
	local     bool
	rapid     bool
	locators  []ownLocator
}

// offered returns what a discovery response may say of an objective that an ASA other
// than but, which may be nil, has registered. RFC 8990 section 2.5.4.3: a node answers
// if an ASA supports the objective.
func (t objectiveTable) offered(name string, but *ASA) (o offer, ok bool) {
	t.Look(name, func(r *registration, owners map[*ASA]bool) {
		if !r.isDiscoverable(owners) || owners[but] && len(owners) == 1 {
			return
		}
		l := r.synchListener()
		o, ok = offer{
			objective: wire.Objective{Name: name, Flags: r.flags, LoopCount: r.loops, Value: l.value},
			ttl:       r.ttl,
			local:     r.opt.Local,
			rapid:     r.opt.Rapid && l.value != nil,
			locators:  r.replies,
		}, true
	})
	return o, ok
}

// isDrained reports whether all ASAs that have registered an objective are draining.
func (t objectiveTable) isDrained(name string) bool {
	is := true
	t.Look(name, func(_ *registration, owners map[*ASA]bool) { is = drained(owners) })
	return is
}

// isRapid reports whether an objective is registered for rapid mode.
func (t objectiveTable) isRapid(name string) (rapid bool) {
	t.Look(name, func(r *registration, _ map[*ASA]bool) { rapid = r.opt.Rapid })
	return rapid
}

// backlogOf returns the queue for negotiation requests, nil if there never
// was a listener.
func (t objectiveTable) backlogOf(name string) (b *backlog) {
	t.Look(name, func(r *registration, _ map[*ASA]bool) { b = r.backlog })
	return b
}

// stopAll wakes all listeners for negotiation with an error.
func (t objectiveTable) stopAll(err error) {
	for _, b := range t.backlogs() {
		refuseAll(b.Stop(err, func(*ASA) bool { return true }))
	}
}

// backlogs returns the queues of all objectives; nil stands for that of an objective
// which nobody listened for.
func (t objectiveTable) backlogs() (all []*backlog) {
	t.Each(func(_ string, r *registration, _ map[*ASA]bool) { all = append(all, r.backlog) })
	return all
}

// RegisterObj registers an objective that the ASA negotiates, gives to others or
// floods (RFC 8991 section 2.3.3). Discover, Synchronize and GetFlood need no
// registration. Dry promises that dry runs are taken besides real requests, and
// keeps none away. It does not block.
//
// Errors: [ErrNoASA], [ErrNotBoth], [ErrNotDry], [ErrUnspec] (a name that is
// empty or not UTF-8, a TTL out of range), [ErrInvalidLoc] (also for locators that do
// not fit a response), [ErrObjFull] and [ErrObjReg], the last also for an ASA
// that registers a name twice.
func (a *ASA) RegisterObj(o Objective, opt RegisterOptions) error {
	const op = "register"
	if err := a.check(); err != nil {
		return fail(op, o.Name, ErrNoASA, err)
	}
	switch {
	case o.check() != nil:
		return fail(op, o.Name, ErrNotBoth, nil)
	case o.Dry && !o.Neg:
		return fail(op, o.Name, ErrNotDry, nil)
	case o.Name == "":
		return fail(op, o.Name, ErrUnspec, errNoName)
	case !utf8.ValidString(o.Name):
		return fail(op, o.Name, ErrUnspec, errNotUTF8)
	}
	opt.TTL = cmp.Or(opt.TTL, DefaultTTL)
	ttl, err := milliseconds(opt.TTL)
	if err != nil {
		return fail(op, o.Name, ErrUnspec, err)
	}
	replies, err := encodeLocators(opt.Locators)
	if err == nil && replies != nil {
		m := &wire.Response{SessionID: math.MaxUint32, Initiator: netip6Unspecified, TTL: ttl}
		for _, l := range replies {
			m.Locators = append(m.Locators, l.Locator)
		}
		_, err = a.g.encode(m)
	}
	if err != nil {
		return fail(op, o.Name, ErrInvalidLoc, err)
	}
	opt.Rapid = opt.Rapid || a.g.cfg.Rapid
	r := &registration{
		flags: o.flags(), loops: o.loops(), ttl: ttl, opt: opt, replies: replies,
	}
	if err := a.g.objectives.add(a, o.Name, r); err != nil {
		return wrap(op, o.Name, err)
	}
	if err := a.own(o.Name); err != nil {
		// The ASA was deregistered meanwhile: it must not leave a registration behind.
		_ = a.g.objectives.remove(a, o.Name)
		return fail(op, o.Name, ErrNoASA, err)
	}
	return nil
}

// DeregisterObj ends the ASA's registration of the objective with o's name. Its
// listeners wake up with [ErrStopped]. If no other ASA has registered the objective
// with Overlap, discovery no longer finds it. Sessions go on, but NegotiateStep returns
// [ErrNotYourObj]: they can only be ended. It does not block.
//
// Errors: [ErrNoASA], [ErrNotYourObj], [ErrNotObj].
func (a *ASA) DeregisterObj(o Objective) error {
	const op = "deregister"
	if err := a.check(); err != nil {
		return fail(op, o.Name, ErrNoASA, err)
	}
	if err := a.g.objectives.remove(a, o.Name); err != nil {
		return wrap(op, o.Name, err)
	}
	a.disown(o.Name)
	return nil
}

// EncodedCBOR is a value that is sent and received as encoded CBOR: Tag 24
// around a byte string that holds one CBOR item. A []byte is always sent as a byte
// string.
type EncodedCBOR []byte

// Encode returns the encoding of a value, to be sent as Tag 24. It must not need
// more than 64 MiB.
//
// Errors: [ErrCBORFail] (see [Objective]), [ErrTooLong].
func Encode(v any) (EncodedCBOR, error) {
	raw, err := encodeValue(v)
	if err != nil {
		return nil, wrap("encode", "", err)
	}
	return raw, nil
}

// null is the value of an objective that has none.
var null = []byte{0xf6}

var errNoName, errNotUTF8 = errors.New("the objective has no name"), errors.New("name is not UTF-8")

var codec = value.NewCodec(reflect.TypeFor[EncodedCBOR]())

// maxValue is how many bytes a value may need, whatever message it is for.
const maxValue = 64 << 20

// encodeValue returns the CBOR encoding of a value. The error has a code:
// ErrCBORFail, or ErrTooLong.
func encodeValue(v any) ([]byte, error) { return encodeValueOf(v, maxValue) }

func encodeValueOf(v any, limit int) ([]byte, error) {
	raw, err := codec.Encode(v, limit)
	switch {
	case errors.Is(err, value.ErrTooLong):
		return nil, &withCode{ErrTooLong, fmt.Errorf("%w: the limit is %d bytes", err, limit)}
	case err != nil:
		return nil, &withCode{ErrCBORFail, err}
	}
	return raw, nil
}

// decodeValue returns a received value in Go's plain types, or as it is if
// they cannot hold it.
func decodeValue(raw []byte) any {
	if raw == nil {
		return nil
	}
	return codec.Decode(raw)
}

// milliseconds returns a duration as it is sent: at least 1 ms, at most what
// 32 bits hold.
func milliseconds(d time.Duration) (uint32, error) {
	if d <= 0 || d > math.MaxUint32*time.Millisecond {
		return 0, fmt.Errorf("%v is not from 1 ms to %d ms", d, uint32(math.MaxUint32))
	}
	return uint32((d + time.Millisecond - 1) / time.Millisecond), nil
}

// states returns the registered objectives in order of their names.
func (t objectiveTable) states() []ObjectiveState {
	var out []ObjectiveState
	t.Each(func(name string, r *registration, owners map[*ASA]bool) {
		l := r.synchListener()
		s := ObjectiveState{
			Name: name,
			Neg:  r.flags&wire.FlagNeg != 0, Dry: r.flags&wire.FlagNegDry != 0, Synch: r.flags&wire.FlagSynch != 0,
			LoopCount: r.loops, TTL: r.opt.TTL, Discoverable: r.isDiscoverable(owners),
			Negotiating: r.backlog.Listening(), Synchronizing: l.asa != nil, Waiting: r.backlog.Len(),
		}
		if l.value != nil {
			s.Value = diagnose(l.value)
		}
		for a := range owners {
			s.ASAs = append(s.ASAs, a.name)
		}
		slices.Sort(s.ASAs)
		out = append(out, s)
	})
	slices.SortFunc(out, func(a, b ObjectiveState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
