package conform

import (
	"slices"
	"strings"
)

// Strength is how strongly the RFC demands something.
type Strength string

// The strengths. Text is a statement or a rule of the grammar without a
// capital keyword.
const (
	Must   Strength = "MUST"
	Should Strength = "SHOULD"
	May    Strength = "MAY"
	Text   Strength = "text"
)

// Strengths are all of them, the strongest first.
var strengths = []Strength{Must, Should, May, Text}

// need is what a check needs beside a link to the target.
type need uint8

const (
	negotiator   need = 1 << iota // the name of an objective that the target negotiates
	synchronizer                  // and of one that it synchronizes
	relay                         // two links to the target, between which it relays
	alone                         // nothing else may run meanwhile
	slow                          // it waits in real time
	late                          // it may hurt the target: those that cannot go before it
	dull                          // the target is a DULL instance
	bare                          // no protected group, which may well shun a peer that sends what is no CBOR
)

// Check is one thing that the RFC demands.
type Check struct {
	ID       string // in the list of requirements, such as R-04
	Name     string // group/what
	Section  string // of RFC 8990
	Strength Strength
	Demand   string // what is demanded, in one sentence

	needs need
	run   func(*trial)
}

// Group is the first part of the name.
func (c *Check) Group() string {
	group, _, _ := strings.Cut(c.Name, "/")
	return group
}

// Slow reports whether the check waits in real time.
func (c *Check) Slow() bool { return c.needs&slow != 0 }

// groups are the groups of checks in the order in which they are told of.
var groups = [][]Check{
	generalChecks, discoveryChecks, relayChecks, cacheChecks, floodChecks,
	negotiationChecks, dryChecks, waitChecks, synchChecks, sizeChecks, dullChecks, robustnessChecks,
}

// Checks returns all checks.
func Checks() []Check { return slices.Concat(groups...) }

// Matches reports whether one of the patterns names the check: its ID, its name,
// its group, its strength, or a part of its name.
func (c *Check) Matches(patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return strings.EqualFold(p, c.ID) || strings.EqualFold(p, string(c.Strength)) || strings.Contains(c.Name, p)
	})
}
