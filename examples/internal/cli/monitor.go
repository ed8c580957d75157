package cli

import (
	"context"

	"github.com/go-grasp/grasp/monitor"
)

// startMonitor serves the monitor's page if the user wants it.
func (p *Program) startMonitor() error {
	if p.Monitor == "" {
		return nil
	}
	p.monitor = monitor.New(monitor.Config{Caption: p.name})
	url, err := p.monitor.Listen(p.Monitor)
	if err != nil {
		return err
	}
	p.Say("Monitor:", url)
	return nil
}

// endMonitor ends the monitor. What there was can still be looked at until the
// context ends, if the program did what it was to do.
func (p *Program) endMonitor(ctx context.Context, done bool) error {
	if p.monitor == nil {
		return nil
	}
	if done && ctx.Err() == nil {
		p.Say("Done. The monitor stays until Ctrl-C.")
		<-ctx.Done()
	}
	return p.monitor.Close()
}
