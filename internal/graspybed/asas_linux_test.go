package graspybed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// enough bounds the time that the agents have to do everything they can. What
// they do is left to chance: it takes about half of that.
const enough = 4 * time.Minute

// atLeast is how many negotiations there are to be.
const atLeast = 20

// How many agents there are. Of each of graspy's bankers, who keep their
// clients waiting for ten seconds at a time, there is one on a link. More
// clients for one of them would only show that it refuses requests when they
// come in bursts.
const (
	pyBankers = 3
	goClients = 3 // for each
	pyClients = 7
)

// program is an example program of this repository, running in a node.
type program struct {
	outcomes, progress graspybed.Output
}

// build builds one of the example programs and returns its path.
func build(t *testing.T, name string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), filepath.Base(name))
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, "../../examples/"+name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// runExample runs an example program in a node until the test ends.
func runExample(t *testing.T, node *netbed.Node, d domain, exe string, args ...string) *program {
	t.Helper()
	name := filepath.Base(exe)
	// The shell ends it when the standard input ends, and so with the test.
	const script = `"$@" & cat; kill $!; wait $!`
	p := &program{}
	cmd := node.Exec(context.Background(), "sh", slices.Concat([]string{"-c", script, "sh", exe, "-json"}, d.args, args)...)
	cmd.Env = append(os.Environ(), d.env...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = &p.outcomes, &p.progress
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		assert.NoError(t, cmd.Wait(), name)
		kill.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s\n%s", name, &p.outcomes, &p.progress)
		}
	})
	return p
}

// tally counts what happened, by kind.
type tally map[string]int

// count counts the outcomes that a program tells.
func (p *program) count(t *testing.T, into, failures tally) {
	t.Helper()
	for line := range strings.Lines(p.outcomes.String()) {
		if !strings.HasSuffix(line, "\n") {
			break // it is writing it
		}
		var o struct {
			Outcome, Reason string
			Steps           int
		}
		require.NoError(t, json.Unmarshal([]byte(line), &o))
		if o.Outcome == "failed" {
			failures[o.Reason]++
			continue
		}
		into["negotiations"]++
		switch {
		case o.Outcome == "declined":
			into["declined: "+o.Reason]++
		case o.Steps == 0:
			into["accepted at once"]++
		default:
			into["accepted after steps"]++
		}
	}
}

// countLines counts the lines that contain a text.
func countLines(o *graspybed.Output, text string) int {
	n := 0
	for _, line := range o.Lines() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// kinds is what has to happen, whoever is the banker.
var kinds = []string{
	"accepted at once", "accepted after steps",
	"declined: Insufficient funds", "declined: Недостаточно средств",
	"declined: Invalid currency", "declined: You are mean!",
	"loop count exhausted", "M_WAIT", "dry run", "Tag 24",
	"EX1 flooded", "EX1 synchronized", "EX2 synchronized",
}

// has says that everything has happened.
func (n tally) has() bool {
	return n["negotiations"] >= atLeast && !slices.ContainsFunc(kinds, func(k string) bool { return n[k] == 0 })
}

// log prints the tally.
func (n tally) log(t *testing.T, title string, failures tally) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%6d negotiations, of them\n", title, n["negotiations"])
	for _, k := range kinds {
		fmt.Fprintf(&b, "%6d %s\n", n[k], k)
	}
	for k, count := range failures {
		fmt.Fprintf(&b, "%6d failed: %s\n", count, k)
	}
	t.Log(b.String())
}

// ready waits until all have printed something.
func ready(t *testing.T, all []*graspybed.Output, text string) {
	t.Helper()
	netbed.Eventually(t, time.Minute, text, func() bool {
		return !slices.ContainsFunc(all, func(o *graspybed.Output) bool { return countLines(o, text) == 0 })
	})
}

// until polls until everything has happened or the time is over.
func until(done func() bool) {
	for start := time.Now(); !done() && time.Since(start) < enough; {
		time.Sleep(200 * time.Millisecond)
	}
}

// The prototype's agents fail in these ways among themselves, too.
const (
	// Briggs tries what a client does that he keeps waiting for longer than
	// he said.
	tooLate = "No reply to negotiation step"
	// Nobody listens between two calls of listen_negotiate.
	refused = "Negotiation peer not listening"
)

// TestInteropBriggsAndGray has the agents of the prototype's manual meet: its
// own ones, unchanged, and this library's examples.
func TestInteropBriggsAndGray(t *testing.T) {
	t.Parallel()
	meetBankers(t, domain{})
}

// TestInteropBriggsAndGrayInQUADS has them meet in a domain with a password.
func TestInteropBriggsAndGrayInQUADS(t *testing.T) {
	t.Parallel()
	const password = "Пароль of the bank ☃"
	meetBankers(t, domain{
		settings: []graspybed.Setting{graspybed.QUADS(password)},
		args:     []string{"-plane", "quads"},
		env:      []string{"GRASP_PASSWORD=" + password},
	})
}

// domain is what makes the agents of one domain understand each other:
// settings for the prototype's, arguments and environment for ours.
type domain struct {
	settings  []graspybed.Setting
	args, env []string
}

func meetBankers(t *testing.T, d domain) {
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}

	t.Run("GoGrays", func(t *testing.T) {
		t.Parallel()
		exe := build(t, "gray")
		var links []*netbed.LAN
		var briggs []*graspybed.Output
		for i := range pyBankers {
			links = append(links, netbed.NewLAN(t, fmt.Sprint("brg", i), i > 0))
			briggs = append(briggs, graspybed.RunASA(t, links[i].Node(t, "briggs"), "Briggs", true, d.settings...))
		}
		ready(t, briggs, "Ready to negotiate")
		var grays []*program
		for _, l := range links {
			grays = append(grays, runExample(t, l.Node(t, "grays"), d, exe, "-wait", "1s", "-c", fmt.Sprint(goClients)))
		}

		var n, failures tally
		until(func() bool {
			n, failures = make(tally), make(tally)
			for i := range pyBankers {
				grays[i].count(t, n, failures)
				n["M_WAIT"] += countLines(briggs[i], "Tried wait: OK")
				n["dry run"] += countLines(briggs[i], "Dry run")
				n["Tag 24"] += countLines(briggs[i], "CBOR value decoded")
				n["EX1 flooded"] += countLines(&grays[i].progress, "Flooded EX1 from (no locator) = 2")
				n["EX1 synchronized"] += countLines(&grays[i].progress, "Synchronized EX1 2")
				n["EX2 synchronized"] += countLines(&grays[i].progress, "Synchronized EX2 [1 two 3]")
			}
			n["loop count exhausted"] = n["declined: Loop count exhausted"]
			return n.has()
		})
		n.log(t, "Gray of this library and the prototype's Briggs", failures)
		assert.True(t, n.has(), "not everything happened in %v", enough)
		delete(failures, tooLate)
		delete(failures, refused)
		assert.Empty(t, failures)
		for _, b := range briggs {
			assert.Empty(t, b.Complaints())
		}
	})

	t.Run("GoBriggs", func(t *testing.T) {
		t.Parallel()
		exe := build(t, "briggs") // first: the Grays ask for EX2 during their first 20 s only
		l := netbed.NewLAN(t, "bry", true)
		var grays []*graspybed.Output
		for i := range pyClients {
			grays = append(grays, graspybed.RunASA(t, l.Node(t, fmt.Sprint("gray", i)), "Gray", true, d.settings...))
		}
		ready(t, grays, "ASA Gray registered OK") // they hear floods
		briggs := runExample(t, l.Node(t, "briggs"), d, exe, "-wait", "300ms")

		var n, failures tally
		until(func() bool {
			n, failures = make(tally), make(tally)
			briggs.count(t, n, failures)
			n["M_WAIT"] = countLines(&briggs.progress, "Tried wait: OK")
			n["dry run"] = countLines(&briggs.progress, "Dry run")
			n["Tag 24"] = countLines(&briggs.progress, "CBOR value decoded")
			for _, g := range grays {
				// It is always graspy's count that is used up, and its
				// Gray then leaves without a word.
				n["loop count exhausted"] += countLines(g, "Peer reject: Loop count exhausted")
				n["EX1 flooded"] += countLines(g, "Flooded EX1 from None = 2")
				n["EX1 synchronized"] += countLines(g, "Synchronized EX1 2")
				n["EX2 synchronized"] += countLines(g, "Synchronized EX2 [1, 'two', 3]")
			}
			return n.has()
		})
		n.log(t, "The prototype's Grays and Briggs of this library", failures)
		assert.True(t, n.has(), "not everything happened in %v", enough)

		// What the Grays say of it.
		said := make(tally)
		for _, g := range grays {
			assert.Empty(t, g.Complaints())
			for _, line := range g.Lines() {
				for _, what := range []string{"Peer reject: ", "request_negotiate error: ", "end_negotiate error: ", "Negotiation succeeded"} {
					if rest, ok := strings.CutPrefix(line, what); ok {
						if what == "Negotiation succeeded" {
							rest = ""
						}
						said[strings.TrimSpace(what+rest)]++
					}
				}
			}
		}
		t.Log(said)
		// Both sides tell the same, but for what is under way.
		assert.InDelta(t, n["accepted at once"]+n["accepted after steps"], said["Negotiation succeeded"], pyClients)
		assert.InDelta(t, failures[tooLate], said["Peer reject: Loop count exhausted"], pyClients)
		for _, expected := range []string{
			"Negotiation succeeded", "Peer reject: Insufficient funds", "Peer reject: Недостаточно средств",
			"Peer reject: Loop count exhausted", "Peer reject: " + tooLate, "request_negotiate error: Invalid currency",
		} {
			delete(said, expected)
		}
		assert.Empty(t, said, "errors that the prototype's own Briggs does not cause")
		delete(failures, tooLate)
		delete(failures, refused) // by a Gray who was kept waiting for too long
		assert.Empty(t, failures)
	})
}
