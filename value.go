package grasp

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/internal/wire"
)

// EncodedCBOR is a value that is sent and received as encoded CBOR: Tag 24
// around a byte string that holds one CBOR item. A []byte is a byte string,
// whatever is in it.
type EncodedCBOR []byte

// Encode returns the encoding of a value, to be sent as Tag 24. The error
// matches [ErrCBORFail].
func Encode(v any) (EncodedCBOR, error) {
	raw, err := encodeValue(v)
	if err != nil {
		return nil, fail("encode", "", ErrCBORFail, err)
	}
	return raw, nil
}

// null is the value of an objective that has none.
var null = []byte{0xf6}

var errNotUTF8 = errors.New("name is not UTF-8")

var encoding, decoding = codecs()

// codecs returns the modes in which values are encoded and decoded.
func codecs() (cbor.EncMode, cbor.DecMode) {
	tags := cbor.NewTagSet()
	must(tags.Add(
		cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired},
		reflect.TypeFor[EncodedCBOR](), 24))
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
		// What comes was bounded before: by Limits.
		MaxNestedLevels:  math.MaxUint16,
		MaxArrayElements: math.MaxInt32,
		MaxMapPairs:      math.MaxInt32,
	}.DecModeWithTags(tags)
	must(err)
	return enc, dec
}

// must stops a program whose constants contradict each other: no input and no
// configuration can bring that about.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// encodeValue returns the CBOR encoding of a value.
func encodeValue(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return null, nil
	case EncodedCBOR:
		if err := wire.WellFormed(v, wire.Limits{Bytes: math.MaxInt32}); err != nil {
			return nil, fmt.Errorf("EncodedCBOR: %w", err)
		}
	}
	return encoding.Marshal(v)
}

// decodeValue returns a received value in Go's plain types, or as it is if
// they cannot hold it.
func decodeValue(raw []byte) any {
	if raw == nil {
		return nil
	}
	var v any
	if decoding.Unmarshal(raw, &v) != nil {
		return cbor.RawMessage(append([]byte(nil), raw...))
	}
	return v
}

// milliseconds returns a duration as it is sent: at least 1 ms, at most what
// 32 bits hold.
func milliseconds(d time.Duration) (uint32, error) {
	if d <= 0 || d > math.MaxUint32*time.Millisecond {
		return 0, fmt.Errorf("%v is not from 1 ms to %d ms", d, uint32(math.MaxUint32))
	}
	return uint32((d + time.Millisecond - 1) / time.Millisecond), nil
}
