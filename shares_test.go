package grasp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sourceNo is a source.
func sourceNo(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1)) }

// One source cannot displace what others have, as long as they have less.
func TestSharesOfAFlooder(t *testing.T) {
	s := newShares[int](100, 60)
	add := func(source, value int) {
		if _, displaced := s.add(sourceNo(source), value); displaced != nil {
			s.remove(displaced)
		}
	}
	for i := range 30 {
		add(1, i)
	}
	for i := range 1000 {
		add(2, i)
	}
	require.Equal(t, 30, s.of(sourceNo(1)))
	require.Equal(t, 60, s.of(sourceNo(2)), "its own bound")
	require.Equal(t, 940, s.bySource[sourceNo(2)].oldest().value, "its own oldest give way")
	for i := range 1000 {
		add(3, i)
	}
	require.Equal(t, 30, s.of(sourceNo(1)), "whoever has less keeps all")
	require.Equal(t, 35, s.of(sourceNo(2)))
	require.Equal(t, 35, s.of(sourceNo(3)), "two that flood share the rest")
}

// Each source has its turn, however many things others have.
func TestSharesTakeTurns(t *testing.T) {
	s := newShares[string](100, 100)
	for i := range 5 {
		s.add(sourceNo(1), fmt.Sprint("a", i))
	}
	s.add(sourceNo(2), "b0")
	s.add(sourceNo(3), "c0")
	s.add(sourceNo(2), "b1")
	var got []string
	for h := s.next(); h != nil; h = s.next() {
		got = append(got, h.value)
		s.remove(h)
		s.remove(h) // does nothing
	}
	require.Equal(t, []string{"a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"}, got)
	require.Empty(t, s.bySource)
	require.Zero(t, s.turns.Len())
	require.Zero(t, s.largest)
}

// The shares against a dumb twin, with random input.
func TestSharesTwin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	type thing struct{ source, value int }
	const limit, perSource, sources = 20, 12, 5
	s := newShares[thing](limit, perSource)
	var twin []thing // oldest first
	var all []*held[thing]
	remove := func(v thing) {
		twin = slices.DeleteFunc(twin, func(o thing) bool { return o == v })
		i := slices.IndexFunc(all, func(h *held[thing]) bool { return h.value == v })
		s.remove(all[i])
		all = slices.Delete(all, i, i+1)
	}
	of := func(source int) (out []thing) {
		for _, v := range twin {
			if v.source == source {
				out = append(out, v)
			}
		}
		return out
	}
	for n := range 20_000 {
		switch k := rnd.IntN(4); {
		case k == 0 && len(all) > 0:
			remove(all[rnd.IntN(len(all))].value)
		case k == 1 && len(all) > 0:
			h := all[rnd.IntN(len(all))]
			s.touch(h)
			twin = append(slices.DeleteFunc(twin, func(o thing) bool { return o == h.value }), h.value)
		default:
			v := thing{rnd.IntN(1 + rnd.IntN(sources)), n} // some more often than others
			h, displaced := s.add(sourceNo(v.source), v)
			twin, all = append(twin, v), append(all, h)
			most := 0
			for i := range sources {
				most = max(most, len(of(i)))
			}
			switch mine := of(v.source); {
			case len(mine) > perSource:
				require.Equal(t, mine[0], displaced.value)
			case len(twin) > limit:
				theirs := of(displaced.value.source)
				require.Len(t, theirs, most)
				require.Equal(t, theirs[0], displaced.value)
			default:
				require.Nil(t, displaced)
			}
			if displaced != nil {
				remove(displaced.value)
			}
		}
		require.Equal(t, len(twin), s.n)
		most := 0
		for i := range sources {
			require.Equal(t, len(of(i)), s.of(sourceNo(i)))
			most = max(most, len(of(i)))
		}
		require.Equal(t, most, s.largest)
	}
}
