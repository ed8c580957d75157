package memory_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

func TestInsecureIsThePlaneItWraps(t *testing.T) {
	_, a, b := pair(memory.LinkConfig{})
	testPlane(t, memory.Insecure{Plane: a}, &memory.Insecure{Plane: b})
}

func TestInsecureIsNeverSecure(t *testing.T) {
	_, a, _ := pair(memory.LinkConfig{})
	require.True(t, a.Status().Secure)
	for _, p := range []acp.Plane{memory.Insecure{}, memory.Insecure{Plane: a}} {
		assert.False(t, p.Status().Secure)
		assert.NotEmpty(t, p.Status().Reason)
	}
}

func TestInsecureNothingHasNoLinks(t *testing.T) {
	e := endpointOf(t, memory.Insecure{})
	assert.Empty(t, e.Links())
	assert.False(t, e.Addr().IsValid())
	assert.NotZero(t, e.Port())
	assert.ErrorIs(t, e.Send(1, nil), syscall.ENODEV)
	_, err := e.Dial(t.Context(), netip.MustParseAddrPort("[2001:db8::1]:7017"))
	assert.ErrorIs(t, err, syscall.ENETUNREACH)
	require.NoError(t, e.Close())
	_, _, err = e.Receive(nil)
	assert.ErrorIs(t, err, net.ErrClosed)
}
