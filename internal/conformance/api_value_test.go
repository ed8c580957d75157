package conformance

import (
	"fmt"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

func TestValuesThatCannotBeSent(t *testing.T) {
	deep := any(1)
	for range 64 {
		deep = []any{deep}
	}
	cyclicMap, cyclic := map[string]any{}, make([]any, 1)
	cyclicMap["self"], cyclic[0] = cyclicMap, cyclic
	var pointer any
	pointer = &pointer
	for name, v := range map[string]any{
		"a channel":             make(chan int),
		"a function":            func() {},
		"encoded, but cut":      grasp.EncodedCBOR{0x82, 0x01},
		"encoded, two items":    grasp.EncodedCBOR{0x01, 0x01},
		"encoded, nothing":      grasp.EncodedCBOR{},
		"encoded, not UTF-8":    grasp.EncodedCBOR{0x61, 0xff},
		"encoded, a lone break": grasp.EncodedCBOR{0xff},
		"text, not UTF-8":       "\xff",
		"raw, but cut":          cbor.RawMessage{0x82, 0x01},
		"too deep":              deep,
		"a map in itself":       cyclicMap,
		"an array in itself":    cyclic,
		"a pointer to itself":   pointer,
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
				_, _, err := b.ASA.ReqNegotiate(bed.Forever, bed.Neg("EX1", v), b.Peer.Locator(), 0)
				bed.IsCode(b, err, grasp.ErrCBORFail)
				bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX2", v)), grasp.ErrCBORFail)
				err = b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX2", v)})
				bed.IsCode(b, err, grasp.ErrCBORFail)
				_, err = grasp.Encode(v)
				bed.IsCode(b, err, grasp.ErrCBORFail)
				var any any
				bed.IsCode(b, grasp.Objective{Value: v}.Decode(&any), grasp.ErrCBORFail)
				b.Peer.None()
				b.Peer.NotDialed()
				require.Empty(b, b.G.Snapshot().Floods)

				s, o, _ := b.Served(bed.Neg("EX1", nil), 7, 1)
				o.Value = v
				alive, _, err := s.NegotiateStep(bed.Forever, o, 0)
				bed.IsCode(b, err, grasp.ErrCBORFail)
				require.Same(b, s, alive, "the session goes on")
				bed.IsCode(b, s.SendInvalid(v), grasp.ErrCBORFail)
				bed.IsCode(b, s.Send(v), grasp.ErrCBORFail)
				require.NoError(b, s.EndNegotiate(true, ""))
			})
		})
	}
}

// How deep a value may be depends on what it is sent in: a level less in a flood.
func TestDepthOfValues(t *testing.T) {
	deep := func(n int) (v any) {
		for range n {
			v = []any{v}
		}
		return v
	}
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", nil))
		for n := range 40 {
			for _, err := range []error{
				b.ASA.ListenSynchronize(bed.Syn("EX1", deep(n))),
				b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", deep(n))}),
			} {
				require.Contains(b, []grasp.ErrorCode{grasp.OK, grasp.ErrCBORFail}, grasp.Code(err), "%d: %v", n, err)
			}
		}
		require.NoError(b, b.ASA.ListenSynchronize(bed.Syn("EX1", deep(30))))
		bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX1", deep(31))), grasp.ErrCBORFail)
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", deep(29))}))
		bed.IsCode(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX1", deep(30))}), grasp.ErrCBORFail)
	})
}

// What a peer offers can be offered back, whatever it is: 1(NaN), undefined, a
// time beyond all calendars, Tag 24 around what is no CBOR.
func TestWhatCameGoesBack(t *testing.T) {
	for _, raw := range []string{
		"\xc1\xf9\x7e\x00", "\x81\xc1\xf9\x7e\x00", "\xf7", "\x81\xf7", "\xc1\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\xd8\x18\x41\xff", "\xd9\xd9\xf7\x01", "\xa1\x80\x01", "\xc0\x63abc",
	} {
		t.Run(fmt.Sprintf("%x", raw), func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil))
				s, o, peer := b.Served(bed.Neg("EX1", nil), 7, cbor.RawMessage(raw))
				require.Equal(b, cbor.RawMessage(raw), o.Value)
				b.Step(s, o, 0).Blocks()
				require.Contains(b, string(peer.Next().Raw), "\x05"+raw, "loop count and value")
			})
		})
	}
}
