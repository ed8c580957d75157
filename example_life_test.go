package grasp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Peers are followed as they come and go.
func ExampleASA_WatchPeers() {
	printing := grasp.Objective{Name: "example.com:printing", Neg: true}
	printer, client, stop := exampleASAs(printing, grasp.RegisterOptions{Discoverable: true})
	defer stop()

	for e := range client.WatchPeers(context.Background(), printing, grasp.WatchPeersOptions{}) {
		if e.Err != nil {
			log.Fatal(e.Err)
		}
		fmt.Println(e.Change, e.Peer.String() == printer.Instance().Locator().String())
		break
	}
	// Output: added true
}

// A value that depends on who asks.
func ExampleASA_AnswerSynchronize() {
	place := grasp.Objective{Name: "example.com:place", Synch: true}
	server, client, stop := exampleASAs(place, grasp.RegisterOptions{})
	defer stop()

	err := server.AnswerSynchronize(place, func(_ context.Context, r grasp.SynchRequest) (any, error) {
		if r.Peer.Addr() == client.Instance().Addr().Addr() {
			return "next door", nil
		}
		return "far away", nil
	})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := client.Synchronize(context.Background(), place, nil, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Value)
	if err := server.StopSynchronize(place); err != nil {
		log.Fatal(err)
	}
	// Output: next door
}

// A node leaves in good order: it is no longer found, sessions may end, and then
// it is closed.
func ExampleInstance_Drain() {
	printing := grasp.Objective{Name: "example.com:printing", Neg: true}
	printer, client, stop := exampleASAs(printing, grasp.RegisterOptions{Discoverable: true})
	defer stop()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := printer.Instance().Drain(ctx); err != nil {
		log.Print(err) // sessions go on after a minute: Close ends them
	}
	if err := printer.Instance().Close(); err != nil {
		log.Fatal(err)
	}
	<-printer.Instance().Done()
	found, err := client.Discover(context.Background(), printing, 0, grasp.DiscoverOptions{})
	fmt.Println(len(found), err)
	// Output: 0 <nil>
}

// What an instance does can be watched, and what it knows be read.
func ExampleInstance_Observe() {
	link := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: link.NewNode("node", link.NewLink(memory.LinkConfig{}))})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	if err := g.WaitForLink(context.Background()); err != nil {
		log.Fatal(err)
	}
	sent := make(chan string, 10)
	stop := g.Observe(grasp.Observer{Trace: func(e grasp.Event) {
		if e.Kind == grasp.Sent {
			sent <- e.Message + " " + e.Objective
		}
	}})
	defer stop()

	asa, err := g.RegisterASA("asa")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := asa.Discover(context.Background(), grasp.NewObjective("example.com:any"), 0, grasp.DiscoverOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-sent)
	text, err := json.Marshal(g.Snapshot().ASAs)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
	// Output:
	// M_DISCOVERY example.com:any
	// ["asa"]
}

// A registration is taken back; a value is sent as encoded CBOR; a locator is
// written by hand.
func ExampleASA_DeregisterObj() {
	mtu := grasp.Objective{Name: "example.com:mtu", Neg: true}
	asa, _, stop := exampleASAs(mtu, grasp.RegisterOptions{})
	defer stop()

	raw, err := grasp.Encode(map[string]int{"mtu": 1500})
	if err != nil {
		log.Fatal(err)
	}
	mtu.Value = raw // as Tag 24
	peer := grasp.NewLocator(netip.MustParseAddrPort("[2001:db8::1]:4000"))
	fmt.Println(peer, peer.IsZero(), len(raw), "bytes")
	if err := asa.StopNegotiate(mtu); err != nil { // nobody listens: no matter
		log.Fatal(err)
	}
	if err := asa.DeregisterObj(mtu); err != nil {
		log.Fatal(err)
	}
	fmt.Println(grasp.Code(asa.DeregisterObj(mtu)))
	// Output:
	// [2001:db8::1]:4000 false 8 bytes
	// Objective not found
}

// Programs that need one instance only share the default one. (It uses the links
// of the machine: that is why this example is not run by the tests.)
func ExampleDefault() {
	g, err := grasp.Default()
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	fmt.Println(g.Snapshot())
}
