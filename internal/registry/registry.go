// Package registry holds the objectives that are registered, with those who
// registered them, and the requests that wait for a listener.
//
// Locks: a [Table] and a [Backlog] hold their lock when they call the functions they were
// given. Those of a Table may call a Backlog. A Backlog never calls a Table.
package registry

import (
	"errors"
	"sync"
)

// The errors of a Table.
var (
	ErrFull     = errors.New("the registry is full")
	ErrTaken    = errors.New("registered already")
	ErrUnknown  = errors.New("not registered")
	ErrNotOwner = errors.New("registered by others only")
)

// Table is a registry of values V under names, each with its owners A. The methods
// may be called concurrently. The functions that are given to them run under the
// table's lock: they must not wait, and must not keep their arguments.
type Table[A comparable, V any] struct {
	limit int

	mu     sync.Mutex // guards all following fields
	byName map[string]*entry[A, V]
}

type entry[A comparable, V any] struct {
	value  V
	owners map[A]bool
}

// NewTable returns a registry for at most limit names.
func NewTable[A comparable, V any](limit int) *Table[A, V] {
	return &Table[A, V]{limit: limit, byName: make(map[string]*entry[A, V])}
}

// Add registers a value under a name. If the name is taken by others, joins says
// whether the owner may join them; then the value that is there stays. The error is
// ErrFull or ErrTaken, the latter also if the owner has registered the name before.
func (t *Table[A, V]) Add(owner A, name string, v V, joins func(there V) bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	there := t.byName[name]
	switch {
	case there != nil && !there.owners[owner] && joins(there.value):
		there.owners[owner] = true
	case len(t.byName) >= t.limit:
		return ErrFull
	case there != nil:
		return ErrTaken
	default:
		t.byName[name] = &entry[A, V]{v, map[A]bool{owner: true}}
	}
	return nil
}

// Remove ends an owner's registration of a name, and returns the value, which others
// may still have registered. The error is ErrUnknown or ErrNotOwner.
func (t *Table[A, V]) Remove(owner A, name string) (v V, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byName[name]
	switch {
	case e == nil:
		return v, ErrUnknown
	case !e.owners[owner]:
		return v, ErrNotOwner
	}
	delete(e.owners, owner)
	if len(e.owners) == 0 {
		delete(t.byName, name)
	}
	return e.value, nil
}

// Owned calls f with what an owner has registered under a name, and returns its
// error, or ErrNotOwner.
func (t *Table[A, V]) Owned(owner A, name string, f func(v V) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byName[name]
	if e == nil || !e.owners[owner] {
		return ErrNotOwner
	}
	return f(e.value)
}

// Look calls f with what is registered under a name, if anything is, and with
// its owners.
func (t *Table[A, V]) Look(name string, f func(v V, owners map[A]bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byName[name]; e != nil {
		f(e.value, e.owners)
	}
}

// Each calls f with all that is registered, in no order.
func (t *Table[A, V]) Each(f func(name string, v V, owners map[A]bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, e := range t.byName {
		f(name, e.value, e.owners)
	}
}
