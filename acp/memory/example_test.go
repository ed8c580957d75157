package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"syscall"

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
