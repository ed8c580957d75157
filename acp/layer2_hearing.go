package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// hearing is how an endpoint hears several sockets, of both versions of IP or more
// than one of each, although Receive can wait for one only.
//
// As long as one socket has joined on all links, Receive reads that one itself. The
// other sockets have pumps: goroutines that read them and hand over what comes, at the
// price of a switch between goroutines. Once the links need several sockets, all have
// pumps, for good.
type hearing struct {
	started bool                   // refresh only
	alone   atomic.Pointer[family] // its first socket has no pump; nil: all have one
	buffer  atomic.Int64           // the largest that Receive was called with
	turn    chan struct{}          // holds one, for who is in Receive
	batch   *batch                 // what is left of the last one, for who has the turn
	waiting atomic.Bool            // there is one
	batches chan heard             // from the pumps
}

// heard is what a pump hands to Receive.
type heard struct {
	*batch
	err error
}

// startHearing begins to hear, once the links are known.
func (e *layer2Endpoint) startHearing() {
	e.hearing.started = true
	e.hearing.turn <- struct{}{}
	alone := e.six
	if st := e.state.Load(); e.six == nil || e.four != nil && len(st.only4) > 0 && len(st.only4) == len(st.links) {
		alone = e.four
	}
	more := false
	for _, f := range e.families() {
		for _, r := range f.more {
			more = true
			e.done.Go(func() { e.pump(f, r) })
		}
	}
	for _, f := range e.families() {
		if f != alone || more {
			e.done.Go(func() { e.pump(f, &f.receiver) })
		}
	}
	if !more {
		e.hearing.alone.Store(alone)
	}
	e.hearLinks()
}

// hearLinks gives every socket a pump as soon as the links need more than the one that
// Receive reads.
func (e *layer2Endpoint) hearLinks() {
	alone := e.hearing.alone.Load()
	if alone == nil {
		return
	}
	for _, l := range e.state.Load().byIndex {
		if l.family != alone {
			e.endAlone(alone)
			return
		}
	}
}

// hearMore opens another socket of a family, which shares the port, and joins
// the group by it on a link. Only refresh calls it.
func (e *layer2Endpoint) hearMore(f *family, index int) (*receiver, error) {
	if len(f.more) == maxReceivers {
		return nil, fmt.Errorf("%d sockets can join no more links", 1+maxReceivers)
	}
	conn, err := e.sys.listenGroup(f.network)
	if err != nil {
		return nil, fmt.Errorf("another socket to join by: %w", err)
	}
	r := newReceiver(f.network, conn)
	if err = r.prepare(f); err == nil || !f.packetInfo {
		err = r.join(f.group, index)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	context.AfterFunc(e.ctx, func() { _ = conn.Close() }) // closeSockets does not
	f.more = append(f.more, r)
	if e.hearing.started {
		if alone := e.hearing.alone.Load(); alone != nil {
			e.endAlone(alone)
		}
		e.done.Go(func() { e.pump(f, r) })
	}
	return r, nil
}

// endAlone gives a pump to the socket that Receive reads. It makes Receive stop
// reading first.
func (e *layer2Endpoint) endAlone(alone *family) {
	_ = alone.conn.SetReadDeadline(time.Unix(1, 0))
	<-e.hearing.turn
	e.hearing.alone.Store(nil)
	_ = alone.conn.SetReadDeadline(time.Time{})
	e.hearing.turn <- struct{}{}
	e.done.Go(func() { e.pump(alone, &alone.receiver) })
}

// Receive implements [Endpoint].
func (e *layer2Endpoint) Receive(buf []byte) (int, Origin, error) {
	for {
		select {
		case <-e.hearing.turn:
		case <-e.ctx.Done():
			return 0, Origin{}, errReceiveClosed
		}
		n, from, err := e.receive(buf)
		e.hearing.turn <- struct{}{}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, from, err
		}
	}
}

// receive is Receive for one who has the turn. The error wraps os.ErrDeadlineExceeded if
// endAlone waits for the turn.
func (e *layer2Endpoint) receive(buf []byte) (int, Origin, error) {
	h := &e.hearing
	for h.batch == nil {
		b, err := e.hear(len(buf))
		if err != nil {
			return 0, Origin{}, err
		}
		h.batch = b
		e.toNext()
	}
	b := h.batch
	n, from := copy(buf, b.datagrams[b.next].msg), b.from
	b.next++
	e.toNext()
	return n, from, e.checkPeer(from.Addr.Addr())
}

// toNext goes on to the next datagram of the batch that is for us, for one who has the
// turn. If there is none, it gives the batch back.
func (e *layer2Endpoint) toNext() {
	h := &e.hearing
	b := h.batch
	for ; b.next < b.n; b.next++ {
		d := &b.datagrams[b.next]
		ours := false
		if b.from, ours = e.origin(b.family, d.source(b.family), d.oob); ours {
			h.waiting.Store(true)
			return
		}
		e.drops.Add(1)
	}
	h.waiting.Store(false)
	h.batch = nil
	batchPool.Put(b)
}

var errReceiveClosed = fmt.Errorf("acp: receive multicast: %w", net.ErrClosed)

// hear waits for datagrams, for one who has the turn.
func (e *layer2Endpoint) hear(buffer int) (*batch, error) {
	h := &e.hearing
	if int64(buffer) > h.buffer.Load() {
		h.buffer.Store(int64(buffer))
	}
	if alone := h.alone.Load(); alone != nil {
		return readFrom(alone, &alone.receiver, buffer)
	}
	select {
	case got := <-h.batches:
		return got.batch, got.err
	case <-e.ctx.Done():
		return nil, errReceiveClosed
	}
}

// pump receives for Receive. Nothing is queued here: it reads on when somebody
// has taken what it read, errors too.
func (e *layer2Endpoint) pump(f *family, r *receiver) {
	for {
		b, err := readFrom(f, r, int(e.hearing.buffer.Load()))
		select {
		case e.hearing.batches <- heard{b, err}:
		case <-e.ctx.Done():
			return
		}
	}
}
