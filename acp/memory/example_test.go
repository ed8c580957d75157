package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// Two nodes on a link: one multicasts, the other dials back.
func ExampleNetwork() {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{Name: "lan"})
	alice, err := n.NewNode("alice", link).Open()
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()
	bob, err := n.NewNode("bob", link).Open()
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()

	if err := alice.Send(alice.Links()[0].Index, []byte("anybody there?")); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, bob.MaxMulticast())
	k, from, err := bob.Receive(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("bob hears %q\n", buf[:k])

	answer, err := bob.Dial(context.Background(), from.Addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(answer, "bob is")
	answer.Close()

	s, err := alice.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	text, err := io.ReadAll(s)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("alice reads %q\n", text)
	// Output:
	// bob hears "anybody there?"
	// alice reads "bob is"
}

// In a chain, streams are routed over the node in the middle until it dies.
func ExampleNode_Kill() {
	n := memory.NewNetwork(1)
	left, right := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
	a, b, c := n.NewNode("a", left), n.NewNode("b", left, right), n.NewNode("c", right)
	from, err := a.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer from.Close()
	to, err := c.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer to.Close()

	for range 2 {
		s, err := from.Dial(context.Background(), netip.AddrPortFrom(c.Addr(), to.Port()))
		if err != nil {
			fmt.Println("no path:", errors.Is(err, syscall.EHOSTUNREACH))
			return
		}
		fmt.Println("connected to", s.Peer.Addr())
		s.Close()
		b.Kill()
	}
	// Output:
	// connected to fd00::3:1
	// no path: true
}

// What can happen to a network: links that delay, lose and go down, nodes that
// move, get other addresses, lose their protection and die.
func ExampleLink() {
	n := memory.NewNetwork(1)
	lan := n.NewLink(memory.LinkConfig{Name: "lan"})
	lan.SetDelay(10 * time.Millisecond)
	lan.SetJitter(time.Millisecond)
	lan.SetLoss(0.5)
	remove := lan.Tap(func(p memory.Packet) { fmt.Printf("%s sends %q\n", p.From.Name(), p.Data) })

	alice, bob := n.NewNode("alice", lan), n.NewNode("bob")
	bob.Attach(lan)
	ep, err := alice.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer ep.Close()
	if err := ep.Send(ep.Links()[0].Index, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	remove()
	fmt.Println(lan.Name(), lan.Stats().Sent, "sent")

	lan.Cut(alice, bob) // from each other, not from others
	lan.CutOneWay(bob, alice)
	lan.Mend(alice, bob)
	lan.Down()
	lan.Up()
	bob.RenumberLink(lan)
	bob.Renumber()
	if err := bob.SetAddr(netip.MustParseAddr("2001:db8::1")); err != nil {
		log.Fatal(err)
	}
	_, on := bob.Link(lan)
	fmt.Println(bob.Name(), bob.Addr(), on)
	bob.SetStatus(acp.Status{Reason: "the certificate ran out"})
	fmt.Println(bob.Status().Reason)
	bob.Detach(lan)
	bob.Kill()
	// Output:
	// alice sends "hello"
	// lan 1 sent
	// bob 2001:db8::1 true
	// the certificate ran out
}

// A stream from a node to itself.
func ExamplePipe() {
	dialed, accepted, err := memory.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	accepted.SetMaxMessage(4096) // for planes that keep a message until it is whole
	fmt.Println(accepted.Memory() >= 0)
	fmt.Fprint(dialed, "hello")
	dialed.Close()
	text, err := io.ReadAll(accepted)
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// true
	// hello <nil>
}
