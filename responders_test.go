package grasp

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

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
