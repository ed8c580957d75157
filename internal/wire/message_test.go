package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTypeNames(t *testing.T) {
	for typ, name := range map[Type]string{
		0: "M_NOOP", 1: "M_DISCOVERY", 2: "M_RESPONSE", 3: "M_REQ_NEG", 4: "M_REQ_SYN", 5: "M_NEGOTIATE",
		6: "M_END", 7: "M_WAIT", 8: "M_SYNCH", 9: "M_FLOOD", 99: "M_INVALID", 42: "message type 42",
	} {
		require.Equal(t, name, typ.String())
	}
}

func TestC01VectorsAndAnnexReencodeToTheSameBytes(t *testing.T) {
	for name, b := range samples(t) {
		m, err := Parse(b, Limits{})
		require.NoError(t, err, name)
		require.Equal(t, b, mustAppend(t, m), name)
		require.Equal(t, Type(b[1]) == TypeNoop, m.Type() == TypeNoop, name)
		require.NoError(t, WellFormed(b, Limits{}), name)
		n, err := Scan(append(b[:len(b):len(b)], 0xff), Limits{})
		require.NoError(t, err, name)
		require.Equal(t, len(b), n, name)
	}
}

// The examples of RFC 8990 appendix A, and of the annex, mean what they should.
func TestC01Meaning(t *testing.T) {
	for name, want := range map[string]Message{
		"84011a00d4d7485020010db8f000baaa28ccdc4c970367818463455831050200": &Discovery{
			SessionID: 13948744, Initiator: ip6,
			Objective: Objective{Name: "EX1", Flags: FlagDisc | FlagSynch, LoopCount: 2, Value: []byte{0}},
		},
		"85021a00d4d7485020010db8f000baaa28ccdc4c9703678119ea608418675020010db8f000baaaf000baaaf000baaa0619c123": &Response{
			SessionID: 13948744, Initiator: ip6, TTL: 60000,
			Locators: []Locator{{Kind: LocatorIPv6, Addr: benchAddr("2001:db8:f000:baaa:f000:baaa:f000:baaa"), Protocol: ProtoTCP, Port: 49443}},
		},
		"83061a00d2146282186672496e73756666696369656e742066756e6473": &End{SessionID: 13767778, Reason: "Insufficient funds"},
		"83061a00d21462811865":   &End{SessionID: 13767778, Accept: true},
		"83061a00d21462811866":   &End{SessionID: 13767778},
		"83071a00d21462198895":   &Wait{SessionID: 13767778, Wait: 34965},
		"8100":                   &Noop{},
		"8218631a00d21462":       &Invalid{SessionID: 13767778},
		"8318631a00d21462820102": &Invalid{SessionID: 13767778, Info: []byte{0x82, 1, 2}},
		"83041a003da10e8463455832050500": &ReqSyn{
			SessionID: 4038926, Objective: Objective{Name: "EX2", Flags: 5, LoopCount: 5, Value: []byte{0}},
		},
		annex["SRV.est, without value"]: &Flood{
			SessionID: 12340815, Initiator: benchAddr("fd89:b714:f3db:0:200:0:6400:1"), TTL: 210000,
			Objectives: []Flooded{{
				Objective: Objective{Name: "SRV.est", Flags: FlagSynch, LoopCount: 255},
				Locator:   Locator{Kind: LocatorIPv6, Addr: benchAddr("fd89:b714:f3db:0:200:0:6400:1"), Protocol: ProtoTCP, Port: 443},
			}},
		},
		annex["divert, two locators"]: &Response{
			SessionID: 13948744, Initiator: ip6, TTL: 60000,
			Diverted: []Locator{
				{Kind: LocatorIPv6, Addr: benchAddr("2001:db8:f000:baaa:f000:baaa:f000:baaa"), Protocol: ProtoTCP, Port: 49443},
				{Kind: LocatorIPv4, Addr: benchAddr("192.0.2.2"), Protocol: ProtoTCP, Port: 7017},
			},
		},
		annex["encoded CBOR"]: &Synch{
			SessionID: 4038926,
			Objective: Objective{Name: "EX2", Flags: 5, LoopCount: 6, Value: unhex(t, "d8185482704578616d706c6520322076616c75653d18c8")},
		},
	} {
		m, err := Parse(unhex(t, name), Limits{})
		require.NoError(t, err, name)
		require.Equal(t, want, m, name)
	}
}

// The flood of draft-15: an array of six that holds five.
func TestC01FloodOfTheDraftIsRefused(t *testing.T) {
	b := unhex(t, "85091a00357b4e5020010db8f000baaa28ccdc4c97036781192710828463455831050282704578616d706c6520312076616c75653d186480")
	_, err := Parse(b, Limits{})
	require.NoError(t, err)
	b[0] = 0x86
	refusedBytes(t, b, ErrTruncated)
	b = append(b, 0x81) // nor with half an item more
	refusedBytes(t, b, ErrTruncated)
}

func TestValidMessagesCutAnywhereAreRefused(t *testing.T) {
	for name, b := range samples(t) {
		for n := range b {
			cut := b[:n:n]
			refusedBytes(t, cut, ErrTruncated)
			need, err := Scan(cut, Limits{})
			require.ErrorIs(t, err, ErrTruncated, name)
			require.Greater(t, need, n, name)
			require.LessOrEqual(t, need, len(b), name)
			require.Error(t, WellFormed(cut, Limits{}), name)
			dst, err := AppendRelayed([]byte("dst"), cut)
			require.Error(t, err, name)
			require.Equal(t, "dst", string(dst), name)
		}
		refusedBytes(t, append(b[:len(b):len(b)], 0), ErrMalformed)
	}
}

func TestParsedMessagesOwnTheirMemory(t *testing.T) {
	for name, b := range samples(t) {
		buf := append([]byte(nil), b...)
		m, err := Parse(buf, Limits{})
		require.NoError(t, err, name)
		for i := range buf {
			buf[i] = 0xff
		}
		require.Equal(t, b, mustAppend(t, m), name)
	}
}
