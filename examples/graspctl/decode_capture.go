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
	streams capture.Streams
	known   map[netip.AddrPort]struct{} // where GRASP is spoken over TCP
	flows   map[capture.Flow]*flow
}

// maxKnown bounds what is remembered of a capture.
const maxKnown = 1 << 16

// flow is one direction of a connection.
type flow struct {
	buf  []byte // of which no message is there in full
	rest bool   // skip it: it is not GRASP, or nobody knows where a message begins
}

// capture decodes the messages in a capture, whatever else is there.
func (d *decoder) capture(from io.Reader) error {
	r, err := capture.NewReader(from)
	if err != nil {
		return err
	}
	c := &conversations{decoder: d, known: make(map[netip.AddrPort]struct{}), flows: make(map[capture.Flow]*flow)}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return c.end()
		}
		if err != nil {
			return err
		}
		s, ok := p.Segment()
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
}

// datagram decodes a datagram to or from the port of GRASP: one message.
func (c *conversations) datagram(at seen, s capture.Segment) error {
	if s.Dst.Port() != acp.Port && s.Src.Port() != acp.Port {
		return nil
	}
	if s.Cut {
		at.Error = "not captured in full"
		return c.print(at)
	}
	m := at.look(s.Payload, c.limits)
	c.learn(m, s.Src)
	return c.print(at)
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

// isKnown says that GRASP is spoken by one side of a connection.
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
	if !ok {
		return nil
	}
	f := c.flows[b.Flow]
	if b.New || f == nil {
		f = &flow{}
		c.flows[b.Flow] = f
	}
	if f.rest {
		return nil
	}
	if b.Gap {
		f.rest = true
		if !c.isKnown(b.Flow) {
			return nil
		}
		at.Error = "a part was not captured, and the rest of the connection cannot be read"
		return c.print(at)
	}
	f.buf = append(f.buf, b.Data...)
	for len(f.buf) > 0 && !f.rest {
		n, err := wire.Scan(f.buf, c.limits)
		switch {
		case errors.Is(err, wire.ErrTruncated):
			return nil
		case err != nil:
			f.rest = true
			if !c.isKnown(b.Flow) {
				return nil
			}
			n = len(f.buf)
		case !c.isKnown(b.Flow):
			if _, err := wire.Parse(f.buf[:n], c.limits); err != nil {
				f.rest = true
				return nil
			}
			c.know(b.Flow.Dst) // it looks like GRASP
		}
		each := at
		c.learn(each.look(f.buf[:n], c.limits), b.Flow.Src)
		if err := c.print(each); err != nil {
			return err
		}
		f.buf = f.buf[n:]
	}
	return nil
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
		f := c.flows[flow]
		if f.rest || !c.isKnown(flow) || len(f.buf) == 0 && !missing[flow] {
			continue
		}
		at := seen{Source: addrText(flow.Src), Dest: addrText(flow.Dst), Protocol: "tcp", Hex: fmt.Sprintf("%x", f.buf)}
		at.fail(errors.New("not captured to its end"), len(f.buf))
		if err := c.print(at); err != nil {
			return err
		}
	}
	return nil
}
