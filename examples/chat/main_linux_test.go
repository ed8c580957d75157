package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/clitest"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/output"
)

// person is a chat in a node.
type person struct {
	output.Buffer

	in    io.WriteCloser
	ended chan error
}

func start(t *testing.T, node *netbed.Node, exe string, args ...string) *person {
	t.Helper()
	p := &person{ended: make(chan error, 1)}
	cmd := node.Exec(context.Background(), exe, args...)
	cmd.Stdout, cmd.Stderr = p, p
	var err error
	p.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	over := make(chan struct{})
	go func() {
		p.ended <- cmd.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		<-over
		kill.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", node.Name, p)
		}
	})
	return p
}

func (p *person) say(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(p.in, text+"\n")
	require.NoError(t, err)
}

func (p *person) shows(t *testing.T, text string) {
	t.Helper()
	netbed.Eventually(t, time.Minute, text, func() bool { return strings.Contains(p.String(), text) })
}

// Two people talk, then a third begins when the second has left.
func TestChat(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	exe, l := clitest.Build(t, "chat"), netbed.NewLAN(t, "cht", false)
	anna := start(t, l.Node(t, "anna"), exe, "--listen", "--json")
	anna.shows(t, "Waiting for a peer")
	ben := start(t, l.Node(t, "ben"), exe)
	ben.say(t, "hello")
	anna.shows(t, `"said":"hello"}`)
	anna.say(t, "Grüße")
	ben.shows(t, "Peer said: Grüße")
	require.NoError(t, ben.in.Close())
	assert.NoError(t, <-ben.ended)
	anna.shows(t, "The peer has left")

	carl := start(t, l.Node(t, "carl"), exe)
	carl.say(t, "me again")
	anna.shows(t, "Peer said: me again")
	require.NoError(t, anna.in.Close())
	assert.NoError(t, <-anna.ended)
	assert.NoError(t, <-carl.ended)
	carl.shows(t, "The peer has left")
}

// TestInteropTestserver talks with the prototype's testserver.
func TestInteropTestserver(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	exe, l := clitest.Build(t, "chat"), netbed.NewLAN(t, "chs", false)
	server := graspybed.RunASAWith(t, l.Node(t, "server"), "testserver", []string{"n", "y", "n", "n", "Grüße", "good bye"})
	netbed.Eventually(t, time.Minute, "it is ready", func() bool { return strings.Contains(server.String(), "Ready to negotiate EX3") })
	client := start(t, l.Node(t, "client"), exe)
	// It would lose what comes at once after the request.
	netbed.Eventually(t, time.Minute, "the request", func() bool { return strings.Contains(server.String(), "Got message: None") })
	client.say(t, "hello")
	client.shows(t, "Peer said: Grüße")
	client.say(t, "how are you?")
	client.shows(t, "Peer said: good bye")
	assert.Contains(t, server.String(), "Peer said hello")
	assert.Empty(t, server.Complaints())
}

// TestInteropTestclient has the prototype's testclient talk with this program.
func TestInteropTestclient(t *testing.T) {
	t.Parallel()
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	exe, l := clitest.Build(t, "chat"), netbed.NewLAN(t, "chc", false)
	server := start(t, l.Node(t, "server"), exe, "--listen")
	server.shows(t, "Waiting for a peer")
	client := graspybed.RunASAWith(t, l.Node(t, "client"), "testclient", []string{"n", "y", "n", "n", "hello", "how are you?", "and then?"})
	server.shows(t, "Peer said: hello")
	server.say(t, "Grüße")
	server.shows(t, "Peer said: how are you?")
	server.say(t, "good bye")
	netbed.Eventually(t, time.Minute, "an answer", func() bool { return strings.Contains(client.String(), "Peer replied: good bye") })
	assert.Contains(t, client.String(), "Peer replied: Grüße")
	assert.Empty(t, client.Complaints())
}
