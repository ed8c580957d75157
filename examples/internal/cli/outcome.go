package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Outcome is how a negotiation ended, as one side saw it. If nothing went
// wrong both sides report the same, but for their names.
type Outcome struct {
	// ASA is who reports it.
	ASA string `json:"asa"`
	// Asked is what was first asked for; null if that could not be read.
	Asked any `json:"asked"`
	// Outcome is how it ended.
	Outcome Result `json:"outcome"`
	// Value is what was agreed on; null if there is none.
	Value any `json:"value"`
	// Steps counts the offers that went to and fro after the request: 0 if
	// the request was accepted or declined at once.
	Steps int `json:"steps"`
	// Reason is why there was no agreement, in the words of the side that
	// declined, or those of the error. Empty if they agreed.
	Reason string `json:"reason"`
}

// Result is one of the ways in which a negotiation can end.
type Result string

// The results.
const (
	Agreed   Result = "agreed"
	Declined Result = "declined" // by either side
	Failed   Result = "failed"   // something went wrong
)

// Outcomes collects the outcomes of all ASAs of a program. It may be used by
// several goroutines at once.
type Outcomes struct {
	out io.Writer // nil if nobody wants to read them

	mu    sync.Mutex // guards all following fields
	count map[string]map[Result]int
	err   error // the first failure to write
}

// NewOutcomes returns an empty collection. Each outcome is written to out as
// a line of JSON, with one write, unless out is nil.
func NewOutcomes(out io.Writer) *Outcomes {
	return &Outcomes{out: out, count: make(map[string]map[Result]int)}
}

// Add adds an outcome.
func (c *Outcomes) Add(o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[o.ASA] == nil {
		c.count[o.ASA] = make(map[Result]int)
	}
	c.count[o.ASA][o.Outcome]++
	if c.out == nil || c.err != nil {
		return
	}
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	c.err = e.Encode(o)
}

// Summary says how many negotiations an ASA had, and how they ended.
func (c *Outcomes) Summary(asa string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count[asa]
	return fmt.Sprintf("Negotiations: %d agreed, %d declined, %d failed", n[Agreed], n[Declined], n[Failed])
}

// Err returns the first failure to write an outcome.
func (c *Outcomes) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
