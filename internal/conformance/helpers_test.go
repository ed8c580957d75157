package conformance

import "time"

// arr is an array as the grammar of RFC 8990 writes it.
type arr = []any

// What the instance does without being told in its Config.
const (
	dialTimeout            = 5 * time.Second
	maxResponders          = 256 // responses under way
	respondersPerNeighbour = 64  // of them to one neighbour
	strangers              = 64  // of them to those on a link that were never reached
)
