package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/wire"
)

// overlap needs that both say so, and the first's settings hold.
func TestA15Overlap(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		yes := grasp.RegisterOptions{Overlap: true, Discoverable: true, TTL: time.Second}
		first, second := b.ASA, bed.NewASA(b, b.G, "second")
		s := bed.Syn("EX1", nil)
		require.NoError(b, first.RegisterObj(s, yes))
		bed.IsCode(b, first.RegisterObj(s, yes), grasp.ErrObjReg)
		bed.IsCode(b, second.RegisterObj(s, grasp.RegisterOptions{}), grasp.ErrObjReg)
		bed.IsCode(b, second.RegisterObj(bed.Neg("EX1", nil), yes), grasp.ErrObjReg)
		require.NoError(b, second.RegisterObj(s, grasp.RegisterOptions{Overlap: true, TTL: time.Hour}))
		require.Equal(b, []string{"ASA under test", "second"}, b.G.Snapshot().Objectives[0].ASAs)
		m, ok := b.Peer.Discover(1, "EX1")
		require.True(b, ok)
		require.EqualValues(b, 1000, bed.Message[*wire.Response](b, m).TTL)

		b.Register(bed.Syn("EX2", nil))
		bed.IsCode(b, second.RegisterObj(bed.Syn("EX2", nil), yes), grasp.ErrObjReg)

		// The last value counts.
		require.NoError(b, first.ListenSynchronize(bed.Syn("EX1", 1)))
		require.NoError(b, second.ListenSynchronize(bed.Syn("EX1", 2)))
		reader := b.Other("reader")
		require.EqualValues(b, 2, bed.Must1(reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)).Value)

		// It stays while one registrant is left.
		require.NoError(b, first.Deregister())
		require.EqualValues(b, 2, bed.Must1(reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)).Value)
		require.NoError(b, second.DeregisterObj(s))
		_, err := reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)
		bed.IsCode(b, err, grasp.ErrNoListener)
	})
}

// overlapping has two ASAs of one instance register an objective, and a third one that
// asks for it.
func overlapping(b *bed.Bed) (o grasp.Objective, second, asker *grasp.ASA) {
	b.Helper()
	o, second, asker = bed.Neg("EX1", nil), bed.NewASA(b, b.G, "second"), b.Other("asker")
	for _, a := range []*grasp.ASA{b.ASA, second} {
		require.NoError(b, a.RegisterObj(o, grasp.RegisterOptions{Overlap: true}))
	}
	bed.Registered(b, o, asker)
	return o, second, asker
}

// requests go to whoever listens; one who leaves takes only his own
// listeners with him.
func TestA15OverlapOfListeners(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o, second, asker := overlapping(b)
		one, two := b.Listen(o), b.ListenBy(second, o)
		ask := func() bed.Pending { return b.RequestBy(asker, o, bed.At(b.G), 0) }
		a := ask()
		require.NoError(b, one.Ok().S.EndNegotiate(true, ""))
		a.Ok()
		two.Blocks()
		one = b.Listen(o)
		require.NoError(b, b.ASA.Deregister())
		bed.IsCode(b, one.Done().Err, grasp.ErrNoASA)
		two.Blocks()
		a = ask()
		require.NoError(b, two.Ok().S.EndNegotiate(true, ""))
		a.Ok()
	})
}

// with overlap only this ASA's share goes, its listeners with it.
func TestA19DeregisterObjOverlap(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o, second, asker := overlapping(b)
		one, two := b.Listen(o), b.ListenBy(second, o)
		require.NoError(b, b.ASA.DeregisterObj(o))
		bed.IsCode(b, one.Done().Err, grasp.ErrStopped)
		two.Blocks()
		asked := b.RequestBy(asker, o, bed.At(b.G), 0)
		require.NoError(b, two.Ok().S.EndNegotiate(true, ""))
		asked.Ok()
	})
}

// an ASA that stops or leaves takes only its own answers with it.
func TestA15OverlapOfSynchronization(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		s, yes := bed.Syn("EX1", nil), grasp.RegisterOptions{Overlap: true}
		second, reader := bed.NewASA(b, b.G, "second"), b.Other("reader")
		give := func(a *grasp.ASA, value any) { require.NoError(b, a.ListenSynchronize(bed.Syn("EX1", value))) }
		gets := func(value any) {
			b.Helper()
			o, err := reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)
			require.NoError(b, err)
			require.EqualValues(b, value, o.Value)
		}
		getsNone := func() {
			b.Helper()
			bed.IsCode(b, bed.Second(reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)), grasp.ErrNoListener)
		}
		require.NoError(b, b.ASA.RegisterObj(s, yes))
		require.NoError(b, second.RegisterObj(s, yes))
		give(b.ASA, 1)
		give(second, 2)
		require.NoError(b, b.ASA.StopSynchronize(s))
		gets(2)
		give(b.ASA, 1)
		gets(1)
		require.NoError(b, b.ASA.Drain(bed.Forever))
		gets(2)
		require.NoError(b, second.StopSynchronize(s))
		getsNone()

		third := bed.NewASA(b, b.G, "third")
		require.NoError(b, third.RegisterObj(s, yes))
		give(third, 3)
		gets(3)
		require.NoError(b, third.DeregisterObj(s))
		getsNone()
		_, ok := b.Peer.Discover(1, "EX1")
		require.False(b, ok)
		require.NoError(b, third.RegisterObj(s, yes))
		getsNone()
		require.NoError(b, third.AnswerSynchronize(s, func(context.Context, grasp.SynchRequest) (any, error) { return 4, nil }))
		gets(4)
		require.NoError(b, third.Deregister())
		getsNone()
	})
}

// StopSynchronize leaves what another ASA flooded.
func TestA15OverlapOfFloods(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		s, yes := bed.Syn("EX1", 1), grasp.RegisterOptions{Overlap: true}
		second, reader := bed.NewASA(b, b.G, "second"), b.Other("reader")
		require.NoError(b, b.ASA.RegisterObj(s, yes))
		require.NoError(b, second.RegisterObj(s, yes))
		b.Flood(time.Hour, s)
		require.NoError(b, second.StopSynchronize(s))
		require.NoError(b, bed.Second(reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)))
		require.NoError(b, b.ASA.StopSynchronize(s))
		bed.IsCode(b, bed.Second(reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)), grasp.ErrNoListener)
	})
}

// Section 2.5.6.2: who floods should also answer. So each ASA's last flood is answered with
// until it expires, whatever comes of those of others: the youngest that lives.
func TestA15OverlapOfFloodsThatEnd(t *testing.T) {
	for name, end := range map[string]func(b *bed.Bed, second *grasp.ASA) error{
		"it expires":       func(*bed.Bed, *grasp.ASA) error { time.Sleep(time.Minute); return nil },
		"StopSynchronize":  func(_ *bed.Bed, second *grasp.ASA) error { return second.StopSynchronize(bed.Syn("EX1", nil)) },
		"DeregisterObj":    func(_ *bed.Bed, second *grasp.ASA) error { return second.DeregisterObj(bed.Syn("EX1", nil)) },
		"Deregister":       func(_ *bed.Bed, second *grasp.ASA) error { return second.Deregister() },
		"Drain":            func(_ *bed.Bed, second *grasp.ASA) error { return second.Drain(bed.Forever) },
		"the first leaves": func(b *bed.Bed, _ *grasp.ASA) error { return b.ASA.Deregister() },
	} {
		t.Run(name, func(t *testing.T) {
			bed.In(t, func(b *bed.Bed) {
				s, yes := bed.Syn("EX1", nil), grasp.RegisterOptions{Overlap: true}
				second, reader := bed.NewASA(b, b.G, "second"), b.Other("reader")
				gets := func(value any) {
					b.Helper()
					o, err := reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)
					require.NoError(b, err)
					require.EqualValues(b, value, o.Value)
				}
				require.NoError(b, b.ASA.RegisterObj(s, yes))
				require.NoError(b, second.RegisterObj(s, yes))
				b.Flood(time.Hour, bed.Syn("EX1", 1))
				gets(1)
				require.NoError(b, second.Flood(time.Minute, grasp.TaggedObjective{Objective: bed.Syn("EX1", 2)}))
				gets(2)
				require.NoError(b, end(b, second))
				if name == "the first leaves" {
					gets(2)
					time.Sleep(time.Minute)
					bed.IsCode(b, bed.Second(reader.Synchronize(bed.Forever, s, bed.At(b.G), 0)), grasp.ErrNoListener)
					return
				}
				gets(1)
			})
		})
	}
}
