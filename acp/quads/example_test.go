package quads_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
)

// Two members of a domain share its password. Who has another one neither
// understands nor is heard. (In a program, Under is left out: the domain is
// then on the links of the machine.)
func ExamplePlane() {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{Name: "lan"})
	join := func(name, password string) acp.Endpoint {
		e, err := (&quads.Plane{Password: password, Under: n.NewNode(name, link)}).Open()
		if err != nil {
			log.Fatal(err)
		}
		return e
	}
	alice, bob := join("alice", "a long password"), join("bob", "a long password")
	defer alice.Close()
	defer bob.Close()
	eve := join("eve", "a guess")
	defer eve.Close()

	noop := []byte{0x81, 0x00} // a message: [M_NOOP]
	if err := alice.Send(alice.Links()[0].Index, noop); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 2048)
	k, _, err := bob.Receive(buf)
	fmt.Printf("bob hears %x: %v\n", buf[:k], err)
	_, _, err = eve.Receive(buf)
	fmt.Println("eve hears a foreign message:", errors.Is(err, acp.ErrForeign))
	// Output:
	// bob hears 8100: <nil>
	// eve hears a foreign message: true
}
