package grasp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/race"
)

// doubts are the addresses and the peers that were of no use for an objective lately.
type doubts struct {
	mu    sync.Mutex // guards all following fields
	all   *race.Doubts[doubt]
	peers *race.Doubts[lostPeer]
}

type doubt struct {
	objective string
	at        netip.AddrPort
}

// lostPeer is a peer that was forgotten, because none of its addresses was of use.
type lostPeer struct {
	objective string
	place     place
}

const (
	maxDoubts = 4096
	doubtTime = 30 * time.Second
)

func newDoubts() *doubts {
	return &doubts{all: race.NewDoubts[doubt](maxDoubts, doubtTime), peers: race.NewDoubts[lostPeer](maxDoubts, doubtTime)}
}

func (d *doubts) add(objective string, at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.Add(doubt{objective, at}, time.Now())
}

func (d *doubts) remove(objective string, at netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all.Remove(doubt{objective, at})
}

func (d *doubts) has(objective string, at netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all.Has(doubt{objective, at}, time.Now())
}

func (d *doubts) addPeer(objective string, l Locator) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers.Add(lostPeer{objective, l.place()}, time.Now())
}

func (d *doubts) hasPeer(objective string, l Locator) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.peers.Has(lostPeer{objective, l.place()}, time.Now())
}

// forget gives back the memory of what is too old. It reports whether anything is left.
func (d *doubts) forget(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	addresses, peers := d.all.Forget(now), d.peers.Forget(now)
	return addresses || peers
}

// doubt notes that an address was of no use.
func (g *Instance) doubt(objective string, at netip.AddrPort) {
	g.doubts.add(objective, at)
	g.forgetLater()
}

// lose forgets a peer that was of no use.
func (g *Instance) lose(objective string, l Locator) {
	g.doubts.addPeer(objective, l) // before those who watch look why it is gone
	g.forgetLater()
	g.locators.forget(objective, l)
}
