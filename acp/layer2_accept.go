package acp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Accept implements [Endpoint]. It waits at the endpoint's own listener, and is
// called away from it by a deadline when the one on the shared port has
// something.
func (e *layer2Endpoint) Accept() (*Stream, error) {
	for {
		select {
		case a := <-e.accepted:
			return a.stream, a.err
		default:
		}
		c, err := e.streams.accept()
		switch {
		case err == nil:
			s := e.streamOf(c)
			return s, e.refuse(s)
		case errors.Is(err, os.ErrDeadlineExceeded):
			// What is put there from now on sets it again.
			_ = e.streams.SetDeadline(time.Time{})
		default:
			return nil, fmt.Errorf("acp: accept: %w", err)
		}
	}
}

// refuse closes a stream from where peers are not taken and returns why. It returns nil
// for others.
func (e *layer2Endpoint) refuse(s *Stream) error {
	err := e.checkPeer(s.Peer.Addr())
	if err != nil {
		_ = s.Close()
	}
	return err
}

// checkPeer returns nil if peers with an address are taken.
func (e *layer2Endpoint) checkPeer(peer netip.Addr) error {
	if len(e.accept) == 0 || isLinkLocal(peer) || slices.ContainsFunc(e.accept, func(p netip.Prefix) bool { return p.Contains(peer) }) ||
		e.state.Load().isHere(peer, 0) {
		return nil
	}
	return fmt.Errorf("acp: %v is in no prefix of Layer2.Accept: %w", peer, ErrForeign)
}

// accepted is what the listener on the shared port hands to Accept.
type accepted struct {
	stream *Stream
	err    error
}

// listenShared listens for streams on the port of GRASP too, unless another
// endpoint or program does: then it is tried again at the next look at the
// interfaces. Only Open and watch call it.
func (e *layer2Endpoint) listenShared() {
	if e.shared {
		return
	}
	tcp, err := e.sys.listenTCP(Port)
	if err != nil {
		return
	}
	l, err := newListener(tcp, e.fast != nil)
	if err != nil {
		return
	}
	e.shared = true
	e.done.Go(func() {
		// Close may have closed its sockets before there was this one.
		stop := context.AfterFunc(e.ctx, func() { _ = l.Close() })
		defer func() {
			stop()
			_ = l.Close()
		}()
		e.acceptShared(l)
	})
}

// acceptShared accepts for Accept until the endpoint is closed. One stream
// waits there at most, errors count as one; the next is accepted after that.
func (e *layer2Endpoint) acceptShared(l *listener) {
	for e.ctx.Err() == nil {
		var a accepted
		c, err := l.accept()
		if err != nil {
			a.err = fmt.Errorf("acp: accept on port %d: %w", Port, err)
		} else {
			a.stream = e.streamOf(c)
			a.err = e.refuse(a.stream)
		}
		select {
		case e.accepted <- a:
			_ = e.streams.SetDeadline(time.Unix(1, 0)) // Accept looks there, then
		case <-e.ctx.Done():
			a.drop()
		}
	}
	select {
	case a := <-e.accepted: // nobody wanted it
		a.drop()
	default:
	}
}

func (a accepted) drop() {
	if a.stream != nil {
		_ = a.stream.Close()
	}
}
