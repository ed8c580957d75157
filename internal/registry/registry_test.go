package registry

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	table := NewTable[string, int](2)
	alone, together := func(int) bool { return false }, func(there int) bool { return there == 1 }
	require.NoError(t, table.Add("a", "one", 1, alone))
	require.ErrorIs(t, table.Add("a", "one", 1, together), ErrTaken, "twice by the same")
	require.ErrorIs(t, table.Add("b", "one", 1, alone), ErrTaken)
	require.NoError(t, table.Add("b", "one", 9, together))
	require.NoError(t, table.Add("a", "two", 2, alone))
	require.ErrorIs(t, table.Add("a", "three", 3, alone), ErrFull)
	require.NoError(t, table.Add("c", "one", 9, together), "that takes no room")

	owners := 0
	table.Look("one", func(v int, all map[string]bool) {
		require.Equal(t, 1, v, "the first one's stays")
		owners = len(all)
	})
	require.Equal(t, 3, owners)
	table.Look("none", func(int, map[string]bool) { require.Fail(t, "nothing is there") })

	why := errors.New("why")
	require.ErrorIs(t, table.Owned("c", "one", func(int) error { return why }), why)
	require.ErrorIs(t, table.Owned("d", "one", func(int) error { return nil }), ErrNotOwner)
	require.ErrorIs(t, table.Owned("d", "none", func(int) error { return nil }), ErrNotOwner)

	_, err := table.Remove("d", "one")
	require.ErrorIs(t, err, ErrNotOwner)
	_, err = table.Remove("d", "none")
	require.ErrorIs(t, err, ErrUnknown)
	for _, owner := range []string{"a", "b", "c"} {
		v, err := table.Remove(owner, "one")
		require.NoError(t, err)
		require.Equal(t, 1, v)
	}
	names := []string{}
	table.Each(func(name string, v int, _ map[string]bool) { names = append(names, name) })
	require.Equal(t, []string{"two"}, names)
}
