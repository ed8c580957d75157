package grasp

import (
	"bytes"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
)

// What an ASA gives and what another gets for it.
func TestValuesBothWays(t *testing.T) {
	when := time.Date(2026, 8, 1, 12, 0, 0, 5000, time.UTC)
	huge := new(big.Int).Lsh(big.NewInt(1), 70)
	for _, c := range []struct {
		name      string
		give, get any
	}{
		{"nil", nil, nil},
		{"bool", true, true},
		{"int", 42, int64(42)},
		{"negative int", int8(-42), int64(-42)},
		{"uint", uint32(math.MaxUint32), int64(math.MaxUint32)},
		{"largest int64", int64(math.MaxInt64), int64(math.MaxInt64)},
		{"more than an int64", uint64(math.MaxUint64), new(big.Int).SetUint64(math.MaxUint64)},
		{"big", huge, huge},
		{"float", 1.5, 1.5},
		{"float32", float32(0.1), float64(float32(0.1))},
		{"infinity", math.Inf(-1), math.Inf(-1)},
		{"text", "naïve 数", "naïve 数"},
		{"bytes", []byte{1, 2}, []byte{1, 2}},
		{"bytes that decode as CBOR", []byte{0x81, 0x01}, []byte{0x81, 0x01}},
		{"empty bytes", []byte{}, []byte{}},
		{"array", []int{1, 2}, []any{int64(1), int64(2)}},
		{"nested", []any{"NZD", []any{1, nil}}, []any{"NZD", []any{int64(1), nil}}},
		{"map", map[string]int{"a": 1}, map[any]any{"a": int64(1)}},
		{"map of ints", map[int]any{-1: "b"}, map[any]any{int64(-1): "b"}},
		{"struct", struct {
			Size int `cbor:"size"`
		}{7}, map[any]any{"size": int64(7)}},
		{"time", when, when},
		{"tag", cbor.Tag{Number: 4711, Content: []any{"x"}}, cbor.Tag{Number: 4711, Content: []any{"x"}}},
		{"encoded", EncodedCBOR{0x81, 0x01}, EncodedCBOR{0x81, 0x01}},
		{"encoded in an array", []any{EncodedCBOR{0x01}, "x"}, []any{EncodedCBOR{0x01}, "x"}},
		{"encoded in a map", map[string]any{"k": EncodedCBOR{0xf6}}, map[any]any{"k": EncodedCBOR{0xf6}}},
		{"encoded in encoded", EncodedCBOR{0xd8, 24, 0x41, 0x01}, EncodedCBOR{0xd8, 24, 0x41, 0x01}},
		{"encoded in a tag", cbor.Tag{Number: 4711, Content: EncodedCBOR{0x01}}, cbor.Tag{Number: 4711, Content: EncodedCBOR{0x01}}},
		{"raw", cbor.RawMessage{0x18, 0x01}, int64(1)},
		{"a map with an array as key", cbor.RawMessage{0xa1, 0x80, 0x01}, cbor.RawMessage{0xa1, 0x80, 0x01}},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := encodeValue(c.give)
			require.NoError(t, err)
			require.Equal(t, c.get, decodeValue(raw), "%x", raw)
		})
	}
}

// Tag 24 around a byte string, and a []byte never is one.
func TestA06EncodedCBORIsTag24(t *testing.T) {
	for _, c := range []struct {
		value any
		raw   []byte
	}{
		{EncodedCBOR{0x81, 0x01}, []byte{0xd8, 24, 0x42, 0x81, 0x01}},
		{[]byte{0x81, 0x01}, []byte{0x42, 0x81, 0x01}},
		{[]any{EncodedCBOR{0x01}}, []byte{0x81, 0xd8, 24, 0x41, 0x01}},
	} {
		raw, err := encodeValue(c.value)
		require.NoError(t, err)
		require.Equal(t, c.raw, raw)
	}
}

func TestDecode(t *testing.T) {
	type params struct {
		Currency string
		Amount   int
	}
	value := map[string]any{"Currency": "NZD", "Amount": 100}
	raw, err := cbor.Marshal(value)
	require.NoError(t, err)
	for name, v := range map[string]any{"plain": value, "encoded": EncodedCBOR(raw), "raw": cbor.RawMessage(raw)} {
		var p params
		require.NoError(t, Objective{Name: "EX1", Value: v}.Decode(&p), name)
		require.Equal(t, params{"NZD", 100}, p, name)
	}

	var e EncodedCBOR
	require.NoError(t, Objective{Value: EncodedCBOR(raw)}.Decode(&e))
	require.Equal(t, EncodedCBOR(raw), e)

	var n uint8
	require.NoError(t, Objective{Value: nil}.Decode(&n))
	err = Objective{Name: "EX1", Value: "seven"}.Decode(&n)
	isCode(t, err, ErrCBORFail)
	require.ErrorContains(t, err, `decode "EX1"`)
	isCode(t, Objective{Value: 300}.Decode(&n), ErrCBORFail)
	isCode(t, Objective{Value: EncodedCBOR{0x82}}.Decode(&n), ErrCBORFail)
	isCode(t, Objective{Value: make(chan int)}.Decode(&n), ErrCBORFail)
}

// What a peer sends may be anything: it never stops the instance, and what Go's
// plain types cannot hold comes as it is.
func TestDecodeValueOfAnything(t *testing.T) {
	for _, raw := range [][]byte{
		{0xa2, 0x01, 0x01, 0x01, 0x02}, // equal keys
		{0xa1, 0xa0, 0x01},             // a map as key
		{0xc0, 0x63, 'a', 'b', 'c'},    // tag 0 around what is no time
		{0xc2, 0x01},                   // tag 2 around an integer
		{0xd8, 24, 0x01},               // tag 24 around an integer
		bytes.Repeat([]byte{0x81}, 100),
	} {
		require.Equal(t, cbor.RawMessage(raw), decodeValue(raw), "%x", raw)
	}
	for _, raw := range [][]byte{
		{0xf7},                         // undefined
		{0xf8, 0xff},                   // an unassigned simple value
		{0xd8, 24, 0x41, 0xff},         // tag 24 around what is no CBOR
		{0xa1, 0x41, 0x01, 0x02},       // bytes as key
		{0x5f, 0x41, 0x01, 0xff},       // in pieces
		{0x9f, 0x01, 0xff},             // of indefinite length
		{0x1b, 0, 0, 0, 0, 0, 0, 0, 1}, // longer than need be
		append([]byte{0x78, 100}, strings.Repeat("x", 100)...),
	} {
		_ = decodeValue(raw) // must not panic
	}
	// What is kept is a copy.
	raw := []byte{0xa1, 0x80, 0x01}
	v := decodeValue(raw)
	raw[2] = 0x02
	require.Equal(t, cbor.RawMessage{0xa1, 0x80, 0x01}, v)
}

// The defaults of RFC 8990 section 2.6 and RFC 8991.
func TestDefaults(t *testing.T) {
	require.Equal(t, Objective{Name: "EX1", LoopCount: 6}, NewObjective("EX1"))
	require.Equal(t, time.Minute, DefaultTimeout)
	require.Equal(t, time.Minute, DefaultTTL)
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		1:                                 1,
		time.Millisecond:                  1,
		time.Millisecond + 1:              2,
		time.Minute:                       60_000,
		math.MaxUint32 * time.Millisecond: math.MaxUint32,
	} {
		got, err := milliseconds(d)
		require.NoError(t, err)
		require.Equal(t, want, got, "%v", d)
	}
	for _, d := range []time.Duration{0, -1, -time.Hour, math.MaxUint32*time.Millisecond + 1, math.MaxInt64, math.MinInt64} {
		_, err := milliseconds(d)
		require.Error(t, err, "%v", d)
	}
}

// An ASA that is being deregistered, and has given up its objectives, registers
// none.
func TestRegisterObjWhileLeaving(t *testing.T) {
	g := newInstance(t, memory.NewNetwork(1).NewNode("x"))
	a := newASA(t, g, "x")
	a.left = true
	isCode(t, a.RegisterObj(Objective{Name: "EX1", Neg: true}, RegisterOptions{}), ErrNoASA)
	require.Empty(t, g.Snapshot().Objectives)
}

// D-03, N-03: an objective made without a loop count has the default one.
func TestD03N03NoLoopCountMeansTheDefault(t *testing.T) {
	o, err := Objective{Name: "EX1"}.encode()
	require.NoError(t, err)
	require.EqualValues(t, DefaultLoopCount, o.LoopCount)
	require.EqualValues(t, DefaultLoopCount, Objective{Name: "EX1"}.withoutValue().LoopCount)
	require.Equal(t, 600*time.Millisecond, discoveryTime(Objective{Name: "EX1"}))
}

// Encode gives what Tag 24 carries, and Decode takes it back.
func TestEncode(t *testing.T) {
	e, err := Encode([]any{"Example 2 value=", 200})
	require.NoError(t, err)
	var v []any
	require.NoError(t, Objective{Value: e}.Decode(&v))
	require.Equal(t, []any{"Example 2 value=", int64(200)}, v)
	_, err = Encode(make(chan int))
	isCode(t, err, ErrCBORFail)
}
