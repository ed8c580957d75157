package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
)

// Objective is the name of the objective by which monitors are found: it is flooded with
// the address and port of a monitor as its locator, and a name for people as its value.
const Objective = "go-grasp.github.io:monitor"

// How often a monitor announces itself, and how long that holds.
const (
	announceTime = time.Minute
	announceLife = 3 * announceTime
	soonAgain    = 5 * time.Second // while there is no link, and after the first time
	maxName      = 64              // bytes
)

// Announce floods where this monitor is, so that others find it: see [Monitor.Find]. It
// does so by an ASA of the instance, which is named "monitor". The others call this
// monitor by the name, of at most 64 bytes. The monitor must listen beyond localhost, and
// so has a token, which is not flooded. The floods go on until stop is called, or the
// monitor or the instance is closed. Announce does not block.
//
// Errors: those of RegisterASA and RegisterObj, [net.ErrClosed], one for a name that is
// too long, and one if the monitor can be reached from this host only.
func (m *Monitor) Announce(g *grasp.Instance, name string) (stop func(), err error) {
	at, ok := m.public()
	if !ok {
		return nil, errors.New("monitor: announce: it does not listen beyond localhost: give Listen another address")
	}
	if len(name) > maxName {
		return nil, fmt.Errorf("monitor: announce: a name of more than %d bytes", maxName)
	}
	a, err := g.RegisterASA("monitor")
	if err != nil {
		return nil, fmt.Errorf("monitor: announce: %w", err)
	}
	name = strings.ToValidUTF8(name, "\ufffd")
	o := grasp.Objective{Name: Objective, Synch: true, LoopCount: grasp.DefaultLoopCount, Value: name}
	if err := a.RegisterObj(o, grasp.RegisterOptions{}); err != nil {
		return nil, fmt.Errorf("monitor: announce: %w", errors.Join(err, a.Deregister()))
	}
	ctx, cancel := context.WithCancel(m.ctx)
	return m.serveASA(cancel, a, func() { flood(ctx, g, a, o, at) })
}

// flood floods an objective with where a monitor listens.
func flood(ctx context.Context, g *grasp.Instance, a *grasp.ASA, o grasp.Objective, at netip.AddrPort) {
	for times := 0; ; times++ {
		from := grasp.Locator{IP: at.Addr(), Protocol: grasp.TCP, Port: int(at.Port())}
		if at.Addr().IsUnspecified() {
			if from.IP = g.Addr().Addr(); !from.IP.IsGlobalUnicast() {
				from.IP = netip.IPv6Unspecified() // on each link, its link-local address
			}
		}
		wait := announceTime
		if err := a.Flood(announceLife, grasp.TaggedObjective{Objective: o, Source: &from}); err != nil || len(g.Snapshot().Links) == 0 || times == 0 {
			wait = soonAgain // those that were not ready hear the next one
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.Done():
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// public returns where the monitor listens beyond localhost.
func (m *Monitor) public() (netip.AddrPort, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		if !s.at.Addr().IsLoopback() {
			return s.at, true
		}
	}
	return netip.AddrPort{}, false
}

// Find follows the monitors that are announced to an instance (see [Monitor.Announce]),
// each as long as it is announced. It asks only those whose address is in one of the
// prefixes, since otherwise whoever can flood could have this monitor ask anybody. They
// must have the same [Config].Token as this one; being asked does not tell it to them.
// Find goes on until stop is called, or the monitor or the instance is closed. It does
// not block.
//
// Errors: those of RegisterASA, [net.ErrClosed], and one without prefixes.
func (m *Monitor) Find(g *grasp.Instance, allow []netip.Prefix) (stop func(), err error) {
	if len(allow) == 0 {
		return nil, errors.New("monitor: find: no prefixes: they say which addresses may be asked")
	}
	allow = slices.Clone(allow)
	a, err := g.RegisterASA("monitor finder")
	if err != nil {
		return nil, fmt.Errorf("monitor: find: %w", err)
	}
	ctx, cancel := context.WithCancel(m.ctx)
	return m.serveASA(cancel, a, func() { m.find(ctx, a, allow) })
}

// serveASA runs what an ASA does until it is cancelled, and deregisters it then.
func (m *Monitor) serveASA(cancel context.CancelFunc, a *grasp.ASA, do func()) (stop func(), err error) {
	done := make(chan struct{})
	begun := m.start(func() {
		defer close(done)
		do()
		_ = a.Deregister() // fails only if the instance is closed
	})
	if !begun {
		cancel()
		return nil, fmt.Errorf("monitor: %w", errors.Join(net.ErrClosed, a.Deregister()))
	}
	return func() { cancel(); <-done }, nil
}

func (m *Monitor) find(ctx context.Context, a *grasp.ASA, allow []netip.Prefix) {
	follows := make(map[string]func()) // by host and port: what ends them
	defer func() {
		for _, stop := range follows {
			stop()
		}
	}()
	for e := range a.WatchFloods(ctx, grasp.Objective{Name: Objective, Synch: true}) {
		host, ok := hostOf(e.Flood.Source, allow)
		if e.Err != nil || !ok {
			continue
		}
		stop, known := follows[host]
		if e.Change == grasp.Gone {
			if known {
				stop()
				delete(follows, host)
			}
			continue
		}
		if known {
			continue
		}
		name, _ := e.Flood.Objective.Value.(string)
		if len(name) > maxName {
			name = ""
		}
		if stop, err := m.Follow(name, "http://"+host); err == nil { // it fails if the user follows it, or there are too many
			follows[host] = stop
		}
	}
}

// hostOf returns host and port of a monitor that was announced, if it may be asked.
func hostOf(l *grasp.Locator, allow []netip.Prefix) (string, bool) {
	if l == nil || l.Protocol != grasp.TCP && l.Protocol != 0 || l.Port < 1 || l.Port > 65535 || !l.IP.IsValid() {
		return "", false
	}
	addr := l.IP.Unmap()
	if addr.IsUnspecified() || addr.IsMulticast() || !slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr.WithZone("")) }) {
		return "", false
	}
	zone := addr.Zone()
	if zone == "" && l.IfIndex > 0 && addr.IsLinkLocalUnicast() && addr.Is6() {
		zone = strconv.Itoa(l.IfIndex)
	}
	return urlHostPort(addr, l.Port, zone), true
}
