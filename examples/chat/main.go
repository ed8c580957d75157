// Command chat has two people talk, by turns, over a session of GRASP's: with
// the calls Send and Recv. One of them listens, on another node of the link or
// behind relays:
//
//	go run ./examples/chat --listen
//	go run ./examples/chat
//
// Whoever does not listen begins. The end of the input ends the talk. Either can
// be replaced by the Python prototype's testserver and testclient.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

func main() { command().Main() }

// patience is how long a peer may think about an answer.
const patience = 10 * time.Minute

// discoveryTime is how long to look for a peer.
const discoveryTime = 30 * time.Second

func command() cli.Command {
	var listen bool
	return cli.Command{
		Name:  "chat",
		About: "chat has two people talk by turns over a session of GRASP's.",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&listen, "listen", false, "wait for others to begin, one after the other")
		},
		Run: func(ctx context.Context, p *cli.Program) error { return run(ctx, p, listen) },
	}
}

// objective is the one of the prototype's programs.
func objective() grasp.Objective {
	return grasp.Objective{Name: "EX3", Neg: true, LoopCount: grasp.DefaultLoopCount}
}

func run(ctx context.Context, p *cli.Program, listen bool) error {
	g, err := p.OnLinks(ctx, grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	a, err := g.RegisterASA("chat")
	if err != nil {
		return err
	}
	if err := a.RegisterObj(objective(), grasp.RegisterOptions{Overlap: true}); err != nil {
		return err
	}
	t := &talk{asa: a, p: p, lines: p.Lines(ctx)}
	if listen {
		return t.serve(ctx)
	}
	a.Tprint("Looking for somebody who listens, for", discoveryTime, "at most")
	s, err := a.OpenSession(ctx, objective(), nil, discoveryTime)
	if err != nil {
		return err
	}
	a.Tprint("Talking with", s.Source())
	_, err = t.with(ctx, s, true)
	return err
}

// talk is what is said here.
type talk struct {
	asa   *grasp.ASA
	p     *cli.Program
	lines <-chan string
}

// serve talks with one peer after the other. Others wait.
func (t *talk) serve(ctx context.Context) error {
	t.asa.Tprint("Waiting for a peer")
	for {
		s, _, err := cli.Listen(ctx, t.asa, objective())
		if s == nil {
			return err
		}
		t.asa.Tprint("Talking with", s.Source())
		if left, err := t.with(ctx, s, false); !left {
			return err
		}
	}
}

// with talks on a session until the peer leaves, or the input or the context
// ends. It returns true if the peer left.
func (t *talk) with(ctx context.Context, s *grasp.Session, mine bool) (left bool, err error) {
	defer s.Close()
	for ; ; mine = !mine {
		if !mine {
			said, err := s.Recv(ctx, patience)
			if err != nil {
				return t.over(ctx, err)
			}
			if err := t.heard(s, said); err != nil {
				return false, err
			}
			continue
		}
		t.p.Say("Your message:")
		select {
		case line, ok := <-t.lines:
			if !ok {
				return false, nil
			}
			err := s.Send(line)
			switch {
			case errors.Is(err, grasp.ErrTooLong), errors.Is(err, grasp.ErrCBORFail): // nothing was sent
				t.p.Say("Not sent, try another one:", err)
				mine = false // so that it is our turn again
			case err != nil:
				return t.over(ctx, err)
			}
		case <-ctx.Done():
			return false, nil
		}
	}
}

// over says what an error means for the talk: nothing is wrong if the peer left
// or the program was told to end.
func (t *talk) over(ctx context.Context, err error) (left bool, _ error) {
	switch {
	case ctx.Err() != nil:
		return false, nil
	case errors.Is(err, grasp.ErrNoPeer), errors.Is(err, grasp.ErrNoSession):
		t.asa.Tprint("The peer has left")
		return true, nil
	}
	return false, err
}

// heard tells what the peer said.
func (t *talk) heard(s *grasp.Session, said any) error {
	t.asa.Tprint("Peer said:", said)
	if !t.p.JSON {
		return nil
	}
	text, ok := said.(string)
	if !ok {
		return nil // some other value, which JSON may not have
	}
	return json.NewEncoder(t.p.Stdout).Encode(struct {
		From string `json:"from"`
		Said string `json:"said"`
	}{s.Source().String(), text})
}
