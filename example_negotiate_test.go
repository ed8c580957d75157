package grasp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
)

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
