// Package value turns the values of objectives into CBOR and back. No value that a
// program gives makes it panic or run for ever, and a value that came in is sent on
// with the same meaning.
package value

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/internal/wire"
)

// Codec encodes and decodes values.
type Codec struct {
	enc     cbor.EncMode
	dec     cbor.DecMode
	encoded reflect.Type
}

// NewCodec returns a codec for which a type of byte slices, []byte itself
// excepted, stands for encoded CBOR: Tag 24.
func NewCodec(encoded reflect.Type) *Codec {
	tags := cbor.NewTagSet()
	must(tags.Add(cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired}, encoded, tagEncoded))
	enc, err := cbor.EncOptions{
		Sort:    cbor.SortCoreDeterministic,
		Time:    cbor.TimeRFC3339Nano,
		TimeTag: cbor.EncTagRequired,
	}.EncModeWithTags(tags)
	must(err)
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF,
		IntDec:    cbor.IntDecConvertSignedOrBigInt,
		BigIntDec: cbor.BigIntDecodePointer,
		// What is decoded was bounded before.
		MaxNestedLevels:  math.MaxUint16,
		MaxArrayElements: math.MaxInt32,
		MaxMapPairs:      math.MaxInt32,
	}.DecModeWithTags(tags)
	must(err)
	return &Codec{enc, dec, encoded}
}

// must panics if the constants here contradict each other. No input and no
// configuration can cause that.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

var null = []byte{0xf6}

// Encode returns the encoding of a value. It fails if CBOR cannot express the value,
// or if the value contains itself, is nested deeper than a message may be, has text
// that is not UTF-8, or needs more than limit bytes.
func (c *Codec) Encode(v any, limit int) (raw []byte, err error) {
	if v == nil {
		return null, nil
	}
	// A method of the value's own may fail like this.
	defer func() {
		if p := recover(); p != nil {
			raw, err = nil, fmt.Errorf("encoding %T panics: %v", v, p)
		}
	}()
	w := walk{encoded: c.encoded, room: limit}
	if err := w.value(reflect.ValueOf(v), 0, 0); err != nil {
		return nil, err
	}
	if as, ok := v.(cbor.RawMessage); ok {
		raw = append([]byte(nil), as...) // as it came, whatever tags mean to the encoder
	} else if raw, err = c.enc.Marshal(v); err != nil {
		return nil, err
	}
	if len(raw) > limit {
		return nil, ErrTooLong
	}
	if err := wire.WellFormed(raw, wire.Limits{Bytes: math.MaxInt32, Elements: math.MaxInt32}); err != nil {
		return nil, err
	}
	return raw, nil
}

// Decode returns a value in Go's plain types, or as a cbor.RawMessage if they
// cannot hold it or would change it.
func (c *Codec) Decode(raw []byte) any {
	var v any
	if c.dec.Unmarshal(raw, &v) != nil || !c.keeps(raw, v) {
		return cbor.RawMessage(append([]byte(nil), raw...))
	}
	return v
}

// keeps reports whether a decoded value, encoded again, means the same.
func (c *Codec) keeps(raw []byte, v any) bool {
	if !mayChange(raw) {
		return true
	}
	again, err := c.Encode(v, math.MaxInt32)
	return err == nil && same(raw, again)
}

// mayChange reports whether an item may contain something that Go's types do not
// keep: a tag, or undefined. It may be wrong about bytes of a string that look so.
func mayChange(raw []byte) bool {
	for _, b := range raw {
		if b>>5 == majorTag || b == undefined {
			return true
		}
	}
	return false
}

// Unmarshal puts an encoded value into the variable that v points to.
func (c *Codec) Unmarshal(raw []byte, v any) (err error) {
	defer func() { // a method of the variable's own may fail like this
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding into %T panics: %v", v, p)
		}
	}()
	return c.dec.Unmarshal(raw, v)
}

// ErrTooLong says that a value needs more than the limit.
var ErrTooLong = errors.New("the value is too long")
