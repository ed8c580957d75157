package graspybed

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/internal/netbed"
)

// Peer is a graspy process whose API, the module grasp, can be called.
type Peer struct {
	Output *Output

	name string
	in   io.Writer
	stop func()

	mu      sync.Mutex // guards all following fields
	last    int
	pending map[int]chan result
	broken  error
}

// call and result are what driver.py reads and writes.
type call struct {
	_    struct{} `cbor:",toarray"`
	ID   int
	Name string
	Args []any
	KW   KW
}

type result struct {
	_     struct{} `cbor:",toarray"`
	ID    int
	OK    bool
	Value cbor.RawMessage
}

// KW holds the keyword arguments of a call.
type KW map[string]any

// decoding gives values the types that package grasp gives them.
var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{IntDec: cbor.IntDecConvertSignedOrBigInt}.DecMode()
	if err != nil {
		panic(err) // constants that contradict each other
	}
	return mode
}()

// Start starts a graspy process in a node. Its engine starts with the first
// call of register_asa, for which it needs some three seconds.
func Start(t testing.TB, node *netbed.Node, name string, settings ...Setting) *Peer {
	t.Helper()
	proc := start(t, node, name, settings, "call")
	p := &Peer{Output: proc.output, name: name, in: proc.stdin, stop: proc.stop, pending: make(map[int]chan result)}
	go p.read(decoding.NewDecoder(proc.stdout)) // ends with the process
	return p
}

// Stop ends the process before the test does.
func (p *Peer) Stop() { p.stop() }

// read hands results to those who wait for them.
func (p *Peer) read(from *cbor.Decoder) {
	for {
		var r result
		err := from.Decode(&r)
		p.mu.Lock()
		if err != nil {
			p.fail(fmt.Errorf("the process is gone: %w", err))
			p.mu.Unlock()
			return
		}
		if c := p.pending[r.ID]; c != nil {
			c <- r // has a free slot
			delete(p.pending, r.ID)
		}
		p.mu.Unlock()
	}
}

// fail ends all calls. The caller holds the lock.
func (p *Peer) fail(err error) {
	p.broken = err
	for id, c := range p.pending {
		close(c)
		delete(p.pending, id)
	}
}

// Call is a call under way.
type Call struct {
	p    *Peer
	name string
	done chan result
}

// Go calls a function of the module without waiting for it.
func (p *Peer) Go(name string, kw KW, args ...any) *Call {
	c := &Call{p: p, name: name, done: make(chan result, 1)}
	if kw == nil {
		kw = KW{}
	}
	if args == nil {
		args = []any{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		close(c.done)
		return c
	}
	p.last++
	p.pending[p.last] = c.done
	raw, err := cbor.Marshal(call{ID: p.last, Name: name, Args: args, KW: kw})
	if err == nil {
		_, err = p.in.Write(raw)
	}
	if err != nil {
		p.fail(err)
	}
	return c
}

// Call calls a function of the module and waits for it.
func (p *Peer) Call(t testing.TB, into []any, name string, kw KW, args ...any) {
	t.Helper()
	if err := p.Go(name, kw, args...).Result(Patience, into...); err != nil {
		t.Fatal(err)
	}
}

// Patience is long enough for any call of graspy that does not wait for a peer.
const Patience = 30 * time.Second

// Result waits until the call has returned and decodes its results into what
// the arguments point to, one for each. It may be called once.
func (c *Call) Result(within time.Duration, into ...any) error {
	if err := c.result(within, into); err != nil {
		return fmt.Errorf("graspy %s: %s: %w", c.p.name, c.name, err)
	}
	return nil
}

func (c *Call) result(within time.Duration, into []any) error {
	timer := time.NewTimer(within)
	defer timer.Stop()
	var r result
	select {
	case got, ok := <-c.done:
		if !ok {
			c.p.mu.Lock()
			defer c.p.mu.Unlock()
			return c.p.broken
		}
		r = got
	case <-timer.C:
		return fmt.Errorf("has not returned after %v", within)
	}
	if !r.OK {
		var exception string
		return errors.Join(decoding.Unmarshal(r.Value, &exception), fmt.Errorf("exception: %s", exception))
	}
	if len(into) == 1 {
		return decoding.Unmarshal(r.Value, into[0])
	}
	var all []cbor.RawMessage
	if err := decoding.Unmarshal(r.Value, &all); err != nil {
		return err
	}
	if len(all) != len(into) {
		return fmt.Errorf("%d results, want %d", len(all), len(into))
	}
	for i, raw := range all {
		if err := decoding.Unmarshal(raw, into[i]); err != nil {
			return err
		}
	}
	return nil
}
