package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// The floor is a connection for each exchange, on which the bytes of one go:
// a request in one write, the answer in another, and nothing looks at them. On
// plane layer2 a program in C does that with plain system calls that block, or
// this one where there is no compiler: see kernel.go. On other planes the streams
// are the plane's.

// floorPort is the objective by which the server tells its floor's port.
func floorPort(port uint16) grasp.Objective {
	o := grasp.NewObjective("example.com:bench-floor")
	o.Synch, o.Value = true, int(port)
	return o
}

// bare reports whether the floor is the kernel's, not the plane's.
func bare(p *cli.Program) bool { return p.PlaneName == "layer2" }

// serveFloor answers on a port until it is stopped.
func serveFloor(p *cli.Program) (port uint16, stop func(), err error) {
	if bare(p) {
		return serveKernel()
	}
	answers := map[byte][]byte{}
	for _, verb := range []string{"neg", "syn"} {
		asked, answer, err := messages(verb)
		if err != nil {
			return 0, nil, err
		}
		answers[asked[1]] = answer // the message type
	}
	plane, err := p.Protect(links(p))
	if err != nil {
		return 0, nil, err
	}
	ep, err := plane.Open()
	if err != nil {
		return 0, nil, err
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			s, err := ep.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer s.Close()
				buf := make([]byte, 512)
				if n, err := s.Read(buf); err == nil && n > 1 {
					_, _ = s.Write(answers[buf[1]])
				}
			})
		}
	})
	return ep.Port(), func() { _ = ep.Close(); all.Wait() }, nil
}

// floor is the client's end.
type floor interface {
	// measure makes n exchanges, so many at a time, and returns how long that took.
	measure(ctx context.Context, n, times int) (time.Duration, error)
	// by says what makes the exchanges.
	by() string
	close() error
}

// newFloor asks a peer for its floor's port.
func newFloor(ctx context.Context, p *cli.Program, a *grasp.ASA, peer *grasp.Locator, verb string) (floor, error) {
	o, err := a.Synchronize(ctx, floorPort(0), peer, 0)
	if err != nil {
		return nil, err
	}
	var port uint16
	if err := o.Decode(&port); err != nil {
		return nil, err
	}
	asked, answer, err := messages(verb)
	if err != nil {
		return nil, err
	}
	ip := peer.IP
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.Itoa(peer.IfIndex))
	}
	to := netip.AddrPortFrom(ip, port)
	if bare(p) {
		return newKernelFloor(to, len(asked), len(answer))
	}
	plane, err := p.Protect(links(p))
	if err != nil {
		return nil, err
	}
	ep, err := plane.Open()
	if err != nil {
		return nil, err
	}
	return &planeFloor{ep: ep, to: to, asked: asked, answer: answer}, nil
}

// planeFloor makes its exchanges over the streams of a plane.
type planeFloor struct {
	ep            acp.Endpoint
	to            netip.AddrPort
	asked, answer []byte
}

func (f *planeFloor) by() string   { return "streams of the plane" }
func (f *planeFloor) close() error { return f.ep.Close() }

func (f *planeFloor) measure(ctx context.Context, n, times int) (time.Duration, error) {
	return timed(f.exchange)(ctx, n, times)
}

func (f *planeFloor) exchange(ctx context.Context) error {
	s, err := f.ep.Dial(ctx, f.to)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Write(f.asked); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, err := s.Read(buf)
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
