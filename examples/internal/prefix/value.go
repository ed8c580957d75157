package prefix

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

// The lengths that can be asked for and offered: those of the prototype.
const (
	shortest6, longest6 = 32, 96
	shortest4, longest4 = 16, 32
)

// limits returns the shortest and the longest prefix of a family that changes
// hands.
func limits(f prefixpool.Family) (shortest, longest int) {
	if f == prefixpool.IPv4 {
		return shortest4, longest4
	}
	return shortest6, longest6
}

// value is the value of PrefixManager: a length that is asked for, or a prefix.
type value struct {
	family prefixpool.Family
	length int
	prefix netip.Prefix // zero in a request for any prefix
	// In what form it came, which an answer takes as well: without the family
	// (RFC 8992 section 5.1, IPv6 only), and as encoded CBOR.
	noFamily, tag24 bool
}

var (
	errNotAValue = errors.New("not the value of a PrefixManager objective")
	errLength    = errors.New("prefix length out of range")
)

func (v value) String() string {
	if v.prefix.IsValid() {
		return v.prefix.String()
	}
	return fmt.Sprintf("%v /%d", v.family, v.length)
}

// of returns a prefix in the form of v.
func (v value) of(p netip.Prefix) value {
	v.family, v.length, v.prefix = prefixpool.FamilyOf(p), p.Bits(), p
	return v
}

// parseValue takes the value out of an objective. A peer can send anything:
// here is the place where whatever else it sent is found out. Of what makes
// sense but for the length it returns errLength.
func parseValue(o grasp.Objective) (v value, err error) {
	_, v.tag24 = o.Value.(grasp.EncodedCBOR)
	var decoded any
	if err := o.Decode(&decoded); err != nil {
		return v, err
	}
	items, ok := decoded.([]any)
	if !ok || len(items) == 0 {
		return v, errNotAValue
	}
	// A second item that is a number tells the forms apart.
	if len(items) > 1 {
		if _, ok := items[1].(int64); ok {
			family, ok := items[0].(int64)
			if !ok || family != int64(prefixpool.IPv6) && family != int64(prefixpool.IPv4) {
				return v, errNotAValue
			}
			v.family, items = prefixpool.Family(family), items[1:]
		}
	}
	if v.family == 0 {
		v.family, v.noFamily = prefixpool.IPv6, true
	}
	length, ok := items[0].(int64)
	if !ok || len(items) > 2 {
		return v, errNotAValue
	}
	var raw []byte
	if len(items) == 2 && items[1] != nil { // the prototype has null for none
		if raw, ok = items[1].([]byte); !ok {
			return v, errNotAValue
		}
	}
	shortest, longest := limits(v.family)
	if length < int64(shortest) || length > int64(longest) {
		return v, errLength
	}
	v.length = int(length)
	if raw != nil {
		err = v.parsePrefix(raw)
	}
	return v, err
}

func (v *value) parsePrefix(raw []byte) error {
	if len(raw)*8 != v.family.Bits() {
		return errNotAValue
	}
	a, _ := netip.AddrFromSlice(raw) // of one of these sizes
	p := netip.PrefixFrom(a, v.length)
	if !prefixpool.Valid(p) || !a.IsGlobalUnicast() {
		return fmt.Errorf("%w: %v", errNotAValue, p)
	}
	v.prefix = p
	return nil
}

// put makes it the value of an objective.
func (v value) put(into *grasp.Objective) (err error) {
	items := []any{}
	if !v.noFamily || v.family != prefixpool.IPv6 {
		items = append(items, int(v.family))
	}
	items = append(items, v.length)
	if v.prefix.IsValid() {
		items = append(items, v.prefix.Addr().AsSlice())
	}
	into.Value = items
	if v.tag24 {
		into.Value, err = grasp.Encode(items)
	}
	return err
}
