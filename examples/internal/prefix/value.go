package prefix

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

// The objectives by which prefixes are asked for.
const (
	objective       = "PrefixManager"  // RFC 8992
	taggedObjective = "PrefixManagerT" // of the prototype: the same, with the tags of RFC 9164
)

// value is the value of PrefixManager: a length that is asked for, or a prefix.
type value struct {
	family prefixpool.Family
	length int
	prefix netip.Prefix // zero in a request for any prefix
	// In what form it came, which an answer takes as well: without the family
	// (RFC 8992 section 5.1, IPv6 only), as encoded CBOR, with a tag of RFC 9164,
	// and then with all bytes of the length even if the last ones are zero.
	noFamily, tag24, tagged, padded bool
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

// parseValue takes the value out of an objective, and refuses anything else that a
// peer may send. If only the length makes no sense, the error is errLength.
func parseValue(o grasp.Objective) (v value, err error) {
	_, v.tag24 = o.Value.(grasp.EncodedCBOR)
	var decoded any
	if err := o.Decode(&decoded); err != nil {
		return v, err
	}
	if o.Name == taggedObjective {
		err = v.parseTagged(decoded)
	} else {
		err = v.parse(decoded)
	}
	return v, err
}

// parse takes the form of RFC 8992 section 5.
func (v *value) parse(decoded any) error {
	items, ok := decoded.([]any)
	if !ok || len(items) == 0 {
		return errNotAValue
	}
	// A second item that is a number tells the forms apart.
	if len(items) > 1 {
		if _, ok := items[1].(int64); ok {
			family, ok := items[0].(int64)
			if !ok || family != int64(prefixpool.IPv6) && family != int64(prefixpool.IPv4) {
				return errNotAValue
			}
			v.family, items = prefixpool.Family(family), items[1:]
		}
	}
	if v.family == 0 {
		v.family, v.noFamily = prefixpool.IPv6, true
	}
	length, ok := items[0].(int64)
	if !ok || len(items) > 2 {
		return errNotAValue
	}
	var raw []byte
	if len(items) == 2 && items[1] != nil { // the prototype has null for none
		if raw, ok = items[1].([]byte); !ok || len(raw)*8 != v.family.Bits() {
			return errNotAValue
		}
	}
	if err := v.setLength(length); err != nil || raw == nil {
		return err
	}
	return v.setPrefix(raw)
}

// The tags of RFC 9164.
const (
	tagIPv4 = 52
	tagIPv6 = 54
)

// parseTagged takes a prefix of RFC 9164: its length, and the bytes of its address up to
// the last that is not zero, or more. No such byte means no prefix.
func (v *value) parseTagged(decoded any) error {
	v.tagged = true
	tag, ok := decoded.(cbor.Tag)
	if !ok {
		return errNotAValue
	}
	switch tag.Number {
	case tagIPv6:
		v.family = prefixpool.IPv6
	case tagIPv4:
		v.family = prefixpool.IPv4
	default:
		return errNotAValue
	}
	items, ok := tag.Content.([]any)
	if !ok || len(items) != 2 {
		return errNotAValue // an address, or one of an interface
	}
	length, isLength := items[0].(int64)
	raw, isRaw := items[1].([]byte)
	if !isLength || !isRaw || len(raw)*8 > v.family.Bits() {
		return errNotAValue
	}
	v.padded = len(raw) > 0 && raw[len(raw)-1] == 0
	if err := v.setLength(length); err != nil {
		return err
	}
	full := make([]byte, v.family.Bits()/8)
	if copy(full, raw); slices.Max(full) == 0 {
		return nil
	}
	return v.setPrefix(full)
}

func (v *value) setLength(length int64) error {
	if length < 0 || length > int64(v.family.Bits()) {
		return errLength
	}
	v.length = int(length)
	return nil
}

// setPrefix takes a prefix from all bytes of its address.
func (v *value) setPrefix(raw []byte) error {
	a, _ := netip.AddrFromSlice(raw) // of one of these sizes
	p := netip.PrefixFrom(a, v.length)
	// What is longer than /8 and begins with zeros is reserved in both families.
	const reserved = 8
	unicast := a.IsGlobalUnicast() || a.IsUnspecified() && v.length < reserved
	if !prefixpool.Valid(p) || !unicast {
		return fmt.Errorf("%w: %v", errNotAValue, p)
	}
	v.prefix = p
	return nil
}

// put makes it the value of an objective.
func (v value) put(into *grasp.Objective) (err error) {
	into.Value = v.items()
	if v.tag24 {
		into.Value, err = grasp.Encode(into.Value)
	}
	return err
}

// items returns it as it is encoded.
func (v value) items() any {
	if v.tagged {
		return v.tag()
	}
	items := []any{}
	if !v.noFamily || v.family != prefixpool.IPv6 {
		items = append(items, int(v.family))
	}
	items = append(items, v.length)
	if v.prefix.IsValid() {
		items = append(items, v.prefix.Addr().AsSlice())
	}
	return items
}

func (v value) tag() cbor.Tag {
	tag, raw := uint64(tagIPv6), make([]byte, v.family.Bits()/8)
	if v.family == prefixpool.IPv4 {
		tag = tagIPv4
	}
	if v.prefix.IsValid() {
		raw = v.prefix.Addr().AsSlice()
	}
	if v.padded {
		raw = raw[:(v.length+7)/8]
	} else {
		raw = bytes.TrimRight(raw, "\x00")
	}
	return cbor.Tag{Number: tag, Content: []any{v.length, raw}}
}
