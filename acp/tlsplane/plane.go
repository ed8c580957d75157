// Package tlsplane is an [acp.Plane] that protects everything with TLS 1.3:
// who has no certificate of the domain can neither read nor forge anything,
// on the link or beyond.
//
// Streams are TLS connections with mutual authentication against the domain's
// trust anchors. Multicasts are copied, over one such connection each, to the
// neighbours on the link, in the manner of RFC 8994 section 6.9.2. Neighbours
// are found by a flood of the objective AN_ACP (RFC 8994 section 6.4), which is
// all that is sent in clear: it says that there is a node, at which address
// and port. Anybody can forge that, so it comes with a proof: a signature, and the
// certificates, encrypted for those who know the domain's trust anchor. A proof that
// does not fit a packet is cut into parts, eight at most, with an announcement
// each. Who has proven to be a member, or was a neighbour before, is dialed first
// and at once; others are dialed in small numbers, for about a second.
//
// A [Plane] runs over the links of another plane, its Underlay, and with
// [Credentials], which may change while it runs: see [Files]. The command in
// examples/domain makes certificates to try it with.
package tlsplane

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp/acp"
)

// MaxMulticast is the size of the largest multicast: TLS does not care about
// packets, so it is GRASP_DEF_MAX_SIZE (RFC 8990 section 2.6).
const MaxMulticast = 2048

// Plane is a plane on which all are members of a domain, by their
// certificates. Fields must not be changed after the first use. A Plane must
// not be copied.
//
// It is secure while its own certificate is valid: issued by a trust anchor
// for both client and server authentication, in its time, and not revoked.
type Plane struct {
	// Underlay has the links, the addresses and the sockets. Its own status
	// does not matter, but its streams have to carry any bytes, which those of
	// quads.Plane do not. nil means an acp.Layer2 on all links.
	Underlay acp.Plane
	// Credentials say who this node is and whom it trusts. Without them the
	// plane is not secure.
	Credentials Credentials
	// Logger gets what an operator must know: neighbours that come and go,
	// and who was refused. nil means silence.
	Logger *slog.Logger

	// Interval is the time between floods of AN_ACP; at first and after each
	// change of the links they are more frequent. 0 means a minute.
	Interval time.Duration
	// CheckInterval is the time between looks at the credentials, in which all
	// standing connections are checked too: that long may the connections of
	// a member live on who is expired or revoked. 0 means 5 seconds.
	CheckInterval time.Duration
	// HandshakeTimeout bounds the time of a handshake; 0 means 10 seconds.
	HandshakeTimeout time.Duration
	// MaxHandshakes bounds the handshakes of one endpoint that peers have
	// begun and not ended; 0 means 1024. One source may have a quarter of it: a
	// neighbour, by its address, or all hosts beyond the links whose IPv6 addresses
	// have the same first 64 bits. When full, a new handshake ends the oldest of the
	// source that has most.
	MaxHandshakes int
	// MaxNeighbours bounds the neighbours on a link, of which 16 may have the
	// same identity; 0 means 128. When full, a newcomer takes the place of the oldest
	// neighbour of the identity that has most, unless its own has as many: then it is
	// refused.
	MaxNeighbours int

	standing atomic.Pointer[standing]
	counters counters
	members  members
	anchors  anchors
	domain   atomic.Pointer[string] // of this node's AcpNodeName; "" without one
	lines    limiter                // of the log that others can cause any number of
	clock    func() time.Time       // the time of day; nil: that of package time

	mu        sync.Mutex // guards all following fields
	endpoints map[*endpoint]struct{}
}

// Open implements [acp.Plane]. It needs no valid credentials: the endpoint
// begins to work when there are some.
func (p *Plane) Open() (acp.Endpoint, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Interval", int64(p.Interval)}, {"CheckInterval", int64(p.CheckInterval)},
		{"HandshakeTimeout", int64(p.HandshakeTimeout)},
		{"MaxHandshakes", int64(p.MaxHandshakes)}, {"MaxNeighbours", int64(p.MaxNeighbours)},
	} {
		if f.value < 0 {
			return nil, fmt.Errorf("tlsplane: Plane.%s is negative: %d", f.name, f.value)
		}
	}
	if p.Interval > maxInterval {
		return nil, fmt.Errorf("tlsplane: Plane.Interval is %v, the most is %v", p.Interval, maxInterval)
	}
	underlay := p.Underlay
	if underlay == nil {
		underlay = &acp.Layer2{}
	}
	under, err := underlay.Open()
	if err != nil {
		return nil, err
	}
	e := newEndpoint(p, under)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoints == nil {
		p.endpoints = make(map[*endpoint]struct{})
	}
	p.endpoints[e] = struct{}{}
	return e, nil
}

// maxInterval keeps the time to live of an announcement in range.
const maxInterval = 24 * time.Hour

func (p *Plane) closed(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.endpoints, e)
}

func (p *Plane) interval() time.Duration         { return cmp.Or(p.Interval, time.Minute) }
func (p *Plane) checkInterval() time.Duration    { return cmp.Or(p.CheckInterval, 5*time.Second) }
func (p *Plane) handshakeTimeout() time.Duration { return cmp.Or(p.HandshakeTimeout, 10*time.Second) }
func (p *Plane) maxHandshakes() int              { return cmp.Or(p.MaxHandshakes, 1024) }
func (p *Plane) maxNeighbours() int              { return cmp.Or(p.MaxNeighbours, 128) }

// now returns the time of day, which certificates and proofs are judged by. It can
// be set, back and forth, so everything that has to last for a while is timed by
// the clock that time.Now reads besides.
func (p *Plane) now() time.Time {
	if p.clock != nil {
		return p.clock()
	}
	return time.Now()
}

func (p *Plane) log() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}

// failed counts a handshake that failed, and logs it unless there are many.
func (p *Plane) failed(what string, peer netip.AddrPort, err error) {
	if isUnreachable(err) {
		p.log().Debug(what+" cannot be reached", "peer", peer, "error", err)
		return
	}
	reason := reasonOf(err)
	p.counters.refuse(peer, err)
	p.lines.do(func() { p.log().Warn("no connection to "+what, "peer", peer, "reason", string(reason), "error", err) })
}

// limiter lets a few lines a second pass.
type limiter struct {
	once sync.Once
	rate *rate.Limiter
}

// linesPerSecond bounds the lines about peers that are logged.
const linesPerSecond = 10

// do calls f, or not.
func (l *limiter) do(f func()) {
	l.once.Do(func() { l.rate = rate.NewLimiter(linesPerSecond, linesPerSecond) })
	if l.rate.Allow() {
		f()
	}
}
