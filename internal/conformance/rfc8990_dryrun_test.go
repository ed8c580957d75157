package conformance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.10.2: F_NEG_DRY marks a dry run, and goes with F_NEG.
func TestY01DryRun(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		dry := bed.Neg("EX3", 1)
		dry.Dry = true
		b.Register(dry)
		_, _, request := b.Asked(dry)
		request.Is(b, `[3, %d, ["EX3", 11, 6, 1]]`)
		bed.IsCode(b, b.ASA.RegisterObj(grasp.Objective{Name: "EX4", Dry: true}, grasp.RegisterOptions{}), grasp.ErrNotDry)
	})
}

// Section 2.10.2: a session is a dry run from its first message to its last, or
// not at all: "Mixing the two modes in a single negotiation is not possible."
func TestY02DryOrNotThroughout(t *testing.T) {
	for _, dry := range []bool{false, true} {
		flags, other := 3, 11
		if dry {
			flags, other = other, flags
		}
		bed.In(t, func(b *bed.Bed) {
			o := bed.Neg("EX3", 1)
			o.Dry = dry
			b.Register(bed.Neg("EX3", nil))
			// Our ASA changes the flag on its way, and does not get through.
			call, s, request := b.Asked(o)
			s.Send(arr{5, request.ID(b), arr{"EX3", flags, 5, 1}})
			got := call.Ok()
			require.Equal(b, dry, got.O.Dry)
			got.O.Dry = !dry
			step := b.Step(got.S, got.O, 0)
			s.Next().Is(b, fmt.Sprintf(`[5, %%d, ["EX3", %d, 4, 1]]`, flags))
			s.Send(arr{6, request.ID(b), arr{101}})
			require.Equal(b, dry, step.Ok().O.Dry)

			session, got2, s := b.Served(o, 7, 1)
			require.Equal(b, dry, got2.Dry)
			got2.Dry = !dry
			step = b.Step(session, got2, 0)
			s.Next().Is(b, fmt.Sprintf(`[5, %%d, ["EX3", %d, 5, 1]]`, flags))
			// The peer does: that ends the session, on either side.
			s.Send(arr{5, 7, arr{"EX3", other, 4, 1}})
			bed.IsCode(b, step.Done().Err, grasp.ErrInvalidNeg)
			s.Closed()
			call, s, request = b.Asked(o)
			s.Send(arr{5, request.ID(b), arr{"EX3", other, 5, 1}})
			bed.IsCode(b, call.Done().Err, grasp.ErrInvalidNeg)
			s.Closed()
			b.WantDrop(grasp.ReasonInvalid, 2)
		})
	}
}

// Section 2.10.2 and RFC 8991 section 2.3.2.3: an objective is for negotiation or
// for synchronization. One that claims to be for both is neither asked for nor
// offered.
func TestN07NegotiationOrSynchronization(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX3", nil))
		call, s, request := b.Asked(bed.Neg("EX3", 1))
		s.Send(arr{5, request.ID(b), arr{"EX3", 7, 5, 1}})
		bed.IsCode(b, call.Done().Err, grasp.ErrInvalidNeg)
		s.Closed()
		session, o, s := b.Served(bed.Neg("EX3", 1), 7, 1)
		step := b.Step(session, o, 0)
		s.Next()
		s.Send(arr{5, 7, arr{"EX3", 7, 4, 1}})
		bed.IsCode(b, step.Done().Err, grasp.ErrInvalidNeg)
		s.Closed()
		b.WantDrop(grasp.ReasonInvalid, 2)

		listening := b.Listen(bed.Neg("EX3", nil))
		s = b.Peer.Dial(b.At())
		s.Send(arr{3, 8, arr{"EX3", 7, 6, 1}})
		require.EqualValues(b, 99, s.Next().Items(b)[0], "it is told why")
		s.Closed()
		listening.Blocks()
		b.WantDrop(grasp.ReasonInvalid, 3)
	})
}

// Sections 2.5.5 and 2.10.4: the core carries the flag, and does all else as
// ever; what a dry run means is the ASA's affair.
func TestY03DryRunIsTheASAsAffair(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Neg("EX3", nil)) // without Dry: the flag is the requester's
		dry := bed.Neg("EX3", 1)
		dry.Dry = true
		session, o, s := b.Served(dry, 7, 1)
		require.True(b, o.Dry)
		require.NoError(b, session.EndNegotiate(true, ""))
		s.Next().Is(b, `[6, %d, [101]]`)
		call, s, request := b.Asked(dry)
		s.Send(arr{6, request.ID(b), arr{101}})
		require.True(b, call.Ok().O.Dry)
	})
}
