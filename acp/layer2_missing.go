package acp

import (
	"fmt"
	"slices"
	"time"
)

// missing is a version of IP that an endpoint should have, and whose sockets could not be
// opened so far, such as because another program has the port to itself.
type missing struct {
	network string // as package net has it
	err     error  // why
	fails   int    // attempts after the first
	retry   time.Time
}

// miss has a family opened later.
func (e *layer2Endpoint) miss(network string, err error) {
	e.missing = append(e.missing, &missing{network: network, err: err, retry: time.Now().Add(pollIdle)})
}

// openMissing tries again to open what is missing. Only watch calls it.
func (e *layer2Endpoint) openMissing() {
	now := time.Now()
	e.missing = slices.DeleteFunc(e.missing, func(m *missing) bool {
		if now.Before(m.retry) {
			return false
		}
		f, err := e.openFamily(m.network)
		if err != nil {
			m.fails++
			m.err, m.retry = err, now.Add(retryPause(m.fails))
			return false
		}
		e.addFamily(f)
		return true
	})
}

// openFamily opens the sockets of a family, or none.
func (e *layer2Endpoint) openFamily(network string) (*family, error) {
	recv, err := e.sys.listenGroup(network)
	if err != nil {
		return nil, err
	}
	send, err := e.sys.listenUDP(network, e.port)
	if err != nil {
		_ = recv.Close()
		return nil, err
	}
	f := newFamily(network, recv)
	f.send = send
	refused, err := f.prepare()
	if err != nil {
		_, _ = recv.Close(), f.closeSender()
		return nil, err
	}
	e.refused = append(e.refused, refused...)
	return f, nil
}

// addFamily puts a family to use.
func (e *layer2Endpoint) addFamily(f *family) {
	if f.group.Is4() {
		e.four = f
	} else {
		e.six = f
	}
	if alone := e.hearing.alone.Load(); alone != nil {
		e.endAlone(alone)
	}
	e.done.Go(func() { e.pump(f, &f.receiver) })
	e.done.Go(func() { // Close does not know of these sockets
		<-e.ctx.Done()
		_, _ = f.conn.Close(), f.closeSender()
	})
}

// troubles returns what the system does not do for the sockets.
func (e *layer2Endpoint) troubles() []error {
	all := slices.Clone(e.refused)
	for _, m := range e.missing {
		version := "IPv6"
		if m.network == "udp4" {
			version = "IPv4"
		}
		all = append(all, fmt.Errorf("no %s: %w; it is tried again", version, m.err))
	}
	return all
}
