package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// Every command that asks a network, on a real link.
func TestOnALink(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va", "vb")
	g, err := grasp.New(grasp.Config{Plane: &acp.Layer2{Links: []string{"vb"}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	netbed.Eventually(t, 30*time.Second, "the link is in use", func() bool { return len(g.Snapshot().Links) == 1 })
	a, err := g.RegisterASA("peer")
	require.NoError(t, err)
	ex2 := grasp.Objective{Name: "EX2", Synch: true, Value: []any{1, "two", []byte{3}}}
	require.NoError(t, a.RegisterObj(ex2, grasp.RegisterOptions{}))
	require.NoError(t, a.ListenSynchronize(ex2))
	banker(t, g, 50)

	ask := func(want int, args ...string) (out, errOut string) {
		t.Helper()
		status, out, errOut := ctl(strings.NewReader("accept\n"), append([]string{args[0], "-link", "va"}, args[1:]...)...)
		require.Equal(t, want, status, "%v: %s", args, errOut)
		assert.Contains(t, errOut, "Link: va (fe80::")
		return out, errOut
	}

	out, _ := ask(0, "discover", "EX2", "-first", "-timeout", "1m")
	at, _, _ := strings.Cut(out, "  ")
	assert.Regexp(t, `^\[fe80::.*%va\]:\d+  link va  ttl 60s\n$`, out)
	out, _ = ask(0, "discover", "EX2", "-first", "-json", "-timeout", "1m")
	var l locatorResult
	require.NoError(t, json.Unmarshal([]byte(out), &l))
	assert.Equal(t, at, l.Locator)
	assert.Equal(t, "va", l.Link)
	_, errOut := ask(1, "discover", "NONE", "-timeout", "200ms")
	assert.Contains(t, errOut, `"NONE": nobody answered`)

	out, _ = ask(0, "synch", "EX2")
	assert.Equal(t, "[1, \"two\", h'03']\n", out)
	out, _ = ask(0, "synch", "EX2", "-peer", at, "-json")
	assert.Equal(t, `{"objective":"EX2","value":null,"diagnostic":"[1, \"two\", h'03']"}`+"\n", out)
	ask(1, "synch", "NONE", "-timeout", "200ms")
	ask(1, "synch", "NONE", "-peer", at)
	ask(3, "synch", "EX2", "-peer", "[fe80::ffff%va]:1", "-timeout", "100ms")

	out, errOut = ask(0, "negotiate", "EX3", "-peer", at, "--", "-5")
	assert.Equal(t, "50\n", out)
	assert.Contains(t, errOut, " offers 50 with loop count 5")
	ask(1, "negotiate", "NONE", "1", "-timeout", "200ms")

	// A flood is seen by who watches and by who wants it.
	watched := make(chan seen)
	go func() {
		status, out, errOut := ctl(nil, "watch", "-link", "vb", "-n", "1", "-type", "M_FLOOD", "-objective", "none,EX1", "-json", "-timeout", "2m")
		assert.Zero(t, status, errOut)
		var s seen
		assert.NoError(t, json.Unmarshal([]byte(out), &s))
		watched <- s
	}()
	// As often as it takes for the watcher to be there.
	ctx, cancel := context.WithCancel(t.Context())
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		var stdout, stderr bytes.Buffer
		args := []string{"flood", "-link", "va", "EX1", `{"a": h'01'}`, "-at", "[::]:443", "-ttl", "1h", "-every", "20ms"}
		assert.Zero(t, commands().Execute(ctx, args, nil, &stdout, &stderr), stderr.String())
		assert.Contains(t, stdout.String(), "\"EX1\" flooded on va\n")
	}()
	s := <-watched
	cancel()
	<-flooding
	assert.Equal(t, []string{"EX1"}, s.Objectives)
	assert.Contains(t, s.Words, `"EX1" (discovery, synchronization; loop count 1) = {"a": h'01'} at [fe80::`)
	assert.Contains(t, s.Words, "]:443")
	assert.Equal(t, "vb", s.Link)
	ex1 := grasp.Objective{Name: "EX1", Synch: true}
	netbed.Eventually(t, 30*time.Second, "the flood is cached", func() bool {
		all, err := a.GetFlood(ex1)
		return err == nil && len(all) == 1
	})
	out, _ = ask(0, "flood", "EX1", "2", "-json")
	assert.Equal(t, `{"objective":"EX1","link":"va"}`+"\n", out)

	// What is no message is shown as such; nothing is a status of its own.
	stranger, err := (&acp.Layer2{Links: []string{"va"}}).Open()
	require.NoError(t, err)
	defer stranger.Close()
	wrong := make(chan string)
	go func() {
		status, out, _ := ctl(nil, "watch", "-link", "vb", "-n", "1", "-v", "-timeout", "2m")
		assert.Zero(t, status)
		wrong <- out
	}()
	for done := false; !done; {
		_ = stranger.Send(netbed.Index(t, "va"), []byte{0x82, 3})
		select {
		case out := <-wrong:
			assert.Contains(t, out, "WRONG: grasp: M_REQ_NEG: cut short at byte 2, the end\n    h'8203'\n")
			done = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	status, _, errOut := ctl(nil, "watch", "-link", "vb", "-timeout", "50ms", "-objective", "NONE")
	assert.Equal(t, 1, status)
	assert.Contains(t, errOut, "no message came")
	status, _, errOut = ctl(nil, "flood", "-link", "nolink", "EX1", "1")
	assert.Equal(t, 2, status)
	assert.Contains(t, errOut, "nolink: no such interface")
}

// The prototype's banker is asked by hand.
func TestInteropBriggsByHand(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	ns := netbed.Chain(t, 2)
	ns[0].AddAddr(t, "to-n1", "fd00::1/64")
	ns[1].AddAddr(t, "to-n0", "fd00::2/64")
	exe, err := buildOnce()
	require.NoError(t, err)
	briggs := graspybed.RunASA(t, ns[1], "Briggs", true)
	start := time.Now()
	netbed.Eventually(t, time.Minute, "Briggs is ready", func() bool { return strings.Contains(briggs.String(), "Ready to negotiate") })

	command := func(args ...string) (*exec.Cmd, *graspybed.Output, *graspybed.Output) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
		t.Cleanup(cancel)
		cmd := ns[0].Exec(ctx, exe, args...)
		var out, errOut graspybed.Output
		cmd.Stdout, cmd.Stderr = &out, &errOut
		return cmd, &out, &errOut
	}
	status := func(want int, args ...string) string {
		t.Helper()
		cmd, out, errOut := command(args...)
		_ = cmd.Run()
		require.Equal(t, want, cmd.ProcessState.ExitCode(), "%v: %s", args, errOut)
		return out.String()
	}

	// It floods EX1 a minute after its start.
	watch, flooded, _ := command("watch", "-n", "1", "-type", "M_FLOOD", "-objective", "EX1", "-timeout", "2m")
	require.NoError(t, watch.Start())

	assert.Contains(t, status(0, "discover", "EX3", "-first", "-timeout", "20s"), "[fd00::2]:")
	assert.Equal(t, "[1, \"two\", 3]\n", status(0, "synch", "EX2"))
	status(1, "discover", "NONE")
	status(1, "negotiate", "EX3", `["USD", 10]`)
	assert.Equal(t, "[\"NZD\", 10]\n", status(0, "negotiate", "EX3", `["NZD", 10]`))

	// By hand: a user who thinks for longer than the second for which Briggs waits. Whether
	// there is a second offer, and in time, Briggs leaves to chance, more often than not.
	var agreed string
	for round := 1; agreed == ""; round++ {
		require.LessOrEqual(t, round, 20, "an agreement after two offers")
		var said string
		agreed, said = byHand(t, command)
		t.Log(said + agreed)
	}
	assert.Regexp(t, `^\["NZD", \d+\]\n$`, agreed)

	require.NoError(t, watch.Wait())
	assert.Contains(t, flooded.String(), `"EX1" (discovery, synchronization; loop count 4) = "20`)
	assert.Contains(t, flooded.String(), "from Briggs")
	t.Logf("after %v: %s", time.Since(start).Round(time.Second), flooded)
	netbed.Eventually(t, 30*time.Second, "Briggs knows", func() bool { return strings.Contains(briggs.String(), "Negotiation succeeded") })
	assert.Empty(t, briggs.Complaints())
}

// byHand negotiates with Briggs, as a user who asks for less and then accepts. It returns
// what was agreed on, or nothing if Briggs declined or did not keep to his own M_WAIT.
func byHand(t *testing.T, command func(...string) (*exec.Cmd, *graspybed.Output, *graspybed.Output)) (agreed, said string) {
	t.Helper()
	cmd, out, errOut := command("negotiate", "EX3", `["NZD", 1000]`, "-timeout", "40s")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its status is looked at
	}()
	for i, line := range []string{`["NZD", 900]`, "accept"} {
		netbed.Eventually(t, time.Minute, "an offer, or the end", func() bool {
			select {
			case <-ended:
				return true
			default:
				return strings.Count(errOut.String(), ` offers ["NZD", `) > i
			}
		})
		time.Sleep(3 * time.Second)             // he thinks
		_, _ = io.WriteString(stdin, line+"\n") // fails if that is the end
	}
	<-ended
	switch status := cmd.ProcessState.ExitCode(); status {
	case 1:
		assert.Contains(t, errOut.String(), "Declined: ")
	case 3:
		assert.Contains(t, errOut.String(), "No reply to negotiation step")
	default:
		require.Zero(t, status, errOut.String())
		assert.Equal(t, 2, strings.Count(errOut.String(), ` offers ["NZD", `))
	}
	return out.String(), errOut.String()
}
