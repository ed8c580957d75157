package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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
		conn, err := e.streams.AcceptTCP()
		switch {
		case err == nil:
			return e.streamOf(conn), nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			// What is put there from now on sets it again.
			_ = e.streams.SetDeadline(time.Time{})
		default:
			return nil, fmt.Errorf("acp: accept: %w", err)
		}
	}
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
	l, err := e.sys.listenTCP(Port)
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
func (e *layer2Endpoint) acceptShared(l *net.TCPListener) {
	for e.ctx.Err() == nil {
		var a accepted
		conn, err := l.AcceptTCP()
		if err != nil {
			a.err = fmt.Errorf("acp: accept on port %d: %w", Port, err)
		} else {
			a.stream = e.streamOf(conn)
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
