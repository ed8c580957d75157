package monitor

import (
	"slices"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// State is what the watched instances know at one moment.
type State struct {
	Caption   string
	Time      time.Time
	Run       string // of the monitor, another one after each start
	Instances []InstanceState
}

// InstanceState is what one of them knows.
type InstanceState struct {
	Name     string
	Closed   bool
	Since    time.Time // when it began to be watched
	Snapshot grasp.Snapshot
	// Heard are the nodes whose multicasts came, and Spoke is when the instance
	// multicast last, by the link's index.
	Heard []Heard
	Spoke map[int]time.Time
	// Recent counts what was dropped in the last minute.
	Recent map[grasp.Reason]uint64
}

// State takes a snapshot of each watched instance.
func (m *Monitor) State() State {
	s := State{Caption: m.caption, Time: time.Now(), Run: m.run}
	for _, w := range m.all() {
		s.Instances = append(s.Instances, w.state())
	}
	return s
}

func (w *watched) state() InstanceState {
	i := InstanceState{Name: w.name, Closed: w.isClosed(), Since: w.since, Snapshot: w.g.Snapshot()}
	i.Heard, i.Spoke = w.ears.all()
	i.Recent = w.past.dropped(time.Now(), time.Minute)
	return i
}

func (w *watched) isClosed() bool {
	select {
	case <-w.g.Done():
		return true
	default:
		return false
	}
}

// How many rows of each table, and how much of each value, the page shows.
const (
	pageRows  = 100
	pageValue = 300
)

// pageState is the part of a State that fits the page.
type pageState struct {
	Time      time.Time
	Instances []pageInstance
}

// pageInstance is an instance on the page. Counts are the lengths of the lists,
// which may be cut.
type pageInstance struct {
	InstanceState
	Counts map[string]int
}

func (m *Monitor) pageState() pageState {
	s := m.State()
	p := pageState{Time: s.Time}
	for _, i := range s.Instances {
		p.Instances = append(p.Instances, forPage(i))
	}
	return p
}

// forPage cuts what is too much for the page. It may change the snapshot, which
// nobody else uses.
func forPage(i InstanceState) pageInstance {
	s := &i.Snapshot
	p := pageInstance{Counts: map[string]int{
		"Links": len(s.Links), "Interfaces": len(s.Interfaces), "ASAs": len(s.ASAs), "Objectives": len(s.Objectives),
		"Locators": len(s.Locators), "Floods": len(s.Floods), "Sessions": len(s.Sessions),
		"Neighbours": len(s.Neighbours), "Refusals": len(s.Refusals),
	}}
	s.Links, s.Interfaces, s.ASAs = firstRows(s.Links), firstRows(s.Interfaces), firstRows(s.ASAs)
	s.Objectives, s.Sessions = firstRows(s.Objectives), firstRows(s.Sessions)
	s.Locators, s.Floods, s.Neighbours = firstRows(s.Locators), firstRows(s.Floods), firstRows(s.Neighbours)
	for j := range s.Objectives {
		o := &s.Objectives[j]
		o.Value, o.ASAs = firstLetters(o.Value), firstRows(o.ASAs)
	}
	for j := range s.Floods {
		s.Floods[j].Value = firstLetters(s.Floods[j].Value)
	}
	i.Heard, i.Spoke = nil, nil // only the network shows them
	p.InstanceState = i
	return p
}

func firstRows[T any](all []T) []T { return all[:min(len(all), pageRows)] }

func firstLetters(s string) string {
	if len(s) <= pageValue {
		return s
	}
	n := 0
	for i := range s { // between letters
		if i > pageValue {
			break
		}
		n = i
	}
	return s[:n] + "…"
}

// forNetwork is the parameter of a request for a state that is to have no more than
// [State.forNetwork] leaves.
const forNetwork = "for=network"

// What is shown of a state at most. Of the lists that are compared with each other, no
// honest one says more.
const (
	maxStateLinks = 4096 // of all instances
	maxRefused    = 16   // see acp.Neighbourhood
	maxTypes      = 64   // of messages
)

// forNetwork returns what the network page shows of a state. That shares nothing with what
// it does not show, and a monitor that lies costs little to look at.
func (s *State) forNetwork() State {
	n := State{Caption: firstLetters(s.Caption), Time: s.Time, Run: firstLetters(s.Run), Instances: first(s.Instances, maxNodes)}
	room := maxStateLinks
	for i := range n.Instances {
		is := &n.Instances[i]
		all := &is.Snapshot
		is.Name = firstLetters(is.Name)
		is.Heard = first(is.Heard, maxHeard)
		is.Spoke, is.Recent = few(is.Spoke, maxHeard), few(is.Recent, maxTypes)
		shot := grasp.Snapshot{
			Status: all.Status, Port: all.Port, Address: all.Address, LinkTrouble: all.LinkTrouble,
			Links: first(all.Links, room), ASAs: first(all.ASAs, maxNodeValues), Relayed: few(all.Relayed, maxTypes),
			Neighbourhood: acp.Neighbourhood{Neighbours: first(all.Neighbours, maxNodeValues), Refusals: first(all.Refusals, maxRefused)},
		}
		room -= len(shot.Links)
		for _, at := range all.Interfaces {
			if isUnused(&at) && len(shot.Interfaces) < maxNodeValues {
				shot.Interfaces = append(shot.Interfaces, at)
			}
		}
		for _, o := range all.Objectives[:min(len(all.Objectives), maxNodeValues)] {
			shot.Objectives = append(shot.Objectives, grasp.ObjectiveState{Name: o.Name})
		}
		for _, f := range all.Floods[:min(len(all.Floods), maxNetFloods)] {
			shot.Floods = append(shot.Floods, grasp.FloodState{Objective: f.Objective, Source: f.Source, Value: firstLetters(f.Value)})
		}
		is.Snapshot = shot
	}
	return n
}

// first returns a copy of the first elements.
func first[T any](all []T, n int) []T { return slices.Clone(all[:min(len(all), n)]) }

// few returns a map, or an empty one if it has too many elements.
func few[K comparable, V any](m map[K]V, most int) map[K]V {
	if len(m) > most {
		return nil
	}
	return m
}
