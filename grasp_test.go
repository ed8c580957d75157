package grasp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

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

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := acp.NewNetwork(1)
		l := n.NewLink(acp.LinkConfig{Delay: 10 * time.Millisecond})
		b := newASA(t, newInstance(t, n.NewNode("b", l)), "Briggs")
		y := newASA(t, newInstance(t, n.NewNode("y", l)), "Gray")
		ex3 := Objective{Name: "EX3", Neg: true, LoopCount: 6}
		require.NoError(t, b.RegisterObj(ex3, RegisterOptions{}))
		require.NoError(t, y.RegisterObj(ex3, RegisterOptions{}))
		go func() {
			s, o, err := b.ListenNegotiate(context.Background(), ex3)
			if err != nil {
				t.Error(err)
				return
			}
			o.Value = []any{"NZD", 50}
			s, o, err = s.NegotiateStep(context.Background(), o, 0)
			if err != nil || s == nil {
				t.Error(s, o, err)
				return
			}
			if err := s.EndNegotiate(false, "Недостаточно средств"); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		ex3.Value = []any{"NZD", 100}
		start := time.Now()
		s, o, err := y.ReqNegotiate(context.Background(), ex3, nil, 0)
		require.NoError(t, err)
		require.Equal(t, []any{"NZD", int64(50)}, o.Value)
		t.Log(time.Since(start))
		_, _, err = s.NegotiateStep(context.Background(), o, 0)
		require.ErrorIs(t, err, ErrDeclined)
		t.Log(err)
		y.g.DumpAll(false)
	})
}
