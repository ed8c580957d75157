package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// unknown is the state of a node of which nothing was told.
func unknown() grasp.Snapshot { return grasp.Snapshot{Status: acp.Status{Secure: true}} }

// changes tells what is different now.
func (t *teller) changes(old, now grasp.Snapshot) {
	if old.Status.Secure != now.Status.Secure {
		e := event{Event: "secure", Reason: now.Status.Reason}
		if !now.Status.Secure {
			e.Event = "not secure"
		}
		t.say(e)
	}
	tell := func(what string, links, not []acp.Link) {
		for _, l := range links {
			if !slices.Contains(not, l) {
				t.say(event{Event: what, Link: l.Name, Address: l.Addr.WithZone("").String()})
			}
		}
	}
	tell("link down", old.Links, now.Links)
	tell("link up", now.Links, old.Links)
	for _, i := range now.Interfaces {
		switch i.State {
		case acp.LinkInUse, acp.LinkUnnamed, acp.LinkLoopback:
			continue
		}
		if i.State == acp.LinkMissing && old.Interfaces == nil || slices.Contains(old.Interfaces, i) {
			continue // the program has said so
		}
		reason, _ := strings.CutPrefix(i.String(), i.Name+": ")
		t.say(event{Event: "no link", Link: i.Name, Reason: reason})
	}
	if now.LinkTrouble != old.LinkTrouble && now.LinkTrouble != "" {
		t.say(event{Event: "trouble", Reason: now.LinkTrouble})
	}
}

// counters tells what was relayed, at the end.
func (t *teller) counters(s grasp.Snapshot) {
	t.say(event{Event: "stopped", counters: &counters{s.Relayed, s.Received, s.Sent, s.Dropped}})
}

// inWords returns numbers in the order of their names.
func inWords[K cmp.Ordered](counts map[K]uint64) string {
	var words []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %v", counts[what], what))
	}
	if words == nil {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
