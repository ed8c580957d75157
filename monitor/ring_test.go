package monitor

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A ring does what a list does that is cut.
func TestRing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		r := newRing[uint64](1 + rng.IntN(5))
		var all []uint64
		at := uint64(0)
		for range 100 {
			for range rng.IntN(8) {
				all = append(all, uint64(len(all)+1))
				r.put(func(v *uint64) { *v = uint64(len(all)) })
			}
			most := rng.IntN(4)
			var got []uint64
			next, missed := r.after(at, most, func(n uint64, v *uint64) {
				require.Equal(t, n, *v)
				got = append(got, n)
			})
			rest := all[at:]
			kept := rest[max(0, len(rest)-len(r.slots)):]
			want := kept[:min(most, len(kept))]
			require.Equal(t, append([]uint64(nil), want...), got)
			require.EqualValues(t, len(rest)-len(kept), missed)
			require.Equal(t, at+missed+uint64(len(got)), next)
			at = next
		}
	}
}
