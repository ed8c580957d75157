package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// The floor is a connection for each exchange, on which the bytes of one go:
// a request in one write, the answer in another, and nothing looks at them. On
// plane layer2 that is all done by package net; on other planes the streams
// are the plane's.

// floorPort is the objective by which the server tells its floor's port.
func floorPort(port uint16) grasp.Objective {
	o := grasp.NewObjective("example.com:bench-floor")
	o.Synch, o.Value = true, int(port)
	return o
}

// bare reports whether package net makes the floor's connections.
func bare(p *cli.Program) bool { return p.PlaneName == "layer2" }

// openPlane opens what the floor uses instead of package net.
func openPlane(p *cli.Program) (acp.Endpoint, error) {
	plane, err := p.Protect(links(p))
	if err != nil {
		return nil, err
	}
	return plane.Open()
}

// serveFloor answers on a port until it is stopped.
func serveFloor(ctx context.Context, p *cli.Program) (port uint16, stop func(), err error) {
	answers := map[byte][]byte{}
	for _, verb := range []string{"neg", "syn"} {
		asked, answer, err := messages(verb)
		if err != nil {
			return 0, nil, err
		}
		answers[asked[1]] = answer // the message type
	}
	var accept func() (net.Conn, error)
	var closer io.Closer
	if bare(p) {
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // as layer2 does
		l, err := plain.Listen(ctx, "tcp", ":0")
		if err != nil {
			return 0, nil, err
		}
		accept, closer, port = l.Accept, l, uint16(l.Addr().(*net.TCPAddr).Port)
	} else {
		ep, err := openPlane(p)
		if err != nil {
			return 0, nil, err
		}
		accept = func() (net.Conn, error) {
			s, err := ep.Accept()
			if err != nil {
				return nil, err
			}
			return s.Conn, nil
		}
		closer, port = ep, ep.Port()
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				buf := make([]byte, 512)
				if n, err := c.Read(buf); err == nil && n > 1 {
					_, _ = c.Write(answers[buf[1]])
				}
			})
		}
	})
	return port, func() { _ = closer.Close(); all.Wait() }, nil
}

// floor is the client's end.
type floor struct {
	dial          func(context.Context) (net.Conn, error)
	close         func() error
	asked, answer []byte
}

// newFloor asks a peer for its floor's port.
func newFloor(ctx context.Context, p *cli.Program, a *grasp.ASA, peer *grasp.Locator, verb string) (*floor, error) {
	o, err := a.Synchronize(ctx, floorPort(0), peer, 0)
	if err != nil {
		return nil, err
	}
	var port uint16
	if err := o.Decode(&port); err != nil {
		return nil, err
	}
	f := &floor{}
	if f.asked, f.answer, err = messages(verb); err != nil {
		return nil, err
	}
	ip := peer.IP
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.Itoa(peer.IfIndex))
	}
	if !bare(p) {
		ep, err := openPlane(p)
		if err != nil {
			return nil, err
		}
		f.close = ep.Close
		f.dial = func(ctx context.Context) (net.Conn, error) {
			s, err := ep.Dial(ctx, netip.AddrPortFrom(ip, port))
			if err != nil {
				return nil, err
			}
			return s.Conn, nil
		}
		return f, nil
	}
	if ip.Zone() != "" {
		// By its name, which package net finds faster.
		link, err := net.InterfaceByIndex(peer.IfIndex)
		if err != nil {
			return nil, err
		}
		ip = ip.WithZone(link.Name)
	}
	addr := netip.AddrPortFrom(ip, port).String()
	f.close = func() error { return nil }
	f.dial = func(context.Context) (net.Conn, error) { return net.Dial("tcp", addr) }
	return f, nil
}

func (f *floor) exchange(ctx context.Context) error {
	c, err := f.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(f.asked); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err == nil && n != len(f.answer) {
		err = fmt.Errorf("an answer of %d bytes instead of %d", n, len(f.answer))
	}
	return err
}

// messages returns what goes over the wire in an exchange.
func messages(verb string) (asked, answer []byte, err error) {
	const id = 1 << 31 // as long as nearly all are
	encode := func(messages ...wire.Message) (out [2][]byte, err error) {
		for i, m := range messages {
			if out[i], err = m.Append(nil); err != nil {
				return out, err
			}
		}
		return out, nil
	}
	object := func(o grasp.Objective, flags wire.Flags, value byte) wire.Objective {
		return wire.Objective{Name: o.Name, Flags: flags, LoopCount: o.LoopCount, Value: []byte{value}}
	}
	const one, null = 0x01, 0xf6
	var out [2][]byte
	switch verb {
	case "neg":
		out, err = encode(
			&wire.ReqNeg{SessionID: id, Objective: object(negotiated(), wire.FlagNeg, one)},
			&wire.End{SessionID: id, Accept: true})
	case "syn":
		out, err = encode(
			&wire.ReqSyn{SessionID: id, Objective: object(synchronized(), wire.FlagSynch, null)},
			&wire.Synch{SessionID: id, Objective: object(synchronized(), wire.FlagSynch, one)})
	default:
		err = errors.New("--floor is for neg, syn and flood")
	}
	return out[0], out[1], err
}
