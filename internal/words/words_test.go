package words_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
	"github.com/go-grasp/grasp/internal/words"
)

func TestOf(t *testing.T) {
	o := wire.Objective{Name: "a\nb", Flags: wire.FlagNeg | wire.FlagNegDry, LoopCount: 6, Value: []byte{0x82, 1, 0x61, 'x'}}
	for want, m := range map[string]wire.Message{
		`M_REQ_NEG session 7: "a\nb" (negotiation, dry run; loop count 6) = [1, "x"]`: &wire.ReqNeg{SessionID: 7, Objective: o},
		`M_END session 7: accept`:          &wire.End{SessionID: 7, Accept: true},
		`M_END session 7: decline, "no\n"`: &wire.End{SessionID: 7, Reason: "no\n"},
		`M_WAIT session 7: 1m30s`:          &wire.Wait{SessionID: 7, Wait: 90000},
		`M_RESPONSE session 7 initiator fe80::1 ttl 1m0s: [fe80::2]:7017, divert to x.example:80/udp`: &wire.Response{
			SessionID: 7, Initiator: netip.MustParseAddr("fe80::1"), TTL: 60000,
			Locators: []wire.Locator{{Kind: wire.LocatorIPv6, Addr: netip.MustParseAddr("fe80::2"), Protocol: 6, Port: 7017}},
			Diverted: []wire.Locator{{Kind: wire.LocatorFQDN, Name: "x.example", Protocol: 17, Port: 80}},
		},
	} {
		require.Equal(t, want, words.Of(m))
	}
	require.Equal(t, []string{"a\nb"}, words.Objectives(&wire.ReqNeg{Objective: o}))
	require.Empty(t, words.Objectives(&wire.End{}))
	require.Equal(t, "h'ff'", words.Notation([]byte{0xff}))
}
