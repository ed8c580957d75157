package acp

// Poke makes a Layer2 endpoint look at its interfaces now, as a source of
// events would, so that tests of many changes need not wait for each.
func Poke(e Endpoint) { e.(*layer2Endpoint).poke() }

// Drops is the number of datagrams that a Layer2 endpoint dropped.
func Drops(e Endpoint) uint64 { return e.(*layer2Endpoint).drops.Load() }
