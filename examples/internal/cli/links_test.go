package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// A name that no interface has is told at once: a program that can't wait for
// it ends with status 2, a daemon goes on.
func TestMissingLink(t *testing.T) {
	ran := errors.New("it ran on")
	for _, daemon := range []bool{false, true} {
		var out, errOut bytes.Buffer
		c := Command{Name: "x", Daemon: daemon, Run: func(ctx context.Context, p *Program) error {
			g, err := p.NewInstance(p.RealLinks(), grasp.Config{})
			if err != nil {
				return err
			}
			p.SayNoLink(g.Snapshot().Interfaces, g.Snapshot().LinkTrouble)
			return errors.Join(ran, g.Close())
		}}
		status := c.Execute(t.Context(), []string{"-link", "nolink0,nolink1"}, strings.NewReader(""), &out, &errOut)
		if daemon {
			assert.Equal(t, 1, status)
			assert.Contains(t, out.String(), "nolink0: no such interface, yet: waiting for it\n")
			assert.Contains(t, errOut.String(), ran.Error())
			assert.Contains(t, out.String(), "No usable link yet: waiting for one\n  nolink0: no such interface\n  nolink1: no such interface\n")
		} else {
			assert.Equal(t, 2, status)
			assert.Equal(t, "x: nolink0: no such interface\nnolink1: no such interface\n", errOut.String())
		}
	}
}

func TestNoLink(t *testing.T) {
	assert.Equal(t, []string{"there is no interface but the loopback"}, NoLink([]acp.Interface{{Name: "lo", State: acp.LinkLoopback}}, ""))
	assert.Equal(t, []string{"a: no carrier", "b: refused by the system: why", "trouble"}, NoLink([]acp.Interface{
		{Name: "a", State: acp.LinkNoCarrier}, {Name: "c", State: acp.LinkUnnamed},
		{Name: "b", State: acp.LinkRefused, Detail: "why"}, {Name: "d", State: acp.LinkInUse},
	}, "trouble"))
}
