package conform

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Column is a target in a document that compares several.
type Column struct {
	Name   string
	Report *Report
}

// Document writes a comparison of targets in Markdown.
func Document(w io.Writer, columns []Column) error {
	var b strings.Builder
	verdicts := make([]map[string]Result, len(columns))
	fmt.Fprint(&b, "| | ")
	for i, c := range columns {
		verdicts[i] = make(map[string]Result)
		for _, x := range c.Report.Results {
			verdicts[i][x.Check.Name] = x
		}
		fmt.Fprintf(&b, "%s | ", c.Name)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(columns)))
	for _, s := range strengths {
		fmt.Fprintf(&b, "| %s | ", s)
		for _, c := range columns {
			fmt.Fprintf(&b, "%d of %d | ", c.Report.Count(s, Pass), c.Report.Count(s, Pass)+c.Report.Count(s, Fail))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprint(&b, "| time | ")
	for _, c := range columns {
		fmt.Fprintf(&b, "%v | ", c.Report.Took.Round(time.Second))
	}
	fmt.Fprint(&b, "\n| sent | ")
	for _, c := range columns {
		fmt.Fprintf(&b, "%d datagrams, %d connections | ", c.Report.Datagrams, c.Report.Connections)
	}
	fmt.Fprintln(&b)

	fmt.Fprint(&b, "\n## What fails\n")
	for i, c := range columns {
		fmt.Fprintf(&b, "\n### %s\n\n", c.Name)
		failed := 0
		for _, s := range strengths {
			for _, x := range c.Report.Results {
				if y := verdicts[i][x.Check.Name]; y.Verdict == Fail && x.Check.Strength == s {
					failed++
					fmt.Fprintf(&b, "- **%s** %s `%s`: %s It: %s.", s, x.Check.ID, x.Check.Name, x.Check.Demand, escape(strings.TrimSuffix(x.Why, ".")))
					if p := practice[x.Check.Name]; p != "" {
						fmt.Fprintf(&b, " In practice: %s", p)
					}
					fmt.Fprintln(&b)
				}
			}
		}
		if failed == 0 {
			fmt.Fprintln(&b, "Nothing.")
		}
	}

	fmt.Fprint(&b, "\n## All checks\n")
	group := ""
	for _, c := range Checks() {
		if g := c.Group(); g != group {
			group = g
			fmt.Fprintf(&b, "\n### %s\n\n| | | § | demanded | ", group)
			for _, c := range columns {
				fmt.Fprintf(&b, "%s | ", c.Name)
			}
			fmt.Fprintf(&b, "\n|---|---|---|---|%s\n", strings.Repeat("---|", len(columns)))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | ", c.ID, c.Strength, c.Section, c.Demand)
		for i := range columns {
			fmt.Fprintf(&b, "%s | ", word(verdicts[i][c.Name]))
		}
		fmt.Fprintln(&b)
	}
	out := strings.ReplaceAll(b.String(), " \n", "\n")
	_, err := io.WriteString(w, out)
	return err
}

// word is a verdict in a table.
func word(x Result) string {
	switch {
	case x.Verdict == Pass:
		return "yes"
	case x.Verdict == Fail:
		return "**no**"
	}
	return "–"
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// practice says what it means in practice that a target fails a MUST.
var practice = map[string]string{
	"relay/result":     "behind such a relay the first discovery finds nothing; whoever asks again gets a Divert, once the relay has heard the answer.",
	"relay/rate":       "one node that floods a link with discoveries floods all links behind the relay.",
	"flood/rate":       "one node that floods a link floods all links behind the relay.",
	"relay/loop-count": "discoveries go round loops until the memory of relays ends them.",

	"cache/no-mdns":       "a node on another link is told a name that means nothing there, or another host.",
	"cache/no-link-local": "a node on another link is told an address that means nothing there, or another host.",
	"flood/link-local":    "a flood that was meant for one link spreads over the domain, with an address that means nothing there. The RFC can be read so that only DULL instances discard it.",

	"negotiation/loop-count":           "a negotiation takes one message more than its loop count allows. Appendix A.5 of the RFC shows the same, against its section 2.8.7.",
	"negotiation/loop-count-exhausted": "a negotiation between two such nodes does not end by its loop count.",
	"negotiation/session-id-clash":     "two sessions of one peer can be taken for one.",
	"negotiation/nobody":               "a peer with an old locator is left waiting for its timeout.",
	"negotiation/invalid-unanswered":   "two such nodes answer each other for ever.",
	"synchronization/nobody":           "a peer with an old locator is left waiting for its timeout.",
	"synchronization/not-negotiated":   "a peer that has the wrong idea of an objective does not learn that.",
	"synchronization/no-negotiation":   "a peer that has the wrong idea of an objective does not learn that.",
	"robustness/service-goes-on":       "one peer that asks at the wrong port, such as that of an old locator, ends the service for all.",
	"robustness/idle":                  "one peer that connects and says nothing ends the service for all, for as long as it likes.",
	"robustness/dribble":               "a request is lost whenever the network delivers it in parts.",
	"robustness/halves":                "as above.",
	"robustness/coalesced":             "a message is lost whenever it comes together with another.",
	"size/2048-negotiation":            "requests that are long but allowed find no answer.",
	"wait/expired":                     "a peer that is gone keeps a negotiation, and what is reserved for it, for ever.",
	"wait/timer":                       "a peer that is gone keeps a negotiation, and what is reserved for it, for ever.",
	"dull/loop-count":                  "what came from beyond the link can be taken for a neighbour's.",
	"dull/source":                      "a host beyond a router can pass for a neighbour.",
}
