package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/internal/wire"
)

// conversations is what is known of a capture. RFC 8990 has TCP on dynamic ports: that
// from which a discovery came takes the responses, and a response says where the
// others are.
type conversations struct {
	*decoder
	dissector capture.Dissector
	streams   capture.Streams
	known     map[netip.AddrPort]struct{} // where GRASP is spoken over TCP
	flows     map[capture.Flow]*flow
	buffered  int   // bytes in all flows
	err       error // of printing what was given up
}

// The bounds of what is remembered of a capture.
const (
	maxKnown    = 1 << 16
	maxBuffered = 64 << 20
)

// flow is one direction of a connection.
type flow struct {
	buf  []byte // of which no message is there in full
	need int    // the length from which there may be one
	rest bool   // skip it: it is not GRASP, or nobody knows where a message begins
}

// capture decodes the messages in a capture, whatever else is there.
func (d *decoder) capture(from io.Reader) error {
	r, err := capture.NewReader(from)
	if err != nil {
		return err
	}
	return d.packets(r.Next)
}

// packets decodes the messages in packets, up to io.EOF, and says what it could not read.
func (d *decoder) packets(next func() (capture.Packet, error)) error {
	c := &conversations{decoder: d, known: make(map[netip.AddrPort]struct{}), flows: make(map[capture.Flow]*flow)}
	c.streams.Forget = func(at capture.Flow, left bool) { c.err = errors.Join(c.err, c.close(at, left)) }
	err := c.read(next)
	if d.ctx.Err() == nil {
		err = errors.Join(c.end(), err)
	}
	for _, u := range c.dissector.Unread() {
		fmt.Fprintf(d.p.Stderr, "%s, %s skipped\n", u.Why, plural(u.Packets, "packet"))
	}
	return err
}

// read decodes what is in the packets up to the last.
func (c *conversations) read(next func() (capture.Packet, error)) error {
	for c.ctx.Err() == nil {
		p, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s, ok := c.dissector.Segment(p)
		if !ok {
			continue
		}
		at := seen{Source: addrText(s.Src), Dest: addrText(s.Dst), Protocol: "udp"}
		if !p.Time.IsZero() {
			at.Time = &p.Time
		}
		if s.TCP {
			at.Protocol = "tcp"
			err = c.segment(at, s)
		} else {
			err = c.datagram(at, s)
		}
		if err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// datagram decodes a datagram to or from the port of GRASP: one message, or several that
// left as one packet.
func (c *conversations) datagram(at seen, s capture.Segment) error {
	if s.Dst.Port() != acp.Port && s.Src.Port() != acp.Port {
		return nil
	}
	if s.Cut {
		at.Error = "not captured in full"
		return c.print(at)
	}
	for _, msg := range segments(s.Payload, c.limits) {
		at := at
		m := at.look(msg, c.limits)
		c.learn(m, s.Src)
		if err := c.print(at); err != nil {
			return err
		}
	}
	return nil
}

// segments returns the messages of a packet that the system had yet to cut into datagrams when
// it was captured, as on a relay that sends them: all are multicasts and equally long. Of all
// other packets it returns the whole.
func segments(payload []byte, lim wire.Limits) (all [][]byte) {
	n, err := wire.Scan(payload, lim)
	if err != nil || n == len(payload) {
		return [][]byte{payload}
	}
	for msg := range slices.Chunk(payload, n) {
		switch m, _ := wire.Parse(msg, lim); m.(type) {
		case *wire.Discovery, *wire.Flood:
			all = append(all, msg)
		default:
			return [][]byte{payload} // of which print tells what is wrong
		}
	}
	return all
}

// learn notes where GRASP is spoken, by a message and where it came from.
func (c *conversations) learn(m wire.Message, from netip.AddrPort) {
	switch m := m.(type) {
	case *wire.Discovery:
		c.know(from)
	case *wire.Response:
		for _, ls := range [][]wire.Locator{m.Locators, m.Diverted} {
			for _, l := range ls {
				if l.Addr.IsValid() && l.Port >= 0 {
					c.know(netip.AddrPortFrom(l.Addr, uint16(l.Port)))
				}
			}
		}
	}
}

// know notes that GRASP is spoken at an address and port.
func (c *conversations) know(at netip.AddrPort) {
	if len(c.known) < maxKnown {
		c.known[at] = struct{}{}
	}
}

// isKnown reports whether GRASP is spoken by one side of a connection.
func (c *conversations) isKnown(f capture.Flow) bool {
	for _, at := range []netip.AddrPort{f.Src, f.Dst} {
		if _, ok := c.known[at]; ok || at.Port() == acp.Port {
			return true
		}
	}
	return false
}

// segment takes a segment of a connection, and decodes the messages of which it is the
// end.
func (c *conversations) segment(at seen, s capture.Segment) error {
	b, ok := c.streams.Add(s)
	if c.err != nil || !ok {
		return c.err
	}
	f := c.flows[b.Flow]
	if f == nil {
		f = &flow{}
		c.flows[b.Flow] = f
	}
	err := c.bytes(at, f, b)
	if b.End && err == nil {
		err = c.close(b.Flow, false)
	}
	return err
}

// bytes takes the next bytes of a direction.
func (c *conversations) bytes(at seen, f *flow, b capture.Bytes) error {
	switch {
	case f.rest:
		return nil
	case b.Gap || c.buffered+len(b.Data) > maxBuffered:
		c.skip(f)
		if !c.isKnown(b.Flow) {
			return nil
		}
		at.Error = "a part was not captured, and the rest of the connection cannot be read"
		if !b.Gap {
			at.Error = "too many connections have messages without end, and the rest of this one is not read"
		}
		return c.print(at)
	}
	f.buf = append(f.buf, b.Data...)
	c.buffered += len(b.Data)
	for len(f.buf) > 0 && len(f.buf) >= f.need {
		n, err := wire.Scan(f.buf, c.limits)
		if errors.Is(err, wire.ErrTruncated) {
			f.need = n
			return nil
		}
		raw := f.buf
		switch {
		case err != nil:
			c.skip(f)
			if !c.isKnown(b.Flow) {
				return nil
			}
		case !c.isKnown(b.Flow):
			if _, err := wire.Parse(raw[:n], c.limits); err != nil {
				c.skip(f)
				return nil
			}
			c.know(b.Flow.Dst) // it looks like GRASP
			fallthrough
		default:
			raw, f.buf, f.need = raw[:n], raw[n:], 0
			c.buffered -= n
		}
		each := at
		c.learn(each.look(raw, c.limits), b.Flow.Src)
		if err := c.print(each); err != nil {
			return err
		}
	}
	return nil
}

// skip has the rest of a direction not read.
func (c *conversations) skip(f *flow) {
	c.buffered -= len(f.buf)
	f.buf, f.rest = nil, true
}

// close forgets a direction, and tells if it has a message that has no end.
func (c *conversations) close(at capture.Flow, left bool) error {
	f := c.flows[at]
	delete(c.flows, at)
	if f == nil || f.rest {
		return nil
	}
	buf := f.buf
	c.skip(f)
	if len(buf) == 0 && !left || !c.isKnown(at) {
		return nil
	}
	s := seen{Source: addrText(at.Src), Dest: addrText(at.Dst), Protocol: "tcp", Hex: fmt.Sprintf("%x", buf)}
	s.fail(errors.New("not captured to its end"), len(buf))
	return c.print(s)
}

// end tells of messages that have no end in the capture.
func (c *conversations) end() error {
	missing := make(map[capture.Flow]bool)
	for _, flow := range c.streams.Rest() {
		missing[flow] = true
	}
	flows := slices.SortedFunc(maps.Keys(c.flows), func(a, b capture.Flow) int {
		return cmp.Or(a.Src.Compare(b.Src), a.Dst.Compare(b.Dst))
	})
	for _, flow := range flows {
		if err := c.close(flow, missing[flow]); err != nil {
			return err
		}
	}
	return nil
}
