package grasp

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// newInstance starts an instance that ends with the test.
func newInstance(t testing.TB, plane acp.Plane) *Instance {
	t.Helper()
	g, err := New(Config{Plane: plane})
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
