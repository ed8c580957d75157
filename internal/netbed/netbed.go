// Package netbed lets tests run on real links, in network namespaces that the test
// makes for itself and that no packet leaves.
//
// [Enter] runs a test again, as root of a namespace of its own:
//
//	func TestFlood(t *testing.T) {
//		if !netbed.Enter(t) {
//			return
//		}
//		netbed.VethPair(t, "va0", "va1")
//		...
//	}
//
// A namespace holds a whole process, because namespaces belong to threads and
// goroutines move between threads. Tests that need several use a [Node] for
// each, and run programs in it. [Chain], [Ring] and [Mesh] connect them.
//
// It works on Linux, with no program installed; elsewhere Enter skips the test.
//
// Duplicate address detection is off in new namespaces, which saves each link
// some two seconds; see [DAD].
package netbed

import (
	"bytes"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

// Patience is for what happens at once, unless the machine is busy.
const Patience = 30 * time.Second

// Eventually polls until cond is true, and fails the test if it is not within
// the given time.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// unavailable ends a test that cannot run here: it skips the test, or fails it with
// CI=true.
func unavailable(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("netbed: %s (must run: CI=true)", why)
	}
	t.Skipf("netbed: %s", why)
}

// prefixer puts a mark before each line, so that people and tools can tell the output
// of a child from the parent's.
type prefixer struct {
	w    io.Writer
	mark string

	mu   sync.Mutex // guards all following fields
	line []byte     // begun and not ended
}

// Write implements [io.Writer].
func (p *prefixer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = append(p.line, b...)
	for {
		i := bytes.IndexByte(p.line, '\n')
		if i < 0 {
			return len(b), nil
		}
		if _, err := p.w.Write(append([]byte(p.mark), p.line[:i+1]...)); err != nil {
			return 0, err
		}
		p.line = p.line[i+1:]
	}
}

// flush ends the last line.
func (p *prefixer) flush() {
	p.mu.Lock()
	begun := len(p.line) > 0
	p.mu.Unlock()
	if begun {
		_, _ = p.Write([]byte("\n"))
	}
}
