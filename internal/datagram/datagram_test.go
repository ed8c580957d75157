package datagram

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/transcript"
	"github.com/go-grasp/grasp/internal/wire"
)

type arr = []any

// objective reads name/flags/loops, with more items for "+" at the end.
func objective(t *testing.T, s string) arr {
	s, more := strings.CutSuffix(s, "+")
	parts := strings.Split(s, "/")
	require.Len(t, parts, 3, s)
	var numbers []any
	for _, p := range parts[1:] {
		n, err := strconv.Atoi(p)
		require.NoError(t, err)
		numbers = append(numbers, n)
	}
	o := append(append(arr{parts[0]}, numbers...), "value")
	if more {
		o = append(o, "more")
	}
	return o
}

// locator reads an address, "none", "unknown" for an option that is not known, or
// "five" for a locator with an item too many.
func locator(t *testing.T, s string) arr {
	switch s {
	case "none":
		return arr{}
	case "unknown":
		return arr{110, "x"}
	case "five":
		return arr{103, make([]byte, 16), 6, 1, 5}
	}
	a, err := netip.ParseAddr(s)
	require.NoError(t, err)
	return arr{104 - a.BitLen()/128, a.AsSlice(), 6, 4443}
}

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata", func(t *testing.T) func(*transcript.Command) string {
		own := make(map[session.Key]bool)
		r := &Rules{Own: func(k session.Key, _ time.Time) bool { return own[k] }}
		insecure := false
		return func(c *transcript.Command) string {
			initiator := transcript.Value(c, "initiator", netip.MustParseAddr("fd00::1"), netip.ParseAddr)
			id := c.Uint32("id", 1)
			from := Origin{
				Addr:    transcript.Value(c, "from", netip.MustParseAddr("fe80::1"), netip.ParseAddr),
				Unicast: c.Bool("unicast"), Self: c.Bool("self"), Secure: !insecure,
			}
			var m any
			switch c.Name {
			case "dull":
				r.DULL, r.Objectives = true, c.Strings("objectives")
				return ""
			case "insecure":
				insecure = true
				return ""
			case "own":
				own[session.Key{ID: id, Initiator: initiator}] = true
				return ""
			case "discovery":
				m = arr{1, id, initiator.AsSlice(), objective(t, c.String("objective", "EX1/5/6"))}
			case "flood":
				f := arr{9, id, initiator.AsSlice(), 1000}
				for _, pair := range c.Strings("pairs") {
					o, l, _ := strings.Cut(pair, "@")
					f = append(f, arr{objective(t, o), locator(t, l)})
				}
				m = f
			case "message": // of another type
				m = arr{c.Int("type", 0), id, objective(t, "EX1/3/6")}
			case "raw":
				m = cbor.RawMessage(c.String("bytes", ""))
			default:
				return c.Unknown()
			}
			raw, ok := m.(cbor.RawMessage)
			if !ok {
				var err error
				raw, err = cbor.Marshal(m)
				require.NoError(t, err)
			}
			return show(r.Read(raw, from))
		}
	})
}

func show(v Verdict) string {
	var out strings.Builder
	switch v.Action {
	case Drop:
		fmt.Fprint(&out, "dropped: ", v.Refusal)
		if v.Err != nil {
			fmt.Fprintf(&out, " (%v)", v.Err)
		}
	case Ignore:
		fmt.Fprint(&out, "ignored")
	case Answer:
		fmt.Fprint(&out, "answer or relay ", v.Message.(*wire.Discovery).Objective.Name)
	case Cache:
		fmt.Fprint(&out, "cache")
		for _, f := range v.Message.(*wire.Flood).Objectives {
			fmt.Fprint(&out, " ", f.Objective.Name)
		}
	}
	for _, p := range v.Passed {
		name := p.Objective
		if name == "" {
			name = "all"
		}
		fmt.Fprintf(&out, "\nnot %s: %v", name, p.Refusal)
	}
	return out.String()
}

// Whatever comes, nobody gets past the rules.
func FuzzRead(f *testing.F) {
	for _, m := range []arr{
		{9, 1, netip.MustParseAddr("fe80::1").AsSlice(), 0, arr{arr{"AN_ACP", 4, 1, 1}, arr{}}, arr{arr{"EX1", 3, 255}, arr{110}}},
		{1, 1, netip.MustParseAddr("fd00::1").AsSlice(), arr{"AN_ACP", 4, 1}},
	} {
		raw, err := cbor.Marshal(m)
		require.NoError(f, err)
		f.Add(raw, byte(0))
		f.Add(raw, byte(7))
	}
	f.Fuzz(func(t *testing.T, raw []byte, how byte) {
		r := &Rules{
			DULL: how&1 != 0, Objectives: []string{"AN_ACP", "AN_Proxy"},
			Own: func(k session.Key, _ time.Time) bool { return k.ID == 7 },
		}
		from := Origin{Addr: netip.MustParseAddr("fe80::1"), Unicast: how&2 != 0, Self: how&4 != 0, Secure: how&8 != 0}
		if how&16 != 0 {
			from.Addr = netip.MustParseAddr("fd00::1")
		}
		v := r.Read(raw, from)
		require.Equal(t, v.Action == Drop, v.Refusal != None)
		if v.Action == Drop || v.Action == Ignore {
			require.Empty(t, v.Passed)
			return
		}
		require.False(t, from.Self)
		require.NotEqualValues(t, 7, v.Key.ID)
		require.True(t, r.DULL || from.Secure)
		if r.DULL {
			require.False(t, from.Unicast)
			require.True(t, cache.OnLinkOnly(from.Addr))
		}
		switch m := v.Message.(type) {
		case *wire.Discovery:
			require.Equal(t, Answer, v.Action)
			require.True(t, !r.DULL || m.Objective.LoopCount == 1)
		case *wire.Flood:
			require.Equal(t, Cache, v.Action)
			require.False(t, from.Unicast)
			counts := wire.LoopCounts(raw)
			require.True(t, counts[0] == 1 || !m.Initiator.IsLinkLocalUnicast())
			for _, n := range counts {
				require.True(t, !r.DULL || n == 1)
			}
			for _, o := range m.Objectives {
				require.True(t, counts[0] == 1 || !o.Locator.Addr.IsLinkLocalUnicast())
				require.True(t, !r.DULL || r.isFor(o.Objective.Name))
			}
			require.True(t, !r.DULL || len(m.Objectives) > 0)
		default:
			require.Fail(t, "what else?")
		}
	})
}
