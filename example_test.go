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
	"github.com/go-grasp/grasp/acp"
)

// The banker is a whole ASA in 30 lines; a client on another node asks it for
// money and takes what it offers.
func Example() {
	network := acp.NewNetwork(1)
	link := network.NewLink(acp.LinkConfig{})
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
	network := acp.NewNetwork(1)
	link := network.NewLink(acp.LinkConfig{})
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
	network := acp.NewNetwork(1)
	g, err := grasp.New(grasp.Config{
		Plane:  network.NewNode("node", network.NewLink(acp.LinkConfig{Name: "lan"})),
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
	network := acp.NewNetwork(1)
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
	network := acp.NewNetwork(1)
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

	// All who answer within the default time; with First the first only.
	found, err := client.Discover(context.Background(), printing, 0, grasp.DiscoverOptions{First: true})
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

// The three results of ReqNegotiate.
func ExampleASA_ReqNegotiate() {
	ctx := context.Background()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	// The banker accepts little, haggles about much, and declines the rest.
	var bank sync.WaitGroup
	defer bank.Wait()
	bank.Go(func() {
		for range 3 {
			session, o, err := banker.ListenNegotiate(ctx, money)
			if err != nil {
				log.Fatal(err)
			}
			switch asked, _ := o.Value.(int64); {
			case asked <= 10:
				err = session.EndNegotiate(true, "")
			case asked <= 1000:
				o.Value = asked / 2
				_, _, err = session.NegotiateStep(ctx, o, 0)
			default:
				err = session.EndNegotiate(false, "insufficient funds")
			}
			if err != nil {
				log.Fatal(err)
			}
		}
	})

	for _, sum := range []int{10, 100, 10_000} {
		wanted := money
		wanted.Value = sum
		session, got, err := client.ReqNegotiate(ctx, wanted, nil, 0)
		var declined *grasp.DeclinedError
		switch {
		case errors.As(err, &declined):
			fmt.Println(sum, "declined:", declined.Reason)
		case err != nil:
			log.Fatal(err)
		case session == nil:
			fmt.Println(sum, "accepted")
		default:
			fmt.Println(sum, "answered with", got.Value)
			if err := session.EndNegotiate(true, ""); err != nil {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// 10 accepted
	// 100 answered with 50
	// 10000 declined: insufficient funds
}

// A server that takes one request after the other, each session in a goroutine
// of its own, until the context ends.
func ExampleASA_ListenNegotiate() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	var bank sync.WaitGroup
	bank.Go(func() {
		for {
			session, asked, err := banker.ListenNegotiate(ctx, money)
			switch {
			case errors.Is(err, grasp.ErrIDClash):
				continue // a request that was dropped
			case errors.Is(err, grasp.ErrCancelled):
				fmt.Println("closed for today")
				return
			case err != nil:
				log.Fatal(err)
			}
			bank.Go(func() {
				fmt.Println("asked for", asked.Value)
				if err := session.EndNegotiate(true, ""); err != nil {
					log.Print(err)
				}
			})
		}
	})

	wanted := money
	wanted.Value = 100
	if _, _, err := client.ReqNegotiate(ctx, wanted, nil, 0); err != nil {
		log.Fatal(err)
	}
	cancel()
	bank.Wait()
	// Output:
	// asked for 100
	// closed for today
}

// Both sides step towards each other. NegotiateStep has the same three
// results as ReqNegotiate, on both sides.
func ExampleSession_NegotiateStep() {
	ctx := context.Background()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	// The banker begins at 40 and offers 10 more each time.
	var bank sync.WaitGroup
	defer bank.Wait()
	bank.Go(func() {
		session, o, err := banker.ListenNegotiate(ctx, money)
		for offer := 40; err == nil && session != nil; offer += 10 {
			o.Value = offer
			session, o, err = session.NegotiateStep(ctx, o, 0)
		}
		if err != nil {
			log.Fatal(err)
		}
	})

	// The client begins at 100, and takes 55 or more.
	wanted := money
	wanted.Value = 100
	session, o, err := client.ReqNegotiate(ctx, wanted, nil, 0)
	for want := 90; err == nil && session != nil; want -= 10 {
		var offer int
		if err := o.Decode(&offer); err != nil {
			log.Fatal(err)
		}
		fmt.Println("offered", offer)
		if offer >= 55 {
			err = session.EndNegotiate(true, "")
			break
		}
		o.Value = want
		session, o, err = session.NegotiateStep(ctx, o, 0)
	}
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// offered 40
	// offered 50
	// offered 60
}

// Who needs longer than the peer waits tells it so.
func ExampleSession_NegotiateWait() {
	ctx := context.Background()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	var bank sync.WaitGroup
	defer bank.Wait()
	bank.Go(func() {
		session, _, err := banker.ListenNegotiate(ctx, money)
		if err != nil {
			log.Fatal(err)
		}
		if err := session.NegotiateWait(5 * time.Minute); err != nil {
			log.Fatal(err)
		}
		// Here the banker counts his coins.
		if err := session.EndNegotiate(true, ""); err != nil {
			log.Fatal(err)
		}
	})

	wanted := money
	wanted.Value = 100
	_, agreed, err := client.ReqNegotiate(ctx, wanted, nil, 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("agreed on", agreed.Value)
	// Output: agreed on 100
}

func ExampleSession_EndNegotiate() {
	ctx := context.Background()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	var bank sync.WaitGroup
	defer bank.Wait()
	bank.Go(func() {
		session, _, err := banker.ListenNegotiate(ctx, money)
		if err != nil {
			log.Fatal(err)
		}
		if err := session.EndNegotiate(false, "no money left"); err != nil {
			log.Fatal(err)
		}
		// The session is over. To end it again does no harm.
		fmt.Println(errors.Is(session.EndNegotiate(true, ""), grasp.ErrNoSession))
	})

	_, _, err := client.ReqNegotiate(ctx, money, nil, 0)
	bank.Wait()
	fmt.Println(errors.Is(err, grasp.ErrDeclined))
	// Output:
	// true
	// true
}

// A peer that sends nonsense is told so, with something for its programmer.
func ExampleSession_SendInvalid() {
	ctx := context.Background()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	var bank sync.WaitGroup
	defer bank.Wait()
	bank.Go(func() {
		session, o, err := banker.ListenNegotiate(ctx, money)
		if err != nil {
			log.Fatal(err)
		}
		var sum int
		if o.Decode(&sum) != nil {
			err = session.SendInvalid("the value must be a number")
		} else {
			err = session.EndNegotiate(true, "")
		}
		if err != nil {
			log.Fatal(err)
		}
	})

	wanted := money
	wanted.Value = "much"
	_, _, err := client.ReqNegotiate(ctx, wanted, nil, 0)
	fmt.Println(errors.Is(err, grasp.ErrNoValidStep))
	// Output: true
}

// A session for a transfer: instead of negotiating, the two send each other
// any values by turns.
func ExampleASA_OpenSession() {
	ctx := context.Background()
	files := grasp.Objective{Name: "example.com:files", Neg: true, LoopCount: grasp.DefaultLoopCount}
	server, client, stop := exampleASAs(files, grasp.RegisterOptions{})
	defer stop()

	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() {
		session, asked, err := server.ListenNegotiate(ctx, files)
		if err != nil {
			log.Fatal(err)
		}
		for _, part := range []string{"first part of ", "rest of "} {
			if err := session.Send(part + fmt.Sprint(asked.Value)); err != nil {
				log.Fatal(err)
			}
			if _, err := session.Recv(ctx, 0); err != nil { // wants more
				log.Fatal(err)
			}
		}
		if err := session.Send(nil); err != nil { // that was all
			log.Fatal(err)
		}
		if err := session.EndNegotiate(true, ""); err != nil {
			log.Fatal(err)
		}
	})

	wanted := files
	wanted.Value = "the book"
	session, err := client.OpenSession(ctx, wanted, nil, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer session.EndNegotiate(true, "") // the server's end may come first
	for {
		part, err := session.Recv(ctx, 0)
		if err != nil {
			log.Fatal(err)
		}
		if part == nil {
			break
		}
		fmt.Println(part)
		if err := session.Send("more"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// first part of the book
	// rest of the book
}

func ExampleASA_ListenSynchronize() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount}
	station, client, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()

	for _, text := range []string{"fine", "rain"} {
		weather.Value = text
		if err := station.ListenSynchronize(weather); err != nil { // again for each new value
			log.Fatal(err)
		}
		got, err := client.Synchronize(context.Background(), weather, nil, 0)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(got.Value)
	}
	// Output:
	// fine
	// rain
}

// A flooded value if there is one, else one that is asked for; from a peer
// that is given, or else discovered.
func ExampleASA_Synchronize() {
	ctx := context.Background()
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount}
	station, client, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()

	report := weather
	report.Value = map[string]any{"sky": "blue", "degrees": 21}
	if err := station.ListenSynchronize(report); err != nil {
		log.Fatal(err)
	}

	found, err := client.Discover(ctx, weather, 0, grasp.DiscoverOptions{First: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, peer := range found {
		got, err := client.Synchronize(ctx, weather, &peer, time.Second)
		if err != nil {
			log.Print(err)
			continue
		}
		var report struct {
			Sky     string `cbor:"sky"`
			Degrees int    `cbor:"degrees"`
		}
		if err := got.Decode(&report); err != nil {
			log.Fatal(err)
		}
		fmt.Println(report.Sky, report.Degrees)
	}
	// Output: blue 21
}

// Floods reach every node, which keeps them for as long as they live.
func ExampleASA_Flood() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount}
	station, client, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()

	report := weather
	report.Value = "fine"
	if err := station.Flood(time.Minute, grasp.TaggedObjective{Objective: report}); err != nil {
		log.Fatal(err)
	}

	for range time.Tick(10 * time.Millisecond) { // it takes a moment
		flooded, err := client.GetFlood(weather)
		if err != nil {
			log.Fatal(err)
		}
		if len(flooded) > 0 {
			fmt.Println(flooded[0].Objective.Value)
			break
		}
	}
	// Output: fine
}

// Floods of one objective from different sources are values of their own. The
// node that flooded them has them as well.
func ExampleASA_GetFlood() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount}
	station, _, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()

	here := grasp.Locator{FQDN: "here.example.com", Port: 4000}
	there := grasp.Locator{FQDN: "there.example.com", Port: 4000}
	fine, rain := weather, weather
	fine.Value, rain.Value = "fine", "rain"
	err := station.Flood(time.Minute,
		grasp.TaggedObjective{Objective: fine, Source: &here},
		grasp.TaggedObjective{Objective: rain, Source: &there})
	if err != nil {
		log.Fatal(err)
	}

	flooded, err := station.GetFlood(weather)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range flooded {
		fmt.Printf("%v: %v\n", f.Source, f.Objective.Value)
	}
	// Output:
	// here.example.com:4000: fine
	// there.example.com:4000: rain
}

// Who finds that a flooded value is of no use says so, to this node only.
func ExampleASA_ExpireFlood() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount}
	station, _, stop := exampleASAs(weather, grasp.RegisterOptions{})
	defer stop()

	if err := station.Flood(0, grasp.TaggedObjective{Objective: weather}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		flooded, err := station.GetFlood(weather)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(flooded), "flooded")
		for _, f := range flooded {
			if err := station.ExpireFlood(f); err != nil {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// 1 flooded
	// 0 flooded
}

// Received values are of Go's plain types. Decode puts them into others, and
// says if they do not fit.
func ExampleObjective_Decode() {
	o := grasp.Objective{Name: "example.com:money", Value: []any{"NZD", int64(100)}}
	var price struct {
		_        struct{} `cbor:",toarray"`
		Currency string
		Amount   uint32
	}
	if err := o.Decode(&price); err != nil {
		log.Fatal(err)
	}
	fmt.Println(price.Amount, price.Currency)

	o.Value = "much"
	fmt.Println(errors.Is(o.Decode(&price), grasp.ErrCBORFail))
	// Output:
	// 100 NZD
	// true
}

// CBOR that is encoded already, by another library for instance, goes as it
// is, in Tag 24. A plain []byte would be a byte string.
func ExampleEncodedCBOR() {
	o := grasp.Objective{Name: "example.com:numbers", Value: grasp.EncodedCBOR{0x83, 1, 2, 3}}
	var numbers []int
	if err := o.Decode(&numbers); err != nil {
		log.Fatal(err)
	}
	fmt.Println(numbers)
	// Output: [1 2 3]
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
	network := acp.NewNetwork(1)
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
	network := acp.NewNetwork(1)
	g, err := grasp.New(grasp.Config{Plane: network.NewNode("lonely", network.NewLink(acp.LinkConfig{}))})
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

// Why the peer declined.
func ExampleDeclinedError() {
	ctx := context.Background()
	money := grasp.Objective{Name: "example.com:money", Neg: true, LoopCount: grasp.DefaultLoopCount}
	banker, client, stop := exampleASAs(money, grasp.RegisterOptions{})
	defer stop()

	var bank sync.WaitGroup
	defer bank.Wait()
	bank.Go(func() {
		session, _, err := banker.ListenNegotiate(ctx, money)
		if err != nil {
			log.Fatal(err)
		}
		if err := session.EndNegotiate(false, "Недостаточно средств"); err != nil {
			log.Fatal(err)
		}
	})

	_, _, err := client.ReqNegotiate(ctx, money, nil, 0)
	var declined *grasp.DeclinedError
	if errors.As(err, &declined) {
		fmt.Println(declined.Peer.Addr(), "says", declined.Reason)
	}
	// Output: fd00::1:1 says Недостаточно средств
}

// Trace is told of every message. It is called by several goroutines.
func ExampleConfig_trace() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount, Value: "fine"}
	network := acp.NewNetwork(1)
	link := network.NewLink(acp.LinkConfig{})
	var mu sync.Mutex
	station, err := grasp.New(grasp.Config{
		Plane: network.NewNode("station", link),
		Trace: func(e grasp.Event) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Println(e.Kind, e.Message)
		},
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
	network := acp.NewNetwork(1)
	link := network.NewLink(acp.LinkConfig{})
	proxy := grasp.Objective{Name: "AN_Proxy", Neg: true, LoopCount: 1}

	start := func(name string) *grasp.ASA {
		g, err := grasp.New(grasp.Config{
			Plane: acp.Insecure{Plane: network.NewNode(name, link)},
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

	found, err := pledge.Discover(ctx, proxy, time.Second, grasp.DiscoverOptions{First: true})
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

// In rapid mode the value comes with the answer to the discovery.
func ExampleRegisterOptions_rapid() {
	weather := grasp.Objective{Name: "example.com:weather", Synch: true, LoopCount: grasp.DefaultLoopCount}
	station, client, stop := exampleASAs(weather, grasp.RegisterOptions{Rapid: true})
	defer stop()

	report := weather
	report.Value = "fine"
	if err := station.ListenSynchronize(report); err != nil {
		log.Fatal(err)
	}
	got, err := client.Synchronize(context.Background(), weather, nil, 0)
	if err != nil {
		log.Fatal(err)
	}
	sent := client.Instance().Snapshot().Sent
	fmt.Println(got.Value, "after", sent["M_DISCOVERY"], "discovery and", sent["M_REQ_SYN"], "requests")
	// Output: fine after 1 discovery and 0 requests
}
