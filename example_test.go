package grasp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
)

// The banker is a whole ASA in 30 lines; a client on another node asks it for
// money and takes what it offers.
func Example() {
	network := memory.NewNetwork(1)
	link := network.NewLink(memory.LinkConfig{Delay: 10 * time.Millisecond})
	here, err := grasp.New(grasp.Config{Plane: network.NewNode("here", link)})
	if err != nil {
		log.Fatal(err)
	}
	defer here.Close()
	there, err := grasp.New(grasp.Config{Plane: network.NewNode("there", link)})
	if err != nil {
		log.Fatal(err)
	}
	defer there.Close()

	var bank sync.WaitGroup
	bank.Go(func() {
		if err := banker(context.Background(), here); err != nil {
			log.Fatal(err)
		}
	})
	client, err := there.RegisterASA("client")
	if err != nil {
		log.Fatal(err)
	}
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: 6, Value: 100}
	if err := client.RegisterObj(money, grasp.RegisterOptions{}); err != nil {
		log.Fatal(err)
	}
	session, offer, err := client.ReqNegotiate(context.Background(), money, nil, 0) // finds the banker
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("offered", offer.Value)
	if err := session.EndNegotiate(true, ""); err != nil {
		log.Fatal(err)
	}
	bank.Wait()
	// Output:
	// offered 50
	// agreed on 50
}

// banker is an ASA that offers half of what it is asked for.
func banker(ctx context.Context, g *grasp.Instance) error {
	asa, err := g.RegisterASA("banker")
	if err != nil {
		return err
	}
	defer asa.Deregister()
	money := grasp.NewObjective("example.com:money")
	money.Neg = true
	if err := asa.RegisterObj(money, grasp.RegisterOptions{}); err != nil {
		return err
	}
	session, money, err := asa.ListenNegotiate(ctx, money) // waits for a client
	if err != nil {
		return err
	}
	var asked int
	if err := money.Decode(&asked); err != nil {
		return session.EndNegotiate(false, "not a number")
	}
	money.Value = asked / 2
	session, money, err = session.NegotiateStep(ctx, money, 0)
	if err != nil {
		return err // a *grasp.DeclinedError, for one
	}
	if session != nil { // else the client accepted
		return session.EndNegotiate(false, "take it or leave it")
	}
	fmt.Println("agreed on", money.Value)
	return nil
}

// exampleASAs starts two nodes on a link of an in-memory network, with an ASA
// on each that has registered the objective.
func exampleASAs(o grasp.Objective, opt grasp.RegisterOptions) (server, client *grasp.ASA, stop func()) {
	network := memory.NewNetwork(1)
	link := network.NewLink(memory.LinkConfig{Delay: 10 * time.Millisecond})
	start := func(name string) *grasp.ASA {
		g, err := grasp.New(grasp.Config{Plane: network.NewNode(name, link)})
		if err != nil {
			log.Fatal(err)
		}
		asa, err := g.RegisterASA(name)
		if err != nil {
			log.Fatal(err)
		}
		if err := asa.RegisterObj(o, opt); err != nil {
			log.Fatal(err)
		}
		return asa
	}
	server, client = start("server"), start("client")
	return server, client, func() {
		if err := errors.Join(client.Instance().Close(), server.Instance().Close()); err != nil {
			log.Fatal(err)
		}
	}
}

// The default instance uses the links of the machine. (That is why this
// example is not run by the tests.)
func ExampleRegisterASA() {
	asa, err := grasp.RegisterASA("Briggs")
	if err != nil {
		log.Fatal(err)
	}
	defer asa.Instance().Close()
	asa.Tprint("ready")
}

// A program with several GRASP nodes, or with a plane of its own, makes
// instances. They share nothing.
func ExampleNew() {
	network := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{
		Plane:  network.NewNode("node", network.NewLink(memory.LinkConfig{Name: "lan"})),
		Limits: grasp.Limits{MaxMessage: 8192}, // all nodes must agree on that
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	for _, link := range g.Snapshot().Links {
		fmt.Println("uses", link.Name)
	}
	// Output: uses lan
}

// What makes no sense is refused.
func ExampleNew_error() {
	_, err := grasp.New(grasp.Config{Limits: grasp.Limits{MaxMessage: 100}})
	fmt.Println(err)
	// Output: grasp: new: Unspecified error: Config.MaxMessage is 100, the least is 2048
}

func ExampleInstance_RegisterASA() {
	network := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: network.NewNode("node")})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	asa, err := g.RegisterASA("Briggs")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("registered", asa.Name())

	_, err = g.RegisterASA("Briggs")
	fmt.Println(err)
	// Output:
	// registered Briggs
	// grasp: register ASA "Briggs": Duplicate ASA name
}

// ASAs of one instance that all say so share an objective: the requests go to
// whichever of them listens.
func ExampleASA_RegisterObj() {
	network := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: network.NewNode("node")})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	for _, name := range []string{"Briggs", "Coutts"} {
		asa, err := g.RegisterASA(name)
		if err != nil {
			log.Fatal(err)
		}
		err = asa.RegisterObj(money, grasp.RegisterOptions{TTL: 10 * time.Minute, Overlap: true})
		if err != nil {
			log.Fatal(err)
		}
	}
	for _, o := range g.Snapshot().Objectives {
		fmt.Println(o.Name, o.ASAs)
	}
	// Output: example.com:money [Briggs Coutts]
}

func ExampleASA_Deregister() {
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, _, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	if err := banker.Deregister(); err != nil {
		log.Fatal(err)
	}
	_, _, err := banker.ListenNegotiate(context.Background(), money)
	fmt.Println(errors.Is(err, grasp.ErrNoASA))
	// Output: true
}

func ExampleASA_Discover() {
	printing := grasp.NewObjective("example.com:printing")
	_, client, stop := exampleASAs(printing, grasp.RegisterOptions{Discoverable: true})
	defer stop()

	// All who answer within the time, of which 0 is the default; with First the first only.
	found, err := client.Discover(context.Background(), printing, time.Minute, grasp.DiscoverOptions{First: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, locator := range found {
		fmt.Println(locator.IP, locator.Protocol == grasp.TCP)
	}
	// Output: fd00::1:1 true
}

// A node that is known, from its configuration for one, can be asked alone, with
// no multicast.
func ExampleASA_Discover_peer() {
	printing := grasp.NewObjective("example.com:printing")
	server, client, stop := exampleASAs(printing, grasp.RegisterOptions{Discoverable: true})
	defer stop()

	at := grasp.Locator{IP: server.Instance().Snapshot().Address} // on port 7017
	found, err := client.Discover(context.Background(), printing, 0, grasp.DiscoverOptions{Peer: &at})
	if err != nil {
		log.Fatal(err)
	}
	for _, locator := range found {
		fmt.Println(locator.IP, locator.Protocol == grasp.TCP)
	}
	// Output: fd00::1:1 true
}

func ExampleInstance_Snapshot() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount, Value: "fine"}
	station, _, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()
	if err := station.ListenSynchronize(weather); err != nil {
		log.Fatal(err)
	}

	now := station.Instance().Snapshot()
	fmt.Println("secure:", now.Status.Secure, "ASAs:", now.ASAs, "sessions:", len(now.Sessions))
	for _, o := range now.Objectives {
		fmt.Println(o.Name, "is", o.Value)
	}
	// Output:
	// secure: true ASAs: [server] sessions: 0
	// example.com:weather is "fine"
}

func ExampleInstance_DumpAll() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount, Value: "fine"}
	station, _, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()
	if err := station.ListenSynchronize(weather); err != nil {
		log.Fatal(err)
	}
	if err := station.Flood(0, grasp.TaggedObjective{Objective: weather}); err != nil {
		log.Fatal(err)
	}
	station.Instance().DumpAll(true) // false: all there is
	// Output:
	// Objective registry: 1
	//   example.com:weather ASAs: server Neg: false Dry: false Synch: true Count: 6 Discoverable: true Waiting: 0 Value: "fine"
	// Flood cache: 1
	//   example.com:weather count: 6 value: "fine" source: no locator
}

// An instance's settings say where its ASAs print.
func ExampleASA_Tprint() {
	network := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{
		Plane:    network.NewNode("node"),
		Dialogue: grasp.Dialogue{Testing: true, Output: os.Stdout},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	asa, err := g.RegisterASA("Briggs")
	if err != nil {
		log.Fatal(err)
	}
	asa.Tprint("ready for", 2, "clients")
	asa.Ttprint("in test mode only")
	// Output:
	// Briggs: ready for 2 clients
	// Briggs: in test mode only
}

// Without an ASA at hand, Tprint prints for the default instance.
func ExampleTprint() {
	grasp.Tprint("the answer is", 42)
	// Output: the answer is 42
}

// What the Python module asks on the terminal is set before the default
// instance is first used.
func ExampleSkipDialogue() {
	grasp.SkipDialogue(grasp.Dialogue{Testing: true})
	defer grasp.SkipDialogue(grasp.Dialogue{})
	grasp.Ttprint("in test mode")
	// Output: in test mode
}

// A program that wants to ask as the Python module does, asks its user.
func ExampleAskDialogue() {
	in, out := strings.NewReader("y\nn\nn\n"), io.Discard // a program takes os.Stdin and os.Stdout
	dialogue, err := grasp.AskDialogue(in, out)
	if err != nil {
		log.Fatal(err)
	}
	grasp.SkipDialogue(dialogue) // or in Config for another instance than the default one
	defer grasp.SkipDialogue(grasp.Dialogue{})
	grasp.Ttprint("in test mode")
	// Output: in test mode
}

// Errors are tested with errors.Is. The number is that of the Python module.
func ExampleCode() {
	network := memory.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: network.NewNode("lonely", network.NewLink(memory.LinkConfig{}))})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	asa, err := g.RegisterASA("client")
	if err != nil {
		log.Fatal(err)
	}
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: 1}
	_, err = asa.Synchronize(context.Background(), weather, nil, 100*time.Millisecond)
	if errors.Is(err, grasp.ErrNotFloodDisc) {
		fmt.Println("nobody has it")
	}
	fmt.Println(int(grasp.Code(err)), err)
	// Output:
	// nobody has it
	// 33 grasp: synchronize "example.com:weather": Not flooded and no reply to discovery
}

// Trace is told of every message, one after the other. All is told when Close
// returns.
func ExampleConfig_trace() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount, Value: "fine"}
	network := memory.NewNetwork(1)
	link := network.NewLink(memory.LinkConfig{})
	station, err := grasp.New(grasp.Config{
		Plane: network.NewNode("station", link),
		Trace: func(e grasp.Event) { fmt.Println(e.Kind, e.Message) },
	})
	if err != nil {
		log.Fatal(err)
	}
	asa, err := station.RegisterASA("station")
	if err != nil {
		log.Fatal(err)
	}
	if err := asa.RegisterObj(weather, grasp.RegisterOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := asa.ListenSynchronize(weather); err != nil {
		log.Fatal(err)
	}

	here, err := grasp.New(grasp.Config{Plane: network.NewNode("here", link)})
	if err != nil {
		log.Fatal(err)
	}
	client, err := here.RegisterASA("client")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Synchronize(context.Background(), weather, nil, 0); err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(here.Close(), station.Close()); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// received M_DISCOVERY
	// sent M_RESPONSE
	// received M_REQ_SYN
	// sent M_SYNCH
}

// A DULL instance finds its neighbours where nothing is secured yet, and does
// nothing else.
func ExampleConfig_dull() {
	ctx := context.Background()
	network := memory.NewNetwork(1)
	link := network.NewLink(memory.LinkConfig{})
	proxy := grasp.Objective{Name: "AN_Proxy", Neg: true, LoopCount: 1}

	start := func(name string) *grasp.ASA {
		g, err := grasp.New(grasp.Config{
			Plane: memory.Insecure{Plane: network.NewNode(name, link)},
			DULL:  true,
		})
		if err != nil {
			log.Fatal(err)
		}
		asa, err := g.RegisterASA(name)
		if err != nil {
			log.Fatal(err)
		}
		if err := asa.RegisterObj(proxy, grasp.RegisterOptions{Discoverable: true}); err != nil {
			log.Fatal(err)
		}
		return asa
	}
	neighbour, pledge := start("proxy"), start("pledge")
	defer neighbour.Instance().Close()
	defer pledge.Instance().Close()

	found, err := pledge.Discover(ctx, proxy, time.Minute, grasp.DiscoverOptions{First: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, locator := range found {
		fmt.Println(locator.IP.WithZone(""), "is a proxy")
	}
	_, _, err = pledge.ReqNegotiate(ctx, proxy, nil, 0)
	fmt.Println(errors.Is(err, grasp.ErrNoSecurity))
	// Output:
	// fe80::1:2 is a proxy
	// true
}
