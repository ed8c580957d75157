// Package supervise runs programs beside a daemon: it starts them in their
// order, restarts those that end, with growing pauses, and stops them in the
// reverse order.
package supervise

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Spec describes a program.
type Spec struct {
	Name    string
	Command []string // the program and its arguments
	Dir     string   // where it runs; "": where the daemon does
	Env     []string // "KEY=value", in addition to the daemon's
	Log     string   // the file that gets what it prints; "": the daemon reports each line
	LogSize int64    // when Log has so many bytes, it is renamed to Log.1 and a new one begun
	Restart Restart
	Grace   time.Duration // between SIGTERM and SIGKILL, when it is stopped
	Limits  Limits
}

// Limits are what a program and each of its children may use at most, on Linux;
// 0: what the daemon may.
type Limits struct {
	Memory uint64 // bytes of data (RLIMIT_DATA)
	Files  uint64 // open files (RLIMIT_NOFILE)
	CPU    uint64 // seconds of processor time (RLIMIT_CPU)
}

// Restart says after which ends a program is started again.
type Restart string

// The values of Restart.
const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure" // if its exit status was not 0
	Never     Restart = "never"
)

// Event is something that happened to a program.
type Event struct {
	Program string
	What    What
	PID     int           // of Started
	Line    string        // of Printed
	Err     error         // of Ended, nil with exit status 0, and of LogFailed
	Pause   time.Duration // of Ended, until the next start; 0: there is none
}

// What happened.
type What string

// The values of What.
const (
	Started   What = "program started"
	Printed   What = "program printed"
	Ended     What = "program ended"
	Stopped   What = "program stopped" // by the Group
	LogFailed What = "program log failed"
)

// Pauses before a program starts again: the first, and the longest. A program that ran
// for the longest one begins anew with the first.
const (
	FirstPause = time.Second
	MaxPause   = time.Minute
)

// Group is a set of programs that run.
type Group struct {
	report  func(Event)
	run     func(context.Context, Spec, func(Event)) error
	changes chan []Spec // holds the newest set that is not yet in force
	cancel  context.CancelFunc
	over    chan struct{} // closed when all have been stopped

	mu       sync.Mutex // guards programs
	programs []*program // in the order of their start
}

// program is a Spec that is in force.
type program struct {
	spec   Spec
	cancel context.CancelFunc
	over   chan struct{} // closed when it has ended for good

	mu      sync.Mutex // guards running
	running bool
}

// New returns a group without programs. It calls report, from several
// goroutines, with what happens; report must not call the Group.
func New(report func(Event)) *Group { return newGroup(report, runProcess) }

func newGroup(report func(Event), run func(context.Context, Spec, func(Event)) error) *Group {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Group{report: report, run: run, changes: make(chan []Spec, 1), cancel: cancel, over: make(chan struct{})}
	go g.serve(ctx)
	return g
}

// Set has these programs run, and no others. Programs whose Spec has not changed
// run on. Set does not wait: the old ones are stopped first, then the new ones
// started. A later call replaces one that is not in force yet. Names must differ.
func (g *Group) Set(specs []Spec) {
	for {
		select {
		case g.changes <- slices.Clone(specs):
			return
		case <-g.changes: // an older set, never to be in force
		case <-g.over:
			return
		}
	}
}

// Stop stops all programs, in the reverse order of their start, and returns when
// the last has ended, which takes at most the sum of their Grace.
func (g *Group) Stop() {
	g.cancel()
	<-g.over
}

// Running returns how many programs run, of how many.
func (g *Group) Running() (running, of int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.programs {
		if p.isRunning() {
			running++
		}
	}
	return running, len(g.programs)
}

// serve puts sets of programs in force until the context ends.
func (g *Group) serve(ctx context.Context) {
	defer close(g.over)
	for {
		select {
		case <-ctx.Done():
			g.apply(nil)
			return
		case specs := <-g.changes:
			g.apply(specs)
		}
	}
}

// apply puts a set of programs in force.
func (g *Group) apply(specs []Spec) {
	old := g.list()
	kept := make(map[string]*program)
	for _, p := range slices.Backward(old) {
		stays := slices.ContainsFunc(specs, func(s Spec) bool { return reflect.DeepEqual(s, p.spec) })
		if stays {
			kept[p.spec.Name] = p
			continue
		}
		p.cancel()
		<-p.over
	}
	var programs []*program
	for _, s := range specs {
		p := kept[s.Name]
		if p == nil {
			p = g.start(s)
		}
		programs = append(programs, p)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.programs = programs
}

func (g *Group) list() []*program {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.programs
}

func (g *Group) start(s Spec) *program {
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{spec: s, cancel: cancel, over: make(chan struct{})}
	go func() {
		defer close(p.over)
		defer cancel()
		g.keep(ctx, p)
	}()
	return p
}

// keep runs a program again and again, until it is not to be restarted or the
// context ends.
func (g *Group) keep(ctx context.Context, p *program) {
	pause := FirstPause
	for {
		began := time.Now()
		err := g.run(ctx, p.spec, func(e Event) {
			if e.What == Started {
				p.setRunning(true)
			}
			g.report(e)
		})
		p.setRunning(false)
		e := Event{Program: p.spec.Name, What: Ended, Err: err}
		switch {
		case ctx.Err() != nil:
			e.What = Stopped
		case p.spec.Restart == Always, p.spec.Restart == OnFailure && err != nil:
			if time.Since(began) >= MaxPause {
				pause = FirstPause
			}
			e.Pause = pause
		}
		g.report(e)
		if e.Pause == 0 {
			return
		}
		pause = min(2*pause, MaxPause)
		select {
		case <-time.After(e.Pause):
		case <-ctx.Done():
			return
		}
	}
}

func (p *program) isRunning() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

func (p *program) setRunning(running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
}
