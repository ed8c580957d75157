package monitor_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/monitor"
)

// An instance is watched, and what it does can be read.
func Example() {
	g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("a node")})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	mon := monitor.New(monitor.Config{Caption: "bank"})
	defer mon.Close()
	mon.Watch("banker", g)
	url, err := mon.Listen("localhost:0") // any free port
	if err != nil {
		log.Fatal(err)
	}

	if _, err := g.RegisterASA("Briggs"); err != nil {
		log.Fatal(err)
	}
	answer, err := http.Get(url + "metrics")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, "grasp_asas{") {
			fmt.Print(line)
		}
	}
	// Output:
	// grasp_asas{node="banker"} 1
}

// A monitor shows the nodes of a network: its own, and those of other monitors.
func ExampleMonitor_Network() {
	n := memory.NewNetwork(1)
	link := n.NewLink(memory.LinkConfig{})
	start := func(name string) (*grasp.Instance, *monitor.Monitor) {
		g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, link)})
		if err != nil {
			log.Fatal(err)
		}
		m := monitor.New(monitor.Config{Caption: name})
		m.Watch(name, g)
		return g, m
	}
	router, routers := start("router")
	defer router.Close()
	defer routers.Close()
	host, hosts := start("host")
	defer host.Close()
	defer hosts.Close()

	url, err := hosts.Listen("localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	stop, err := routers.Follow("", url)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	// Others would be found by GRASP, had they announced themselves with
	// hosts.Announce(host, "host"), which needs a monitor beyond localhost.
	end, err := routers.Find(router, []netip.Prefix{netip.MustParsePrefix("fd00::/8")})
	if err != nil {
		log.Fatal(err)
	}
	defer end()
	if _, err := hosts.Announce(host, "host"); err != nil {
		fmt.Println(err)
	}
	for _, n := range routers.Network(context.Background()).Nodes {
		fmt.Println(n.Name, len(n.Ends), n.Status.Secure)
	}
	// Output:
	// monitor: announce: it does not listen beyond localhost: give Listen another address
	// host 1 true
	// router 1 true
}

// A program that has a web server serves the monitor on it, here below a path.
// A name by which it is asked must be given.
func ExampleMonitor_ServeHTTP() {
	g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("a node")})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	mon := monitor.New(monitor.Config{Hosts: []string{"router.example"}})
	defer mon.Close()
	stop := mon.Watch("router", g)
	defer stop() // to watch it no longer
	mux := http.NewServeMux()
	mux.Handle("/grasp/", http.StripPrefix("/grasp", mon))
	// log.Fatal(http.ListenAndServe("localhost:8990", mux))

	for _, i := range mon.State().Instances {
		fmt.Println(i.Name, i.Snapshot.Status.Secure)
	}
	// Output:
	// router true
}

// The ASAs of the default instance speak in bubbles, as in Python.
func ExampleInitBubbleText() {
	url, err := monitor.InitBubbleText("Briggs")
	if err != nil {
		log.Fatal(err)
	}
	asa, err := grasp.RegisterASA("Briggs")
	if err != nil {
		log.Fatal(err)
	}
	defer asa.Deregister()
	asa.Tprint("See", url)
}
