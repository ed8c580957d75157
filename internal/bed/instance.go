package bed

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// NewInstance starts an instance that ends with the test.
func NewInstance(t testing.TB, plane acp.Plane) *grasp.Instance {
	t.Helper()
	g, err := grasp.New(grasp.Config{Plane: plane})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// NewASA registers an ASA.
func NewASA(t testing.TB, g *grasp.Instance, name string) *grasp.ASA {
	t.Helper()
	a, err := g.RegisterASA(name)
	require.NoError(t, err)
	return a
}
