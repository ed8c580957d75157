package wire

import (
	"math"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func TestC01LayoutsAreChecked(t *testing.T) {
	for _, c := range []any{
		arr{},
		"text", 0, nil, map[int]int{0: 0},
		cbor.Tag{Number: 55799, Content: arr{0}}, // a tagged message is not in the grammar
		arr{"M_NOOP"}, arr{-1}, arr{nil}, arr{1.0}, arr{arr{0}},
		arr{1}, arr{1, sid}, arr{1, sid, v6},
		arr{1, "s", v6, raw1}, arr{1, nil, v6, raw1}, arr{1, -1, v6, raw1}, arr{1, 5.0, v6, raw1},
		arr{1, cbor.Tag{Number: 2, Content: []byte{1}}, v6, raw1},
		arr{1, sid, v6, nil}, arr{1, sid, v6, arr{}}, arr{1, sid, v6, "EX1"}, arr{1, sid, v6, arr{raw1}},
		arr{1, sid, "abcd", raw1}, arr{1, sid, nil, raw1}, arr{1, sid, arr{1, 2, 3, 4}, raw1},
		arr{1, sid, raw1, v6},
		arr{2, sid, v6, 1000}, arr{2, sid, v6}, arr{2, sid, v6, nil, raw6}, arr{2, sid, v6, raw6},
		arr{2, sid, v6, 1000, raw6, arr{"EX1", 5}},
		arr{3, sid}, arr{4, sid}, arr{5, sid}, arr{8, sid}, arr{3, sid, 1}, arr{3, sid, arr{107}},
		arr{6, sid, arr{101, 1}}, arr{6, sid, arr{102, 5}}, arr{6, sid, arr{102, nil}}, arr{6, sid, arr{102, "a", "b"}},
		arr{6, sid, arr{101}, arr{102}}, arr{6},
		arr{7, sid}, arr{7, sid, "1"}, arr{7, sid, -1}, arr{7, sid, 1.5}, arr{7, sid, nil},
		arr{9, sid, v6, 1000}, arr{9, sid, v6, 1000, arr{}}, arr{9, sid, v6, 1000, raw1}, arr{9, sid, v6, 1000, arr{arr{1}, arr{}}},
		arr{9, sid, v6, 1000, arr{raw1, arr{}}, arr{arr{"EX1"}, arr{}}},
		arr{9, sid, v6, arr{raw1, arr{}}},
		arr{99}, arr{99, "s"},
	} {
		refused(t, c, ErrInvalid)
	}
}

func TestC02RangesOfIntegers(t *testing.T) {
	const over = uint64(math.MaxUint32) + 1
	loop := func(n any) arr { return arr{"EX1", 5, n, nil} }
	port := func(n any) arr { return arr{103, v6, 6, n} }
	for _, c := range []any{
		arr{1, over, v6, raw1}, arr{2, over, v6, 1, raw6}, arr{3, over, raw1}, arr{4, over, raw1}, arr{5, over, raw1},
		arr{6, over, arr{101}}, arr{7, over, 1}, arr{8, over, raw1}, arr{9, over, v6, 1, arr{raw1, arr{}}}, arr{99, over},
		arr{3, uint64(math.MaxUint64), raw1},
		arr{2, sid, v6, over, raw6}, arr{9, sid, v6, over, arr{raw1, arr{}}}, arr{7, sid, over},
		arr{2, sid, v6, -1, raw6}, arr{9, sid, v6, -1, arr{raw1, arr{}}},
		arr{1, sid, v6, loop(256)}, arr{1, sid, v6, loop(-1)}, arr{3, sid, loop(256)}, arr{4, sid, loop(256)},
		arr{5, sid, loop(256)}, arr{8, sid, loop(256)}, arr{2, sid, v6, 1, raw6, loop(256)}, arr{9, sid, v6, 1, arr{loop(256), arr{}}},
		arr{2, sid, v6, 1, port(65536)}, arr{2, sid, v6, 1, port(-1)}, arr{2, sid, v6, 1, arr{100, raw6, port(65536)}},
		arr{9, sid, v6, 1, arr{raw1, port(65536)}}, arr{2, sid, v6, 1, raw6, port(uint64(math.MaxUint64))},
		arr{3, sid, arr{"EX1", -1, 6, nil}}, arr{3, sid, arr{"EX1", 1.0, 6, nil}},
	} {
		refused(t, c, ErrInvalid)
	}
	require.Equal(t, &Wait{math.MaxUint32, math.MaxUint32}, parsed(t, arr{7, uint32(math.MaxUint32), uint32(math.MaxUint32)}))
	require.Equal(t, &Wait{0, 0}, parsed(t, arr{7, 0, 0}))
	require.Equal(t, uint8(255), parsed(t, arr{3, sid, loop(255)}).(*ReqNeg).Objective.LoopCount)
	require.Equal(t, uint8(0), parsed(t, arr{3, sid, loop(0)}).(*ReqNeg).Objective.LoopCount)
	require.Equal(t, 65535, parsed(t, arr{2, sid, v6, 1, port(65535)}).(*Response).Locators[0].Port)
	require.Equal(t, 0, parsed(t, arr{2, sid, v6, 1, port(0)}).(*Response).Locators[0].Port)
	require.Equal(t, uint32(math.MaxUint32), parsed(t, arr{2, sid, v6, uint32(math.MaxUint32), raw6}).(*Response).TTL)
}

func TestC03InitiatorHasFourOrSixteenBytes(t *testing.T) {
	require.Equal(t, ip4, parsed(t, arr{1, sid, v4, raw1}).(*Discovery).Initiator)
	require.Equal(t, ip6, parsed(t, arr{1, sid, v6, raw1}).(*Discovery).Initiator)
	require.Equal(t, ip4, parsed(t, arr{9, sid, v4, 1, arr{raw1, arr{}}}).(*Flood).Initiator)
	require.Equal(t, ip4, parsed(t, arr{2, sid, v4, 1, raw6}).(*Response).Initiator)
	for _, n := range []int{0, 1, 3, 5, 15, 17, 32} {
		refused(t, arr{1, sid, make([]byte, n), raw1}, ErrInvalid)
		refused(t, arr{2, sid, make([]byte, n), 1, raw6}, ErrInvalid)
		refused(t, arr{9, sid, make([]byte, n), 1, arr{raw1, arr{}}}, ErrInvalid)
	}
}

// D-07: whatever the initiator is, it can be repeated as it came.
func TestD07MappedInitiatorKeepsItsForm(t *testing.T) {
	mapped := unhex(t, "00000000000000000000ffffc0000201")
	b := encode(t, arr{1, sid, mapped, raw1})
	m, err := Parse(b, Limits{})
	require.NoError(t, err)
	require.NotEqual(t, ip4, m.(*Discovery).Initiator)
	require.Equal(t, b, mustAppend(t, m))
}

func TestC04SurplusItemsAreIgnored(t *testing.T) {
	for _, surplus := range []any{arr{107, 1}, arr{101}, arr{102, 5}, arr{103, 1}, arr{100, raw6}, arr{uint64(math.MaxUint64)}, arr{}, 7, "x", nil, map[int]int{1: 1}} {
		require.Equal(t, &Noop{}, parsed(t, arr{0, surplus}))
		require.Equal(t, &Discovery{sid, ip6, ex1}, parsed(t, arr{1, sid, v6, raw1, surplus}))
		require.Equal(t, &ReqNeg{sid, ex1}, parsed(t, arr{3, sid, raw1, surplus}))
		require.Equal(t, &ReqSyn{sid, ex1}, parsed(t, arr{4, sid, raw1, surplus}))
		require.Equal(t, &Negotiate{sid, ex1}, parsed(t, arr{5, sid, raw1, surplus}))
		require.Equal(t, &Wait{sid, 5}, parsed(t, arr{7, sid, 5, surplus}))
		require.Equal(t, &Synch{sid, ex1}, parsed(t, arr{8, sid, raw1, surplus}))
		require.Equal(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{ex1, loc6}}}, parsed(t, arr{9, sid, v6, 1, surplus, arr{raw1, raw6}, surplus}))
		require.Equal(t, &Invalid{sid, []byte{1}}, parsed(t, arr{99, sid, 1, surplus}))
	}
	for _, option := range []any{arr{107, 1}, arr{101}, arr{103, 1}, arr{100, raw6}, arr{uint64(math.MaxUint64)}} {
		require.Equal(t, &Discovery{sid, ip6, ex1}, parsed(t, arr{1, sid, v6, option, option, raw1}))
		require.Equal(t, &ReqNeg{sid, ex1}, parsed(t, arr{3, sid, option, raw1}))
	}
}

func TestC05UnknownTypes(t *testing.T) {
	for _, typ := range []uint64{10, 42, 98, 100, 255, 256, 256 + 6, 1 << 32, math.MaxUint64} {
		_, err := Parse(encode(t, arr{typ, sid, "anything"}), Limits{})
		require.ErrorIs(t, err, ErrUnknownType)
		require.NotErrorIs(t, err, ErrInvalid)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.HasSession)
		require.Equal(t, sid, e.SessionID)
		require.Equal(t, typ <= 255, e.HasType)
		if e.HasType {
			require.EqualValues(t, typ, e.Type)
		}
		refused(t, arr{typ}, ErrUnknownType)
	}
}

func TestC12AnyWellFormedEncodingIsUnderstood(t *testing.T) {
	loc := "84186750" + "20010db8f000baaa28ccdc4c97036781" + "06191b69"
	locOpen := "9f1900675f" + "48" + "20010db8f000baaa" + "40" + "4828ccdc4c97036781ff" + "1806" + "1b0000000000001b69ff"
	for _, c := range []struct {
		name, hex string
		want      Message
	}{
		{"type in two bytes", "9b0000000000000001190000", &Noop{}},
		{"array open", "9f00ff", &Noop{}},
		{"all in more bytes than needed", "98031b00000000000000071b00000000000000051a00000006", &Wait{5, 6}},
		{"wait", "9b00000000000000031b00000000000000071b00000000000000051a00000006", &Wait{5, 6}},
		{"wait, open", "9f070506ff", &Wait{5, 6}},
		{"wait, open, with surplus", "9f0705069f9fffff8080ff", &Wait{5, 6}},
		{"request", "9f03059f7f624558607f", nil},
		{"request, text in pieces", "9f03059f7f62455860613160ff1800190006bf01020304ffffff", &ReqNeg{5, Objective{Name: "EX1", LoopCount: 6, Value: unhex(t, "bf01020304ff")}}},
		{"request, empty text", "830305847fff0006f6", &ReqNeg{5, Objective{LoopCount: 6, Value: []byte{nullByte}}}},
		{"request, open, no value", "9f03059f634558310006ffff", &ReqNeg{5, Objective{Name: "EX1", LoopCount: 6}}},
		{"response", "85020544c000020101" + loc, &Response{SessionID: 5, Initiator: ip4, TTL: 1, Locators: []Locator{loc6}}},
		{"response, open", "9f02055f42c00042" + "0201ff01" + locOpen + "ff", &Response{SessionID: 5, Initiator: ip4, TTL: 1, Locators: []Locator{loc6}}},
		{"divert, open", "9f020544c0000201019f1864" + loc + locOpen + "ffff", &Response{SessionID: 5, Initiator: ip4, TTL: 1, Diverted: []Locator{loc6, loc6}}},
		{"flood, open", "9f090544c000020101" + "9f84634558310506f69fffff" + "829f634558310506f6ff" + locOpen + "ff",
			&Flood{SessionID: 5, Initiator: ip4, TTL: 1, Objectives: []Flooded{{Objective: ex1}, {ex1, loc6}}}},
		{"flood, long empty array", "850905" + "44c0000201" + "01" + "8284634558310506f69b0000000000000000", &Flood{SessionID: 5, Initiator: ip4, TTL: 1, Objectives: []Flooded{{Objective: ex1}}}},
		{"end, open", "9f06059f19006500ff", nil},
		{"accept, open", "9f06059f190065ffff", &End{SessionID: 5, Accept: true}},
		{"decline, open", "9f06059f18667f6161606162ffffff", &End{SessionID: 5, Reason: "ab"}},
		{"decline, empty reason", "8306058218667fff", &End{SessionID: 5}},
		{"invalid, open", "9f186305bf5f41004101ff7f6161ffffff", &Invalid{5, unhex(t, "bf5f41004101ff7f6161ffff")}},
		{"invalid, tags", "83186305c1d81ac2d9d9f7fb7ff0000000000000", &Invalid{5, unhex(t, "c1d81ac2d9d9f7fb7ff0000000000000")}},
	} {
		m, err := Parse(unhex(t, c.hex), Limits{})
		if c.want == nil {
			require.Error(t, err, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, m, c.name)
		again, err := Parse(mustAppend(t, m), Limits{})
		require.NoError(t, err, c.name)
		require.Equal(t, m, again, c.name)
	}
}

// Q-05 and the locators of section 2.8.11.
func TestF04FloodedObjectivesAndTheirLocators(t *testing.T) {
	two := arr{"EX1", 5, 6}
	noValue := ex1
	noValue.Value = nil
	require.Equal(t,
		&Flood{SessionID: sid, Initiator: ip6, TTL: 0, Objectives: []Flooded{{ex1, Locator{}}, {noValue, loc4}, {ex1, Locator{Kind: LocatorURI, Name: "x:y", Protocol: Null, Port: Null}}}},
		parsed(t, arr{9, sid, v6, 0, arr{raw1, arr{}}, arr{two, raw4}, arr{raw1, arr{106, "x:y", nil, nil}}}))

	// An option that is no known locator: the objective is left out, the rest stays.
	for _, option := range []arr{{107, "x"}, {255}, {300, v6, 6, 1}, {100, raw6}, {101}, {uint64(math.MaxUint64)}} {
		require.Equal(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{noValue, loc4}}}, parsed(t, arr{9, sid, v6, 1, arr{raw1, option}, arr{two, raw4}}))
		require.Equal(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1}, parsed(t, arr{9, sid, v6, 1, arr{raw1, option}}))
	}
	// So it is if a locator is malformed, or anything else that comes after the loop
	// count; and all of it is relayed.
	pairs := []arr{{raw1}, {raw1, nil}, {raw1, raw1}, {raw1, arr{}, arr{}}, {arr{"EX1", 5, 6, nil, nil}, arr{}}, {arr{"EX1", 5, 6, nil, 1, 2}, raw6}}
	for _, l := range []arr{{106, "x:y"}, {103, v4, 6, 1}, {104, v6, 6, 1}, {105, v6, 6, 1}, {103, "x", 6, 1}, {103, v6, 6}, {103, v6, 6, 1, 1}, {103}, {"x"}, {-1}, {nil}, {raw6}} {
		pairs = append(pairs, arr{raw1, l})
	}
	for _, pair := range pairs {
		msg := arr{9, sid, v6, 1, pair, arr{two, raw4}, pair}
		require.Equal(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{noValue, loc4}}, LeftOut: 2}, parsed(t, msg), "%v", pair)
		raw := encode(t, msg)
		require.Equal(t, []uint8{6, 6, 6}, LoopCounts(raw))
		passed := relayed(t, raw)
		require.Equal(t, []uint8{5, 6, 6}, LoopCounts(passed))
		require.Len(t, passed, len(raw))
		for i := range raw {
			if raw[i] != passed[i] {
				require.Equal(t, []byte{6, 5}, []byte{raw[i], passed[i]}, "but for the loop count it is the same bit for bit")
			}
		}
	}
}

// The rules for the whole message hold for all of its objectives (sections 2.5.2,
// 2.5.6.2), of whatever encoding.
func TestF13L04LoopCountsOfAll(t *testing.T) {
	require.Equal(t, []uint8{255, 1, 0}, LoopCounts(encode(t, arr{9, sid, v6, 1, 7, arr{arr{"EX1", 5, 255}, arr{110}}, arr{107}, arr{arr{"EX2", 4, 1}, raw6}, arr{arr{"", 0, 0}}})))
	require.Equal(t, []uint8{3, 24}, LoopCounts(unhex(t, "9f090544c0000201019f9f634558310503f6ff81186eff82"+"836345583105"+"1818"+"80ff")))
	for name, raw := range samples(t) {
		if f, ok := parsedBytes(t, raw).(*Flood); ok {
			var want []uint8
			for _, o := range f.Objectives {
				want = append(want, o.Objective.LoopCount)
			}
			require.Equal(t, want, LoopCounts(raw), name)
		}
	}
}

func TestFloodIsAllocatedByWhatIsThere(t *testing.T) {
	// An array of 2000 items, one of which is an objective.
	msg := arr{9, sid, v6, 1, arr{raw1, arr{}}}
	for range 1900 {
		msg = append(msg, 0)
	}
	m := parsed(t, msg).(*Flood)
	require.Len(t, m.Objectives, 1)
	require.LessOrEqual(t, cap(m.Objectives), 1900/6+1)
}
