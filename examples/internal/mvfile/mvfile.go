// Package mvfile moves files from one node to another by negotiation of the
// objective 411:mvFile, as the prototype's agents pusher and getter do: the
// getter asks for a file by its name, the pusher sends a chunk with each step,
// and the getter answers each with "ACK", until it gets an empty chunk and
// accepts.
//
//	getter                        pusher
//	M_REQ_NEG   "name"    ------>
//	                      <------ M_NEGOTIATE h'first chunk'
//	M_NEGOTIATE "ACK"     ------>
//	                      <------ M_NEGOTIATE h'second chunk'
//	M_NEGOTIATE "ACK"     ------>
//	                      <------ M_NEGOTIATE h''
//	M_END accept          ------>
//
// Neither side counts steps: as in the prototype, each gives back the loop
// count that the other used up. It is for trying things out: each KiB takes a
// round trip.
package mvfile

import (
	"time"

	"github.com/go-grasp/grasp"
)

const (
	// chunkSize is what fits a message of RFC 8990, with room to spare.
	chunkSize = 1024
	// ack is the getter's answer to a chunk.
	ack = "ACK"
	// loopCount is that of each step.
	loopCount = 10
	// patience is how long to wait for the other side's next step.
	patience = 10 * time.Second
)

func objective() grasp.Objective {
	return grasp.Objective{Name: "411:mvFile", Neg: true, LoopCount: loopCount}
}
