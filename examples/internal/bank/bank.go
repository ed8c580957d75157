// Package bank holds the two Autonomic Service Agents (ASAs) of the GRASP
// prototype's manual: [Briggs], a banker who gives out money, and [Grays],
// clients who ask for it. The commands briggs, gray and pair run them.
//
// They talk about three objectives, whose names are reserved for examples
// (RFC 8990 section 2.10.5):
//
//   - EX1, a text with the time, which Briggs floods every minute;
//   - EX2, a value that never changes, which Briggs gives to whoever asks;
//   - EX3, a sum of money, which is negotiated.
//
// Much of what they do is random, so that everything that can happen does happen in
// time: sums are given at once, after bargaining or not at all, and answers are late,
// or too late.
package bank

import (
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// Settings are what an ASA needs to know.
type Settings struct {
	// N is the number of negotiations; 0 means no end.
	N int
	// Seed seeds the random choices: with the same seed an ASA makes the same
	// choices. If several negotiations run at the same time, it is not determined
	// which of them gets which choice.
	Seed uint64
	// Wait is the longest delay that an ASA makes: how long Briggs makes a
	// client wait, now and then. Grays rest half of it between negotiations.
	Wait time.Duration
	// Outcomes is told how each negotiation ended.
	Outcomes *cli.Outcomes
}

// SettingsOf returns those that a program's user chose.
func SettingsOf(p *cli.Program) Settings {
	return Settings{N: p.N, Seed: p.Seed, Wait: p.Wait, Outcomes: p.Outcomes}
}

// patience is how long an ASA waits for the other's next step, unless it is
// asked for more. The prototype's second is short for a busy machine.
const patience = 5 * time.Second

// maxSteps bounds a negotiation with a peer that does not count down.
const maxSteps = 255

func ex1() grasp.Objective {
	return grasp.Objective{Name: "EX1", Synch: true, LoopCount: 4}
}

func ex2() grasp.Objective {
	return grasp.Objective{Name: "EX2", Synch: true, LoopCount: 4}
}

func ex3() grasp.Objective {
	return grasp.Objective{Name: "EX3", Neg: true, LoopCount: grasp.DefaultLoopCount}
}

// newRand returns the source of chance of the ASA with this name.
func newRand(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// between returns a random number from low to high.
func between(r *rand.Rand, low, high int) int { return low + r.IntN(high-low+1) }
