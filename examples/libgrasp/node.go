package main

/*
#define GRASP_NO_PROTOTYPES
#include "grasp.h"
*/
import "C"

import (
	"cmp"
	"context"
	"strings"
	"unsafe"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/acp/tlsplane"
)

// plane returns the plane that a configuration asks for.
func plane(cfg *C.grasp_config) (acp.Plane, error) {
	links := &acp.Layer2{Links: list(cfg.links), IPv4: cfg.ipv4 != 0}
	var p acp.Plane = links
	switch {
	case cfg.tls_dir != nil && cfg.password != nil:
		return nil, unspec("tls_dir and password exclude each other")
	case cfg.tls_dir != nil:
		if cfg.tls_name == nil {
			return nil, unspec("tls_dir needs tls_name")
		}
		files, err := tlsplane.LoadFiles(tlsplane.InDir(C.GoString(cfg.tls_dir), C.GoString(cfg.tls_name)), nil)
		if err != nil {
			return nil, unspec("credentials: %v", err)
		}
		p = &tlsplane.Plane{Credentials: files, Underlay: links}
	case cfg.password != nil:
		p = &quads.Plane{Password: C.GoString(cfg.password), Under: links}
	}
	if cfg.dull != 0 {
		p = &memory.Insecure{Plane: p}
	}
	return p, nil
}

// list copies words from C, which commas separate.
func list(words *C.char) []string {
	if words == nil {
		return nil
	}
	return strings.Split(C.GoString(words), ",")
}

//export grasp_open
func grasp_open(cfg *C.grasp_config, out *C.grasp_instance) (result C.int) {
	defer guard(&result)
	if out == nil {
		return status(unspec("nowhere to put the instance"))
	}
	if cfg == nil {
		cfg = new(C.grasp_config)
	}
	p, err := plane(cfg)
	if err != nil {
		return status(err)
	}
	g, err := grasp.New(grasp.Config{Plane: p, DULL: cfg.dull != 0, DULLObjectives: list(cfg.dull_objectives)})
	if err != nil {
		return status(err)
	}
	*out = C.grasp_instance(instances.add(newNode(g, cfg.events)))
	return C.GRASP_OK
}

//export grasp_wait_for_link
func grasp_wait_for_link(handle C.grasp_instance, timeout C.uint32_t, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	return call[struct{}]{
		start: func() (func(context.Context) (struct{}, error), error) {
			g, ok := instances.get(uint64(handle))
			if !ok {
				return nil, errNoInstance
			}
			limit := cmp.Or(milliseconds(timeout), grasp.DefaultTimeout)
			return func(ctx context.Context) (struct{}, error) {
				ctx, cancel := context.WithTimeout(ctx, limit)
				defer cancel()
				return struct{}{}, g.WaitForLink(ctx)
			}, nil
		},
		give: func(struct{}) {},
	}.do(op)
}

var errNoInstance = &codeError{grasp.ErrNoASA, "no such instance"}

//export grasp_close
func grasp_close(handle C.grasp_instance) (result C.int) {
	defer guard(&result)
	n, ok := instances.remove(uint64(handle))
	if !ok {
		return status(errNoInstance)
	}
	close(n.closed)
	err := n.Close()
	sessions.removeIf(func(s *session) bool { return s.asa.Instance() == n.Instance })
	asas.removeIf(func(a *grasp.ASA) bool { return a.Instance() == n.Instance })
	return status(err)
}

//export grasp_register_asa
func grasp_register_asa(handle C.grasp_instance, name *C.char, out *C.grasp_asa) (result C.int) {
	defer guard(&result)
	g, ok := instances.get(uint64(handle))
	switch {
	case !ok:
		return status(errNoInstance)
	case name == nil || out == nil:
		return status(unspec("an ASA needs a name and a place for its handle"))
	}
	a, err := g.RegisterASA(C.GoString(name))
	if err != nil {
		return status(err)
	}
	*out = C.grasp_asa(asas.add(a))
	return C.GRASP_OK
}

//export grasp_deregister_asa
func grasp_deregister_asa(handle C.grasp_asa) (result C.int) {
	defer guard(&result)
	a, ok := asas.remove(uint64(handle))
	if !ok {
		return status(errNoASA)
	}
	err := a.Deregister()
	sessions.removeIf(func(s *session) bool { return s.asa == a })
	return status(err)
}

var errNoASA = &codeError{grasp.ErrNoASA, "no such ASA"}

// asked returns the ASA and the objective that a call is about.
func asked(handle C.grasp_asa, o *C.grasp_objective) (*grasp.ASA, grasp.Objective, error) {
	a, ok := asas.get(uint64(handle))
	if !ok {
		return nil, grasp.Objective{}, errNoASA
	}
	obj, err := objective(o)
	return a, obj, err
}

//export grasp_register_objective
func grasp_register_objective(handle C.grasp_asa, o *C.grasp_objective, opt *C.grasp_register_options) (result C.int) {
	defer guard(&result)
	a, obj, err := asked(handle, o)
	if err != nil {
		return status(err)
	}
	var options grasp.RegisterOptions
	if opt != nil {
		options = grasp.RegisterOptions{
			TTL: milliseconds(opt.ttl_ms), Discoverable: opt.discoverable != 0,
			Overlap: opt.overlap != 0, Local: opt.local != 0, Rapid: opt.rapid != 0,
		}
		if opt.locators != nil {
			all := unsafe.Slice(opt.locators, min(opt.n_locators, 1<<16))
			for i := range all {
				l, err := locator(&all[i])
				if err != nil {
					return status(err)
				}
				if l != nil {
					options.Locators = append(options.Locators, *l)
				}
			}
		}
	}
	return status(a.RegisterObj(obj, options))
}

//export grasp_deregister_objective
func grasp_deregister_objective(handle C.grasp_asa, o *C.grasp_objective) (result C.int) {
	defer guard(&result)
	a, obj, err := asked(handle, o)
	if err != nil {
		return status(err)
	}
	return status(a.DeregisterObj(obj))
}

//export grasp_snapshot
func grasp_snapshot(handle C.grasp_instance, json **C.char) (result C.int) {
	defer guard(&result)
	g, ok := instances.get(uint64(handle))
	switch {
	case !ok:
		return status(errNoInstance)
	case json == nil:
		return status(unspec("nowhere to put the snapshot"))
	}
	*json = jsonText(g.Snapshot())
	return C.GRASP_OK
}

//export grasp_discover
func grasp_discover(handle C.grasp_asa, o *C.grasp_objective, timeout, minimumTTL C.uint32_t, list **C.grasp_locator, n *C.size_t, op *C.grasp_op) (result C.int) {
	defer guard(&result)
	if list == nil || n == nil {
		return status(unspec("nowhere to put the locators"))
	}
	return call[[]grasp.Locator]{
		start: func() (func(context.Context) ([]grasp.Locator, error), error) {
			a, obj, err := asked(handle, o)
			limit, opt := milliseconds(timeout), grasp.DiscoverOptions{MinimumTTL: milliseconds(minimumTTL)}
			return func(ctx context.Context) ([]grasp.Locator, error) { return a.Discover(ctx, obj, limit, opt) }, err
		},
		give: func(found []grasp.Locator) {
			first, all := array[C.grasp_locator](len(found))
			for i := range found {
				putLocator(&all[i], &found[i])
			}
			*list, *n = first, C.size_t(len(found))
		},
	}.do(op)
}
