package wire

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func mustAppend(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := m.Append(nil)
	require.NoError(t, err)
	return b
}

// unhex decodes hex that may have spaces in it.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

// vector is a message of testdata/vectors.
type vector struct {
	Case  string
	Plain string
	Diag  string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var all []vector
	for _, name := range []string{"rfc8990.json", "prototype.json"} {
		text, err := os.ReadFile("testdata/vectors/" + name)
		require.NoError(t, err)
		var file struct{ Messages []vector }
		require.NoError(t, json.Unmarshal(text, &file))
		require.NotEmpty(t, file.Messages)
		all = append(all, file.Messages...)
	}
	return all
}

// arr is an array for encode.
type arr = []any

// encode encodes v, mostly an arr, with the other CBOR library.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	require.NoError(t, err)
	return b
}

// parsed parses v, encoded, as a message.
func parsed(t testing.TB, v any) Message {
	t.Helper()
	m, err := Parse(encode(t, v), Limits{})
	require.NoError(t, err)
	return m
}

// refused fails unless v, encoded, is a message that is not accepted, for the reason
// given.
func refused(t testing.TB, v any, reason error) {
	t.Helper()
	refusedBytes(t, encode(t, v), reason)
}

func refusedBytes(t testing.TB, b []byte, reason error) {
	t.Helper()
	m, err := Parse(b, Limits{})
	require.ErrorIs(t, err, reason, "%x", b)
	require.Nil(t, m)
	var e *Error
	require.ErrorAs(t, err, &e)
}

const sid = uint32(0x00d4d748)

var (
	v6   = unhexStatic("20010db8f000baaa28ccdc4c97036781")
	v4   = unhexStatic("c0000201")
	ip6  = netip.AddrFrom16([16]byte(v6))
	ip4  = netip.AddrFrom4([4]byte(v4))
	loc6 = Locator{Kind: LocatorIPv6, Addr: ip6, Protocol: ProtoTCP, Port: 7017}
	loc4 = Locator{Kind: LocatorIPv4, Addr: ip4, Protocol: ProtoUDP, Port: 1}
	raw6 = arr{103, v6, 6, 7017}
	raw4 = arr{104, v4, 17, 1}
	ex1  = Objective{Name: "EX1", Flags: FlagDisc | FlagSynch, LoopCount: 6, Value: []byte{nullByte}}
	raw1 = arr{"EX1", 5, 6, nil}
)

func unhexStatic(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// annex are the samples of RFC 8992, 8994, 8995 and others, as listed in the annex of
// the project's requirements. Their lines are messages, but for those of locators.
var annex = map[string]string{
	"AN_ACP, two methods": `86091a00bc4e4f50fe80000000000000c0011001feef00001a00033450828466414e5f414350040165494b45
763284186750fe80000000000000c0011001feef000011193a98828466414e5f41435004016444544c538418
6750fe80000000000000c0011001feef000011194268`,
	"AN_Proxy": `85091a00bc4e4f50fe8000000000000000000000000000011a0002bf20828468414e5f50726f787904016084
186750fe8000000000000000000000000000010619115b`,
	"AN_join_registrar": `85091a031678a150fda379a6f6ee000002000000640000011a0002bf20828471414e5f6a6f696e5f72656769
73747261720418ff674553542d544c5384186750fda379a6f6ee00000200000064000001061920fb`,
	"SRV.est, without value": `85091a00bc4e4f50fd89b714f3db000002000000640000011a000334508283675352562e6573740418ff8418
6750fd89b714f3db00000200000064000001061901bb`,
	"PrefixManager, request":           `83031a000425d4846d5072656669784d616e616765720306811838`,
	"PrefixManager, offer":             `83051a000425d4846d5072656669784d616e61676572030582183c5020010db8000012000000000000000000`,
	"PrefixManager, end":               `83061a000425d4811865`,
	"PrefixManager, extended, request": `83031a000425d5846d5072656669784d616e61676572030682061838`,
	"PrefixManager, extended, offer":   `83051a000425d5846d5072656669784d616e6167657203058304181844c0000200`,
	"PrefixManager.Params": `85091a0004cb2f50fd1200000000000000000000000000011a000334508284745072656669784d616e616765
722e506172616d73040683828264726f6c6563525347826d7072656669785f6c656e6774681822828264726f
6c6563415347826d7072656669785f6c656e677468182c828264726f6c6563435347826d7072656669785f6c
656e677468183880`,
	"divert, two locators": `85021a00d4d7485020010db8f000baaa28ccdc4c9703678119ea608318648418675020010db8f000baaaf000
baaaf000baaa0619c12384186844c000020206191b69`,
	"encoded CBOR":   `83081a003da10e84634558320506d8185482704578616d706c6520322076616c75653d18c8`,
	"IPv4 initiator": `84011a00d4d74844c000020184634558310502f6`,
}

// samples returns every valid message in the preferred encoding the tests know of.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for i, v := range vectors(t) {
		all[fmt.Sprintf("%d %s", i, v.Case)] = unhex(t, v.Plain)
	}
	for name, s := range annex {
		all[name] = unhex(t, s)
	}
	for _, c := range benchMessages() {
		all["bench "+c.m.Type().String()] = mustAppend(t, c.m)
	}
	return all
}

func parsedBytes(t testing.TB, b []byte) Message {
	t.Helper()
	m, err := Parse(b, Limits{})
	require.NoError(t, err)
	return m
}

// notSent fails unless Append refuses m and gives back what it got.
func notSent(t testing.TB, m Message) {
	t.Helper()
	for _, prefix := range [][]byte{nil, []byte("prefix"), make([]byte, 3, 3000)} {
		b, err := m.Append(prefix)
		require.ErrorIs(t, err, ErrInvalid, "%+v", m)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.HasType)
		require.Equal(t, m.Type(), e.Type)
		require.Equal(t, prefix, b)
	}
}
