package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/supervise"
)

// interval is how often the links are looked at.
const interval = 200 * time.Millisecond

// daemon relays, and runs programs beside.
type daemon struct {
	load   func() (config, error)                        // reads the configuration
	open   func(config) (*grasp.Instance, func(), error) // starts a node; the function ends what is beside it
	reload <-chan os.Signal                              // nil: never
	tell   *teller
	system *notifier

	config   config
	node     *grasp.Instance
	close    func()
	state    grasp.Snapshot // of the node, as it was told
	programs *supervise.Group
}

// run relays until the context ends.
func (d *daemon) run(ctx context.Context) error {
	var err error
	if d.config, err = d.load(); err != nil {
		return err
	}
	d.tell.useJSON(d.config.Log == logJSON)
	if err := d.start(); err != nil {
		return err
	}
	d.programs = supervise.New(d.tell.program)
	d.programs.Set(d.config.specs())
	d.system.ready()
	defer func() { d.close() }()

	every := time.NewTicker(interval)
	defer every.Stop()
	done, stopped := ctx.Done(), make(chan struct{})
	for {
		d.look()
		d.system.alive() // the engine has answered
		d.system.status(d.status())
		select {
		case <-done:
			done = nil
			d.system.stopping()
			go func() {
				defer close(stopped)
				d.programs.Stop()
			}()
		case <-stopped:
			d.tell.counters(d.node.Snapshot())
			return errors.Join(d.tell.failed(), d.node.Close())
		case <-d.reload:
			if done == nil {
				continue // it is about to end
			}
			if err := d.change(); err != nil {
				d.programs.Stop()
				return err
			}
		case <-every.C:
		}
	}
}

// start starts the node of the configuration.
func (d *daemon) start() error {
	g, end, err := d.open(d.config)
	if err != nil {
		return err
	}
	d.node, d.close = g, end
	d.state = unknown()
	d.tell.say(event{Event: "started", Port: g.Snapshot().Port})
	return nil
}

// look tells what is new about the links.
func (d *daemon) look() {
	now := d.node.Snapshot()
	d.tell.changes(d.state, now)
	d.state = now
}

// change puts a new configuration in force. If there is something wrong with it the
// old one stays. Its error ends the daemon.
func (d *daemon) change() error {
	d.system.reloading()
	defer func() { d.system.ready() }()
	next, err := d.load()
	if err != nil {
		d.tell.say(event{Event: "not reloaded", Reason: err.Error()})
		return nil
	}
	old := d.config
	d.config = next
	if !reflect.DeepEqual(old.nodeConfig, next.nodeConfig) {
		if err := d.node.Close(); err != nil {
			return err
		}
		d.close()
		d.close = func() {}
		if err := d.start(); err != nil {
			d.tell.say(event{Event: "not reloaded", Reason: err.Error()})
			d.config = old
			return d.start()
		}
	}
	d.tell.useJSON(next.Log == logJSON)
	d.programs.Set(next.specs())
	d.tell.say(event{Event: "reloaded"})
	return nil
}

// status says in a line how it goes.
func (d *daemon) status() string {
	var names []string
	for _, l := range d.state.Links {
		names = append(names, l.Name)
	}
	text := "No usable link yet: `graspctl links` says why"
	if len(names) > 0 {
		text = fmt.Sprintf("Relaying between %s: %s", strings.Join(names, ", "), inWords(d.state.Relayed))
	}
	if !d.state.Status.Secure {
		text = "Nothing is relayed: " + d.state.Status.Reason
	}
	if running, of := d.programs.Running(); of > 0 {
		text += fmt.Sprintf("; %d of %d programs run", running, of)
	}
	return text
}

// notifyHangup has SIGHUP sent to a channel.
func notifyHangup(c chan<- os.Signal) (stop func()) {
	signal.Notify(c, syscall.SIGHUP)
	return func() { signal.Stop(c) }
}
