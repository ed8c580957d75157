package grasp_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/target"
)

// benchPair measures what two ASAs do with each other. heard receives a value
// for each flood that the client gets.
func benchPair(b *testing.B, server, client *grasp.ASA, heard <-chan struct{}) {
	ctx := b.Context()
	weather := grasp.Objective{Name: "weather", Synch: true, LoopCount: grasp.DefaultLoopCount, Value: "fine"}
	require.NoError(b, server.RegisterObj(weather, grasp.RegisterOptions{}))
	require.NoError(b, server.ListenSynchronize(weather))
	stop := bed.Serve(ctx, server, bed.StressListeners, bed.Respond)
	defer func() { require.NoError(b, stop()) }()
	require.True(b, bed.SoonTrue(func() bool { return bed.Listens(server.Instance(), bed.Stressed.Name) }))

	peers := func(o grasp.Objective) *grasp.Locator {
		found, err := client.Discover(ctx, o, time.Minute, grasp.DiscoverOptions{First: true})
		require.NoError(b, err)
		require.NotEmpty(b, found)
		return &found[0]
	}
	banker, station := peers(bed.Stressed), peers(weather)
	negotiate := func() error {
		o := bed.Stressed
		o.Value = 0 // accepted at once
		s, _, err := client.ReqNegotiate(ctx, o, banker, 0)
		if s != nil {
			return fmt.Errorf("it goes on")
		}
		return err
	}
	synchronize := func() error {
		_, err := client.Synchronize(ctx, weather, station, 0)
		return err
	}
	b.Run("Negotiation/1", func(b *testing.B) { bed.OneByOne(b, negotiate) })
	b.Run("Negotiation/64", func(b *testing.B) { bed.InParallel(b, negotiate) })
	b.Run("Synchronization/1", func(b *testing.B) { bed.OneByOne(b, synchronize) })
	b.Run("Synchronization/64", func(b *testing.B) { bed.InParallel(b, synchronize) })
	b.Run("ColdDiscovery", func(b *testing.B) {
		asked := 0
		bed.OneByOne(b, func() error {
			if asked++; asked%(target.Burst/2) == 0 {
				// One that asks more often gets no answers.
				b.StopTimer()
				time.Sleep(time.Second / 2)
				b.StartTimer()
			}
			found, err := client.Discover(ctx, bed.Stressed, time.Minute, grasp.DiscoverOptions{First: true, Flush: true})
			if err == nil && len(found) == 0 {
				return grasp.ErrNoDiscReply
			}
			return err
		})
	})
	b.Run("Flood", func(b *testing.B) {
		lost := time.NewTimer(time.Minute)
		defer lost.Stop()
		bed.OneByOne(b, func() error {
			if err := server.Flood(time.Minute, grasp.TaggedObjective{Objective: weather}); err != nil {
				return err
			}
			lost.Reset(time.Minute)
			select {
			case <-heard:
				return nil
			case <-lost.C:
				return errors.New("the client has not heard it")
			}
		})
	})
}

// floodTrace returns a trace that tells a channel of the floods that come.
func floodTrace() (func(grasp.Event), <-chan struct{}) {
	heard := make(chan struct{}, 1)
	return func(e grasp.Event) {
		if e.Kind == grasp.Received && e.Message == "M_FLOOD" {
			heard <- struct{}{}
		}
	}, heard
}

// tracedPair is stressPair, and tells of the floods that the client gets.
func tracedPair(b *testing.B, serving, asking acp.Plane) (server, client *grasp.ASA, heard <-chan struct{}) {
	b.Helper()
	server = bed.NewASA(b, bed.NewInstance(b, serving), "server")
	trace, heard := floodTrace()
	g, err := grasp.New(grasp.Config{Plane: asking, Trace: trace})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, g.Close()) })
	client = bed.NewASA(b, g, "client")
	for _, a := range []*grasp.ASA{server, client} {
		require.NoError(b, a.RegisterObj(bed.Stressed, grasp.RegisterOptions{}))
	}
	return server, client, heard
}

// BenchmarkMemory is the cost of the library, on a network that costs little.
func BenchmarkMemory(b *testing.B) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	server, client, heard := tracedPair(b, n.NewNode("server", l), n.NewNode("client", l))
	benchPair(b, server, client, heard)
}

// BenchmarkMemoryQUADS is BenchmarkMemory in a domain with a password.
func BenchmarkMemoryQUADS(b *testing.B) {
	n := memory.NewNetwork(1)
	l := n.NewLink(memory.LinkConfig{})
	server, client, heard := tracedPair(b, inDomain(n.NewNode("server", l)), inDomain(n.NewNode("client", l)))
	benchPair(b, server, client, heard)
}

// inDomain is a plane of a QUADS domain.
func inDomain(under acp.Plane) acp.Plane {
	return &quads.Plane{Key: []byte("QUADS key of 32 bytes, for tests"), Under: under}
}
