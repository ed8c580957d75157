package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func TestT05MessagesInAStreamAreToldApart(t *testing.T) {
	var stream []byte
	var want []int
	for _, b := range samples(t) {
		stream = append(stream, b...)
		want = append(want, len(b))
	}
	require.Greater(t, len(stream), DefaultBytes) // the limit is that of a message
	for _, w := range want {
		n, err := Scan(stream, Limits{})
		require.NoError(t, err)
		require.Equal(t, w, n)
		stream = stream[n:]
	}
	_, err := Scan(stream, Limits{})
	require.ErrorIs(t, err, ErrTruncated)
}

func TestZ03GivesUpWithoutWaitingForTheEnd(t *testing.T) {
	for _, c := range []struct {
		hex string
		err error
	}{
		{"5b000000007fffffff", ErrTooLong},
		{"5bffffffffffffffff", ErrTooLong},
		{"7b7fffffffffffffff", ErrTooLong},
		{"5b7fffffffffffffff", ErrTooLong},
		{"5a00000800", ErrTooLong},
		{"590800", ErrTooLong},
		{"5907fe", ErrTooLong}, // 3 + 2046
		{"5907fd", ErrTruncated},
		{"825907fc", ErrTooLong}, // another item has to follow
		{"825907fb", ErrTruncated},
		{"9f5907fc", ErrTooLong}, // a break has to follow
		{"9f5907fb", ErrTruncated},
		{"9b000000007fffffff", ErrTooLong},
		{"9bffffffffffffffff", ErrTooLong},
		{"9b7fffffffffffffff", ErrTooLong},
		{"bb000000007fffffff", ErrTooLong},
		{"bbffffffffffffffff", ErrTooLong},
		{"bb8000000000000000", ErrTooLong},
		{"bb8000000000000001", ErrTooLong},
		{"9907fe", ErrTooLong},
		{"9907fd", ErrTruncated},
		{"b90400", ErrTooLong},
		{"b903fe", ErrTruncated},
		{"829903f09903f09903f0", ErrTooLong},
		{"81bb000000007fffffff", ErrTooLong},
		{"5f5b000000007fffffff", ErrTooLong},
		{"c25b000000007fffffff", ErrTooLong},
	} {
		b := unhex(t, c.hex)
		_, err := Scan(b, Limits{})
		require.ErrorIs(t, err, c.err, c.hex)
		require.Error(t, WellFormed(b, Limits{}), c.hex)
		refusedBytes(t, b, c.err)
	}
	// A head that is not all there, but cannot fit.
	_, err := Scan([]byte{0x1b}, Limits{Bytes: 8})
	require.ErrorIs(t, err, ErrTooLong)
	_, err = Scan([]byte{0x1b}, Limits{Bytes: 9})
	require.ErrorIs(t, err, ErrTruncated)
	// An item that fits nobody's limit in small steps.
	_, err = Scan(append([]byte{0x9f}, make([]byte, 2047)...), Limits{Elements: 5000})
	require.ErrorIs(t, err, ErrTooLong)
	_, err = Scan(append([]byte{0x9f}, make([]byte, 2046)...), Limits{Elements: 5000})
	require.ErrorIs(t, err, ErrTruncated)
}

func TestHugeDeclarationsAllocateNothing(t *testing.T) {
	for _, h := range []string{"5b000000007fffffff", "9b000000007fffffff", "bb000000003fffffff", "7bffffffffffffffff", "9a00ffffff", "8309059b000000007fffffff"} {
		b := unhex(t, h)
		big := Limits{Bytes: math.MaxInt, Elements: math.MaxInt, Depth: math.MaxInt}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			for _, lim := range []Limits{{}, big} {
				_, err := Parse(b, lim)
				require.Error(t, err)
				_, err = Scan(b, lim)
				require.Error(t, err)
				_, err = AppendRelayed(nil, b)
				require.Error(t, err)
				require.Error(t, WellFormed(b, lim))
			}
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20), h)
	}
}

func TestNestingBombs(t *testing.T) {
	for _, open := range []string{"81", "9f", "a1", "bf", "c1", "d81c", "bf00", "8200"} {
		piece := unhex(t, open)
		if open == "a1" {
			piece = unhex(t, "a100")
		}
		if open == "bf" {
			piece = unhex(t, "bf00")
		}
		for _, levels := range []int{DefaultDepth + 1, 1000} {
			_, err := Scan(bytes.Repeat(piece, levels), Limits{})
			require.ErrorIs(t, err, ErrTooDeep, open)
		}
		_, err := Scan(bytes.Repeat(piece, DefaultDepth), Limits{})
		require.ErrorIs(t, err, ErrTruncated, open)
	}
	// Empty arrays and strings in pieces count as well.
	deep := func(n int, inner ...byte) []byte { return append(bytes.Repeat([]byte{0x81}, n), inner...) }
	for _, inner := range [][]byte{{0x80}, {0xa0}, {0x5f, 0xff}, {0x7f, 0xff}, {0x9f, 0xff}, {0xc0, 0}} {
		require.NoError(t, WellFormed(deep(DefaultDepth-1, inner...), Limits{}))
		require.ErrorIs(t, WellFormed(deep(DefaultDepth, inner...), Limits{}), ErrTooDeep)
	}
	require.NoError(t, WellFormed(deep(DefaultDepth, 0), Limits{}))

	// A limit above the default, and far above it.
	require.NoError(t, WellFormed(deep(100, 0), Limits{Depth: 100}))
	require.ErrorIs(t, WellFormed(deep(101, 0), Limits{Depth: 100}), ErrTooDeep)
	const million = 1_000_000
	require.NoError(t, WellFormed(deep(million, 0), Limits{Bytes: 2 * million, Depth: 2 * million, Elements: 2 * million}))
	_, err := AppendRelayed(nil, deep(million, 0))
	require.ErrorIs(t, err, ErrInvalid)

	// As a value.
	_, err = Parse(append(unhex(t, "8303058461610006"), deep(DefaultDepth-2, 0)...), Limits{})
	require.NoError(t, err)
	refusedBytes(t, append(unhex(t, "8303058461610006"), deep(DefaultDepth-1, 0)...), ErrTooDeep)
}

func TestTooManyItems(t *testing.T) {
	lim := Limits{Bytes: 1 << 20, Elements: 10}
	require.NoError(t, WellFormed(append([]byte{0x89}, make([]byte, 9)...), lim))
	require.ErrorIs(t, WellFormed(append([]byte{0x8a}, make([]byte, 10)...), lim), ErrTooMany)
	require.NoError(t, WellFormed(unhex(t, "9f000000000000000000ff"), lim))
	require.ErrorIs(t, WellFormed(unhex(t, "9f00000000000000000000ff"), lim), ErrTooMany)
	require.ErrorIs(t, WellFormed(unhex(t, "a5"), lim), ErrTooMany) // at once
	require.ErrorIs(t, WellFormed(unhex(t, "8900000088"), lim), ErrTooMany)
	require.NoError(t, WellFormed(unhex(t, "a400000000"+"00000000"), lim))
	require.ErrorIs(t, WellFormed(unhex(t, "5f40404040404040404040ff"), lim), ErrTooMany)
	require.ErrorIs(t, WellFormed(unhex(t, "9a000fffff"), lim), ErrTooLong)
	require.ErrorIs(t, WellFormed(unhex(t, "9a000ffff0"), lim), ErrTooMany)
	_, err := Parse(unhex(t, "8100"), Limits{Elements: 1})
	require.ErrorIs(t, err, ErrTooMany)
}

func TestZ01MessagesOf2048Bytes(t *testing.T) {
	m := &Synch{sid, Objective{Name: "EX1", Value: append(unhex(t, "5907e6"), make([]byte, 2022)...)}}
	b := mustAppend(t, m)
	for len(b) < DefaultBytes {
		m.Objective.Name += "x"
		b = mustAppend(t, m)
	}
	require.Len(t, b, 2048)
	require.Equal(t, m, parsedBytes(t, b))
	m.Objective.Name += "x"
	b = mustAppend(t, m)
	refusedBytes(t, b, ErrTooLong)
	_, err := Scan(b[:20], Limits{})
	require.ErrorIs(t, err, ErrTruncated) // the name is short enough
	_, err = Scan(b[:100], Limits{})
	require.ErrorIs(t, err, ErrTooLong) // the value is not
	got, err := Parse(b, Limits{Bytes: 2049})
	require.NoError(t, err)
	require.Equal(t, m, got)
	// Behind a whole message, more than fits.
	refusedBytes(t, append([]byte{0x81, 0}, make([]byte, 2047)...), ErrTooLong)
}

func TestMalformed(t *testing.T) {
	for _, h := range []string{
		"ff", "81ff", "82 00ff", "9f82ff", "a1ff", "a100ff", "bf00ff", "c0ff", "d818ff",
		"1c", "1d", "1e", "1f", "3c", "3f", "5c", "5e", "7d", "9c", "9e", "bc", "dc", "df", "fc", "fd", "fe",
		"f800", "f818", "f81f", "f817",
		"5f00ff", "5f6161ff", "5f5fffff", "7f4161ff", "7f7fffff", "5f80ff", "7fa0ff", "7fc06161ff", "5ff6ff", "5f5cff",
		"61ff", "62c328", "7f61ffff", "8161ff",
	} {
		b := unhex(t, h)
		_, err := Scan(b, Limits{})
		require.ErrorIs(t, err, ErrMalformed, h)
		require.ErrorIs(t, WellFormed(b, Limits{}), ErrMalformed, h)
		refusedBytes(t, b, ErrMalformed)
		refusedBytes(t, append(unhex(t, "82186305")[:3:3], b...), ErrMalformed)
	}
	require.ErrorIs(t, WellFormed(nil, Limits{}), ErrTruncated)
	require.ErrorIs(t, WellFormed([]byte{0, 0}, Limits{}), ErrMalformed)
}

var twinMode = func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxNestedLevels: 65535, MaxArrayElements: 2147483647, MaxMapPairs: 2147483647}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// agrees compares WellFormed with the other library, which does not look at UTF-8.
func agrees(t testing.TB, b []byte) {
	t.Helper()
	ours := WellFormed(b, Limits{Bytes: 1 << 20, Depth: 1 << 15, Elements: 1 << 20})
	theirs := twinMode.Wellformed(b)
	if ours == nil {
		require.NoError(t, theirs, "%x", b)
		return
	}
	if theirs == nil {
		// Read by itself, the text is refused by the other library too.
		require.ErrorIs(t, ours, ErrMalformed, "%x", b)
		var at int
		_, place, _ := strings.Cut(ours.Error(), "text that is not UTF-8 at byte ")
		_, err := fmt.Sscan(place, &at)
		require.NoError(t, err, "%x: %v", b, ours)
		var text string
		_, theirs = cbor.UnmarshalFirst(b[at:], &text)
		require.ErrorContains(t, theirs, "invalid UTF-8", "%x: %v", b, ours)
		return
	}
	require.Error(t, theirs, "%x: %v", b, ours)
}

func TestTwinAgreesOnRandomBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8990, 8991))
	// Bytes that matter, so that what is drawn is well-formed now and then.
	alphabet := unhex(t, "00 01 17 18 19 1b 20 38 40 41 42 5f 60 61 62 7f 80 81 82 83 98 9f a0 a1 a2 b8 bf c0 d8 e0 f4 f6 f7 f8 f9 fa fb ff ff ff")
	well := 0
	for range 300_000 {
		b := make([]byte, 1+rnd.IntN(12))
		for i := range b {
			if rnd.IntN(10) == 0 {
				b[i] = byte(rnd.Uint32())
			} else {
				b[i] = alphabet[rnd.IntN(len(alphabet))]
			}
		}
		agrees(t, b)
		n, err := Scan(b, Limits{})
		if err != nil {
			continue
		}
		well++
		agrees(t, b[:n])
		require.NoError(t, WellFormed(b[:n], Limits{}))
		// raw skips what scan accepts.
		r := reader{b: b}
		require.Equal(t, hex.EncodeToString(b[:n]), hex.EncodeToString(r.raw()))
		require.NoError(t, r.err)
	}
	require.Greater(t, well, 10_000)
}

func TestTwinAgreesOnDamagedMessages(t *testing.T) {
	for _, b := range samples(t) {
		for i := range b {
			for bit := range 8 {
				damaged := bytes.Clone(b)
				damaged[i] ^= 1 << bit
				agrees(t, damaged)
				checkParse(t, damaged)
			}
		}
	}
}
