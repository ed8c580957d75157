package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Measured is all that was measured.
type Measured struct {
	Results []*Result
	Crowds  []*Crowd
	Loads   []*Load
	Shared  []*Shared
	Members []*Members
	Full    Full
}

// write writes the figures as Markdown, and the pictures.
func (m *Measured) write(dir string) error {
	tables := []string{
		table(m.Results), crowdTable(m.Crowds), loadTable(m.Loads), sharedTable(m.Shared), membersTable(m.Members),
		fmt.Sprintf("A relay whose tables are full: floods %s, locators %s.\n", kib(m.Full.Floods), kib(m.Full.Locators)),
	}
	files := map[string]string{
		"scale-figures.md":  strings.Join(tables, "\n"),
		"scale-flood.svg":   floodChart(m.Results).svg(),
		"scale-memory.svg":  memoryChart(m.Results).svg(),
		"scale-packets.svg": packetChart(m.Results, m.Crowds).svg(),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// row is a row of a table that has a column for each thing that was measured.
type row[T any] struct {
	name  string
	value func(T) string
}

// columns returns a table in Markdown. Its first row is the head.
func columns[T any](all []T, rows []row[T]) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |", row.name)
		for _, one := range all {
			fmt.Fprintf(&b, " %s |", row.value(one))
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("|---|" + strings.Repeat("---|", len(all)) + "\n")
		}
	}
	return b.String()
}

// table returns the figures of networks in Markdown, a column for each.
func table(results []*Result) string {
	return columns(results, []row[*Result]{
		{"", func(r *Result) string { return r.Topology.Name }},
		{"links from the flooding node to the farthest", func(r *Result) string { return fmt.Sprint(r.Diameter) }},
		{"memory of an idle node", func(r *Result) string { return kib(r.Idle) }},
		{"with a watcher of floods", func(r *Result) string { return kib(r.Watching) }},
		{"after all that follows", func(r *Result) string { return kib(r.After) }},
		{"goroutines of an idle node", func(r *Result) string { return fmt.Sprintf("%.1f", r.Goroutines) }},
		{"flood: nodes reached", func(r *Result) string { return fmt.Sprint(len(r.Flood.Reached)) }},
		{"of them within 6 links, the default loop count", func(r *Result) string { return fmt.Sprint(within(r, 6)) }},
		{"packets", func(r *Result) string { return fmt.Sprint(r.Flood.Packets) }},
		{"fewest packets if every node knew the network", func(r *Result) string { return fmt.Sprint(r.Topology.FewestPackets()) }},
		{"last node reached after", func(r *Result) string { return fmt.Sprint(r.Flood.Last()) }},
		{"CPU time for each node", func(r *Result) string { return each(r.Flood.CPU, r.Topology.Nodes) }},
		{"flood with nodes down: how many are", func(r *Result) string { return fmt.Sprint(r.Down) }},
		{"nodes reached, of those that can be", func(r *Result) string {
			return fmt.Sprintf("%d of %d", len(r.Failed.Reached), r.Failed.Expected)
		}},
		{"last node reached after", func(r *Result) string { return fmt.Sprint(r.Failed.Last()) }},
		{"flood repeated: further nodes reached", func(r *Result) string {
			return fmt.Sprintf("%d of %d", len(r.Back.Reached), r.Topology.Nodes-r.Failed.Expected)
		}},
		{"cold discovery: links to the node", func(r *Result) string { return fmt.Sprint(r.Cold.Distance) }},
		{"found after", func(r *Result) string { return fmt.Sprint(r.Cold.Took) }},
		{"packets, responses", func(r *Result) string { return fmt.Sprintf("%d, %d", r.Cold.Packets, r.Cold.Responses) }},
		{"CPU time for each node", func(r *Result) string { return each(r.Cold.CPU, r.Topology.Nodes) }},
		{"another node looks for it: links to the node", func(r *Result) string { return fmt.Sprint(r.Known.Distance) }},
		{"found after", func(r *Result) string { return fmt.Sprint(r.Known.Took) }},
		{"packets, responses", func(r *Result) string { return fmt.Sprintf("%d, %d", r.Known.Packets, r.Known.Responses) }},
		{"refused by rate, dropped by full queues", func(r *Result) string { return fmt.Sprintf("%d, %d", r.Refused, r.Dropped) }},
	})
}

// crowdTable returns the figures of crowds in Markdown, a row for each.
func crowdTable(crowds []*Crowd) string {
	var b strings.Builder
	b.WriteString("| nodes | found by | median | last | packets in the first minute | in a later one | lost again | refused | dropped | memory of a node | CPU time for each node |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range crowds {
		fmt.Fprintf(&b, "| %d | %d | %v | %v | %d | %d | %d | %d | %d | %s | %s |\n", c.Topology.Nodes, len(c.Found),
			c.Found[len(c.Found)/2], c.Found[len(c.Found)-1], c.Minutes[0], c.later(), c.Gone, c.Refused, c.Dropped,
			kib(c.Memory), each(c.CPU, c.Topology.Nodes))
	}
	return b.String()
}

// later returns the packets in a minute after the first one.
func (c *Crowd) later() (mean uint64) {
	for _, m := range c.Minutes[1:] {
		mean += m
	}
	return mean / uint64(len(c.Minutes)-1)
}

func kib(bytes uint64) string { return fmt.Sprintf("%.0f KiB", float64(bytes)/1024) }

func each(d time.Duration, nodes int) string {
	return fmt.Sprint((d / time.Duration(nodes)).Round(time.Microsecond))
}

// floodChart shows how a flood spreads.
func floodChart(results []*Result) *chart {
	c := &chart{Title: "A flood spreads: nodes reached", X: "links crossed, 1 ms each", Y: "% of the nodes"}
	for _, r := range results {
		if r.Diameter > 20 {
			continue // a ring: a straight line, far longer than the others
		}
		l := line{Name: r.Topology.Name}
		for links := 0; links <= r.Diameter; links++ {
			part := 100 * float64(within(r, links)) / float64(r.Topology.Nodes)
			l.Points = append(l.Points, [2]float64{float64(links), part})
		}
		c.Lines = append(c.Lines, l)
	}
	return c
}

// within returns how many nodes a flood reached that had crossed so many links.
func within(r *Result, links int) (n int) {
	for n < len(r.Flood.Reached) && r.Flood.Reached[n] <= time.Duration(links)*Delay {
		n++
	}
	return n
}

// memoryChart shows the memory of a node in networks of different sizes.
func memoryChart(results []*Result) *chart {
	c := &chart{Title: "Memory of a node, random graphs of degree 4", X: "nodes in the network", Y: "KiB", LogX: true}
	for _, what := range []struct {
		name  string
		value func(*Result) uint64
	}{
		{"idle", func(r *Result) uint64 { return r.Idle }},
		{"with a watcher", func(r *Result) uint64 { return r.Watching }},
		{"after the floods", func(r *Result) uint64 { return r.After }},
	} {
		l := line{Name: what.name}
		for _, r := range results {
			if isRandom(r) {
				l.Points = append(l.Points, [2]float64{float64(r.Topology.Nodes), float64(what.value(r)) / 1024})
			}
		}
		c.Lines = append(c.Lines, l)
	}
	return c
}

// packetChart shows how the packets grow with the network.
func packetChart(results []*Result, crowds []*Crowd) *chart {
	c := &chart{Title: "Packets in the whole network, random graphs of degree 4", X: "nodes", Y: "packets", LogX: true, LogY: true}
	flood, cold := line{Name: "a flood"}, line{Name: "a cold discovery"}
	for _, r := range results {
		if isRandom(r) {
			flood.Points = append(flood.Points, [2]float64{float64(r.Topology.Nodes), float64(r.Flood.Packets)})
			cold.Points = append(cold.Points, [2]float64{float64(r.Topology.Nodes), float64(r.Cold.Packets)})
		}
	}
	first, later := line{Name: "all look, first minute"}, line{Name: "all look, later minutes"}
	for _, r := range crowds {
		first.Points = append(first.Points, [2]float64{float64(r.Topology.Nodes), float64(r.Minutes[0])})
		later.Points = append(later.Points, [2]float64{float64(r.Topology.Nodes), float64(r.later())})
	}
	c.Lines = []line{flood, cold, first, later}
	return c
}

// isRandom reports whether a result is of a random graph.
func isRandom(r *Result) bool { return strings.HasPrefix(r.Topology.Name, "random") }
