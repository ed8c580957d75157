package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// interval is how often the links are looked at.
const interval = 200 * time.Millisecond

// relay watches an instance until the context ends, and closes it.
func relay(ctx context.Context, g *grasp.Instance, tell *teller) error {
	defer g.Close()
	every := time.NewTicker(interval)
	defer every.Stop()
	state := grasp.Snapshot{Status: acp.Status{Secure: true}}
	tell.say(event{Event: "started", Port: g.Snapshot().Port})
	for {
		now := g.Snapshot()
		tell.changes(state, now)
		state = now
		select {
		case <-ctx.Done():
			tell.counters(g.Snapshot())
			return errors.Join(tell.err, g.Close())
		case <-every.C:
		}
	}
}

// event is what there is to tell.
type event struct {
	Event     string `json:"event"` // started, link up, link down, no link, trouble, secure, not secure, stopped
	Link      string `json:"link,omitempty"`
	Address   string `json:"address,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	Reason    string `json:"reason,omitempty"`
	*counters `json:",omitempty"`
}

// counters are the numbers of messages by type, and of what was dropped by
// reason.
type counters struct {
	Relayed  map[string]uint64       `json:"relayed"`
	Received map[string]uint64       `json:"received"`
	Sent     map[string]uint64       `json:"sent"`
	Dropped  map[grasp.Reason]uint64 `json:"dropped"`
}

// teller prints events.
type teller struct {
	w      io.Writer
	json   bool
	silent bool
	err    error // the first of printing
}

func newTeller(w io.Writer, asJSON, silent bool) *teller {
	return &teller{w: w, json: asJSON, silent: silent && !asJSON}
}

func (t *teller) say(e event) {
	if t.silent {
		return
	}
	text := e.String()
	if t.json {
		b, err := json.Marshal(e)
		t.err = errors.Join(t.err, err)
		text = string(b)
	}
	_, err := fmt.Fprintln(t.w, text)
	t.err = errors.Join(t.err, err)
}

// String returns the event in words.
func (e event) String() string {
	switch e.Event {
	case "started":
		return fmt.Sprintf("Relaying discoveries and floods between all links; responses to port %d", e.Port)
	case "link up":
		return fmt.Sprintf("Link up: %s (%s)", e.Link, e.Address)
	case "link down":
		return fmt.Sprintf("Link down: %s (%s)", e.Link, e.Address)
	case "trouble":
		return "Trouble with links: " + e.Reason
	case "no link":
		return fmt.Sprintf("No link: %s: %s", e.Link, e.Reason)
	case "secure":
		return "The links are protected: " + e.Reason
	case "not secure":
		return "The links are not protected, nothing is relayed: " + e.Reason
	}
	return fmt.Sprintf("Relayed: %s\nReceived: %s\nSent: %s\nDropped: %s",
		inWords(e.Relayed), inWords(e.Received), inWords(e.Sent), inWords(e.Dropped))
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
