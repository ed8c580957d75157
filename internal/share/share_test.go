package share

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// holderNo is a holder.
func holderNo(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1)) }

// One holder cannot displace what others have, as long as they have less.
func TestAFlooderEvictsItsOwn(t *testing.T) {
	s := New[netip.Addr, int](100, 60)
	add := func(holder, value int) {
		if _, evict := s.Add(holderNo(holder), value); evict != nil {
			s.Remove(evict)
		}
	}
	for i := range 30 {
		add(1, i)
	}
	for i := range 1000 {
		add(2, i)
	}
	require.Equal(t, 30, s.CountOf(holderNo(1)))
	require.Equal(t, 60, s.CountOf(holderNo(2)), "its own bound")
	require.Equal(t, 940, s.byHolder[holderNo(2)].oldest().Value, "its own oldest give way")
	for i := range 1000 {
		add(3, i)
	}
	require.Equal(t, 30, s.CountOf(holderNo(1)), "whoever has less keeps all")
	require.Equal(t, 35, s.CountOf(holderNo(2)))
	require.Equal(t, 35, s.CountOf(holderNo(3)), "two that flood share the rest")
}

// Each holder has its turn, however many things others have.
func TestHoldersTakeTurns(t *testing.T) {
	s := New[netip.Addr, string](100, 100)
	for i := range 5 {
		s.Add(holderNo(1), fmt.Sprint("a", i))
	}
	s.Add(holderNo(2), "b0")
	s.Add(holderNo(3), "c0")
	s.Add(holderNo(2), "b1")
	var got []string
	for h := s.Next(); h != nil; h = s.Next() {
		got = append(got, h.Value)
		s.Remove(h)
		s.Remove(h) // does nothing
	}
	require.Equal(t, []string{"a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"}, got)
	require.Empty(t, s.byHolder)
	require.Zero(t, s.turns.Len())
	require.Zero(t, s.Largest())
}

// The shares against a dumb twin, with random input.
func TestTwin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	type thing struct{ holder, value int }
	const limit, perHolder, holders = 20, 12, 5
	s := New[netip.Addr, thing](limit, perHolder)
	var twin []thing // oldest first
	var all []*Elem[netip.Addr, thing]
	remove := func(v thing) {
		twin = slices.DeleteFunc(twin, func(o thing) bool { return o == v })
		i := slices.IndexFunc(all, func(h *Elem[netip.Addr, thing]) bool { return h.Value == v })
		s.Remove(all[i])
		all = slices.Delete(all, i, i+1)
	}
	of := func(holder int) (out []thing) {
		for _, v := range twin {
			if v.holder == holder {
				out = append(out, v)
			}
		}
		return out
	}
	for n := range 20_000 {
		switch k := rnd.IntN(4); {
		case k == 0 && len(all) > 0:
			remove(all[rnd.IntN(len(all))].Value)
		case k == 1 && len(all) > 0:
			h := all[rnd.IntN(len(all))]
			s.Touch(h)
			twin = append(slices.DeleteFunc(twin, func(o thing) bool { return o == h.Value }), h.Value)
		default:
			v := thing{rnd.IntN(1 + rnd.IntN(holders)), n} // some more often than others
			h, evict := s.Add(holderNo(v.holder), v)
			twin, all = append(twin, v), append(all, h)
			most := 0
			for i := range holders {
				most = max(most, len(of(i)))
			}
			switch mine := of(v.holder); {
			case len(mine) > perHolder:
				require.Equal(t, mine[0], evict.Value)
			case len(twin) > limit:
				theirs := of(evict.Value.holder)
				require.Len(t, theirs, most)
				require.Equal(t, theirs[0], evict.Value)
			default:
				require.Nil(t, evict)
			}
			if evict != nil {
				remove(evict.Value)
			}
		}
		require.Equal(t, len(twin), s.Len())
		most := 0
		for i := range holders {
			require.Equal(t, len(of(i)), s.CountOf(holderNo(i)))
			most = max(most, len(of(i)))
		}
		require.Equal(t, most, s.Largest())
	}
}
