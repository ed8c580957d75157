package wire

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// the value is optional in every message.
func TestO12ThreeOrFourItemsEverywhere(t *testing.T) {
	three, none := arr{"EX1", 5, 6}, ex1
	none.Value = nil
	for _, c := range []struct {
		objective arr
		want      Objective
	}{{three, none}, {raw1, ex1}} {
		require.Equal(t, &Discovery{sid, ip6, c.want}, parsed(t, arr{1, sid, v6, c.objective}))
		require.Equal(t, &c.want, parsed(t, arr{2, sid, v6, 1, raw6, c.objective}).(*Response).Objective)
		require.Equal(t, &ReqNeg{sid, c.want}, parsed(t, arr{3, sid, c.objective}))
		require.Equal(t, &ReqSyn{sid, c.want}, parsed(t, arr{4, sid, c.objective}))
		require.Equal(t, &Negotiate{sid, c.want}, parsed(t, arr{5, sid, c.objective}))
		require.Equal(t, &Synch{sid, c.want}, parsed(t, arr{8, sid, c.objective}))
		require.Equal(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{c.want, Locator{}}}}, parsed(t, arr{9, sid, v6, 1, arr{c.objective, arr{}}}))
	}
	for _, bad := range []arr{{"EX1"}, {"EX1", 5}, {"EX1", 5, 6, nil, nil}, {"EX1", "5", 6}, {"EX1", 5, "6"}, {[]byte("EX1"), 5, 6}, {nil, 5, 6}} {
		refused(t, arr{1, sid, v6, bad}, ErrInvalid)
		refused(t, arr{2, sid, v6, 1, raw6, append(arr{"x"}, bad...)}, ErrInvalid)
		refused(t, arr{3, sid, bad}, ErrInvalid)
		if len(bad) < 5 {
			refused(t, arr{9, sid, v6, 1, arr{bad, arr{}}}, ErrInvalid)
		}
	}
}

func TestQ10UnknownFlagsAreKeptAndNotSent(t *testing.T) {
	m := parsed(t, arr{3, sid, arr{"EX1", uint64(math.MaxUint64), 6}}).(*ReqNeg)
	require.Equal(t, Flags(math.MaxUint64), m.Objective.Flags)
	m.Objective.Flags = 1<<40 | 16 | FlagNeg | FlagNegDry
	require.Equal(t, FlagNeg|FlagNegDry, parsedBytes(t, mustAppend(t, m)).(*ReqNeg).Objective.Flags)
	require.Equal(t, []Flags{1, 2, 4, 8}, []Flags{FlagDisc, FlagNeg, FlagSynch, FlagNegDry})
}

func TestO10NamesAreOpaqueUTF8(t *testing.T) {
	for _, name := range []string{"", ":", "EX1", "ex1", "example.com:Grüße-цель", "\x00", "e\u0301", "\u00e9", string(make([]byte, 300))} {
		require.Equal(t, name, parsed(t, arr{3, sid, arr{name, 5, 6}}).(*ReqNeg).Objective.Name)
	}
	for _, bad := range []string{"62c328", "61ff", "63eda080", "64f4908080", "62c080"} {
		refusedBytes(t, unhex(t, "83030583"+bad+"0006"), ErrMalformed)
		// In values too, keys included, and in surplus items.
		refusedBytes(t, unhex(t, "8303058461610006"+bad), ErrMalformed)
		refusedBytes(t, unhex(t, "8303058461610006a1"+bad+"00"), ErrMalformed)
		refusedBytes(t, unhex(t, "840305836161000"+"6"+bad), ErrMalformed)
		// Not in byte strings.
		_, err := Parse(append(unhex(t, "8303058461610006"), append([]byte{0x40 | byte(len(bad)/2-1)}, unhex(t, bad)[1:]...)...), Limits{})
		require.NoError(t, err)
	}
	// RFC 8949 section 3.2.3: a character is not spread over the pieces of a string.
	refusedBytes(t, unhex(t, "830305837f61c361a9ff0006"), ErrMalformed)
}

// C-10, C-13: any item is a value, and comes out as it went in.
func TestC10ValuesAreKeptBitForBit(t *testing.T) {
	for _, value := range []string{
		"f6", "00", "f7", "1800", "1b0000000000000000", "fa7fc00001", "f97e00", "f0", "f820", "f8ff",
		"80", "9fff", "a0", "bfff", "5fff", "7fff", "a2010101" + "02", "c24100", "d8184100", "d9d9f700", "df" + "00",
	} {
		raw := unhex(t, value)
		b := append(unhex(t, "8303058461610006"), raw...)
		m, err := Parse(b, Limits{})
		if value == "df00" { // a tag of indefinite length
			require.ErrorIs(t, err, ErrMalformed)
			continue
		}
		require.NoError(t, err, value)
		require.Equal(t, raw, m.(*ReqNeg).Objective.Value)
		require.Equal(t, b, mustAppend(t, m))
	}
}

func TestObjectivesThatAreNotSent(t *testing.T) {
	deep := func(n int) []byte {
		b := make([]byte, n+1)
		for i := range n {
			b[i] = 0x81
		}
		return b
	}
	for _, o := range []Objective{
		{Name: "\xff"}, {Name: "a\xc3"}, {Value: []byte{}}, {Value: []byte{0x81}}, {Value: []byte{0, 0}}, {Value: []byte{0xff}},
		{Value: unhex(t, "61ff")}, {Value: unhex(t, "9b7fffffffffffffff")}, {Value: deep(DefaultDepth)},
	} {
		for _, m := range []Message{
			&Discovery{sid, ip6, o}, &Response{SessionID: sid, Initiator: ip6, Locators: []Locator{loc6}, Objective: &o},
			&ReqNeg{sid, o}, &ReqSyn{sid, o}, &Negotiate{sid, o}, &Synch{sid, o}, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{ex1, loc6}, {o, loc6}}},
		} {
			notSent(t, m)
		}
	}
	// What is just deep enough to be sent is accepted.
	for _, m := range []Message{
		&ReqNeg{sid, Objective{Value: deep(DefaultDepth - 2)}},
		&Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{Objective{Value: deep(DefaultDepth - 3)}, Locator{}}}},
		&Invalid{sid, deep(DefaultDepth - 1)},
	} {
		require.Equal(t, m, parsedBytes(t, mustAppend(t, m)))
	}
	notSent(t, &ReqNeg{sid, Objective{Value: deep(DefaultDepth - 1)}})
	notSent(t, &Flood{SessionID: sid, Initiator: ip6, TTL: 1, Objectives: []Flooded{{Objective{Value: deep(DefaultDepth - 2)}, Locator{}}}})
	notSent(t, &Invalid{sid, deep(DefaultDepth)})
	notSent(t, &Invalid{sid, []byte{}})
}
