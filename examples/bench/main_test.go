package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/cli"
)

func TestArguments(t *testing.T) {
	for _, args := range []string{
		"", "dance", "neg", "neg x", "neg 0", "neg -1", "neg 1 0", "neg 1 2 3", "serve 1", "idle 1", "flood 1 2", "open", "open 1 2", "-rate -1 idle", "-floor idle", "-floor open 1",
		"--floor idle", "--rate 5 neg 1", "--rate 5 relayflood 9 2", "--observe flood 9", "--mixed flood 9", "relay 1", "relayflood", "relaydisc 1 2 3",
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

// The floor's datagrams in a domain of QUADS are as long as those of the plane, and come
// out as they were.
func TestSealer(t *testing.T) {
	for plane, sizes := range map[string]map[int]int{
		cli.PlaneLayer2: {1: 1, 15: 15, 16: 16, 127: 127},
		cli.PlaneQUADS:  {1: 16, 15: 16, 16: 32, 127: 128},
	} {
		how, err := newSealer(&cli.Program{Options: cli.Options{PlaneName: plane}})
		require.NoError(t, err)
		for size, want := range sizes {
			msg := bytes.Repeat([]byte{0xa5}, size)
			sealed := how.seal(bytes.Clone(msg))
			assert.Len(t, sealed, want, plane)
			assert.Equal(t, plane == cli.PlaneLayer2, bytes.HasPrefix(sealed, msg), plane)
			assert.Equal(t, msg, how.open(sealed), plane)
		}
	}
	_, err := newSealer(&cli.Program{Options: cli.Options{PlaneName: cli.PlaneTLS}})
	assert.Error(t, err)
}

// A pulse is the rate between looks that saw something come, so that pauses do not count,
// nor the times at which they begin.
func TestPulse(t *testing.T) {
	var p pulse
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, look := range []struct{ n, last int }{
		{0, 0}, {50, 20}, {100, 40}, {130, 52}, {130, 52}, {130, 52}, {140, 500}, {190, 520}, {190, 520},
	} {
		p.see(look.n, at(look.last))
	}
	assert.Equal(t, 190, p.n)
	assert.Equal(t, 130, p.came)
	assert.InDelta(t, 2500, p.perSecond(), 1e-6)
}
