package value

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

type encoded []byte

func newCodec() *Codec { return NewCodec(reflect.TypeFor[encoded]()) }

type node struct {
	Name string
	Next *node
	Up   *node `cbor:"-"`
	back *node
}

type pointer *pointer

type list []list

type panics struct{}

func (panics) MarshalCBOR() ([]byte, error) { panic("not today") }

func (*panics) UnmarshalCBOR([]byte) error { panic("not today") }

// deep returns a value of so many arrays in each other.
func deep(n int) any {
	var v any
	for range n {
		v = []any{v}
	}
	return v
}

// bomb is small, and its encoding is not: two to the power of n numbers.
func bomb(n int) any {
	var v any = 1
	for range n {
		v = []any{v, v}
	}
	return v
}

// What a program gives may be anything: it is encoded or refused, and stops
// nothing.
func TestEncodeAnything(t *testing.T) {
	cyclicMap := map[string]any{}
	cyclicMap["self"] = cyclicMap
	cyclicSlice := make([]any, 2)
	cyclicSlice[0], cyclicSlice[1] = cyclicSlice, cyclicSlice
	cyclicList := make(list, 1)
	cyclicList[0] = cyclicList
	ring := &node{Name: "ring"}
	ring.Next = ring
	var self pointer
	self = &self
	var inInterface any
	inInterface = &inInterface
	var cyclicKey [1]any
	cyclicKey[0] = &cyclicKey
	for name, v := range map[string]any{
		"map": cyclicMap, "slice": cyclicSlice, "list": cyclicList, "pointer to struct": ring, "struct": *ring,
		"pointer to itself": self, "interface to itself": inInterface, "key": map[any]any{&cyclicKey: 1},
		"in a tag": cbor.Tag{Number: 99, Content: cyclicMap}, "deep inside": []any{1, map[string]any{"x": []any{ring}}},
		"too deep": deep(wire.DefaultDepth + 1), "much too deep": deep(1_000_000), "too much": bomb(30),
		"channel": make(chan int), "function": func() {}, "channel in a map": map[string]any{"x": make(chan int)},
		"text": "\xff", "text in a struct": struct{ X string }{"\xff"}, "text as a key": map[string]int{"\xff": 1},
		"raw": cbor.RawMessage{0x82, 1}, "raw text": cbor.RawMessage{0x61, 0xff},
		"two raw": cbor.RawMessage{1, 1}, "encoded": encoded{0x82}, "encoded inside": []any{encoded{1, 1}},
		"panics": panics{}, "panics inside": []any{&panics{}}, "complex": 1i,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newCodec().Encode(v, 1<<20)
			require.Error(t, err)
			require.NotEmpty(t, err.Error())
		})
	}
	up := &node{Name: "up"}
	up.Up, up.back = up, up
	for name, v := range map[string]any{
		"deep": deep(wire.DefaultDepth), "cycle that is not encoded": up, "shared": []any{up, up, up},
		"nil pointer": (*node)(nil), "nil number": (*big.Int)(nil), "nil map": map[string]any(nil), "nil": nil,
		"numbers": make([]float64, 1000), "typed map": map[[2]int]struct{}{{1, 2}: {}}, "bytes": make([]byte, 1000),
		"undefined": cbor.RawMessage{0xf7}, "simple": cbor.SimpleValue(99), "no raw": []any{cbor.RawMessage{}},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := newCodec().Encode(v, 1<<20)
			require.NoError(t, err)
			require.NoError(t, cbor.Wellformed(raw))
		})
	}
}

func TestEncodeLimit(t *testing.T) {
	c := newCodec()
	for _, v := range []any{strings.Repeat("x", 99), make([]byte, 99), make([]int8, 100), cbor.RawMessage(append([]byte{0x58, 99}, make([]byte, 99)...)), bomb(7)} {
		_, err := c.Encode(v, 99)
		require.ErrorIs(t, err, ErrTooLong, "%T", v)
		_, err = c.Encode(v, 300)
		require.NoError(t, err, "%T", v)
	}
	require.Error(t, c.Unmarshal([]byte{1}, &panics{}))
}

// What comes in goes out and means the same; what Go's types would change is kept
// as it came.
func TestWhatComesInGoesOut(t *testing.T) {
	hex := func(s string) []byte {
		var b []byte
		_, err := fmt.Sscanf(strings.ReplaceAll(s, " ", ""), "%x", &b)
		require.NoError(t, err)
		return b
	}
	c := newCodec()
	for _, raw := range []string{
		"c1 f97e00", "c1 f97c00", "c1 fb7e37e43c8800759c", "c1 1b7fffffffffffffff", "c1 c249010000000000000000", // 1(NaN), 1(Infinity), 1(1e300)...
		"81 c1 f97e00", "a1 01 c1 f97e00",
		"c0 63616263", "c0 01", "c1 4101", "c0 781f 323031332d30332d32315432303a30343a30302e313233343536373839305a",
		"f7", "81 f7", "a1 f7 01", "d9d9f7 01", "81 d9d9f7 8101", "d818 41ff", "d818 01", "c2 01", "c3 f6",
		"a1 80 01", "a2 01 01 01 02",
	} {
		b := hex(raw)
		if err := wire.WellFormed(b, wire.Limits{}); err != nil {
			t.Fatal(raw, err)
		}
		v := c.Decode(b)
		require.Equal(t, cbor.RawMessage(b), v, raw)
		again, err := c.Encode(v, 1000)
		require.NoError(t, err)
		require.Equal(t, b, again)
	}
	when := time.Unix(1363896240, 0)
	for raw, want := range map[string]any{
		"c1 1a514b67b0": when, "c1 fb41d452d9ec200000": when.Add(500 * time.Millisecond), "c1 fb3ff199999999999a": time.Unix(1, 100000000),
		"c0 74323031332d30332d32315432303a30343a30305a": when, "c0 7819323031332d30332d32315432313a30343a30302b30313a3030": when,
		"c1 20": time.Unix(-1, 0), "c2 4101": big.NewInt(1), "c2 49010000000000000000": new(big.Int).Lsh(big.NewInt(1), 64),
		"c3 49010000000000000000": new(big.Int).Sub(new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 64)), big.NewInt(1)),
		"d81841 01":               encoded{1}, "d863 01": cbor.Tag{Number: 99, Content: int64(1)}, "d863 9f 01 ff": cbor.Tag{Number: 99, Content: []any{int64(1)}},
		"d863 bf 02 01 01 02 ff": cbor.Tag{Number: 99, Content: map[any]any{int64(1): int64(2), int64(2): int64(1)}},
		"d863 f93c00":            cbor.Tag{Number: 99, Content: 1.0}, "d863 fa3f800000": cbor.Tag{Number: 99, Content: 1.0}, "d863 1801": cbor.Tag{Number: 99, Content: int64(1)},
		"d863 7f 6161 6162 ff": cbor.Tag{Number: 99, Content: "ab"}, "d863 5f 4101 4102 ff": cbor.Tag{Number: 99, Content: []byte{1, 2}},
	} {
		got := c.Decode(hex(raw))
		if when, ok := want.(time.Time); ok {
			require.IsType(t, when, got, raw)
			require.True(t, when.Equal(got.(time.Time)), "%s: %v", raw, got)
			continue
		}
		require.Equal(t, want, got, raw)
	}
}

// Whatever is well-formed is decoded to something whose encoding means the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"\xc1\xf9\x7e\x00", "\x81\xf7", "\xa1\x01\xc0\x63abc", "\xd8\x18\x41\x01", "\xc2\x41\x01", "\xbf\x01\x02\xff", "\xfb\x7f\xf8\x00\x00\x00\x00\x00\x01"} {
		f.Add([]byte(s))
	}
	c := newCodec()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if wire.WellFormed(raw, wire.Limits{Bytes: math.MaxInt32, Elements: math.MaxInt32}) != nil {
			return
		}
		v := c.Decode(raw)
		again, err := c.Encode(v, math.MaxInt32)
		require.NoError(t, err, "%#v", v)
		require.True(t, same(raw, again), "%x is %#v and then %x", raw, v, again)
		if kept, ok := v.(cbor.RawMessage); ok {
			require.True(t, bytes.Equal(raw, kept))
		}
	})
}

// Go values of any shape are encoded or refused: shape is read as instructions to
// build one.
func FuzzEncode(f *testing.F) {
	f.Add([]byte("amsptn"))
	f.Add([]byte("mmmmaaassspppttt0123"))
	c := newCodec()
	f.Fuzz(func(t *testing.T, shape []byte) {
		var all []any
		at := func(i int) any {
			if len(all) == 0 {
				return nil
			}
			return all[i%len(all)]
		}
		for i, b := range shape[:min(len(shape), 64)] {
			switch b % 12 {
			case 0:
				all = append(all, []any{at(int(b)), at(i)})
			case 1:
				all = append(all, map[string]any{string(shape[i:]): at(int(b))})
			case 2:
				v := at(int(b))
				all = append(all, &v)
			case 3:
				all = append(all, struct{ A, B any }{at(i), at(int(b))})
			case 4:
				all = append(all, cbor.Tag{Number: uint64(b), Content: at(i)})
			case 5:
				all = append(all, encoded(shape[i:]))
			case 6:
				all = append(all, cbor.RawMessage(shape[i:]))
			case 7:
				all = append(all, string(shape[i:]))
			case 8: // close a cycle
				if s, ok := at(int(b)).([]any); ok {
					s[0] = at(i)
				}
			case 9:
				if m, ok := at(int(b)).(map[string]any); ok {
					m["x"] = at(i)
				}
			case 10:
				if p, ok := at(int(b)).(*any); ok {
					*p = at(i)
				}
			case 11:
				all = append(all, float64(b), int8(b), []byte{b}, time.Unix(int64(b), 0), nil)
			}
		}
		for _, v := range all {
			if raw, err := c.Encode(v, 1<<16); err == nil {
				require.NoError(t, wire.WellFormed(raw, wire.Limits{Bytes: 1 << 16, Elements: 1 << 16}))
				if d := c.Decode(raw); d != nil {
					again, err := c.Encode(d, 1<<20)
					require.NoError(t, err)
					require.True(t, same(raw, again), "%x %x", raw, again)
				}
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	c := newCodec()
	for name, v := range map[string]any{"int": 42, "array": []any{"NZD", 42}, "map": map[string]any{"a": 1, "b": []any{1, 2}}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Encode(v, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
