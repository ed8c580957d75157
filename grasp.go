// Package grasp is an embeddable implementation of GRASP, the GeneRic
// Autonomic Signaling Protocol (RFC 8990), with the API of RFC 8991 in the
// shape of its author's Python prototype.
//
// In an autonomic network, nodes configure themselves: small programs called
// Autonomic Service Agents (ASAs) find each other, agree on parameters and
// share state. They talk about objectives: named values that are negotiated
// between two ASAs, synchronized from one to others, or flooded to all.
//
// # Instances and ASAs
//
// An [Instance] is a GRASP node: it owns the sockets, the registries and the
// caches, and any number of ASAs share it. [New] makes one from a [Config],
// whose zero value is ready to use; the package-level functions serve a
// default one. [Instance.RegisterASA] returns an [*ASA], the handle for all other
// calls.
//
// # Calls, times and errors
//
// Calls that block take a context, whose end cancels them, and a timeout, which
// is the GRASP timer: 0 means the default, and an M_WAIT from the peer replaces
// it. A negative timeout is over at once. Times are time.Duration here and
// milliseconds on the wire. Every error is an [*Error] or wraps one: it has an
// [ErrorCode].
//
// All methods may be called from several goroutines at once. After the ASA was
// deregistered or the instance closed, every call returns [ErrNoASA].
//
// # Security
//
// GRASP demands a substrate that admits only members of the network and
// protects their messages (RFC 8990 section 2.5.1): the [acp.Plane] in Config.
// While it is not secure, calls return [ErrNoSecurity], and incoming messages are
// dropped. The default, [acp.Layer2], assumes that the link layer is protected.
package grasp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/asleep"
	"github.com/go-grasp/grasp/internal/datagram"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/outlet"
	"github.com/go-grasp/grasp/internal/pace"
	"github.com/go-grasp/grasp/internal/session"
	"github.com/go-grasp/grasp/internal/wire"
)

// Instance is a GRASP node: ASAs, registries, caches and sockets. Instances in
// one process share nothing.
type Instance struct {
	cfg    Config
	log    *slog.Logger
	logged *outlet.Handler // of log
	limits wire.Limits
	ep     acp.Endpoint
	fast   acp.Requester   // nil: the plane opens streams without messages
	came   *requestMemory  // nil: so that nothing comes twice
	recent *recentPeers    // nil: so is fast
	ctx    context.Context // ends with the instance

	// Each of these has a lock of its own, as have a Session and an ASA. No lock is
	// held over anything that can wait: a socket, a full channel, a callback, a line
	// of a log. No two locks are held at once, except that of the registry of
	// objectives and then that of one objective's backlog, and waking before all others.

	objectives objectiveTable
	sessions   *session.Table[*Session]
	searches   *searchTable
	doubts     *doubts
	locators   *locatorCache
	floods     *floodCache
	datagrams  datagram.Rules
	relays     guarded[*loop.Relay[asker]]
	outbox     outbox
	waits      chan struct{} // one slot: a message waits to be relayed; nil: none ever does
	streams    *streamTable
	responders *responderTable
	counters   counters
	changed    broadcaster  // the plane's status, links or address
	waking     sync.Mutex   // guards meter
	meter      asleep.Meter // of the sleep that all but the caches reckon with: see now
	awoken     broadcaster  // the machine
	slept      atomic.Int64 // the machine, in nanoseconds
	ended      broadcaster  // a session
	forgets    forgetter
	observers  observers
	print      *printer

	mu     sync.Mutex // guards all following fields
	asas   map[string]*ASA
	closed bool
	wg     sync.WaitGroup // Add only while not closed
	cancel context.CancelFunc
	done   chan struct{} // closed when Close has finished
}

// errClosed is the cause of every failure after Close.
var errClosed = fmt.Errorf("instance closed: %w", net.ErrClosed)

// New starts an instance: it opens the sockets of the plane and returns. It
// does not wait for links; there need not be any yet. Close ends it.
func New(cfg Config) (*Instance, error) { return newWith(cfg, nil) }

// newWith is New with another way to know how long the machine has slept in all, or
// nil: for tests.
func newWith(cfg Config, slept func() time.Duration) (*Instance, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fail("new", "", ErrUnspec, err)
	}
	ep, err := cfg.Plane.Open()
	if err != nil {
		return nil, fail("new", "", ErrSockErr, err)
	}
	if cfg.DULL {
		one, err := newOneLink(ep)
		if err != nil {
			return nil, fail("new", "", ErrUnspec, errors.Join(err, ep.Close()))
		}
		ep = one
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Instance{
		cfg:    cfg,
		limits: cfg.messages(),
		ep:     ep, ctx: ctx, cancel: cancel,

		objectives: newObjectiveTable(cfg.MaxObjectives),
		sessions:   session.NewTable[*Session](cfg.MaxSessions, cfg.SessionsPerPeer),
		locators:   newLocatorCache(cfg.cached(cfg.LocatorsPerObjective), cfg.TranslatedIPv4),
		floods:     newFloodCache(cfg.cached(cfg.FloodsPerObjective)),
		relays: guarded[*loop.Relay[asker]]{value: loop.New[asker](loop.Config{
			Limit: loop.MaxRelayed, Others: maxRemembered, Rate: cfg.RelayRate, Wait: cfg.RelayWait, Random: rand.Float64,
		})},
		streams:    newStreamTable(cfg.Limits),
		responders: newResponderTable(),
		doubts:     newDoubts(),

		asas: make(map[string]*ASA),
		done: make(chan struct{}),
	}
	g.meter.Total, g.floods.meter.Total, g.locators.meter.Total = slept, slept, slept
	g.meter.Since(time.Now()) // from now on
	g.print = newPrinter(cfg.Dialogue, &g.observers, g.countLost)
	g.print.limiter = pace.NewLineLimiter(cfg.LogRate)
	g.logged = outlet.NewHandler(cfg.Logger.Handler(), g.countLost)
	g.log = slog.New(pace.NewHandler(g.logged, cfg.LogRate, g.logRefused))
	g.datagrams = datagram.Rules{DULL: cfg.DULL, Objectives: cfg.DULLObjectives, Limits: g.limits, Own: g.isOwnMulticast}
	if cfg.Trace != nil {
		g.Observe(Observer{Trace: cfg.Trace})
	}
	if fast, ok := ep.(acp.Requester); ok {
		g.fast, g.came, g.recent = fast, newRequestMemory(), newRecentPeers()
	}
	g.searches = newSearchTable(g.sessions, cfg.MaxFound)
	g.spawn(g.receiveDatagrams)
	g.spawn(g.acceptStreams)
	g.spawn(g.watchPlane)
	if cfg.RelayWait > 0 {
		g.waits = make(chan struct{}, 1)
		g.spawn(g.relayLater)
	}
	if err := g.secure(); err != nil {
		g.log.Warn("not secure: calls will say so", "reason", err)
	}
	return g, nil
}

// maxRemembered bounds the own multicasts that are remembered, the discoveries whose results
// go to somebody else, and the answers from the cache.
const maxRemembered = 32_768

// spawn runs f in a goroutine that Close waits for. It returns false, and
// does nothing, once the instance is closed.
func (g *Instance) spawn(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// WaitForLink waits until the plane has a link in use, or the context ends. Other
// calls do not require a link; without one they reach this node only. The error says
// what keeps each interface from being a link.
//
// Errors: [ErrNoASA] (the instance is closed), [ErrCancelled].
func (g *Instance) WaitForLink(ctx context.Context) error {
	const op = "wait for link"
	for {
		changed := g.changed.wait()
		if g.ctx.Err() == nil && len(g.ep.Links()) > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-g.ctx.Done():
			return fail(op, "", ErrNoASA, errClosed)
		case <-ctx.Done():
			return fail(op, "", ErrCancelled, fmt.Errorf("%w: %w", context.Cause(ctx), g.errNoLink()))
		}
	}
}

// broadcaster wakes everybody who waits.
type broadcaster struct {
	mu sync.Mutex // guards all following fields
	ch chan struct{}
}

// wait returns a channel that the next broadcast closes.
func (b *broadcaster) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcaster) broadcast() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Close ends the instance, with its sessions, its listeners and every call that
// blocks; these return [ErrNoASA] or [ErrNoSession]. It waits until all goroutines
// have ended, and for at most a second until observers, the printer and the logger
// have got all that happened; what is left then is lost. Close may be called more
// than once, and concurrently; every call returns when the instance is closed.
func (g *Instance) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		<-g.done
		return nil
	}
	g.closed = true
	var asas []*ASA
	for _, a := range g.asas {
		asas = append(asas, a)
	}
	g.mu.Unlock()

	g.cancel()
	g.forgets.close()
	for _, a := range asas {
		a.leave()
	}
	g.sessions.Close()
	for _, s := range g.sessions.All() {
		s.finish()
	}
	g.streams.close()
	err := g.ep.Close()
	g.wg.Wait()
	g.flush()
	g.closeOutlets()
	close(g.done)
	if err != nil {
		return fail("close", "", ErrSockErr, err)
	}
	return nil
}

// Done returns a channel that is closed when the instance is closed and all its
// goroutines have ended.
func (g *Instance) Done() <-chan struct{} { return g.done }

// ASA is an Autonomic Service Agent in an instance: the asa_handle of RFC
// 8991. Only RegisterASA returns one, so only its caller can use it.
type ASA struct {
	g    *Instance
	name string
	ctx  context.Context // ends when it is deregistered
	end  context.CancelFunc
	gone <-chan struct{} // closed when ctx has ended

	draining atomic.Bool // see Drain

	mu         sync.Mutex // guards all following fields
	left       bool
	objectives map[string]struct{}
}

// RegisterASA registers an ASA under a name that is unique in the instance,
// and free again after Deregister (RFC 8991 section 2.3.3). It does not block.
//
// Errors: [ErrASAFull], [ErrDupASA], [ErrNoASA] (the instance is closed).
func (g *Instance) RegisterASA(name string) (*ASA, error) {
	const op = "register ASA"
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, fail(op, name, ErrNoASA, errClosed)
	case len(g.asas) >= g.cfg.MaxASAs:
		return nil, fail(op, name, ErrASAFull, nil)
	case g.asas[name] != nil:
		return nil, fail(op, name, ErrDupASA, nil)
	}
	a := &ASA{g: g, name: name, objectives: make(map[string]struct{})}
	a.ctx, a.end = context.WithCancel(context.Background())
	a.gone = a.ctx.Done()
	g.asas[name] = a
	return a, nil
}

// Name returns the name under which the ASA is registered.
func (a *ASA) Name() string { return a.name }

// Instance returns the instance the ASA is registered with.
func (a *ASA) Instance() *Instance { return a.g }

// Deregister ends the ASA, with its objectives, its sessions and its calls that wait;
// these return [ErrNoASA] or [ErrNoSession]. Objectives that other ASAs registered
// with Overlap stay registered by those. It does not block. A second call returns
// [ErrNoASA].
func (a *ASA) Deregister() error {
	if err := a.check(); err != nil {
		return fail("deregister ASA", a.name, ErrNoASA, err)
	}
	if !a.leave() {
		return fail("deregister ASA", a.name, ErrNoASA, nil)
	}
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	if a.g.asas[a.name] == a {
		delete(a.g.asas, a.name)
	}
	return nil
}

// sessionsOf returns the sessions of an ASA.
func (g *Instance) sessionsOf(a *ASA) []*Session {
	return slices.DeleteFunc(g.sessions.All(), func(s *Session) bool { return s.owner() != a })
}

// leave ends the ASA and all that it has. It returns false if that was done before.
func (a *ASA) leave() bool {
	a.mu.Lock()
	if a.left {
		a.mu.Unlock()
		return false
	}
	a.left = true
	objectives := a.objectives
	a.objectives = nil
	a.mu.Unlock()
	a.end()
	for name := range objectives {
		_ = a.g.objectives.remove(a, name)
	}
	for _, s := range a.g.sessionsOf(a) {
		s.finish()
	}
	return true
}

// Drain takes the ASA out of service in good order. From now on discovery does not
// find its objectives, unless other ASAs share them; requests to it are refused, and
// its calls that listen return [ErrStopped]. It floods its flooded values once more
// with a lifetime of 1 ms, so that other nodes forget them. Its other calls work as
// before. Drain blocks until all sessions of the ASA are over, or the context ends.
// Call Deregister or Close next: an ASA that was drained cannot go back into service.
//
// Errors: [ErrNoASA], [ErrCancelled] (sessions go on).
func (a *ASA) Drain(ctx context.Context) error {
	const op = "drain"
	if err := a.check(); err != nil {
		return fail(op, a.name, ErrNoASA, err)
	}
	a.draining.Store(true)
	for _, name := range a.owned() {
		stopListening(a.g.objectives.backlogOf(name), a, ErrStopped)
	}
	a.withdrawFloods()
	for {
		ended := a.g.ended.wait()
		if len(a.g.sessionsOf(a)) == 0 {
			return nil
		}
		select {
		case <-ended:
		case <-a.gone:
			return fail(op, a.name, ErrNoASA, a.check())
		case <-ctx.Done():
			return fail(op, a.name, ErrCancelled, context.Cause(ctx))
		}
	}
}

// Drain drains all ASAs of the instance at the same time: see [ASA.Drain]. The
// instance goes on relaying until Close.
//
// Errors: [ErrNoASA] (the instance is closed), [ErrCancelled] (sessions go on).
func (g *Instance) Drain(ctx context.Context) error {
	g.mu.Lock()
	asas := slices.Collect(maps.Values(g.asas))
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return fail("drain", "", ErrNoASA, errClosed)
	}
	errs := make([]error, len(asas))
	var drained sync.WaitGroup
	for i, a := range asas {
		drained.Go(func() {
			if err := a.Drain(ctx); !errors.Is(err, ErrNoASA) { // it may be deregistered meanwhile
				errs[i] = err
			}
		})
	}
	drained.Wait()
	return errors.Join(errs...)
}

// owned returns the names of the objectives that the ASA has registered.
func (a *ASA) owned() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.objectives))
}

func (a *ASA) owns(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.objectives[name]
	return ok
}

var (
	errDeregistered = errors.New("deregistered")
	errDraining     = errors.New("the ASA is draining")
)

// check returns why the ASA has ended, or nil.
func (a *ASA) check() error {
	select {
	case <-a.gone:
		if a.g.ctx.Err() != nil {
			return errClosed
		}
		return errDeregistered
	default:
		return nil
	}
}

// own notes that the ASA has registered an objective.
func (a *ASA) own(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left {
		return errDeregistered
	}
	a.objectives[name] = struct{}{}
	return nil
}

func (a *ASA) disown(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.objectives, name)
}
