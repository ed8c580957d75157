package tlsplane_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
)

// Two nodes of a domain, with certificates in files. On a real network a node
// leaves Underlay out, and its files come from whoever runs the domain;
//
//	go run ./examples/domain -dir DIR -members briggs,gray
//
// makes some to try.
func Example() {
	dir, err := testDomain("briggs", "gray")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	network := memory.NewNetwork(1)
	link := network.NewLink(memory.LinkConfig{})

	start := func(name string) *grasp.ASA {
		files, err := tlsplane.LoadFiles(tlsplane.InDir(dir, name), nil)
		if err != nil {
			log.Fatal(err)
		}
		cert, err := files.Certificate() // what the plane asks for by itself
		if err != nil {
			log.Fatal(err)
		}
		if err := files.Revoked([]*x509.Certificate{cert.Leaf}); err != nil {
			log.Fatal(err)
		}
		if roots, err := files.Roots(); err != nil || roots == nil || files.Err() != nil {
			log.Fatal("no trust anchors: ", err)
		}
		g, err := grasp.New(grasp.Config{Plane: &tlsplane.Plane{
			Underlay:    network.NewNode(name, link),
			Credentials: files,
		}})
		if err != nil {
			log.Fatal(err)
		}
		asa, err := g.RegisterASA(name)
		if err != nil {
			log.Fatal(err)
		}
		return asa
	}
	briggs, gray := start("briggs"), start("gray")
	defer briggs.Instance().Close()
	defer gray.Instance().Close()

	money := grasp.NewObjective("EX3")
	money.Neg = true
	if err := briggs.RegisterObj(money, grasp.RegisterOptions{Discoverable: true}); err != nil {
		log.Fatal(err)
	}
	if err := gray.RegisterObj(money, grasp.RegisterOptions{}); err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		session, _, err := briggs.ListenNegotiate(context.Background(), money)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("a request of", session.Identity())
		_ = session.EndNegotiate(false, "not today")
	}()
	_, _, err = gray.ReqNegotiate(context.Background(), money, nil, 10*time.Second)
	<-done
	fmt.Println(grasp.Code(err))
	// Output:
	// a request of gray
	// Declined
}

// testDomain makes the files of a domain.
func testDomain(members ...string) (string, error) {
	dir, err := os.MkdirTemp("", "domain")
	if err != nil {
		return "", err
	}
	d, err := domain.Create(dir, "an example")
	if err != nil {
		return "", err
	}
	for _, name := range members {
		cert, err := d.Issue(name, 24*time.Hour)
		if err != nil {
			return "", err
		}
		if err := domain.SaveMember(dir, name, cert); err != nil {
			return "", err
		}
	}
	return dir, nil
}
