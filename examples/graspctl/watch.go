package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// watcher is what to show of what is seen.
type watcher struct {
	count      int
	timeout    time.Duration
	objectives []string // by name; none: all
	messages   []string // by type; none: all
	details    bool
}

func watchCommand() cli.Command {
	var w watcher
	var objectives, messages string
	return cli.Command{
		Name: "watch",
		About: "Watches all GRASP multicasts on the links: discoveries and floods, and what is wrong\n" +
			"with others. It sends nothing. The exit status is 1 if none came.",
		Results: true,
		Flags: func(f *flag.FlagSet) {
			f.IntVarP(&w.count, "number", "n", 0, "stop after `N` messages; 0: go on until Ctrl-C")
			f.DurationVar(&w.timeout, "timeout", 0, "stop after this `time`; 0: go on until Ctrl-C")
			f.StringVar(&objectives, "objective", "", "only messages with one of these objectives: `name[,name]`")
			f.StringVar(&messages, "type", "", "only messages of these types, such as M_FLOOD: `type[,type]`")
			f.BoolVarP(&w.details, "verbose", "v", false, "print each message in diagnostic notation as well")
		},
		Check: checks(arguments(0, 0), noMonitor, func(cli.Options) error {
			w.objectives, w.messages = list(objectives), list(messages)
			if w.count < 0 {
				return errors.New("--number must not be negative")
			}
			for _, m := range w.messages {
				if !isMessage(m) {
					return fmt.Errorf("--type: there are no messages of type %q, as there are of M_DISCOVERY and M_FLOOD", m)
				}
			}
			return checkTimes(w.timeout)
		}),
		Run: run(func(ctx context.Context, p *cli.Program) error {
			plane, err := p.Plane()
			if err != nil {
				return err
			}
			return w.run(ctx, p, plane)
		}),
	}
}

// isMessage is true for the name of a message type.
func isMessage(name string) bool {
	for t := range wire.Type(math.MaxUint8) {
		if t.String() == name {
			return true
		}
	}
	return false
}

// list takes a list of the command line apart.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// run prints what is received until there is enough of it.
func (w *watcher) run(ctx context.Context, p *cli.Program, plane acp.Plane) error {
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	ep, err := plane.Open()
	if err != nil {
		return err
	}
	defer ep.Close()
	defer context.AfterFunc(ctx, func() { _ = ep.Close() })() // ends Receive
	if err := p.SayLinksOf(ep); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	shown := 0
	for failures := 0; w.count == 0 || shown < w.count; {
		n, from, err := ep.Receive(buf)
		switch {
		case errors.Is(err, net.ErrClosed) && shown == 0:
			return not("no message came")
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && !errors.Is(err, acp.ErrForeign):
			if failures++; failures == maxFailures {
				return err
			}
			continue
		}
		failures = 0
		now := time.Now()
		s := seen{Time: &now, Link: linkOf(ep, from.Link), Source: addrText(from.Addr)}
		if err != nil { // of another domain, perhaps
			s.Error = err.Error()
		} else {
			s.look(buf[:n], wire.Limits{Bytes: len(buf)})
		}
		if !w.wants(&s) {
			continue
		}
		if err := s.print(p, w.details); err != nil {
			return err
		}
		shown++
	}
	return nil
}

// maxFailures is how many errors of receiving, each of which should pass, may follow
// each other.
const maxFailures = 100

func linkOf(ep acp.Endpoint, index int) string {
	for _, l := range ep.Links() {
		if l.Index == index {
			return l.Name
		}
	}
	return linkName(index)
}

// wants reports whether a message is to be shown.
func (w *watcher) wants(s *seen) bool {
	if len(w.messages) > 0 && !slices.Contains(w.messages, s.Message) {
		return false
	}
	return len(w.objectives) == 0 ||
		slices.ContainsFunc(s.Objectives, func(name string) bool { return slices.Contains(w.objectives, name) })
}

// print prints what was seen.
func (s *seen) print(p *cli.Program, details bool) error {
	if p.JSON {
		return printJSON(p.Stdout, s)
	}
	text := s.line() + "\n"
	if details {
		notation := s.Diagnostic
		if notation == "" {
			notation = "h'" + s.Hex + "'"
		}
		text += "    " + notation + "\n"
	}
	_, err := fmt.Fprint(p.Stdout, text)
	return err
}
