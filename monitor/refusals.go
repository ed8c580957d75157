package monitor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// refusalTime is how long a refusal is a fault.
const refusalTime = 10 * time.Minute

// symptoms are reasons that do not count if the same two nodes have another one, too,
// which says more.
var symptoms = []string{"protocol", "by the peer", "timeout", "displaced"}

// explained says what the reasons of a TLS plane mean for the node that is refused.
var explained = map[string]string{
	"foreign":           "its certificate leads to no trust anchor of theirs",
	"expired":           "its certificate has expired, or its clock is wrong",
	"not yet valid":     "its certificate is not valid yet, or a clock is wrong",
	"revoked":           "its certificate is revoked",
	"wrong usage":       "its certificate is not for both client and server",
	"no name":           "its certificate does not say whose it is",
	"another domain":    "its certificate is for another domain",
	"another's address": "its certificate is for another address",
	"too many":          "there are too many neighbours",
}

// refused says who refuses whom, and why.
type refused struct {
	refuser, other string // names of nodes, or an address
	reason         string
}

// refusalsOf returns the refusals of a node that are not long ago.
func refusalsOf(p *part) (all []acp.Refusal) {
	if p.is == nil {
		return nil
	}
	for _, r := range p.is.Snapshot.Refusals {
		if p.Time.Sub(r.Time) <= refusalTime {
			all = append(all, r)
		}
	}
	return all
}

// refusedEnd returns the link by which a node met the one that it refused, as an end of
// either node. ok is false if one of the ends is not known.
func (b *networkBuilder) refusedEnd(i int, r *acp.Refusal) (here, there end, ok bool) {
	index, err := strconv.Atoi(r.Peer.Addr().Zone())
	if err != nil {
		return here, there, false
	}
	here = end{i, slices.IndexFunc(b.parts[i].is.Snapshot.Links, func(l acp.Link) bool { return l.Index == index })}
	for k, p := range b.parts {
		if p.is == nil || k == i {
			continue
		}
		for j, l := range p.is.Snapshot.Links {
			if l.Addr.WithZone("") == r.Peer.Addr().WithZone("") {
				if ok {
					return here, there, false // two nodes have the address
				}
				there, ok = end{k, j}, true
			}
		}
	}
	return here, there, ok && here.link >= 0
}

// refusalFaults finds the nodes that are refused. If a node refuses many others, and they
// refuse it, the fault is that node's.
func (b *networkBuilder) refusalFaults() {
	pairs := make(map[refused]bool)
	for _, p := range b.parts {
		for _, r := range refusalsOf(p) {
			pairs[refused{p.Name, b.nameOf(r.Peer.Addr()), r.Reason}] = true
		}
	}
	better := make(map[[2]string]bool) // pairs that have a reason which is no symptom
	opponents := make(map[string]map[string]bool)
	for r := range pairs {
		for _, both := range [][2]string{{r.refuser, r.other}, {r.other, r.refuser}} {
			if opponents[both[0]] == nil {
				opponents[both[0]] = make(map[string]bool)
			}
			opponents[both[0]][both[1]] = true
			better[both] = better[both] || !slices.Contains(symptoms, r.reason)
		}
	}
	type fault struct{ who, reason string }
	by := make(map[fault][]string)
	for r := range pairs {
		if slices.Contains(symptoms, r.reason) && better[[2]string{r.refuser, r.other}] {
			continue
		}
		who, opponent := r.other, r.refuser
		if len(opponents[r.refuser]) > len(opponents[r.other]) {
			who, opponent = opponent, who
		}
		f := fault{who, r.reason}
		if !slices.Contains(by[f], opponent) {
			by[f] = append(by[f], opponent)
		}
	}
	compare := func(x, y fault) int { return cmp.Or(compareNames(x.who, y.who), cmp.Compare(x.reason, y.reason)) }
	for _, f := range slices.SortedFunc(maps.Keys(by), compare) {
		others := slices.SortedFunc(slices.Values(by[f]), compareNames)
		text := fmt.Sprintf("refused by %s: %s", list(others), cmp.Or(explained[f.reason], f.reason))
		node := ""
		if p := b.named(f.who); p != nil {
			node = p.Name
			b.markRefused(p, others)
		} else {
			text = f.who + " is " + text
		}
		b.Faults = append(b.Faults, Fault{Node: node, Bad: true, Text: text})
	}
}

// nameOf returns the name of the node with an address, or the address.
func (b *networkBuilder) nameOf(addr netip.Addr) string {
	if p := b.nodeAt(addr); p != nil {
		return p.Name
	}
	return "who is at " + addr.WithZone("").String()
}

func (b *networkBuilder) named(name string) *part {
	if i := slices.IndexFunc(b.parts, func(p *part) bool { return p.Name == name }); i >= 0 {
		return b.parts[i]
	}
	return nil
}

// markRefused marks the links of a node that it shares with those who refuse it.
func (b *networkBuilder) markRefused(p *part, others []string) {
	for i, e := range p.Ends {
		if slices.ContainsFunc(b.Links[e.Link].Ends, func(n NodeLink) bool { return slices.Contains(others, n.Node) }) {
			p.Ends[i].Fault = "is refused"
		}
	}
}
