package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/bed"
)

// Section 2.5.4.3: a node that has cached locators answers with a Divert. If the
// same initiator asks again while they should live, they were no good: the
// question is passed on, too, and what is found then is told as well.
func TestD13R02StaleAnswersArePassedOn(t *testing.T) {
	relayBed(t, grasp.Config{}, func(b *bed.Bed, third *bed.Peer) {
		const ttl = 60_000
		dead := arr{103, bed.IP("fd00::dead"), 6, 1}
		ask := func(id uint32, by *bed.Peer) (answered bool) {
			_, answered = by.Discover(id, "EX3")
			return answered
		}
		passedOn := func(id uint32) (far, thirds bed.Packet) {
			far, thirds = b.Far.Only(), third.Only()
			require.Equal(b, id, far.ID(b))
			return far, thirds
		}
		require.False(b, ask(1, b.Peer))
		m, _ := passedOn(1)
		b.Far.Respond(m, arr{2, 1, b.Peer.Addr(), ttl, dead})
		b.Peer.Dialed().Next()

		// Another initiator is answered from the cache, and that is all.
		other := b.NewPeer("other", b.Links[0])
		require.True(b, ask(2, other))
		other.All()
		b.Far.None()
		third.None()

		// The first one asks again. It is told what is known, and what there is.
		b.Peer.All()
		require.True(b, ask(3, b.Peer))
		_, m = passedOn(3)
		third.Respond(m, arr{2, 3, b.Peer.Addr(), ttl, third.Option()})
		found := b.Peer.Dialed().Next()
		require.Contains(b, found.String(), bed.Hex(third.Addr()))

		// So does the other: now it has asked twice.
		require.True(b, ask(4, other))
		passedOn(4)

		// When it has expired there is nothing to tell, and all is as at first.
		time.Sleep(2 * time.Minute)
		require.False(b, ask(5, b.Peer))
		passedOn(5)
	})
}
