package adversary

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

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// realPair is stressPair on a real link, in the namespace of the test.
func realPair(t testing.TB) (server, client *grasp.ASA) {
	t.Helper()
	netbed.VethPair(t, "va0", "va1")
	netbed.LinkLocal(t, "va0")
	netbed.LinkLocal(t, "va1")
	server, client = bed.StressPair(t, &acp.Layer2{Links: []string{"va0"}}, &acp.Layer2{Links: []string{"va1"}})
	bed.WaitForLink(t, server.Instance())
	bed.WaitForLink(t, client.Instance())
	return server, client
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
		discoverAgain(t, server, client, bed.StressDiscoveries)
		open.none(t)
		openAtOnce(t, server, client, bed.StressSessions)
		open.none(t)
		stress(t, open, server, client, bed.Scaled(bed.StressNegotiations), true)
	})
	before.none(t)
}

// coldNegotiation negotiates with a peer that is not known yet.
func coldNegotiation(t *testing.T, server, client *grasp.ASA) {
	t.Helper()
	stop := bed.Serve(t.Context(), server, 1, bed.Respond)
	netbed.Eventually(t, 30*time.Second, "the server listens", func() bool {
		return bed.Listens(server.Instance(), bed.Stressed.Name)
	})
	start := time.Now()
	require.NoError(t, bed.Initiate(t.Context(), client, 0))
	took := time.Since(start)
	t.Logf("a negotiation with an unknown peer took %v and %d discoveries", took, client.Instance().Snapshot().Sent["M_DISCOVERY"])
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
	client := bed.NewASA(t, bed.NewInstance(t, &acp.Layer2{Links: []string{"va1"}}), "client")
	require.NoError(t, client.RegisterObj(bed.Stressed, grasp.RegisterOptions{}))
	bed.WaitForLink(t, client.Instance())
	before := newLeftovers(client)

	cmd := node.Exec(t.Context(), os.Args[0], "-test.run=^TestStressServer$", "-test.v")
	cmd.Env = append(os.Environ(), envStressServer+"=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	stdin, err := cmd.StdinPipe() // when it ends, so does the server
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	found, err := client.Discover(t.Context(), bed.Stressed, netbed.Patience, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.NotEmpty(t, found, "the server came up")

	negotiations := bed.Scaled(bed.StressNegotiations) / 4
	start := time.Now()
	err = bed.Pool(t.Context(), bed.StressInitiators, negotiations, func(ctx context.Context, i int) error {
		return bed.Initiate(ctx, client, int64(i))
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
	server := bed.NewASA(t, bed.NewInstance(t, &acp.Layer2{Links: []string{"va0"}}), "server")
	require.NoError(t, server.RegisterObj(bed.Stressed, grasp.RegisterOptions{}))
	bed.WaitForLink(t, server.Instance())
	before := newLeftovers(server)
	stop := bed.Serve(t.Context(), server, bed.StressListeners, bed.Respond)
	_, err := io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	require.NoError(t, err)
	require.NoError(t, stop())
	before.none(t)
}
