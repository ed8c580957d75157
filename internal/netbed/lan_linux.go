package netbed

import (
	"fmt"
	"testing"
)

// LAN is a link with any number of nodes on it.
type LAN struct {
	name  string
	ula   bool
	ports int
}

// NewLAN makes a link, a bridge with this name, which has at most 8 letters.
// With ula its nodes have unique local addresses, fd00::1, fd00::2 and so on.
func NewLAN(t testing.TB, name string, ula bool) *LAN {
	t.Helper()
	Bridge(t, name)
	return &LAN{name: name, ula: ula}
}

// Node makes a node on the link.
func (l *LAN) Node(t testing.TB, name string) *Node {
	t.Helper()
	l.ports++
	n := NewNode(t, name)
	inside, outside := fmt.Sprintf("%s-i%d", l.name, l.ports), fmt.Sprintf("%s-o%d", l.name, l.ports)
	VethPair(t, inside, outside)
	IP(t, "link", "set", outside, "master", l.name)
	n.MoveLink(t, inside)
	if l.ula {
		n.AddAddr(t, inside, fmt.Sprintf("fd00::%x/64", l.ports))
	}
	return n
}
