package grasp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/go-grasp/grasp/acp"
)

// Addr returns the address by which others reach the instance, and the port of
// all its ASAs: what an ASA says to others by means other than GRASP. It is the
// one that nodes beyond the link use, if there is one, else that of the first
// link, with the decimal interface index as its zone, else ::1. It changes as
// the network does.
func (g *Instance) Addr() netip.AddrPort {
	addr := g.ep.Addr()
	if links := g.ep.Links(); !addr.IsValid() || g.cfg.DULL {
		addr = netip.IPv6Loopback()
		if len(links) > 0 {
			addr = links[0].Addr
		}
	}
	return netip.AddrPortFrom(addr, g.ep.Port())
}

// Locator is [Instance.Addr] as a locator.
func (g *Instance) Locator() Locator { return NewLocator(g.Addr()) }

// errNoLink says why there is no link.
func (g *Instance) errNoLink() error {
	all, amiss := acp.Interfaces(g.ep)
	errs := []error{errors.New("no link")}
	for _, i := range all {
		if i.State != acp.LinkInUse && i.State != acp.LinkUnnamed && i.State != acp.LinkLoopback {
			errs = append(errs, errors.New(i.String()))
		}
	}
	return errors.Join(append(errs, amiss)...)
}

// linkLog logs what changes about the links of an instance.
type linkLog struct {
	all   []acp.Interface
	amiss string
}

// log logs what is not as it was: a line for each interface.
func (l *linkLog) log(g *Instance) {
	all, err := acp.Interfaces(g.ep)
	amiss := ""
	if err != nil {
		amiss = err.Error()
	}
	if amiss != l.amiss && amiss != "" {
		g.log.Warn("something is wrong with the links", "error", err)
	}
	for _, i := range all {
		if slices.Contains(l.all, i) {
			continue
		}
		args := []any{"interface", i.Name, "index", i.Index, "state", string(i.State)}
		if i.Detail != "" {
			args = append(args, "detail", i.Detail)
		}
		switch i.State {
		case acp.LinkInUse:
			g.log.Info("a link is in use", args...)
		case acp.LinkUnnamed, acp.LinkLoopback:
			g.log.Debug("an interface is no link", args...)
		case acp.LinkMissing, acp.LinkRefused, acp.LinkDuplicate:
			g.log.Warn("an interface is no link", args...)
		default:
			g.log.Info("an interface is no link", args...)
		}
	}
	for _, i := range l.all {
		if i.Index != 0 && !slices.ContainsFunc(all, func(now acp.Interface) bool { return now.Index == i.Index }) {
			g.log.Info("an interface is gone", "interface", i.Name, "index", i.Index)
		}
	}
	l.all, l.amiss = all, amiss
}

// errUnsent says that a multicast left by no link, and why.
func (g *Instance) errUnsent(errs []error) error {
	if len(errs) == 0 { // there is no link, which is an error only if none can be known
		_, amiss := acp.Interfaces(g.ep)
		if amiss == nil {
			return nil
		}
		errs = []error{fmt.Errorf("no link: %w", amiss)}
	}
	return &withCode{ErrSockErr, errors.Join(errs...)}
}
