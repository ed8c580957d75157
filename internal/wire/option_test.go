package wire

import (
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func response(locators, diverted []Locator) *Response {
	return &Response{SessionID: sid, Initiator: ip6, TTL: 1, Locators: locators, Diverted: diverted}
}

func TestQ11LocatorsAndDivertsMixed(t *testing.T) {
	for _, c := range []struct {
		options arr
		want    *Response
	}{
		{arr{raw6, raw4}, response([]Locator{loc6, loc4}, nil)},
		{arr{arr{100, raw6}}, response(nil, []Locator{loc6})},
		{arr{arr{100, raw6}, raw4}, response([]Locator{loc4}, []Locator{loc6})},
		{arr{raw4, arr{100, raw6}, raw6, arr{100, raw4, raw6}}, response([]Locator{loc4, loc6}, []Locator{loc6, loc4, loc6})},
	} {
		require.Equal(t, c.want, parsed(t, append(arr{2, sid, v6, 1}, c.options...)))
		c.want.Objective = &ex1
		require.Equal(t, c.want, parsed(t, append(append(arr{2, sid, v6, 1}, c.options...), raw1)))
		// The objective is told by its text, wherever it is; a second one is surplus.
		require.Equal(t, c.want, parsed(t, append(append(arr{2, sid, v6, 1, raw1}, c.options...), arr{"EX2", 1, 1}, arr{"?"})))
	}
}

func TestC07UnknownOptionsInResponse(t *testing.T) {
	for _, junk := range []any{arr{107}, arr{255, 1, 2}, arr{70000, raw6}, arr{101}, arr{102, "no"}, arr{}, arr{-1}, arr{nil}, 5, "text", nil, arr{arr{1}}} {
		require.Equal(t, response([]Locator{loc6}, nil), parsed(t, arr{2, sid, v6, 1, junk, raw6, junk}))
		require.Equal(t, response(nil, []Locator{loc6}), parsed(t, arr{2, sid, v6, 1, arr{100, junk, raw6, junk}}))
		// Nothing is left, but it is a response.
		require.Equal(t, response(nil, nil), parsed(t, arr{2, sid, v6, 1, junk}))
	}
	only := response(nil, nil)
	only.Objective = &ex1
	require.Equal(t, only, parsed(t, arr{2, sid, v6, 1, raw1}))
}

// graspy passes on a URI locator as [106, text].
func TestO07MalformedLocatorsAreDropped(t *testing.T) {
	for _, l := range []arr{
		{106, "coap://x"}, {103}, {103, v6}, {103, v6, 6}, {103, v6, 6, 1, 1}, {103, v4, 6, 1}, {104, v6, 6, 1}, {103, v6[:15], 6, 1},
		{103, "x", 6, 1}, {105, v6, 6, 1}, {105, 5, 6, 1}, {106, "x", "6", 1}, {106, "x", 6, "1"}, {106, "x", 6, cbor.RawMessage{0xf7}},
		{103, v6, uint64(1) << 31, 1}, {103, v6, -1, 1}, {103, v6, 6, 1.0}, {103, arr{}, 6, 1}, {103, v6, arr{}, 1},
	} {
		require.Equal(t, response([]Locator{loc6, loc4}, nil), parsed(t, arr{2, sid, v6, 1, raw6, l, raw4}))
		require.Equal(t, response(nil, []Locator{loc6, loc4}), parsed(t, arr{2, sid, v6, 1, arr{100, raw6, l, raw4}}))
		require.Equal(t, response(nil, nil), parsed(t, arr{2, sid, v6, 1, arr{100, l}}))
	}
	require.Equal(t, response([]Locator{loc6}, nil), parsed(t, arr{2, sid, v6, 1, raw6, arr{100}}))
}

// O-01: the divert of old peers is one deeper. It is not understood, and does no harm.
func TestO01NestedDivertOfOldPeers(t *testing.T) {
	require.Equal(t, response([]Locator{loc4}, nil), parsed(t, arr{2, sid, v6, 1, arr{arr{100, arr{raw6, raw4}}}, raw4}))
	require.Equal(t, response(nil, nil), parsed(t, arr{2, sid, v6, 1, arr{100, arr{raw6, raw4}}}))
}

func TestC09EndNeedsAcceptOrDecline(t *testing.T) {
	for _, c := range []arr{{6, sid}, {6, sid, arr{}}, {6, sid, arr{100, raw6}}, {6, sid, arr{107}}, {6, sid, raw6, 5}, {6, sid, raw1}} {
		_, err := Parse(encode(t, c), Limits{})
		require.ErrorIs(t, err, ErrNoOption)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "M_END")
		var e *Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.HasSession && e.SessionID == sid && e.Type == TypeEnd)
	}
	_, err := Parse(encode(t, arr{6, sid, arr{101}, arr{102}}), Limits{})
	require.ErrorIs(t, err, ErrInvalid)
	require.NotErrorIs(t, err, ErrNoOption)
	// Other options are ignored before it and after it, and so is a second one.
	for _, other := range []any{arr{107}, raw6, arr{100, raw6}, 5, arr{}} {
		require.Equal(t, &End{SessionID: sid, Accept: true}, parsed(t, arr{6, sid, other, arr{101}, other, arr{101}}))
		require.Equal(t, &End{SessionID: sid, Reason: "no"}, parsed(t, arr{6, sid, other, arr{102, "no"}, other, arr{102, "never"}}))
	}
}

func TestN18ReasonIsUTF8(t *testing.T) {
	require.Equal(t, &End{SessionID: sid, Reason: "недостаточно"}, parsed(t, arr{6, sid, arr{102, "недостаточно"}}))
	require.Equal(t, &End{SessionID: sid}, parsed(t, arr{6, sid, arr{102, ""}}))
	refusedBytes(t, unhex(t, "83060582186662c328"), ErrMalformed)
}
