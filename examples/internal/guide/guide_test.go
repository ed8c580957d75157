package guide

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/grasptest"
)

// Whoever comes later, or restarts, has the settings of now, and so has
// everybody a round trip after they change.
func TestSettings(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		const delay = 5 * time.Millisecond
		nodes := n.Chain(grasptest.LinkConfig{Delay: delay}, "noc", "relay", "leaf")
		news := make(chan Settings)
		distribute := func() (leave func()) {
			ctx, stop := context.WithCancel(t.Context())
			over := make(chan error)
			asa := nodes[0].ASA("settings")
			go func() { over <- Distribute(ctx, asa, news) }()
			return func() {
				stop()
				require.NoError(t, <-over)
				require.NoError(t, asa.Deregister())
			}
		}
		stop := distribute()
		news <- Settings{Version: 1}

		var got Settings // of the leaf
		follow := func() (leave func()) {
			ctx, stop := context.WithCancel(t.Context())
			over := make(chan error)
			asa := nodes[2].ASA("settings")
			go func() { over <- Follow(ctx, asa, func(s Settings) { got = s }) }()
			return func() {
				stop()
				require.NoError(t, <-over)
				require.NoError(t, asa.Deregister())
			}
		}
		leave := follow()
		n.Advance(time.Second)
		assert.Equal(t, 1, got.Version)
		news <- Settings{Version: 2}
		n.Advance(2 * delay)
		assert.Equal(t, 2, got.Version)

		leave() // the leaf restarts
		got = Settings{}
		news <- Settings{Version: 3}
		n.Advance(time.Second)
		leave = follow()
		n.Advance(time.Second)
		assert.Equal(t, 3, got.Version)

		stop() // the source restarts
		stop = distribute()
		news <- Settings{Version: 4}
		n.Advance(2 * delay)
		assert.Equal(t, 4, got.Version)
		news <- Settings{Version: 2} // an old one is not taken
		n.Advance(time.Second)
		assert.Equal(t, 4, got.Version)
		leave()
		stop()
	})
}

// A hundred clients at once get no more than there is; a dry run costs nothing;
// what a client does not accept goes back; who has to wait may get what another
// gives back.
func TestBandwidth(t *testing.T) {
	grasptest.Run(t, func(t *testing.T, n *grasptest.Network) {
		nodes := n.LAN("edge", "clients")
		pool := NewPool(1000)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- pool.Serve(ctx, nodes[0].ASA("bandwidth")) }()
		client := nodes[1].ASA("client")
		grasptest.Objective(t, client, Bandwidth.Objective)
		n.Settle()
		ask := func(mbits int, dry bool) (*grasp.TypedSession[int], int, error) {
			b := Bandwidth
			b.Dry = dry
			return b.ReqNegotiate(t.Context(), client, mbits, nil, 0)
		}

		_, got, err := ask(600, true)
		require.NoError(t, err)
		assert.Equal(t, 600, got)
		assert.Equal(t, 1000, pool.Left())

		s, offer, err := ask(2000, false)
		require.NoError(t, err)
		assert.Equal(t, 1000, offer)
		assert.Zero(t, pool.Left(), "it is reserved")
		var waited sync.WaitGroup
		waited.Go(func() { // meanwhile there is nothing, and the client is asked to wait
			s, got, err := ask(10, false)
			assert.NoError(t, err)
			assert.Equal(t, 10, got)
			assert.NoError(t, s.EndNegotiate(true, ""))
		})
		n.Settle()
		require.NoError(t, s.EndNegotiate(false, "not enough"))
		waited.Wait()
		n.Settle()
		assert.Equal(t, 990, pool.Left())

		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				s, _, err := ask(10, false)
				switch {
				case errors.Is(err, grasp.ErrDeclined):
				case assert.NoError(t, err) && s != nil:
					assert.NoError(t, s.EndNegotiate(true, ""))
				}
			})
		}
		clients.Wait()
		n.Settle()
		assert.Zero(t, pool.Left())
		_, _, err = ask(-5, false)
		assert.ErrorIs(t, err, grasp.ErrDeclined)
		stop()
		require.NoError(t, <-served)
		assert.Zero(t, pool.Left())
	})
}
