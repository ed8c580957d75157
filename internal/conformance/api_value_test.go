package conformance

import (
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
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				b.Register(bed.Neg("EX1", nil), bed.Syn("EX2", nil))
				_, _, err := b.ASA.ReqNegotiate(bed.Forever, bed.Neg("EX1", v), b.Peer.Locator(), 0)
				require.Contains(b, []grasp.ErrorCode{grasp.ErrCBORFail, grasp.ErrUnspec}, grasp.Code(err), "%v", err)
				err = b.ASA.ListenSynchronize(bed.Syn("EX2", v))
				require.Contains(b, []grasp.ErrorCode{grasp.ErrCBORFail, grasp.ErrUnspec}, grasp.Code(err), "%v", err)
				err = b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX2", v)})
				require.Contains(b, []grasp.ErrorCode{grasp.ErrCBORFail, grasp.ErrUnspec}, grasp.Code(err), "%v", err)
				b.Peer.None()
				b.Peer.NotDialed()
				require.Empty(b, b.G.Snapshot().Floods)
			})
		})
	}
}
