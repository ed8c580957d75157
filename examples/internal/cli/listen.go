package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
)

// Sleep waits for a time. It returns false if the context ended before.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Listen waits for the next request to negotiate an objective. It returns no
// session when it is time to leave: without an error if the context ended.
func Listen(ctx context.Context, a *grasp.ASA, o grasp.Objective) (*grasp.Session, grasp.Objective, error) {
	for {
		s, asked, err := a.ListenNegotiate(ctx, o)
		switch {
		case err == nil:
			return s, asked, nil
		case errors.Is(err, grasp.ErrCancelled):
			return nil, o, nil
		case !errors.Is(err, grasp.ErrIDClash) && !errors.Is(err, grasp.ErrNoSecurity):
			return nil, o, err
		}
		// A peer had bad luck with its session ID, or the plane is not secure:
		// it may become so again.
		a.Tprint("listen_negotiate error:", grasp.Code(err))
		if errors.Is(err, grasp.ErrNoSecurity) && !Sleep(ctx, time.Second) {
			return nil, o, nil
		}
	}
}

// Serve has each request served in a goroutine, so many at a time, until the
// context ends. Then it waits for them; those in the queue are refused.
func Serve(ctx context.Context, a *grasp.ASA, o grasp.Objective, most int, serve func(context.Context, *grasp.Session, grasp.Objective)) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer func() { _ = a.StopNegotiate(o) }() // fails only if the ASA has gone
	free := make(chan struct{}, most)
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		s, asked, err := Listen(ctx, a, o)
		if s == nil {
			return err
		}
		sessions.Go(func() {
			defer func() { <-free }()
			serve(ctx, s, asked)
		})
	}
}
