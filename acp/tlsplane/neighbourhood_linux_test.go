package tlsplane_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// full has every forgery tried at every rate, which takes some minutes.
var full = flag.Bool("full", false, "try every kind of forged announcement at every rate, on one link and on eight")

// neighbourhood is a number of links, on each of which an old member, a member
// that joins later and an attacker have a port of a bridge.
type neighbourhood struct {
	*testing.T
	domain *domain.Domain
	key    crypto.Signer // of all members
	node   *netbed.Node  // of the attacker
	links  int
}

func newNeighbourhood(t *testing.T, links int, d *domain.Domain, key crypto.Signer) *neighbourhood {
	t.Helper()
	h := &neighbourhood{T: t, domain: d, key: key, node: netbed.NewNode(t, "attacker"), links: links}
	for i := range links {
		var ports []string
		for _, who := range []string{"old", "new", "bad"} {
			netbed.VethPair(t, h.link("p"+who, i), h.link(who, i))
			ports = append(ports, h.link("p"+who, i))
		}
		netbed.Bridge(t, h.link("br", i), ports...)
		h.node.MoveLink(t, h.link("bad", i))
	}
	return h
}

func (h *neighbourhood) link(who string, i int) string { return fmt.Sprint(who, i) }

func (h *neighbourhood) all(who string) []string {
	var all []string
	for i := range h.links {
		all = append(all, h.link(who, i))
	}
	return all
}

// resident is a member with an instance.
type resident struct {
	plane *tlsplane.Plane
	g     *grasp.Instance
	asa   *grasp.ASA
}

var called = grasp.Objective{Name: "called", Neg: true, LoopCount: 6, Value: 1}

func (h *neighbourhood) settle(name, links string, edits ...func(*x509.Certificate)) *resident {
	h.Helper()
	cert, err := h.domain.IssueFor(h.key, name, time.Hour, edits...)
	require.NoError(h, err)
	static := tlsplane.Static{Member: cert, Anchors: h.domain.Roots()}
	r := &resident{plane: &tlsplane.Plane{Underlay: &acp.Layer2{Links: h.all(links)}, Credentials: static}}
	r.g, err = grasp.New(grasp.Config{Plane: r.plane, Dialogue: grasp.Dialogue{Silent: true}})
	require.NoError(h, err)
	h.Cleanup(func() { _ = r.g.Close() })
	r.asa, err = r.g.RegisterASA(name)
	require.NoError(h, err)
	require.NoError(h, r.asa.RegisterObj(called, grasp.RegisterOptions{}))
	return r
}

// serve accepts what it is asked, until the context ends.
func (r *resident) serve(ctx context.Context) {
	for ctx.Err() == nil {
		if s, _, err := r.asa.ListenNegotiate(ctx, called); err == nil {
			go func() { _ = s.EndNegotiate(true, "") }()
		}
	}
}

// neighbours counts the links on which somebody is a neighbour.
func (r *resident) neighbours(name string) int {
	links := make(map[int]bool)
	for _, n := range r.plane.Stats().Neighbours {
		if n.Identity == name {
			links[n.Link] = true
		}
	}
	return len(links)
}

// needs returns what the process holds now: bytes of heap and stacks that are no
// garbage, and descriptors.
func needs(t *testing.T) (memory uint64, descriptors int) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return m.HeapAlloc + m.StackInuse, len(open)
}

// in makes a neighbourhood of such members.
func (m membership) in(t *testing.T, links int) *neighbourhood {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	switch m {
	case below:
		return newNeighbourhood(t, links, tlsplane.Hierarchy(t, tlsplane.TestingKey(t, "rsa4096"), 2), ec)
	case rooted:
		key := tlsplane.TestingKey(t, "rsa2048")
		return newNeighbourhood(t, links, tlsplane.Hierarchy(t, key, 0), key)
	case deep:
		key := tlsplane.TestingKey(t, "rsa4096")
		return newNeighbourhood(t, links, tlsplane.Hierarchy(t, key, 2), key)
	}
	return newNeighbourhood(t, links, newDomain(t, "testers"), ec)
}

// siege is how a neighbourhood is attacked.
type siege struct {
	kinds   []forgery
	rate    int // announcements in a second
	links   int
	members membership
}

// membership is what certificates the members of a neighbourhood have.
type membership int

const (
	small   membership = iota // with P-256 keys: the proof fits an announcement
	below                     // with P-256 keys, below two CAs with RSA keys of 4096 bits
	rooted                    // with RSA keys of 2048 bits, right below the anchor
	deep                      // with RSA keys of 4096 bits, below two CAs
	unaided                   // too large for any proof
)

func (m membership) String() string {
	return [...]string{small: "", below: ", P-256 below RSA-4096 and two CAs", rooted: ", RSA-2048", deep: ", RSA-4096 and two CAs", unaided: ", without proofs"}[m]
}

func (s siege) String() string {
	what := "mixed"
	if len(s.kinds) == 1 {
		what = [...]string{absent: "absent", refuses: "refuses", silent: "silent", foreign: "foreign", sealed: "sealed", inParts: "in parts"}[s.kinds[0]]
	}
	return fmt.Sprintf("%s %d on %d%s", what, s.rate, s.links, s.members)
}

// sieges are those to be tried.
func sieges() []siege {
	mixed := []forgery{absent, refuses, silent, foreign, sealed, inParts}
	some := []siege{
		{mixed, 2000, 1, small}, {mixed, 2000, 8, small},
		{[]forgery{absent}, 20, 1, unaided}, // by which the first release was beaten
		{[]forgery{inParts}, 2000, 1, below},
	}
	if !*full {
		return some
	}
	for _, links := range []int{1, 8} {
		for _, rate := range []int{1, 20, 200, 2000} {
			for _, kind := range mixed {
				some = append(some, siege{[]forgery{kind}, rate, links, small})
			}
			for _, m := range []membership{small, below, rooted, deep} {
				some = append(some, siege{mixed, rate, links, m})
			}
		}
	}
	for _, m := range []membership{below, rooted, deep, unaided} {
		for _, rate := range []int{20, 200, 2000} {
			some = append(some, siege{[]forgery{absent}, rate, 1, m}, siege{[]forgery{inParts}, rate, 1, m})
		}
	}
	return some
}

// An outsider forges announcements. A member that joins is a neighbour soon, and
// so it is after a flap; no call fails; and what the members need is bounded.
func TestForgedAnnouncementsOnRealLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	for i, s := range sieges() {
		t.Run(s.String(), func(t *testing.T) {
			if i > 0 {
				longtest.Need(t)
			}
			s.lay(t)
		})
	}
}

func (s siege) lay(t *testing.T) {
	const soon = 4 * time.Minute // it takes less than two seconds, unless the machine is busy
	var edits []func(*x509.Certificate)
	if s.members == unaided {
		edits = append(edits, large)
	}
	h := s.members.in(t, s.links)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	old := h.settle("old", "old", edits...)
	background.Go(func() { old.serve(ctx) })
	netbed.Eventually(t, soon, "the links are in use", func() bool { return len(old.g.Snapshot().Links) == s.links })
	f := newForger(t, h.node, h.all("bad")...)
	stranger := issue(t, newDomain(t, "strangers"), "stranger")
	var err error
	f.stranger, err = tlsplane.NewStranger(h.domain.Root(), &stranger)
	require.NoError(t, err)
	for i := range s.links {
		defer f.announce(t, h.link("bad", i), max(s.rate/s.links, 1), s.kinds...)()
	}
	seconds := 1
	if *full {
		seconds = 10
	}
	netbed.Eventually(t, soon, "the attack is under way", func() bool { return f.sent.Load() >= uint64(seconds*s.rate) })

	start := time.Now()
	joins := h.settle("new", "new", edits...)
	met := func() bool { return joins.neighbours("old") == s.links && old.neighbours("new") == s.links }
	netbed.Eventually(t, soon, "who joins is a neighbour", met)
	joined := time.Since(start)

	const calls = 200
	for i := range calls {
		sn, _, err := joins.asa.ReqNegotiate(ctx, called, nil, 4*patience)
		assert.NoError(t, err, "call %d", i)
		if sn != nil {
			_ = sn.Close()
		}
	}
	for i := range s.links {
		netbed.Down(t, h.link("new", i))
	}
	netbed.Eventually(t, soon, "the links are gone", func() bool { return joins.neighbours("old") == 0 })
	for i := range s.links {
		netbed.Up(t, h.link("new", i))
	}
	start = time.Now()
	netbed.Eventually(t, soon, "they are neighbours again", met)
	t.Logf("%s: %d sent, joined in %.2f s, after a flap %.2f s, calls failed %v",
		s, f.sent.Load(), joined.Seconds(), time.Since(start).Seconds(), t.Failed())
	stats := old.plane.Stats()
	t.Logf("refused %v, announced %d, proven %d, disproved %d, unchecked %d, parts %d, unfinished %d, crowded %d", stats.Refused,
		stats.Announced, stats.Proven, stats.Disproved, stats.Unchecked, stats.Parts, stats.Unfinished, stats.Crowded)
	netbed.Eventually(t, patience, "the members need no more than is granted", func() bool {
		memory, descriptors := needs(t)
		t.Logf("heap and stacks %d KiB, descriptors %d", memory>>10, descriptors)
		// 128 dials of each member at most, and as many connections at the forger.
		return descriptors < 4*128+200 && memory < 64<<20
	})
}
