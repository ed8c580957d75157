package bed

import (
	"slices"
	"sync"

	"github.com/go-grasp/grasp/acp"
)

// Injector is a plane by which a test has an instance receive what no node of the
// network could send.
type Injector struct {
	acp.Plane
	in chan injected
}

// injected is a datagram that comes; done is closed when it is dealt with.
type injected struct {
	raw  []byte
	from acp.Origin
	err  error
	done chan struct{}
}

// NewInjector returns an Injector on top of another plane, for one instance.
func NewInjector(under acp.Plane) *Injector {
	return &Injector{Plane: under, in: make(chan injected)}
}

// Inject has the instance receive a datagram, and returns when it has dealt with
// it.
func (p *Injector) Inject(raw []byte, from acp.Origin) {
	d := injected{raw: raw, from: from, done: make(chan struct{})}
	p.in <- d
	<-d.done
}

// Open opens an endpoint of the plane below.
func (p *Injector) Open() (acp.Endpoint, error) {
	under, err := p.Plane.Open()
	if err != nil {
		return nil, err
	}
	e := &injectorEndpoint{Endpoint: under, in: p.in, fromBelow: make(chan injected), closed: make(chan struct{})}
	e.all.Go(e.receive)
	return e, nil
}

type injectorEndpoint struct {
	acp.Endpoint
	in, fromBelow chan injected
	last          chan struct{} // of the datagram that Receive returned
	once          sync.Once
	closed        chan struct{}
	all           sync.WaitGroup
}

// receive passes on what the endpoint below receives.
func (e *injectorEndpoint) receive() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := e.Endpoint.Receive(buf)
		select {
		case e.fromBelow <- injected{raw: slices.Clone(buf[:n]), from: from, err: err}:
		case <-e.closed:
			return
		}
	}
}

func (e *injectorEndpoint) Receive(buf []byte) (int, acp.Origin, error) {
	if e.last != nil {
		close(e.last)
		e.last = nil
	}
	var d injected
	select {
	case d = <-e.in:
		e.last = d.done
	case d = <-e.fromBelow:
	case <-e.closed:
		return e.Endpoint.Receive(buf)
	}
	return copy(buf, d.raw), d.from, d.err
}

func (e *injectorEndpoint) Close() error {
	err := e.Endpoint.Close()
	e.once.Do(func() { close(e.closed) })
	e.all.Wait()
	return err
}
