package wire

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// The floor: the nearest plain structs that fxamacker/cbor decodes into. They check
// nothing of the layout, know one fixed form of each message, and leave values raw.
type (
	plainObjective struct {
		_     struct{} `cbor:",toarray"`
		Name  string
		Flags uint64
		Loop  uint8
		Value cbor.RawMessage
	}
	plainLocator struct {
		_     struct{} `cbor:",toarray"`
		Kind  uint8
		Addr  []byte
		Proto int
		Port  int
	}
	plainNoop struct {
		_    struct{} `cbor:",toarray"`
		Type uint8
	}
	plainDiscovery struct {
		_         struct{} `cbor:",toarray"`
		Type      uint8
		Session   uint32
		Initiator []byte
		Objective plainObjective
	}
	plainResponse struct {
		_         struct{} `cbor:",toarray"`
		Type      uint8
		Session   uint32
		Initiator []byte
		TTL       uint32
		Locator   plainLocator
	}
	plainRequest struct {
		_         struct{} `cbor:",toarray"`
		Type      uint8
		Session   uint32
		Objective plainObjective
	}
	plainDecline struct {
		_      struct{} `cbor:",toarray"`
		Kind   uint8
		Reason string
	}
	plainEnd struct {
		_       struct{} `cbor:",toarray"`
		Type    uint8
		Session uint32
		Option  plainDecline
	}
	plainWait struct {
		_       struct{} `cbor:",toarray"`
		Type    uint8
		Session uint32
		Wait    uint32
	}
	plainFlooded struct {
		_         struct{} `cbor:",toarray"`
		Objective plainObjective
		Locator   plainLocator
	}
	plainFlood struct {
		_         struct{} `cbor:",toarray"`
		Type      uint8
		Session   uint32
		Initiator []byte
		TTL       uint32
		First     plainFlooded
		Second    plainFlooded
	}
	plainInvalid struct {
		_       struct{} `cbor:",toarray"`
		Type    uint8
		Session uint32
		Info    cbor.RawMessage
	}
)

func benchAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// benchMessages has a message per type, and what it decodes into in the floor.
func benchMessages() []struct {
	m     Message
	plain any
} {
	value, _ := hex.DecodeString("82634e5a4419019a") // ["NZD", 410]
	initiator := benchAddr("2001:db8:f000:baaa:28cc:dc4c:9703:6781")
	o := Objective{Name: "EX3", Flags: FlagDisc | FlagNeg, LoopCount: 6, Value: value}
	l := Locator{Kind: LocatorIPv6, Addr: benchAddr("2001:db8::1"), Protocol: ProtoTCP, Port: 49443}
	return []struct {
		m     Message
		plain any
	}{
		{&Noop{}, new(plainNoop)},
		{&Discovery{13948744, initiator, o}, new(plainDiscovery)},
		{&Response{SessionID: 13948744, Initiator: initiator, TTL: 60000, Locators: []Locator{l}}, new(plainResponse)},
		{&ReqNeg{13767778, o}, new(plainRequest)},
		{&ReqSyn{13767778, o}, new(plainRequest)},
		{&Negotiate{13767778, o}, new(plainRequest)},
		{&End{SessionID: 13767778, Reason: "Insufficient funds"}, new(plainEnd)},
		{&Wait{13767778, 34965}, new(plainWait)},
		{&Synch{13767778, o}, new(plainRequest)},
		{&Flood{SessionID: 13767778, Initiator: initiator, TTL: 210000, Objectives: []Flooded{{o, l}, {o, l}}}, new(plainFlood)},
		{&Invalid{13767778, value}, new(plainInvalid)},
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range benchMessages() {
		raw := mustAppend(b, c.m)
		b.Run(c.m.Type().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFxamacker(b *testing.B) {
	for _, c := range benchMessages() {
		raw := mustAppend(b, c.m)
		b.Run(c.m.Type().String(), func(b *testing.B) {
			decode := floorOf(b, c.plain)
			b.ReportAllocs()
			for b.Loop() {
				if err := decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// floorOf returns a function that decodes into a fresh struct of the type of plain,
// without reflection of its own.
func floorOf(b *testing.B, plain any) func([]byte) error {
	b.Helper()
	mode, err := cbor.DecOptions{}.DecMode()
	if err != nil {
		b.Fatal(err)
	}
	switch plain.(type) {
	case *plainNoop:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainNoop)) }
	case *plainDiscovery:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainDiscovery)) }
	case *plainResponse:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainResponse)) }
	case *plainRequest:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainRequest)) }
	case *plainEnd:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainEnd)) }
	case *plainWait:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainWait)) }
	case *plainFlood:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainFlood)) }
	case *plainInvalid:
		return func(raw []byte) error { return mode.Unmarshal(raw, new(plainInvalid)) }
	}
	b.Fatalf("no floor for %T", plain)
	return nil
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range benchMessages() {
		b.Run(c.m.Type().String(), func(b *testing.B) {
			buf := make([]byte, 0, DefaultBytes)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.m.Append(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRelay(b *testing.B) {
	for _, c := range benchMessages() {
		if t := c.m.Type(); t != TypeDiscovery && t != TypeFlood {
			continue
		}
		raw := mustAppend(b, c.m)
		b.Run(c.m.Type().String(), func(b *testing.B) {
			buf := make([]byte, 0, DefaultBytes)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := AppendRelayed(buf, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	for _, c := range benchMessages() {
		raw := mustAppend(b, c.m)
		b.Run(c.m.Type().String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Scan(raw, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
