// Command carried is the Python prototype's Gray, carried over: docs/carrying-over.md.
package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/go-grasp/grasp"
)

func main() {
	asa, err := grasp.RegisterASA("Gray")
	if err == nil {
		err = gray(context.Background(), asa)
	}
	grasp.Tprint("ASA exiting:", err)
}

func gray(ctx context.Context, asa *grasp.ASA) error {
	ex2, ex3 := grasp.Objective{Name: "EX2", Synch: true}, grasp.Objective{Name: "EX3", Neg: true}
	if err := asa.RegisterObj(ex3, grasp.RegisterOptions{Overlap: true}); err != nil {
		return err
	}
	got, err := asa.Synchronize(ctx, ex2, nil, 5*time.Second)
	asa.Tprint("Synchronize EX2:", got.Value, err)
	for ; ctx.Err() == nil; time.Sleep(time.Second) {
		ex3.Dry, ex3.LoopCount = rand.IntN(2) == 0, uint8(4+rand.IntN(17))
		sum, err := haggle(ctx, asa, ex3, 10+rand.Int64N(491))
		asa.Tprint("Outcome:", sum, err)
		flooded, _ := asa.GetFlood(grasp.Objective{Name: "EX1", Synch: true})
		for _, x := range flooded {
			asa.Tprint("Flooded EX1 from", x.Source, "=", x.Objective.Value)
		}
	}
	return asa.Deregister()
}

// haggle asks for a sum, then for a tenth less each time, down to 70 %.
func haggle(ctx context.Context, asa *grasp.ASA, o grasp.Objective, wanted int64) (any, error) {
	o.Value = [2]any{"NZD", wanted}
	session, o, err := asa.ReqNegotiate(ctx, o, nil, 0) // finds a peer first
	for asked := wanted * 9 / 10; session != nil && err == nil; asked = asked * 9 / 10 {
		var offer [2]any
		_ = o.Decode(&offer) // what is no sum counts as nothing
		switch amount, _ := offer[1].(int64); {
		case amount >= asked:
			return o.Value, session.EndNegotiate(true, "")
		case asked < wanted*7/10:
			return "no deal", session.EndNegotiate(false, "You are mean!")
		}
		o.Value = [2]any{"NZD", asked}
		session, o, err = session.NegotiateStep(ctx, o, time.Second)
	}
	if session != nil { // the loop count is exhausted
		_ = session.EndNegotiate(false, err.Error())
	}
	return o.Value, err
}
