package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.5.6.2: whoever floods an objective should answer requests for it, too,
// for those who have missed the flood.
func TestK06WhoFloodsAnswers(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		registrar := grasp.Objective{Name: "AN_join_registrar", Synch: true, LoopCount: 255, Value: "EST-TLS"}
		b.Register(registrar)
		ask := func(id int) *bed.Stream {
			s := b.Peer.Dial(b.At())
			s.Send(arr{4, id, arr{"AN_join_registrar", 4, 6, nil}})
			return s
		}
		ask(7).Closed()
		require.NoError(b, b.ASA.Flood(time.Minute, grasp.TaggedObjective{Objective: registrar}))
		s := ask(8)
		require.Equal(b, "EST-TLS", s.Next().Items(b)[2].(arr)[3])
		s.Closed()

		// Who listens is asked first, and the last flood counts.
		registrar.Value = "listens"
		require.NoError(b, b.ASA.ListenSynchronize(registrar))
		require.Equal(b, "listens", ask(9).Next().Items(b)[2].(arr)[3])
		require.NoError(b, b.ASA.StopSynchronize(registrar))
		ask(10).Closed()
		registrar.Value = "again"
		require.NoError(b, b.ASA.Flood(time.Minute, grasp.TaggedObjective{Objective: registrar}))
		require.Equal(b, "again", ask(11).Next().Items(b)[2].(arr)[3])

		// It ends with the flood, and with the registration.
		time.Sleep(time.Minute)
		ask(12).Closed()
		require.NoError(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: registrar}))
		time.Sleep(1000 * time.Hour)
		require.Equal(b, "again", ask(13).Next().Items(b)[2].(arr)[3])
		require.NoError(b, b.ASA.DeregisterObj(registrar))
		ask(14).Closed()
	})
}
