package acp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// both is how an endpoint hears that has sockets of both versions of IP, while
// Receive can wait for one only.
//
// As long as all links run over one version, Receive reads its socket itself.
// Other sockets are read by pumps, which hand over what comes, at the price of
// a switch between goroutines. Once the links run over another version or over
// both, both have pumps, for good.
type both struct {
	alone   atomic.Pointer[family] // has no pump; nil: both have one
	turn    chan struct{}          // holds one, for who reads alone
	packets chan *packet           // from the pumps
}

// packet is what a pump hands to Receive.
type packet struct {
	n    int
	from Origin
	err  error
	buf  [1<<16 - 1]byte // the largest datagram
}

var packetPool = sync.Pool{New: func() any { return new(packet) }}

// startBoth begins to hear, once the links are known.
func (e *layer2Endpoint) startBoth() {
	e.both.turn, e.both.packets = make(chan struct{}, 1), make(chan *packet)
	e.both.turn <- struct{}{}
	alone, other := e.six, e.four
	if st := e.state.Load(); len(st.only4) > 0 && len(st.only4) == len(st.links) {
		alone, other = other, alone
	}
	e.both.alone.Store(alone)
	e.done.Go(func() { e.pump(other) })
	e.hearLinks()
}

// hearLinks sees to it that all links are heard.
func (e *layer2Endpoint) hearLinks() {
	alone := e.both.alone.Load()
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

// endAlone has a pump read the socket that Receive reads, which has to leave it
// first.
func (e *layer2Endpoint) endAlone(alone *family) {
	_ = alone.recv.SetReadDeadline(time.Unix(1, 0))
	<-e.both.turn
	e.both.alone.Store(nil)
	_ = alone.recv.SetReadDeadline(time.Time{})
	e.both.turn <- struct{}{}
	e.done.Go(func() { e.pump(alone) })
}

// receiveBoth is Receive where there are both versions of IP.
func (e *layer2Endpoint) receiveBoth(buf []byte) (int, Origin, error) {
	if e.both.alone.Load() != nil {
		n, from, err := e.receiveAlone(buf)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, from, err
		}
	}
	select {
	case p := <-e.both.packets:
		defer packetPool.Put(p)
		return copy(buf, p.buf[:p.n]), p.from, p.err
	case <-e.ctx.Done():
		return 0, Origin{}, fmt.Errorf("acp: receive multicast: %w", net.ErrClosed)
	}
}

// receiveAlone reads the socket that has no pump. The error wraps
// os.ErrDeadlineExceeded once it has one.
func (e *layer2Endpoint) receiveAlone(buf []byte) (int, Origin, error) {
	select {
	case <-e.both.turn:
	case <-e.ctx.Done():
		return 0, Origin{}, fmt.Errorf("acp: receive multicast: %w", net.ErrClosed)
	}
	defer func() { e.both.turn <- struct{}{} }()
	alone := e.both.alone.Load()
	if alone == nil {
		return 0, Origin{}, os.ErrDeadlineExceeded
	}
	return e.receiveFrom(alone, buf)
}

// pump receives for Receive. Nothing is queued here: it reads on when somebody
// has taken what it read, errors too.
func (e *layer2Endpoint) pump(f *family) {
	for {
		p := packetPool.Get().(*packet)
		p.n, p.from, p.err = e.receiveFrom(f, p.buf[:])
		select {
		case e.both.packets <- p:
		case <-e.ctx.Done():
			return
		}
	}
}
