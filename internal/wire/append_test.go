package wire

import (
	"math"
	"net/netip"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

// The other library, encoding the same in its preferred form, gets the same bytes.
func TestAppendAgreesWithTheOtherEncoder(t *testing.T) {
	o := Objective{Name: "EX1", Flags: 5, LoopCount: 6, Value: []byte{nullByte}}
	for _, c := range []struct {
		m    Message
		want arr
	}{
		{&Noop{}, arr{0}},
		{&Discovery{sid, ip4, o}, arr{1, sid, v4, raw1}},
		{&Response{sid, ip6, 300, []Locator{loc6, loc4}, []Locator{loc4}, &o}, arr{2, sid, v6, 300, raw6, raw4, arr{100, raw4}, raw1}},
		{&ReqNeg{0, o}, arr{3, 0, raw1}},
		{&ReqSyn{23, o}, arr{4, 23, raw1}},
		{&Negotiate{24, o}, arr{5, 24, raw1}},
		{&End{255, true, "not sent"}, arr{6, 255, arr{101}}},
		{&End{256, false, ""}, arr{6, 256, arr{102}}},
		{&End{65535, false, "n\u00e9"}, arr{6, 65535, arr{102, "n\u00e9"}}},
		{&Wait{65536, math.MaxUint32}, arr{7, 65536, uint32(math.MaxUint32)}},
		{&Synch{math.MaxUint32, o}, arr{8, uint32(math.MaxUint32), raw1}},
		{&Flood{SessionID: sid, Initiator: ip6, TTL: 0, Objectives: []Flooded{{o, loc6}, {o, Locator{}}}}, arr{9, sid, v6, 0, arr{raw1, raw6}, arr{raw1, arr{}}}},
		{&Invalid{sid, nil}, arr{99, sid}},
		{&Invalid{sid, []byte{nullByte}}, arr{99, sid, nil}},
	} {
		want := encode(t, c.want)
		require.Equal(t, want, mustAppend(t, c.m))
		b, err := c.m.Append([]byte("prefix"))
		require.NoError(t, err)
		require.Equal(t, append([]byte("prefix"), want...), b)
	}
}

func TestAppendHeadIsTheShortest(t *testing.T) {
	for _, n := range []uint64{0, 1, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64} {
		require.Equal(t, encode(t, n), appendHead(nil, majorUint, n))
		h, size := readHead(appendHead(nil, majorTag, n), 0)
		require.Equal(t, n, h.arg)
		require.EqualValues(t, majorTag, h.major)
		require.Equal(t, len(appendHead(nil, majorTag, n)), size)
	}
}

func TestMessagesThatAreNotSent(t *testing.T) {
	for _, m := range []Message{
		&Discovery{SessionID: sid, Objective: ex1},
		&Response{SessionID: sid, Locators: []Locator{loc6}},
		&Response{SessionID: sid, Initiator: ip6},
		&Response{SessionID: sid, Initiator: ip6, Objective: &ex1},
		&Response{SessionID: sid, Initiator: ip6, Locators: []Locator{}, Diverted: []Locator{}},
		&Flood{SessionID: sid, Initiator: ip6},
		&Flood{SessionID: sid, Initiator: netip.Addr{}, Objectives: []Flooded{{ex1, loc6}}},
		&End{SessionID: sid, Reason: "\xff"},
		&Invalid{SessionID: sid, Info: []byte{0x18}},
		&Invalid{SessionID: sid, Info: []byte{0, 0}},
	} {
		notSent(t, m)
	}
}

func TestAppendAndScanDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, DefaultBytes)
	for _, c := range benchMessages() {
		raw := mustAppend(t, c.m)
		require.Zero(t, testing.AllocsPerRun(10, func() { _, _ = c.m.Append(buf) }), c.m.Type())
		require.Zero(t, testing.AllocsPerRun(10, func() { _, _ = Scan(raw, Limits{}) }), c.m.Type())
		require.Zero(t, testing.AllocsPerRun(10, func() { _, _ = Scan(raw[:len(raw)-1], Limits{}) }), c.m.Type())
		require.Zero(t, testing.AllocsPerRun(10, func() { _ = WellFormed(raw, Limits{}) }), c.m.Type())
	}
}

// The value of an objective may be another library's work.
func TestValuesOfTheOtherEncoder(t *testing.T) {
	for _, v := range []any{nil, 1, -1, 1.5, "text", []byte("bytes"), arr{1, "two", 3.0}, map[string]any{"a": arr{}}, cbor.Tag{Number: 24, Content: []byte{0}}} {
		m := &Synch{sid, Objective{Name: "EX1", Value: encode(t, v)}}
		require.Equal(t, m, parsedBytes(t, mustAppend(t, m)))
	}
}
