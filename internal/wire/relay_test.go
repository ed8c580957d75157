package wire

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func relayed(t testing.TB, msg []byte) []byte {
	t.Helper()
	b, err := AppendRelayed([]byte("dst"), msg)
	require.NoError(t, err)
	require.Equal(t, "dst", string(b[:3]))
	return b[3:]
}

func TestF09AllVectors(t *testing.T) {
	seen := 0
	for name, b := range samples(t) {
		m := parsedBytes(t, b)
		var first *Objective
		switch m := m.(type) {
		case *Discovery:
			first = &m.Objective
		case *Flood:
			first = &m.Objectives[0].Objective
		default:
			_, err := AppendRelayed(nil, b)
			require.ErrorIs(t, err, ErrInvalid, name)
			continue
		}
		if first.LoopCount == 1 {
			dst, err := AppendRelayed(b[:2:2], b)
			require.ErrorIs(t, err, ErrLoopExhausted, name)
			require.Equal(t, b[:2], dst)
			continue
		}
		seen++
		first.LoopCount--
		require.Equal(t, mustAppend(t, m), relayed(t, b), name)
	}
	require.Greater(t, seen, 10)
}

func TestF10OnlyTheFirstLoopCount(t *testing.T) {
	flood := func(counts ...int) []byte {
		m := arr{9, sid, v6, 1}
		for _, n := range counts {
			m = append(m, arr{arr{"EX1", 5, n, nil}, arr{}})
		}
		return encode(t, m)
	}
	require.Equal(t, flood(5, 6, 1, 0), relayed(t, flood(6, 6, 1, 0)))
	require.Equal(t, flood(1), relayed(t, flood(2)))
	for _, n := range []int{0, 1} {
		_, err := AppendRelayed(nil, flood(n, 6, 6))
		require.ErrorIs(t, err, ErrLoopExhausted)
		_, err = AppendRelayed(nil, encode(t, arr{1, sid, v6, arr{"EX1", 5, n}}))
		require.ErrorIs(t, err, ErrLoopExhausted)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, &Error{Type: TypeDiscovery, HasType: true, SessionID: sid, HasSession: true, Err: e.Err}, e)
	}
	for n := 2; n <= 255; n++ {
		require.Equal(t, flood(n-1), relayed(t, flood(n)))
	}
	require.Len(t, relayed(t, flood(24)), len(flood(24))-1)
	// The first on the wire counts, also if its locator is unknown.
	strange := arr{9, sid, v6, 1, arr{107}, 5, arr{arr{"EX1", 5, 3}, arr{300, "x"}}, arr{raw1, arr{}}}
	want := arr{9, sid, v6, 1, arr{107}, 5, arr{arr{"EX1", 5, 2}, arr{300, "x"}}, arr{raw1, arr{}}}
	require.Equal(t, encode(t, want), relayed(t, encode(t, strange)))
}

func TestC10RelayKeepsUnusualEncodings(t *testing.T) {
	for in, want := range map[string]string{
		// Everything longer than needed, of indefinite length, with surplus items.
		"9f1801" + "1b0000000000000005" + "5f42c000420201ff" + "811900ff" + "9f7f62455861315fff" + "ff": "",
		"9f1801" + "1b0000000000000005" + "5f42c000420201ff" + "811900ff" + "9f7f6245586131ff" + "1bffffffffffffffff" + "1b0000000000000006" + "bf6161f97e006161f7ff" + "ff" + "8118ff" + "00" + "ff"://
		"9f1801" + "1b0000000000000005" + "5f42c000420201ff" + "811900ff" + "9f7f6245586131ff" + "1bffffffffffffffff" + "05" + "bf6161f97e006161f7ff" + "ff" + "8118ff" + "00" + "ff",
		"9809" + "09" + "05" + "44c0000201" + "1900ff" + "82186b9f00ff" + "f6" + "9f" + "9b0000000000000003" + "7803455831" + "00" + "1818" + "9fff" + "ff" + "80" + "00"://
		"9809" + "09" + "05" + "44c0000201" + "1900ff" + "82186b9f00ff" + "f6" + "9f" + "9b0000000000000003" + "7803455831" + "00" + "17" + "9fff" + "ff" + "80" + "00",
		"85090544c000020100828363455831001903e880":            "", // a loop count out of range
		"85090544c00002010082836345583100190018" + "80":       "85090544c00002010082836345583100" + "17" + "80",
		"850905" + "44c0000201" + "0082834345583100" + "0680": "", // the name is no text
	} {
		got, err := AppendRelayed(nil, unhex(t, in))
		if want == "" {
			require.Error(t, err, in)
			continue
		}
		require.NoError(t, err, in)
		require.Equal(t, unhex(t, want), got, in)
		_, err = Parse(got, Limits{})
		require.NoError(t, err, in)
	}
}

func TestOthersAreNotRelayed(t *testing.T) {
	for _, c := range []any{
		arr{0}, arr{2, sid, v6, 1, raw6}, arr{3, sid, raw1}, arr{6, sid, arr{101}}, arr{99, sid, raw1}, arr{10, sid, v6, raw1}, arr{257, sid, v6, raw1},
		arr{1, sid, v6}, arr{1, sid, v6, 5}, arr{1, sid, v6, arr{"EX1", 5}}, arr{1, sid, v6, arr{"EX1"}}, arr{1, sid, v6, arr{"EX1", 5, "6"}},
		arr{1, sid, v6[:3], raw1}, arr{1, uint64(math.MaxUint64), v6, raw1}, arr{1, sid, v6, arr{5, raw1}},
		arr{9, sid, v6, 1}, arr{9, sid, v6, 1, raw1}, arr{9, sid, v6, raw1, arr{}}, arr{9, sid, v6, 1, arr{arr{}, arr{}}}, arr{9, sid, v6, 1, arr{arr{107}}},
		"text", 1, nil, arr{},
	} {
		dst, err := AppendRelayed(nil, encode(t, c))
		require.ErrorIs(t, err, ErrInvalid, "%v", c)
		require.Nil(t, dst)
	}
	_, err := AppendRelayed(nil, append(encode(t, arr{1, sid, v6, raw1}), 0))
	require.ErrorIs(t, err, ErrMalformed)
}
