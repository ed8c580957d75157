package grasp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/netbed"
)

// realPair is stressPair on a real link, in the namespace of the test.
func realPair(t testing.TB) (server, client *ASA) {
	t.Helper()
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	netbed.LinkLocal(t, "va1")
	server, client = stressPair(t, &acp.Layer2{Links: []string{"va0"}}, &acp.Layer2{Links: []string{"va1"}})
	waitForLink(t, server.g)
	waitForLink(t, client.g)
	return server, client
}

func waitForLink(t testing.TB, g *Instance) {
	t.Helper()
	netbed.Eventually(t, 10*time.Second, "the link is in use", func() bool { return len(g.Snapshot().Links) > 0 })
}

// The same as in memory, on real sockets; and when the instances are closed,
// nothing of them is left either.
func TestStressReal(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	// The first socket makes a poller, whose descriptors stay.
	first, err := net.Listen("tcp", "[::1]:0")
	require.NoError(t, err)
	require.NoError(t, first.Close())
	before := newLeftovers()
	t.Run("Instances", func(t *testing.T) {
		server, client := realPair(t)
		open := newLeftovers(server, client)
		coldNegotiation(t, server, client)
		discoverAgain(t, server, client, stressDiscoveries)
		open.none(t)
		openAtOnce(t, server, client, stressSessions)
		open.none(t)
		stress(t, open, server, client, scaled(stressNegotiations), true)
	})
	before.none(t)
}

// coldNegotiation negotiates with a peer that is not known yet.
func coldNegotiation(t *testing.T, server, client *ASA) {
	t.Helper()
	stop := serve(t.Context(), server, 1, respond)
	netbed.Eventually(t, 10*time.Second, "the server listens", func() bool {
		return server.g.objectives.backlogOf(stressed.Name).listening()
	})
	start := time.Now()
	require.NoError(t, initiate(t.Context(), client, 0))
	took := time.Since(start)
	t.Logf("a negotiation with an unknown peer took %v, discovery may take %v", took, discoveryTime(stressed))
	require.EqualValues(t, 1, client.g.Snapshot().Sent["M_DISCOVERY"], "the first discovery was enough")
	require.NoError(t, stop())
}

// envStressServer marks the process that serves TestStressProcesses.
const envStressServer = "GRASP_STRESS_SERVER"

// Two processes, each in a namespace of its own, with a link between them.
func TestStressProcesses(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	node := netbed.NewNode(t, "server")
	netbed.VethPair(t, "va0", "va1")
	node.MoveLink(t, "va0")
	netbed.LinkLocal(t, "va1")
	client := newASA(t, newInstance(t, &acp.Layer2{Links: []string{"va1"}}), "client")
	require.NoError(t, client.RegisterObj(stressed, RegisterOptions{}))
	waitForLink(t, client.g)
	before := newLeftovers(client)

	cmd := node.Exec(t.Context(), os.Args[0], "-test.run=^TestStressServer$", "-test.v")
	cmd.Env = append(os.Environ(), envStressServer+"=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	stdin, err := cmd.StdinPipe() // when it ends, so does the server
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	found, err := client.Discover(t.Context(), stressed, 20*time.Second, DiscoverOptions{First: true})
	require.NoError(t, err)
	require.NotEmpty(t, found, "the server came up")

	negotiations := scaled(stressNegotiations) / 4
	start := time.Now()
	err = pool(t.Context(), stressInitiators, negotiations, func(ctx context.Context, i int) error {
		return initiate(ctx, client, int64(i))
	})
	t.Logf("%d negotiations with another process in %v", negotiations, time.Since(start))
	require.NoError(t, errors.Join(err, stdin.Close(), cmd.Wait()))
	before.none(t)
}

// TestStressServer is the other process of TestStressProcesses. By itself it
// does nothing.
func TestStressServer(t *testing.T) {
	if os.Getenv(envStressServer) == "" || !netbed.Enter(t) {
		return
	}
	server := newASA(t, newInstance(t, &acp.Layer2{Links: []string{"va0"}}), "server")
	require.NoError(t, server.RegisterObj(stressed, RegisterOptions{}))
	waitForLink(t, server.g)
	before := newLeftovers(server)
	stop := serve(t.Context(), server, stressListeners, respond)
	_, err := io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	require.NoError(t, err)
	require.NoError(t, stop())
	before.none(t)
}
