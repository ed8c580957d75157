package cli

import (
	"context"
	"os"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/monitor"
)

// TokenVariable is the variable of the environment with the token of monitors, where
// other users of the host do not see it.
const TokenVariable = "GRASP_MONITOR_TOKEN"

// Token returns the token of monitors, empty if the user gave none.
func Token() string { return os.Getenv(TokenVariable) }

// startMonitor serves the monitor's page if the user wants it.
func (p *Program) startMonitor() error {
	if p.Monitor == "" {
		return nil
	}
	p.monitor = monitor.New(monitor.Config{Caption: p.name, Token: Token()})
	url, err := p.monitor.Listen(p.Monitor)
	if err != nil {
		return err
	}
	p.Say("Monitor:", url)
	return nil
}

// announce has an instance flood where the monitor is, if the user wants that.
func (p *Program) announce(g *grasp.Instance) error {
	if p.Announce == "" || p.announced {
		return nil
	}
	p.announced = true
	_, err := p.monitor.Announce(g, p.Announce)
	return err
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
