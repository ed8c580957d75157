package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestArguments(t *testing.T) {
	for _, args := range []string{
		"", "dance", "neg", "neg x", "neg 0", "neg -1", "neg 1 0", "neg 1 2 3", "serve 1", "idle 1", "flood 1 2", "open", "open 1 2", "-rate -1 idle", "-floor idle", "-floor open 1", "relay 1", "relayflood", "relaydisc 1 2 3",
	} {
		var stdout, stderr bytes.Buffer
		status := command().Execute(context.Background(), strings.Fields(args), nil, &stdout, &stderr)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, stdout.String(), args)
		assert.NotEmpty(t, stderr.String(), args)
	}
	j, err := parse([]string{"syn", "100", "8"})
	require.NoError(t, err)
	assert.Equal(t, job{verb: "syn", number: 100, times: 8}, j)
	j, err = parse([]string{"cold", "7"})
	require.NoError(t, err)
	assert.Equal(t, job{verb: "cold", number: 7, times: 1}, j)
}

// The bytes of the floor are as many as those of the exchange.
func TestMessages(t *testing.T) {
	for verb, lengths := range map[string][2]int{"neg": {33, 10}, "syn": {33, 33}} {
		asked, answer, err := messages(verb)
		require.NoError(t, err)
		assert.Len(t, asked, lengths[0], verb)
		assert.Len(t, answer, lengths[1], verb)
	}
	_, _, err := messages("disc")
	assert.ErrorContains(t, err, "-floor")
}
