package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func TestFlags(t *testing.T) {
	for args, status := range map[string]int{
		"-rate x": 2, "more": 2, "-rate -1": 2, "-n 1": 2, "-h": 0,
		"-check": 2, "-config x -link a": 2, "-config x -rate 1": 2, "-config /nonexistent/x": 1, "-config /nonexistent/x -check": 1,
	} {
		var stderr bytes.Buffer
		assert.Equal(t, status, command().Execute(t.Context(), strings.Fields(args), nil, &stderr, &stderr), args)
		assert.NotEmpty(t, stderr.String(), args)
	}
}

// What the file says is not said by flags too, not even if they say the default. All but
// the log: --json wins over the file.
func TestFlagsBesideConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gdaemon.toml")
	write(t, file, `log = "json"`)
	execute := func(args ...string) (int, string) {
		var out bytes.Buffer
		args = append([]string{"--config", file, "--check"}, args...)
		return command().Execute(t.Context(), args, nil, &out, &out), out.String()
	}
	for _, args := range [][]string{
		{"--link", "a"}, {"--link="}, {"--plane", "layer2"}, {"--plane", "quads", "--password", "x"},
		{"--plane", "tls", "--domain", "d", "--member", "m"}, {"--password="}, {"--domain="}, {"--member="},
		{"--monitor", "localhost:0"}, {"--monitor="}, {"--announce="}, {"--rate", "1"}, {"--rate", "0"},
	} {
		status, out := execute(args...)
		assert.Equal(t, 2, status, args)
		assert.Contains(t, out, "gdaemon: "+strings.TrimSuffix(args[0], "="), args)
		assert.Contains(t, out, "the file of --config says it", args)
	}
	status, out := execute()
	assert.Zero(t, status, out)

	for args, want := range map[string]string{"": logJSON, "--json": logJSON, "--json=false": logText} {
		var c config
		cmd := command()
		cmd.Run = func(_ context.Context, p *cli.Program) (err error) {
			c, err = settings(p.Options, options{config: file})
			return err
		}
		status := cmd.Execute(t.Context(), append(strings.Fields(args), "--config", file), nil, io.Discard, io.Discard)
		require.Zero(t, status)
		assert.Equal(t, want, c.Log, args)
	}
}

// What it prints, in words and as JSON, while a host looks for another.
func TestRelay(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := memory.NewNetwork(1)
			left, right := n.NewLink(memory.LinkConfig{Name: "left"}), n.NewLink(memory.LinkConfig{Name: "right"})
			host := func(name string, on *memory.Link) *grasp.ASA {
				g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, on)})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, g.Close()) })
				a, err := g.RegisterASA(name)
				require.NoError(t, err)
				return a
			}
			a, b := host("a", left), host("b", right)
			o := grasp.NewObjective("EX9")
			require.NoError(t, b.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))

			var out bytes.Buffer
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan error)
			router := n.NewNode("router", left, right)
			d := &daemon{
				tell:   newTeller(&out, false),
				system: newNotifier(),
				load: func() (config, error) {
					return config{Log: map[bool]string{false: logText, true: logJSON}[asJSON]}, nil
				},
				open: func(config) (*grasp.Instance, func(), error) {
					g, err := grasp.New(grasp.Config{Plane: router})
					return g, func() {}, err
				},
			}
			go func() { over <- d.run(ctx) }()
			synctest.Wait()
			found, err := a.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
			require.NoError(t, err)
			require.Len(t, found, 1)
			right.Down()
			time.Sleep(time.Second)
			router.SetStatus(acp.Status{Reason: "the keys have gone"})
			time.Sleep(time.Second)
			cancel()
			require.NoError(t, <-over)

			if !asJSON {
				text := out.String()
				t.Log("\n" + text)
				for _, want := range []string{
					"Link up: left (fe80::", "Link up: right (fe80::", "Link down: right (fe80::",
					"not protected, nothing is relayed: the keys have gone",
					"Relayed: 1 M_DISCOVERY\n", "Sent: 1 M_RESPONSE\n",
				} {
					assert.Contains(t, text, want)
				}
				return
			}
			var last struct {
				Event   string
				Relayed map[string]uint64
			}
			for line := range strings.Lines(out.String()) {
				require.NoError(t, json.Unmarshal([]byte(line), &last), line)
			}
			assert.Equal(t, "stopped", last.Event)
			assert.EqualValues(t, 1, last.Relayed["M_DISCOVERY"])
		})
	}
}
