package grasp

import (
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/race"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// A request that travels with the opening of its stream (acp.Requester) can be
// delivered twice: once the first stream is closed here, a late copy of the segment
// opens another one. Nobody is behind that, so it must not be answered as a request:
// an ASA might agree with nobody.
//
// The network keeps a copy for two minutes at most (the maximum segment lifetime of
// RFC 9293 section 3.4.1). For so long requests are remembered, by session ID and
// initiator, which RFC 8990 section 2.7 has be unique meanwhile.
const (
	repeatTime   = 2 * time.Minute
	mostRequests = 1 << 18
)

// requestMemory remembers which requests came lately. It is nil for a plane that never
// has a copy.
type requestMemory struct {
	seed maphash.Seed

	mu  sync.Mutex           // guards all
	all *race.Doubts[uint64] // by hash, which takes less than half of what the keys would
}

func newRequestMemory() *requestMemory {
	return &requestMemory{seed: maphash.MakeSeed(), all: race.NewDoubts[uint64](mostRequests, repeatTime)}
}

var errRepeated = errors.New("a copy of a request that came before")

// isCopy reports whether a stream begins with a copy of a request that came before. It
// remembers the request.
func (g *Instance) isCopy(s *stream, m wire.Message) bool {
	if g.came == nil {
		return false
	}
	switch m.(type) {
	case *wire.ReqNeg, *wire.ReqSyn:
	default:
		return false // to take it twice does no harm
	}
	before := g.came.add(session.Key{ID: wire.SessionID(m), Initiator: s.Peer.Addr()})
	g.forgetLater()
	return before && s.Early
}

// add remembers a request. It reports whether it came before.
func (r *requestMemory) add(key session.Key) (before bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, hash := time.Now(), maphash.Comparable(r.seed, key)
	before = r.all.Has(hash, now)
	r.all.Add(hash, now)
	return before
}

// forget gives back the memory of what is too old. It reports whether anything is left.
func (r *requestMemory) forget(now time.Time) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Forget(now)
}
