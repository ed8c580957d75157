package grasp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/go-grasp/grasp"
)

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

	found, err := client.Discover(ctx, weather, time.Minute, grasp.DiscoverOptions{First: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, peer := range found {
		got, err := client.Synchronize(ctx, weather, &peer, time.Minute)
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
	fmt.Println(got.Value, "after", sent["M_REQ_SYN"], "requests")
	// Output: fine after 0 requests
}
