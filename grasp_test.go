package grasp

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// The tests of this directory that are in package grasp look inside; what they
// test is in the file they are named after. All others use the API only: see
// internal/conformance, internal/scenario, internal/adversary and
// internal/interop.

// newInstance starts an instance that ends with the test.
func newInstance(t testing.TB, plane acp.Plane, with ...func(*Config)) *Instance {
	t.Helper()
	cfg := Config{Plane: plane}
	for _, set := range with {
		set(&cfg)
	}
	g, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// newASA registers an ASA.
func newASA(t testing.TB, g *Instance, name string) *ASA {
	t.Helper()
	a, err := g.RegisterASA(name)
	require.NoError(t, err)
	return a
}

// isCode checks that an error is, or wraps, a code and no other.
func isCode(t testing.TB, err error, code ErrorCode) {
	t.Helper()
	require.ErrorIs(t, err, code)
	require.Equal(t, code, Code(err))
}
