package acp_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/acp"
)

// core is an endpoint that has no more than it must.
type core struct {
	acp.Endpoint
	addr netip.Addr
}

func (c core) Addr() netip.Addr { return c.addr }

func (c core) Links() []acp.Link {
	return []acp.Link{{Index: 3, Name: "va0", Addr: netip.MustParseAddr("fe80::3%3")}}
}

// full has all there is.
type full struct{ core }

var errListed = errors.New("listed")

func (full) Addrs(int) []netip.Addr {
	return make([]netip.Addr, acp.MaxAddrs+1)
}

func (full) SendTo(netip.AddrPort, []byte) error { return nil }

func (full) Interfaces() ([]acp.Interface, error) { return nil, errListed }

func (full) Neighbourhood() acp.Neighbourhood {
	return acp.Neighbourhood{Refused: map[string]uint64{"because": 1}}
}

// over is on top of another, and adds nothing.
type over struct{ core }

func (o over) Under() acp.Endpoint { return o.Endpoint }

// TestOptional: a plane need not have what is optional; on top of one that has,
// what is asked comes through, and what carries messages does not.
func TestOptional(t *testing.T) {
	addr, ll := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fe80::3%3")
	plain := core{addr: addr}
	assert.Equal(t, []netip.Addr{addr}, acp.Addrs(plain, 3))
	assert.Equal(t, []netip.Addr{ll}, acp.Addrs(core{}, 3))
	assert.Empty(t, acp.Addrs(core{}, 4))
	assert.ErrorIs(t, acp.SendTo(plain, netip.AddrPort{}, nil), errors.ErrUnsupported)
	ifs, err := acp.Interfaces(plain)
	assert.NoError(t, err)
	assert.Equal(t, []acp.Interface{{Index: 3, Name: "va0", State: acp.LinkInUse}}, ifs)

	_, ok := acp.NeighbourhoodOf(plain)
	assert.False(t, ok)

	assert.Len(t, acp.Addrs(full{}, 3), acp.MaxAddrs)
	assert.NoError(t, acp.SendTo(full{}, netip.AddrPort{}, nil))

	twice := over{core{Endpoint: over{core{Endpoint: full{}}}}}
	assert.Len(t, acp.Addrs(twice, 3), acp.MaxAddrs)
	met, ok := acp.NeighbourhoodOf(twice)
	assert.True(t, ok)
	assert.Equal(t, map[string]uint64{"because": 1}, met.Refused)
	_, err = acp.Interfaces(twice)
	assert.ErrorIs(t, err, errListed)
	assert.ErrorIs(t, acp.SendTo(twice, netip.AddrPort{}, nil), errors.ErrUnsupported)
}
