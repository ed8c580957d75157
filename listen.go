package grasp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/datagram"
	"github.com/go-grasp/grasp/internal/pace"
	"github.com/go-grasp/grasp/internal/wire"
)

// maxDatagram is more than any datagram has.
const maxDatagram = 1 << 16

// receiveDatagrams deals with datagrams until the endpoint closes.
func (g *Instance) receiveDatagrams() {
	buf := make([]byte, min(g.limits.Bytes, maxDatagram)+1) // one more, to see what is too long
	var pause pace.Backoff
	defer g.sendHeld()
	holds := false // the outbox, what is relayed because of datagrams that came together
	var now time.Time
	for {
		if holds && !acp.Waiting(g.ep) {
			g.sendHeld()
			holds = false
		}
		n, from, err := g.ep.Receive(buf)
		if errors.Is(err, acp.ErrForeign) {
			// Without a pause, or outsiders could hold up the members.
			g.drop(Event{Reason: ReasonForeign, Peer: from.Addr, Link: from.Link, Err: err})
			continue
		}
		if err != nil {
			if g.ctx.Err() != nil || !pause.Wait(g.ctx) {
				return
			}
			g.log.Warn("receiving multicasts failed", "error", err)
			continue
		}
		pause.Reset()
		if !holds {
			now = time.Now()
			if holds = acp.Waiting(g.ep); holds {
				g.outbox.hold()
			}
		}
		g.handleDatagram(buf[:n], from, now)
	}
}

// handleDatagram deals with one datagram, multicast or not, that came now.
func (g *Instance) handleDatagram(raw []byte, from acp.Origin, now time.Time) {
	v := g.datagrams.Read(raw, datagram.Origin{
		Addr: from.Addr.Addr(), Unicast: from.Unicast, Self: g.isOwn(from.Addr), Secure: g.secure() == nil, At: now,
	})
	switch v.Action {
	case datagram.Ignore:
		return
	case datagram.Drop:
		if v.Refusal == datagram.LinkLocalSource {
			g.trace(Received, v.Message, raw, from.Addr, from.Link) // it is well-formed, and allowed here
		}
		g.dropDatagram(v, raw, from)
		return
	}
	switch m := v.Message.(type) {
	case *wire.Discovery:
		g.trace(Received, m, raw, from.Addr, from.Link)
		if from.Unicast && g.cfg.Authorize != nil {
			g.authorizeDiscovery(m, raw, asker{Origin: from})
			return
		}
		g.handleDiscovery(m, raw, asker{Origin: from}, now)
	case *wire.Flood:
		for _, p := range v.Passed {
			g.drop(eventOf(m, Event{Reason: datagramReasons[p.Refusal], Peer: from.Addr, Link: from.Link, Objective: p.Objective, Raw: raw}))
		}
		g.handleFlood(m, raw, from, now)
	}
}

// dropDatagram counts and traces a datagram that is dropped.
func (g *Instance) dropDatagram(v datagram.Verdict, raw []byte, from acp.Origin) {
	e := Event{Peer: from.Addr, Link: from.Link, Raw: raw, Err: v.Err}
	if v.Message != nil {
		e.Reason = datagramReasons[v.Refusal]
		g.drop(eventOf(v.Message, e))
		return
	}
	e.Reason = reasonOf(v.Err)
	var bad *wire.Error
	if errors.As(v.Err, &bad) && bad.HasType {
		e.Message, e.SessionID = bad.Type.String(), bad.SessionID
	}
	g.drop(e)
}

// datagramReasons are the reasons for what is dropped of a datagram.
var datagramReasons = [...]Reason{
	datagram.Unreadable:      ReasonInvalid,
	datagram.Unexpected:      ReasonUnexpected,
	datagram.Own:             ReasonOwn,
	datagram.NotAllowed:      ReasonNoSecurity,
	datagram.LinkLocalSource: ReasonLinkLocalSource,
	datagram.NotFlooded:      ReasonUnexpected,
}

// acceptStreams serves the streams that peers open until the endpoint closes.
func (g *Instance) acceptStreams() {
	var pause pace.Backoff
	for {
		c, err := g.ep.Accept()
		if errors.Is(err, acp.ErrForeign) {
			// Without a pause, or outsiders could hold up the members.
			e := Event{Reason: ReasonForeign, Err: err}
			if c != nil {
				e.Peer, e.Link = c.Peer, c.Link
			}
			g.drop(e)
			continue
		}
		if err != nil {
			if isOutOfDescriptors(err) && g.giveWay() {
				continue // the peer waits until it is accepted
			}
			if g.ctx.Err() != nil || !pause.Wait(g.ctx) {
				return
			}
			g.log.Warn("accepting a connection failed", "error", err)
			continue
		}
		pause.Reset()
		s := g.newStream(c, false)
		m := s.arrived()
		if g.servesAtOnce(m) {
			g.serve(s, m)
		} else if !g.spawn(func() { g.serve(s, m) }) {
			_ = c.Close()
		}
	}
}

// servesAtOnce reports whether serve does not wait for anybody, so that it needs no
// goroutine of its own.
func (g *Instance) servesAtOnce(m wire.Message) bool {
	if g.cfg.Authorize != nil {
		return false
	}
	switch m.(type) {
	case *wire.ReqNeg, *wire.ReqSyn:
		return true // what has to wait goes on elsewhere
	}
	return false
}

// serve does what the first message of a stream asks for. If the message is nil, serve
// waits for it, for a bounded time. After an M_REQ_NEG or M_REQ_SYN it waits only for
// Config.Authorize.
func (g *Instance) serve(s *stream, m wire.Message) {
	if !g.await(s) {
		return
	}
	if m == nil {
		if m = g.awaitFirst(s); m == nil {
			return
		}
	}
	if !g.streams.isPending(s) {
		s.close() // it was evicted
		return
	}
	if !g.mayServe(m, s) {
		g.dropFrom(s, m, ReasonNoSecurity, nil)
		s.close()
		return
	}
	if g.isCopy(s, m) {
		g.dropFrom(s, m, ReasonIDClash, errRepeated)
		s.close()
		return
	}
	if response, ok := m.(*wire.Response); ok {
		g.handleResponse(response, s)
		s.close()
		return
	}
	g.trace(Received, m, s.raw(), s.Peer, s.Link)
	if want, o := wanted(m); !g.mayHave(s, m, want, o) {
		return
	}
	switch m := m.(type) {
	case *wire.ReqNeg:
		g.handleRequest(s, m)
	case *wire.ReqSyn:
		g.answerSynch(s, m)
	case *wire.Discovery:
		g.answerOnStream(s, m)
	case *wire.Negotiate, *wire.End, *wire.Wait, *wire.Synch:
		g.rapidAnswer(s, m)
	default:
		g.refuse(s, &wire.Error{Type: m.Type(), HasType: true, Err: errUnexpected})
	}
}

// await makes a stream pending: it has to say what it wants, or waits for something. It
// returns false if the instance is closed, and so is the stream then.
func (g *Instance) await(s *stream) bool {
	evicted, ok := g.streams.add(s, true)
	if !ok {
		s.close()
		return false
	}
	for _, s := range evicted {
		g.evict(s)
	}
	return true
}

// awaitFirst waits for the first message of a stream. If none comes the stream
// is closed, and nil returned.
func (g *Instance) awaitFirst(s *stream) wire.Message {
	// Close closes the stream: that is what ends this, not a context.
	m, err := s.message(context.Background(), g.now().Add(g.cfg.IdleTimeout))
	if err != nil {
		if g.streams.claim(s) {
			g.refuse(s, err)
		}
		s.close()
		return nil
	}
	return m
}

// isOutOfDescriptors reports whether the process, or the system, may open no more
// files.
func isOutOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// giveWay closes the oldest pending stream of the peer that has most. It returns false
// if no stream is pending.
func (g *Instance) giveWay() bool {
	s := g.streams.evict()
	if s != nil {
		g.evict(s)
	}
	return s != nil
}

// evict closes a stream that was evicted from the table.
func (g *Instance) evict(s *stream) {
	g.drop(Event{Reason: ReasonTooManyIdle, Peer: s.Peer})
	s.close()
}

// dropFrom counts and traces the message just read from a stream, which is
// dropped, with the cause if there is more to say.
func (g *Instance) dropFrom(s *stream, m wire.Message, reason Reason, cause error) {
	g.drop(eventOf(m, Event{Reason: reason, Peer: s.Peer, Link: s.Link, Raw: s.raw(), Err: cause}))
}

// dropUnsent does so with one that could not be sent.
func (g *Instance) dropUnsent(s *stream, m wire.Message, raw []byte, cause error) {
	g.drop(eventOf(m, Event{Reason: ReasonSendFailed, Peer: s.Peer, Link: s.Link, Raw: raw, Err: cause}))
}

var errUnexpected = errors.New("not a message to begin with")

// refuse closes a stream whose message could not be read or made no sense.
func (g *Instance) refuse(s *stream, err error) {
	defer s.close()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return // a peer may close without asking anything
	}
	g.invalid(s, err)
}

// invalid counts a message that is not valid and tells the peer, if it could
// be read whose it was (RFC 8990 section 2.8.12: MAY; never about M_INVALID).
func (g *Instance) invalid(s *stream, err error) {
	e := Event{Reason: reasonOf(err), Peer: s.Peer, Link: s.Link, Raw: s.raw(), Err: err}
	var bad *wire.Error
	if !errors.As(err, &bad) {
		g.drop(e)
		return
	}
	e.Message, e.SessionID = bad.Type.String(), bad.SessionID
	g.drop(e)
	if !bad.HasSession || bad.HasType && bad.Type == wire.TypeInvalid || g.secure() != nil {
		return
	}
	info, _ := encodeValue(err.Error()) // text always encodes
	msg := &wire.Invalid{SessionID: bad.SessionID, Info: info}
	if raw, err := msg.Append(nil); err == nil && s.send(raw, sendTimeout) == nil {
		g.trace(Sent, msg, raw, s.Peer, s.Link)
	}
}

// defaultDULL are the objectives that a DULL instance deals with if
// Config.DULLObjectives is empty: those of RFC 8994 section 6.4 and RFC 8995
// section 4.1.1.
var defaultDULL = []string{"AN_ACP", "AN_Proxy"}

var errDULL = errors.New("a DULL instance")

// secure returns why the instance must not do what needs protection, or nil.
// RFC 8990 section 2.5.2: a DULL instance never does.
func (g *Instance) secure() error {
	if g.cfg.DULL {
		return errDULL
	}
	if st := g.cfg.Plane.Status(); !st.Secure {
		return errors.New(st.Reason)
	}
	return nil
}

// mayMulticast returns why the instance must not discover or flood an
// objective, or nil. A DULL instance may, if the objective is for it.
func (g *Instance) mayMulticast(name string) error {
	switch {
	case !g.cfg.DULL:
		return g.secure()
	case !slices.Contains(g.cfg.DULLObjectives, name):
		return fmt.Errorf("%w, and %q is not in Config.DULLObjectives", errDULL, name)
	}
	return nil
}

// mayServe reports whether a stream's first message may be handled. A DULL instance
// handles only answers to its own discovery.
func (g *Instance) mayServe(m wire.Message, s *stream) bool {
	if !g.cfg.DULL {
		return g.secure() == nil
	}
	_, ok := m.(*wire.Response)
	return ok && (cache.OnLinkOnly(s.Peer.Addr()) || s.local)
}

// watchPlane follows the plane's status and links until the instance is closed. When
// the plane ceases to be secure, all that needs protection ends at once.
func (g *Instance) watchPlane() {
	was := g.secure() == nil
	var links linkLog
	for {
		links.log(g)
		select {
		case <-g.ctx.Done():
			return
		case <-g.ep.Changed():
		}
		g.now() // the machine may have slept
		if g.cfg.DULL {
			g.forgetOtherLinks()
		}
		g.changed.broadcast()
		err := g.secure()
		switch now := err == nil; {
		case was && !now:
			g.log.Error("the plane is no longer secure: sessions and listening end", "reason", err)
			g.lockDown(&withCode{ErrNoSecurity, err})
		case !was && now:
			g.log.Info("the plane is secure")
		}
		was = err == nil
	}
}

// lockDown ends sessions, listening and discoveries. Their calls return why. Searches
// learn that before their streams are closed, which would end them without an error.
func (g *Instance) lockDown(why error) {
	g.objectives.stopAll(why)
	g.searches.fail(why)
	for _, s := range g.sessions.All() {
		s.finish()
	}
	g.streams.closeAll()
}

// oneLink is an endpoint of which one link only is used: a DULL instance serves
// one interface (RFC 8990 section 2.5.2).
type oneLink struct {
	acp.Endpoint
	index atomic.Int64 // of the link, 0 before there was one
}

// newOneLink refuses an endpoint that has several links already, because it is unclear
// which one is meant. If others come later, the first one stays in use.
func newOneLink(ep acp.Endpoint) (acp.Endpoint, error) {
	links := ep.Links()
	if len(links) > 1 {
		var names []string
		for _, l := range links {
			names = append(names, l.Name)
		}
		return nil, fmt.Errorf("a DULL instance serves one link (RFC 8990 section 2.5.2), and the plane has %s: "+
			"give it a plane with one of them, and each of the others an instance of its own", strings.Join(names, ", "))
	}
	return &oneLink{Endpoint: ep}, nil
}

// Under is for acp.Overlay.
func (e *oneLink) Under() acp.Endpoint { return e.Endpoint }

// Links returns the link, if it is up. Once it is gone, another may take its
// place.
func (e *oneLink) Links() []acp.Link {
	links := e.Endpoint.Links()
	if len(links) == 0 {
		return nil
	}
	i := max(0, slices.IndexFunc(links, func(l acp.Link) bool { return int64(l.Index) == e.index.Load() }))
	e.index.Store(int64(links[i].Index))
	return links[i : i+1]
}

// uses reports whether a link is the one in use.
func (e *oneLink) uses(link int) bool {
	return slices.ContainsFunc(e.Links(), func(l acp.Link) bool { return l.Index == link })
}

// Send multicasts on the link.
func (e *oneLink) Send(link int, msg []byte) error {
	if !e.uses(link) {
		return fmt.Errorf("link %d is not the one of this instance", link)
	}
	return e.Endpoint.Send(link, msg)
}

// Receive waits for a datagram that comes by the link.
func (e *oneLink) Receive(buf []byte) (int, acp.Origin, error) {
	for {
		n, from, err := e.Endpoint.Receive(buf)
		if err != nil || e.uses(from.Link) {
			return n, from, err
		}
	}
}

// Accept waits for a stream that comes by the link.
func (e *oneLink) Accept() (*acp.Stream, error) {
	for {
		s, err := e.Endpoint.Accept()
		if err != nil || s.Link == 0 || e.uses(s.Link) {
			return s, err
		}
		_ = s.Close()
	}
}
