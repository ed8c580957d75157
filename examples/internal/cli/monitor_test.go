package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/output"
)

// With -monitor every program has its page, until Ctrl-C.
func TestMonitor(t *testing.T) {
	c := Command{Name: "watched", Run: func(_ context.Context, p *Program) error {
		n := memory.NewNetwork(1)
		for _, node := range []string{"x", "y"} {
			g, err := p.NewInstance(n.NewNode(node), grasp.Config{})
			if err != nil {
				return err
			}
			defer g.Close()
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var out output.Buffer
	status := make(chan int)
	go func() {
		status <- c.Execute(ctx, []string{"-monitor", "localhost:0"}, strings.NewReader(""), &out, io.Discard)
	}()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "until Ctrl-C.\n") }, time.Minute, time.Millisecond)
	_, url, _ := strings.Cut(strings.Split(out.String(), "\n")[0], "Monitor: ")
	r, err := http.Get(url + "metrics")
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.Contains(t, string(text), `grasp_up{node="watched"} 0`+"\n"+`grasp_up{node="watched-2"} 0`+"\n")
	cancel()
	assert.Zero(t, <-status)
	_, err = http.Get(url)
	assert.Error(t, err, "it is closed")
}

// A program that fails, or was interrupted, does not stay for its monitor.
func TestMonitorOfFailure(t *testing.T) {
	c := Command{Name: "watched", Run: func(context.Context, *Program) error { return errors.New("no luck") }}
	status, stdout, stderr := run(c, "", "-monitor", "localhost:0")
	assert.Equal(t, 1, status)
	assert.Contains(t, stdout, "Monitor: http://")
	assert.Equal(t, "watched: no luck\n", stderr)

	status, _, stderr = run(c, "", "-monitor", "nowhere")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "watched: monitor: listen: address nowhere: missing port in address\n")

	ctx, cancel := context.WithCancel(t.Context())
	c.Run = func(context.Context, *Program) error {
		cancel()
		return nil
	}
	assert.Zero(t, c.Execute(ctx, []string{"-monitor", ":0"}, strings.NewReader(""), io.Discard, io.Discard))
}

// A monitor is announced if there is one that others reach.
func TestAnnounce(t *testing.T) {
	c := Command{Name: "watched", Run: func(_ context.Context, p *Program) error {
		_, err := p.NewInstance(memory.NewNetwork(1).NewNode("x"), grasp.Config{})
		return err
	}}
	status, _, stderr := run(c, "", "--announce", "r1")
	assert.Equal(t, 2, status, "a command line that makes no sense")
	assert.Equal(t, "watched: --announce goes with --monitor\n", stderr)
	status, _, stderr = run(c, "", "--announce", "r1", "--monitor", "localhost:0")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "it does not listen beyond localhost")
}
