package acp

import (
	"fmt"
	"net/netip"
	"sync"
)

// batch holds the datagrams that a receiver read at once.
type batch struct {
	family    *family // that they came by
	n, next   int     // how many there are, and the next one to be returned
	from      Origin  // of that
	datagrams [maxBatch]datagram
	oobs      [maxBatch][oobSize]byte
	buf       [1 << 16]byte // for any datagram, or for several shorter ones
	calls     batchCalls    // what the system needs to fill it
}

// datagram is one as it came, with its control message.
type datagram struct {
	msg, oob []byte
	src      netip.AddrPort
	scope    uint32 // the interface of the source, if its address has no zone; 0: not known
}

// source returns the source, with a zone if that has to tell the interface.
func (d *datagram) source(f *family) netip.AddrPort {
	if d.scope == 0 || f.packetInfo {
		return d.src
	}
	return netip.AddrPortFrom(d.src.Addr().WithZone(zoneOf(int(d.scope))), d.src.Port())
}

// maxBatch is how many datagrams are read at once, if there is room for as many.
const maxBatch = 16

// batchPool holds batches. A receiver takes one only when there is something to read, so
// that those who wait need no memory.
var batchPool = sync.Pool{New: func() any { return new(batch) }}

// sizeFor returns how much room each datagram has, and how many have that, if Receive
// is called with a buffer of some size. Datagrams of an ordinary size have room whatever
// the buffer, so that the next call may come with a larger one.
func sizeFor(buffer int) (size, number int) {
	const whole = len(batch{}.buf)
	size = min(max(buffer, whole/maxBatch), whole)
	return size, whole / size
}

// readOne waits for a datagram, by package net.
func (r *receiver) readOne(buffer int) (*batch, error) {
	size, _ := sizeFor(buffer)
	b := batchPool.Get().(*batch)
	n, oobn, _, src, err := r.conn.ReadMsgUDPAddrPort(b.buf[:size], b.oobs[0][:])
	if err != nil && !isTruncated(err) {
		batchPool.Put(b)
		return nil, err
	}
	b.n, b.next = 1, 0
	b.datagrams[0] = datagram{msg: b.buf[:n], oob: b.oobs[0][:oobn], src: src}
	return b, nil
}

// readFrom waits for datagrams to a receiver of a family.
func readFrom(f *family, r *receiver, buffer int) (*batch, error) {
	b, err := r.read(buffer)
	if err != nil {
		return nil, fmt.Errorf("acp: receive multicast: %w", err)
	}
	b.family = f
	return b, nil
}
