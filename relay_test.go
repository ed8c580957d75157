package grasp

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/session"
)

// Who asked by a stream and has enough closes it: nothing keeps it then, for as
// long as what it asked is remembered.
func TestD21RelayLetsGoOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memory.NewNetwork(1)
		here := n.NewLink(memory.LinkConfig{})
		g := newInstance(t, n.NewNode("relay", here, n.NewLink(memory.LinkConfig{})))
		node := n.NewNode("asking", here)
		asking, err := node.Open()
		require.NoError(t, err)
		defer asking.Close()
		s, err := asking.Dial(t.Context(), netip.AddrPortFrom(g.Snapshot().Address, g.Snapshot().Port))
		require.NoError(t, err)
		raw, err := cbor.Marshal([]any{1, 8, node.Addr().AsSlice(), []any{"EX3", 3, 6, nil}})
		require.NoError(t, err)
		_, err = s.Write(raw)
		require.NoError(t, err)
		asked := func() asker {
			synctest.Wait()
			var out asker
			g.relays.do(func(r *loop.Relay[asker]) {
				a, ok := r.Asker(session.Key{ID: 8, Initiator: node.Addr()}, time.Now())
				require.True(t, ok)
				out = a.Asker
			})
			return out
		}
		require.NotNil(t, asked().stream)
		require.NoError(t, s.Close())
		require.Nil(t, asked().stream)
	})
}

func TestResponderTable(t *testing.T) {
	r := newResponderTable()
	done := make([]func(), 2*maxResponders)
	ctx := make([]context.Context, len(done))
	for i := range done {
		var cancel context.CancelFunc
		ctx[i], cancel = context.WithCancel(t.Context())
		done[i] = r.add(addrNo(i%8), cancel)
	}
	for i := range ctx {
		require.Equal(t, i < len(ctx)-maxResponders, ctx[i].Err() != nil, i)
	}
	for i := range done {
		done[i]()
		done[i]()
		require.Error(t, ctx[i].Err())
	}
	require.Zero(t, r.all.Len())
}

// addrNo is an address.
func addrNo(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1)) }
