package grasp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/go-grasp/grasp"
)

// A responder in a few lines: it accepts what is less than 100, thinks about
// 100, and offers 100 to who wants more.
func ExampleASA_Serve() {
	bandwidth := grasp.Typed[int]{Objective: grasp.Objective{Name: "example.com:bandwidth", Neg: true}}
	server, client, stop := exampleASAs(bandwidth.Objective, grasp.RegisterOptions{Discoverable: true})
	defer stop()

	outcome := make(chan string, 1)
	policy := grasp.Policy[int]{
		Decide: func(_ context.Context, asked int, dry bool) (grasp.Decision[int], error) {
			switch {
			case asked < 0:
				return grasp.Decline[int]("less than nothing"), nil
			case asked > 100:
				return grasp.Counter(100), nil
			case asked == 100:
				return grasp.Wait(time.Minute, func(context.Context) (grasp.Decision[int], error) {
					return grasp.Accept[int](), nil
				}), nil
			}
			return grasp.Accept[int](), nil
		},
		Done: func(last int, agreed bool) { outcome <- fmt.Sprint(last, " agreed: ", agreed) },
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- server.Serve(ctx, bandwidth.Objective, policy.Handle, grasp.ServeOptions{}) }()

	for _, asked := range []int{100, 200, -1} {
		session, offer, err := bandwidth.ReqNegotiate(ctx, client, asked, nil, 0)
		for errors.Is(err, grasp.ErrNoPeer) { // it does not listen yet
			session, offer, err = bandwidth.ReqNegotiate(ctx, client, asked, nil, 0)
		}
		var declined *grasp.DeclinedError
		switch {
		case errors.As(err, &declined):
			fmt.Println(asked, "declined:", declined.Reason)
		case err != nil:
			log.Fatal(err)
		case session == nil:
			fmt.Println(asked, "accepted")
		default:
			fmt.Println(asked, "answered by", offer)
			if err := session.EndNegotiate(true, ""); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Println("server:", <-outcome)
	}
	end()
	fmt.Println(<-served)
	// Output:
	// 100 accepted
	// server: 100 agreed: true
	// 200 answered by 100
	// server: 100 agreed: true
	// -1 declined: less than nothing
	// server: -1 agreed: false
	// <nil>
}

// Flooded values are followed as they come; values are of a Go type.
func ExampleASA_WatchFloods() {
	type report struct {
		Sky     string `cbor:"1,keyasint"`
		Degrees int    `cbor:"2,keyasint"`
	}
	weather := grasp.Typed[report]{Objective: grasp.Objective{Name: "example.com:weather", Synch: true}}
	station, client, stop := exampleASAs(weather.Objective, grasp.RegisterOptions{})
	defer stop()

	next := report{"blue", 21}
	if err := station.Flood(0, grasp.TaggedObjective{Objective: weather.With(next)}); err != nil {
		log.Fatal(err)
	}
	for e := range client.WatchFloods(context.Background(), weather.Objective) {
		if e.Err != nil {
			log.Fatal(e.Err)
		}
		got, err := weather.Of(e.Flood.Objective)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Change, got.Sky, got.Degrees)
		if e.Change == grasp.Changed {
			break
		}
		next.Degrees++
		if err := station.Flood(0, grasp.TaggedObjective{Objective: weather.With(next)}); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// added blue 21
	// changed blue 22
}
