package tlsplane

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// The forms of RFC 8994 section 6.4: a method, or an array that begins with one,
// which is a name or an array that begins with one.
func TestOffers(t *testing.T) {
	for _, c := range []struct {
		value any
		want  bool
	}{
		{"GRASP-TLS", true},
		{[]any{"GRASP-TLS"}, true},
		{[]any{"GRASP-TLS", 1, "extension"}, true},
		{[]any{[]any{"GRASP-TLS", "parameter"}, "extension"}, true},
		{"IKEv2", false},
		{[]any{"IKEv2", "GRASP-TLS"}, false},
		{[]any{[]any{[]any{"GRASP-TLS"}}}, false},
		{[]any{}, false},
		{nil, false},
		{map[string]int{"GRASP-TLS": 1}, false},
		{[]byte("GRASP-TLS"), false},
	} {
		raw, err := cbor.Marshal(c.value)
		require.NoError(t, err)
		_, _, ok := offers(raw)
		assert.Equal(t, c.want, ok, "%v", c.value)
	}
	_, _, ok := offers(nil)
	assert.False(t, ok)
}

func TestAnnouncement(t *testing.T) {
	for _, addr := range []string{"fe80::1%3", "10.0.0.1"} {
		from := acp.Origin{Link: 3, Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 99)}
		raw, err := announcement(netip.AddrPortFrom(from.Addr.Addr().WithZone(""), 4711), time.Minute)
		require.NoError(t, err)
		a, ok := parseAnnouncement(raw, from)
		require.True(t, ok)
		assert.Equal(t, netip.AddrPortFrom(netip.MustParseAddr(addr), 4711), a.to)
		assert.Equal(t, 210*time.Second, a.ttl)

		// By another node, cut short, or changed.
		_, ok = parseAnnouncement(raw, acp.Origin{Link: 3, Addr: netip.MustParseAddrPort("[fe80::2%3]:99")})
		assert.False(t, ok)
		for n := range raw {
			_, ok = parseAnnouncement(raw[:n], from)
			assert.False(t, ok)
		}
		m, err := wire.Parse(raw, wire.Limits{})
		require.NoError(t, err)
		for what, change := range map[string]func(*wire.Flooded){
			"another objective": func(f *wire.Flooded) { f.Objective.Name = "AN_Proxy" },
			"a loop count of 2": func(f *wire.Flooded) { f.Objective.LoopCount = 2 },
			"UDP":               func(f *wire.Flooded) { f.Locator.Protocol = wire.ProtoUDP },
			"port 0":            func(f *wire.Flooded) { f.Locator.Port = 0 },
			"no port":           func(f *wire.Flooded) { f.Locator.Port = wire.Null },
			"no locator":        func(f *wire.Flooded) { f.Locator = wire.Locator{} },
			"another's address": func(f *wire.Flooded) { f.Locator.Addr = f.Locator.Addr.Next() },
			"no value":          func(f *wire.Flooded) { f.Objective.Value = nil },
		} {
			changed := *m.(*wire.Flood)
			changed.Objectives = []wire.Flooded{changed.Objectives[0]}
			change(&changed.Objectives[0])
			raw, err := changed.Append(nil)
			require.NoError(t, err, what)
			_, ok = parseAnnouncement(raw, from)
			assert.False(t, ok, what)
		}
	}
}
