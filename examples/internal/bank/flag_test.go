package bank

import (
	"io"
	"testing"

	flag "github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGraysFlag(t *testing.T) {
	var grays int
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	GraysFlag(f, &grays)
	require.NoError(t, f.Parse(nil))
	assert.Equal(t, 1, grays)
	require.NoError(t, f.Parse([]string{"-c", "1000"}))
	assert.Equal(t, 1000, grays)
	for _, wrong := range []string{"0", "-1", "1001", "x"} {
		assert.ErrorContains(t, f.Parse([]string{"-c", wrong}), "from 1 to 1000", wrong)
	}
}
