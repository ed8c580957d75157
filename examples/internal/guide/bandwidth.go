package guide

import (
	"context"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
)

// Bandwidth is negotiated in Mbit/s.
var Bandwidth = grasp.Typed[int]{Objective: grasp.Objective{Name: "example.com:bandwidth", Neg: true, Dry: true}}

// Pool is bandwidth to give away.
type Pool struct {
	mu   sync.Mutex // guards all following fields
	left int
}

// NewPool returns a pool of so many Mbit/s.
func NewPool(mbits int) *Pool { return &Pool{left: mbits} }

// Left returns how many Mbit/s are left.
func (p *Pool) Left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left
}

// reserve takes what is wanted, or what is left, in place of what was reserved
// before. In a dry run it only says how much that would be.
func (p *Pool) reserve(wanted int, reserved *int, dry bool) (given int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	given = max(0, min(wanted, p.left+*reserved))
	if !dry {
		p.left, *reserved = p.left+*reserved-given, given
	}
	return given
}

// Negotiate handles the request of one client: a [grasp.Handler].
func (p *Pool) Negotiate(ctx context.Context, s *grasp.Session, asked grasp.Objective) error {
	reserved := 0
	defer func() { p.reserve(0, &reserved, false) }()
	return grasp.Policy[int]{
		Decide: func(_ context.Context, wanted int, dry bool) (grasp.Decision[int], error) {
			switch given := p.reserve(wanted, &reserved, dry); {
			case wanted <= 0:
				return grasp.Decline[int]("not a bandwidth"), nil
			case given == wanted:
				return grasp.Accept[int](), nil
			case given > 0:
				return grasp.Counter(given), nil
			}
			return grasp.Wait(2*time.Second, func(ctx context.Context) (grasp.Decision[int], error) {
				time.Sleep(time.Second) // somebody may give up
				if given := p.reserve(wanted, &reserved, dry); given > 0 {
					return grasp.Counter(given), nil
				}
				return grasp.Decline[int]("nothing is left"), nil
			}), nil
		},
		Done: func(_ int, agreed bool) {
			if agreed {
				reserved = 0 // it stays with the client
			}
		},
	}.Handle(ctx, s, asked)
}

// Serve gives bandwidth to whoever asks, until the context ends.
func (p *Pool) Serve(ctx context.Context, asa *grasp.ASA) error {
	if err := asa.RegisterObj(Bandwidth.Objective, grasp.RegisterOptions{}); err != nil {
		return err
	}
	return asa.Serve(ctx, Bandwidth.Objective, p.Negotiate, grasp.ServeOptions{Concurrency: 100})
}
