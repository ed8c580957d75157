package topology

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
)

// Op is what a node can be told to do.
type Op string

// The operations.
const (
	OpOffer       Op = "offer"
	OpProvide     Op = "provide"
	OpDiscover    Op = "discover"
	OpNegotiate   Op = "negotiate"
	OpSynchronize Op = "synchronize"
	OpFlood       Op = "flood"
	OpFlooded     Op = "flooded"
	OpSnapshot    Op = "snapshot"
	OpTraffic     Op = "traffic"
)

// Request tells a node what to do.
type Request struct {
	Op        Op
	Objective string         `json:",omitempty"`
	Value     int64          `json:",omitempty"`
	LoopCount uint8          `json:",omitempty"` // 0: 6
	Timeout   time.Duration  `json:",omitempty"`
	TTL       time.Duration  `json:",omitempty"`
	First     bool           `json:",omitempty"`
	Cached    bool           `json:",omitempty"` // what is cached will do
	Peer      *grasp.Locator `json:",omitempty"`
}

// Reply is the result of a Request.
type Reply struct {
	Err      string          `json:",omitempty"`
	Code     grasp.ErrorCode `json:",omitempty"`
	Timeout  bool            `json:",omitempty"` // the error is a timeout
	Value    int64           `json:",omitempty"`
	Values   []int64         `json:",omitempty"`
	Locators []grasp.Locator `json:",omitempty"`
	Snapshot *grasp.Snapshot `json:",omitempty"`
	Traffic  []Traffic       `json:",omitempty"`
	// Goroutines is the number in the node's process; it comes with a snapshot.
	Goroutines int           `json:",omitempty"`
	Took       time.Duration `json:",omitempty"`
}

// Traffic counts multicasts of a session by what a node did with them.
type Traffic struct {
	Did       string // "sent", "received", "relayed", or why it was dropped
	Message   string
	Session   uint32
	Interface int
	Link      int // of the topology, -1 if not known
	Times     int
}

// agent is an instance with an ASA that does what a Request says.
type agent struct {
	g        *grasp.Instance
	asa      *grasp.ASA
	caughtUp chan struct{} // one slot: the agent was told of a line

	mu      sync.Mutex // guards all following fields
	names   map[int]string
	traffic map[string]map[Traffic]int
}

func newAgent(plane acp.Plane, cfg grasp.Config) (*agent, error) {
	a := &agent{
		caughtUp: make(chan struct{}, 1), names: make(map[int]string), traffic: make(map[string]map[Traffic]int),
	}
	cfg.Plane, cfg.Dialogue.Silent = plane, true
	var err error
	if a.g, err = grasp.New(cfg); err != nil {
		return nil, err
	}
	a.g.Observe(grasp.Observer{Trace: a.trace, Words: func(string, string) { a.caughtUp <- struct{}{} }})
	a.asa, err = a.g.RegisterASA("agent")
	if err != nil {
		return nil, errors.Join(err, a.g.Close())
	}
	return a, nil
}

func (a *agent) close() error { return a.g.Close() }

func (a *agent) trace(e grasp.Event) {
	if e.Message != "M_DISCOVERY" && e.Message != "M_FLOOD" {
		return
	}
	n := Traffic{Did: e.Kind.String(), Message: e.Message, Session: e.SessionID, Interface: e.Link}
	if e.Kind == grasp.Dropped {
		n.Did = e.Reason.String()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	counts := a.traffic[e.Objective]
	if counts == nil {
		counts = make(map[Traffic]int)
		a.traffic[e.Objective] = counts
	}
	counts[n]++
}

// do does what a request says.
func (a *agent) do(r Request) Reply {
	start := time.Now()
	out, err := a.try(context.Background(), r)
	out.Took = time.Since(start)
	if err != nil {
		out.Err, out.Code = err.Error(), grasp.Code(err)
		var timed interface{ Timeout() bool }
		out.Timeout = errors.As(err, &timed) && timed.Timeout()
	}
	return out
}

func (a *agent) try(ctx context.Context, r Request) (out Reply, err error) {
	o := grasp.Objective{Name: r.Objective, LoopCount: cmp.Or(r.LoopCount, grasp.DefaultLoopCount), Value: r.Value}
	switch r.Op {
	case OpOffer:
		o.Neg = true
		if err = a.register(o); err == nil {
			go a.serve(ctx, o)
			for !a.listens(o.Name) {
				time.Sleep(time.Millisecond)
			}
		}
	case OpProvide:
		o.Synch = true
		if err = a.register(o); err == nil {
			err = a.asa.ListenSynchronize(o)
		}
	case OpDiscover:
		opt := grasp.DiscoverOptions{Flush: !r.Cached, First: r.First, Peer: r.Peer}
		out.Locators, err = a.asa.Discover(ctx, o, r.Timeout, opt)
	case OpNegotiate:
		o.Neg = true
		if err = a.register(o); err == nil {
			out.Value, err = a.negotiate(ctx, o, r)
		}
	case OpSynchronize:
		o.Synch = true
		if o, err = a.asa.Synchronize(ctx, o, r.Peer, r.Timeout); err == nil {
			out.Value, _ = o.Value.(int64)
		}
	case OpFlood:
		o.Synch = true
		if err = a.register(o); err == nil {
			err = a.asa.Flood(r.TTL, grasp.TaggedObjective{Objective: o})
		}
	case OpFlooded:
		o.Synch = true
		var all []grasp.TaggedObjective
		all, err = a.asa.GetFlood(o)
		for _, f := range all {
			v, _ := f.Objective.Value.(int64)
			out.Values = append(out.Values, v)
		}
	case OpSnapshot:
		s := a.g.Snapshot()
		out.Snapshot, out.Goroutines = &s, runtime.NumGoroutine()
	case OpTraffic:
		out.Traffic = a.trafficOf(r.Objective)
	default:
		err = fmt.Errorf("no operation %q", r.Op)
	}
	return out, err
}

// register registers an objective unless it is registered.
func (a *agent) register(o grasp.Objective) error {
	err := a.asa.RegisterObj(o, grasp.RegisterOptions{})
	if grasp.Code(err) == grasp.ErrObjReg {
		return nil
	}
	return err
}

// listens reports whether the ASA waits for requests to negotiate an objective.
func (a *agent) listens(name string) bool {
	return slices.ContainsFunc(a.g.Snapshot().Objectives, func(o grasp.ObjectiveState) bool {
		return o.Name == name && o.Negotiating
	})
}

// serve negotiates with all comers.
func (a *agent) serve(ctx context.Context, o grasp.Objective) {
	for {
		s, asked, err := a.asa.ListenNegotiate(ctx, o)
		switch {
		case errors.Is(err, grasp.ErrIDClash):
		case err != nil:
			return
		default:
			go deal(ctx, s, asked)
		}
	}
}

// deal offers half and agrees to what is then asked for. The initiator reports what
// goes wrong.
func deal(ctx context.Context, s *grasp.Session, o grasp.Objective) {
	defer s.Close()
	v, _ := o.Value.(int64)
	o.Value = v / 2
	if s, _, err := s.NegotiateStep(ctx, o, 0); err == nil && s != nil {
		_ = s.EndNegotiate(true, "")
	}
}

// negotiate asks for a value, accepts what is offered and returns it.
func (a *agent) negotiate(ctx context.Context, o grasp.Objective, r Request) (int64, error) {
	s, offer, err := a.asa.ReqNegotiate(ctx, o, r.Peer, r.Timeout)
	if err != nil {
		return 0, err
	}
	if s == nil {
		return 0, errors.New("accepted without an offer")
	}
	defer s.Close()
	s, agreed, err := s.NegotiateStep(ctx, offer, r.Timeout)
	if err != nil {
		return 0, err
	}
	if s != nil {
		_ = s.Close()
		return 0, errors.New("not accepted")
	}
	v, _ := agreed.Value.(int64)
	return v, nil
}

// trafficOf returns what was counted about an objective until now. It can tell when
// it is complete, because an observer gets events and lines in one order.
func (a *agent) trafficOf(objective string) []Traffic {
	a.asa.Tprint("so far")
	<-a.caughtUp
	links := a.g.Snapshot().Links
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range links {
		a.names[l.Index] = l.Name
	}
	var out []Traffic
	for n, times := range a.traffic[objective] {
		n.Link, n.Times = linkOf(a.names[n.Interface]), times
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Traffic) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Did, b.Did))
	})
	return out
}
