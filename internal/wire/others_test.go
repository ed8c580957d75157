package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// others reads messages of other implementations and of drafts: a name, the
// message in hexadecimal digits, and where it is from.
func others(t *testing.T) map[string][]byte {
	t.Helper()
	file, err := os.ReadFile("testdata/vectors/others.tsv")
	require.NoError(t, err)
	out := make(map[string][]byte)
	for line := range strings.Lines(string(file)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, fields, 3, line)
		out[fields[0]], err = hex.DecodeString(fields[1])
		require.NoError(t, err, line)
	}
	return out
}

// othersMean says what each of them means: its type, its ttl if it is a flood
// or a response, and its objectives and locators.
var othersMean = map[string]string{
	"rooster-PACKET_000":           `M_FLOOD 120000 "AN_join_registrar" 5 1 "EST-TLS" 2607:f0b0:f:2::5f7 6 80`,
	"rooster-PACKET_420":           `M_FLOOD 120000 "AN_join_registrar" 5 1 "EST-TLS" 2607:f0b0:f:2::5f7 6 80`,
	"rooster-PACKET_S01":           `M_FLOOD 1 "AN_ACP" 4 1 "IKEv2" fe80::1122 17 500`,
	"rooster-flood1.bin":           `M_FLOOD 1 "AN_ACP" 4 1 "IKEv2" fe80::1122 17 500`,
	"rooster-PACKET_S02":           `M_NOOP`,
	"rooster-announcements.pcap-1": `M_FLOOD 1 "" 0 1 - :: 6 33297`,
	"rooster-join_interface":       `M_FLOOD 1 "AN_Proxy" 0 1 "" fe80::1 6 8993`, // it expires at once, rightly
	"fountain-43-6join-grasp.dump": `M_REQ_NEG "46930:6JOIN" 2 2 [h'0102030405060708']`,
	"fountain-registrar.rake":      `M_FLOOD 180000 "AN_join_registrar" 4 255 "" fe80::216:3eff:fe8e:28e1 6 8443`,

	"fountain-registrar.rake-global": `M_FLOOD 180000 "AN_join_registrar" 4 255 "" fda3:79a6:f6ee::1 6 8443`,

	"connect-dullgrasp":  `M_FLOOD 10000 "AN_ACP" 4 1 "IKEv2" fe80::c0:11:1 17 500`,
	"graspy-examples-m1": `M_FLOOD 210000 "SRV.est" 4 255 null fd89:b714:f3db:0:2000:0:6400:1 6 443`,
	"rendezvous-01-quic": `M_RESPONSE 60000 fd12:3456:789a::9 258 4443 https://agent.example.org/a2a 259 null`,

	"brski-discovery-06-ex1-mended": `M_FLOOD 180000` +
		` "AN_join_registrar" 4 255 "" fd12:3456:789a::9 6 4443 "AN_join_registrar" 4 255 "prm" fd12:3456:789a::9 6 4443` +
		` "AN_join_registrar" 4 255 "rrm" fd12:3456:789a::9 17 4684 "AN_join_registrar_rjp" 4 255 "rrm" fd12:3456:789a::9 17 4686`,

	// An IPv4 address in an O_IPv6_LOCATOR, a pair without a locator, and pairs
	// in an array of their own are not in the grammar: nothing is learned.
	"fountain-registrar.rake-ipv4":  "",
	"rooster-no-locator":            "",
	"brski-discovery-06-ex1-nested": "",
}

// meaning is what a message means, for people.
func meaning(t *testing.T, m Message) string {
	t.Helper()
	var b strings.Builder
	objective := func(o Objective) {
		value := "-"
		if len(o.Value) > 0 {
			var err error
			value, err = cbor.Diagnose(o.Value)
			require.NoError(t, err)
		}
		b.WriteString(strings.Join([]string{"", `"` + o.Name + `"`, diagnosed(t, o.Flags), diagnosed(t, o.LoopCount), value}, " "))
	}
	locator := func(l Locator) {
		at := l.Name
		if l.Addr.IsValid() {
			at = l.Addr.String()
		}
		port := diagnosed(t, l.Port)
		if l.Port == Null {
			port = "null"
		}
		b.WriteString(" " + at + " " + diagnosed(t, l.Protocol) + " " + port)
	}
	b.WriteString(m.Type().String())
	switch m := m.(type) {
	case *Noop:
	case *ReqNeg:
		objective(m.Objective)
	case *Response:
		b.WriteString(" " + diagnosed(t, m.TTL))
		for _, l := range m.Locators {
			locator(l)
		}
	case *Flood:
		b.WriteString(" " + diagnosed(t, m.TTL))
		for _, f := range m.Objectives {
			objective(f.Objective)
			locator(f.Locator)
		}
	default:
		t.Fatalf("no others have sent %v", m.Type())
	}
	return b.String()
}

func diagnosed(t *testing.T, v any) string {
	t.Helper()
	b, err := cbor.Marshal(v)
	require.NoError(t, err)
	s, err := cbor.Diagnose(b)
	require.NoError(t, err)
	return s
}

// What others send is understood.
func TestOthersAreUnderstood(t *testing.T) {
	all := others(t)
	assert.Len(t, all, len(othersMean))
	for name, raw := range all {
		want, ok := othersMean[name]
		require.True(t, ok, name)
		m, err := Parse(raw, Limits{})
		if want != "" {
			require.NoError(t, err, name)
			assert.Equal(t, want, meaning(t, m), name)
		} else if err == nil {
			assert.Empty(t, m.(*Flood).Objectives, name)
		}
	}
}

// What others flood is relayed bit for bit, but for the first loop count.
func TestOthersAreRelayed(t *testing.T) {
	relayed := 0
	for name, raw := range others(t) {
		m, err := Parse(raw, Limits{})
		if err != nil || m.Type() != TypeFlood || len(m.(*Flood).Objectives) == 0 {
			continue
		}
		got, err := AppendRelayed(nil, raw)
		if m.(*Flood).Objectives[0].Objective.LoopCount == 1 {
			assert.ErrorIs(t, err, ErrLoopExhausted, name)
			continue
		}
		require.NoError(t, err, name)
		want := bytes.Replace(raw, []byte{0x18, 255}, []byte{0x18, 254}, 1)
		assert.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), name)
		relayed++
	}
	assert.Equal(t, 4, relayed)
}
