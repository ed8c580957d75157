package grasp

import "sync"

// standard is the default instance: the one piece of state that belongs to
// the package.
var standard struct {
	mu       sync.Mutex // guards all following fields
	g        *Instance
	dialogue Dialogue
}

// Default returns the default instance, which the package-level functions
// serve. The first call starts it, with the zero Config and what
// [SkipDialogue] set; so does a call after it was closed.
func Default() (*Instance, error) {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if standard.g != nil && standard.g.ctx.Err() == nil {
		return standard.g, nil
	}
	g, err := New(Config{Dialogue: standard.dialogue})
	if err != nil {
		return nil, err
	}
	standard.g = g
	return g, nil
}

// RegisterASA registers an ASA with the default instance, which it starts if
// need be. See [Instance.RegisterASA].
func RegisterASA(name string) (*ASA, error) {
	g, err := Default()
	if err != nil {
		return nil, err
	}
	return g.RegisterASA(name)
}

// SkipDialogue sets how the default instance prints. It has an effect only
// before the default instance is first used.
func SkipDialogue(d Dialogue) {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if standard.g == nil {
		standard.dialogue = d
	}
}

// standardPrinter returns the printer of the default instance, started or not.
func standardPrinter() *printer {
	standard.mu.Lock()
	defer standard.mu.Unlock()
	if standard.g != nil {
		return standard.g.print
	}
	return newPrinter(standard.dialogue, nil, func() {})
}

// Tprint prints with the settings of the default instance. See [ASA.Tprint].
func Tprint(things ...any) { standardPrinter().say("", things) }

// Ttprint prints in test mode only. See [ASA.Tprint].
func Ttprint(things ...any) { standardPrinter().test("", things) }

// DumpAll prints what the default instance knows. See [Instance.DumpAll].
// Before it was first used there is nothing to print.
func DumpAll(partial bool) {
	standard.mu.Lock()
	g := standard.g
	standard.mu.Unlock()
	if g != nil {
		g.DumpAll(partial)
	}
}
