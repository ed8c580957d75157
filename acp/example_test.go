package acp_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// What an endpoint may have besides its core is used by way of functions, which
// do without where it has none.
func ExampleAddrs() {
	n := memory.NewNetwork(1)
	lan := n.NewLink(memory.LinkConfig{})
	ep, err := n.NewNode("node", lan).Open()
	if err != nil {
		log.Fatal(err)
	}
	defer ep.Close()
	link := ep.Links()[0]
	interfaces, _ := acp.Interfaces(ep)
	fmt.Println(len(acp.Addrs(ep, link.Index)) > 0, len(interfaces))
	to := netip.AddrPortFrom(link.Addr, acp.Port)
	fmt.Println(acp.SendTo(ep, to, []byte{0xf6}))
	all := []acp.Multicast{{Link: link.Index, Msg: []byte{0xf6}}, {Link: 0, Msg: []byte{0xf6}}}
	acp.SendBatch(ep, all) // one by one here, and so nothing was read that waits
	fmt.Println(all[0].Err, all[1].Err != nil, acp.Waiting(ep))
	fmt.Println(acp.OnLink(ep, netip.MustParseAddr("fe80::1"))) // this plane does not know
	_, tells := acp.NeighbourhoodOf(ep)                         // nor members from others
	fmt.Println(tells)
	fmt.Println(acp.Group6(), acp.Group4())
	// Output:
	// true 1
	// <nil>
	// <nil> true false
	// false
	// false
	// ff02::13 224.0.0.119
}
