package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wrongpeer"
)

// A right target is judged well, a wrong one is not, and one that is not there
// is told at once.
func TestConform(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va", "vb")
	netbed.LinkLocal(t, "va")
	netbed.LinkLocal(t, "vb")
	conform := func(want int, args ...string) (out, errOut string) {
		t.Helper()
		status, out, errOut := ctl(nil, append([]string{"conform", "-link", "va", "-negotiate", "EX1"}, args...)...)
		require.Equal(t, want, status, "%v: %s%s", args, out, errOut)
		return out, errOut
	}
	_, errOut := conform(3, "-patience", "100ms")
	assert.Contains(t, errOut, `nobody on link va answered 3 discoveries of "EX1"`)

	p, err := wrongpeer.Start(wrongpeer.Config{Links: []string{"vb"}, Negotiate: "EX1"})
	require.NoError(t, err)
	out, _ := conform(0, "-only", "discovery/ttl,relay/once,negotiation/loop-count-255", "-v")
	assert.Contains(t, out, "PASS  D-08  MUST")
	assert.Contains(t, out, "needs a second link to the target")
	p.Close()

	p, err = wrongpeer.Start(wrongpeer.Config{Links: []string{"vb"}, Negotiate: "EX1", Wrong: wrongpeer.FlawResponseTTL0})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	junit := filepath.Join(t.TempDir(), "junit.xml")
	out, errOut = conform(1, "-only", "discovery/ttl", "-junit", junit)
	assert.Contains(t, out, "FAIL  D-08  MUST")
	assert.Contains(t, out, "the ttl is 0")
	assert.Contains(t, errOut, "1 checks of what the RFC says MUST be have failed")
	xml, err := os.ReadFile(junit)
	require.NoError(t, err)
	assert.Contains(t, string(xml), `<failure message="MUST: the ttl is 0">`)
	out, _ = conform(1, "-only", "discovery/ttl", "-json")
	var line struct{ ID, Verdict, Why string }
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &line))
	assert.Equal(t, struct{ ID, Verdict, Why string }{"D-08", "fail", "the ttl is 0"}, line)
}

func TestConformRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"-link must name the link to the node":          {"-negotiate", "EX1"},
		"--negotiate or --synch must name an objective": {"-link", "va"},
		"value \"hex:1\"":                               {"-link", "va", "-synch", "EX2", "-value", "hex:1"},
		"ParseAddr":                                     {"-link", "va", "-synch", "EX2", "-target", "here"},
	} {
		status, _, errOut := ctl(nil, append([]string{"conform"}, args...)...)
		assert.Equal(t, 2, status)
		assert.Contains(t, errOut, want)
	}
	status, out, _ := ctl(nil, "conform", "-list", "-only", "R-08")
	assert.Equal(t, 0, status)
	assert.Equal(t, 3, strings.Count(out, "\n"), out)
}
