package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program with limits is started by this executable.
func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// events are what was reported.
type events struct {
	mu  sync.Mutex // guards all
	all []Event
}

func (e *events) add(x Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, x)
}

// await waits for an event.
func (e *events) await(t *testing.T, what What, with string) (found Event) {
	t.Helper()
	came := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		i := slices.IndexFunc(e.all, func(x Event) bool {
			return x.What == what && strings.Contains(x.Line+fmt.Sprint(x.Err), with)
		})
		if i >= 0 {
			found = e.all[i]
		}
		return i >= 0
	}
	for deadline := time.Now().Add(time.Minute); !came(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			e.mu.Lock()
			defer e.mu.Unlock()
			require.Failf(t, "not within a minute", "%s %q in %+v", what, with, e.all)
		}
	}
	return found
}

func shell(script string) Spec {
	return Spec{Name: "sh", Command: []string{"sh", "-c", script}, Restart: Never, Grace: time.Minute}
}

// A program has its directory, environment and limits, and what it prints is
// reported.
func TestProgram(t *testing.T) {
	var e events
	g := New(e.add)
	defer g.Stop()
	s := shell(`pwd; echo "$A $0"; echo to standard error >&2; ulimit -n; ulimit -t; ulimit -d; printf 'no end'; exit 3`)
	s.Dir, s.Env = "/", []string{"A=of the environment"}
	s.Limits = Limits{Files: 77, CPU: 88, Memory: 99 << 20}
	g.Set([]Spec{s})
	for _, line := range []string{"/", "of the environment sh", "to standard error", "77", "88", fmt.Sprint(99 << 10), "no end"} {
		e.await(t, Printed, line)
	}
	assert.Positive(t, e.await(t, Started, "").PID)
	e.await(t, Ended, "exit status 3")
}

// A program that is not there says so.
func TestNoProgram(t *testing.T) {
	var e events
	g := New(e.add)
	defer g.Stop()
	s := Spec{Name: "none", Command: []string{"/nonexistent/program"}, Restart: Never}
	g.Set([]Spec{s})
	e.await(t, Ended, "/nonexistent/program: no such file")
	s.Limits.Files = 10
	g.Set([]Spec{s})
	e.await(t, Ended, "exit status 127")
}

// A program that does not heed SIGTERM is killed, and so are its children.
func TestStop(t *testing.T) {
	var e events
	g := New(e.add)
	s := shell(`trap '' TERM; sleep 1000 & echo $!; trap 'echo told' TERM; while :; do wait; done`)
	s.Grace = 50 * time.Millisecond
	g.Set([]Spec{s})
	var child int
	_, err := fmt.Sscan(e.await(t, Printed, "").Line, &child)
	require.NoError(t, err)
	g.Stop()
	e.await(t, Stopped, "killed")
	assert.Eventually(t, func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(state), ") Z ") // nobody may wait for it here
	}, time.Minute, time.Millisecond)
}

// A program that is told to stop does so.
func TestStopsWell(t *testing.T) {
	var e events
	g := New(e.add)
	g.Set([]Spec{shell(`trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)})
	e.await(t, Printed, "ready")
	g.Stop()
	e.await(t, Printed, "bye")
	e.await(t, Stopped, "")
}

// A log is bounded, and grows over the lives of its program.
func TestLog(t *testing.T) {
	var e events
	g := New(e.add)
	defer g.Stop()
	s := shell(`for i in 1 2 3 4 5 6 7 8 9; do echo "line $i"; sleep 0.01; done`)
	s.Log, s.LogSize = filepath.Join(t.TempDir(), "log"), 20
	g.Set([]Spec{s})
	e.await(t, Ended, "")
	for name, want := range map[string]string{s.Log: "line 9\n", s.Log + ".1": ""} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Contains(t, string(text), want)
		assert.LessOrEqual(t, len(text), 20)
	}
	for _, name := range []string{s.Log, s.Log + ".1"} {
		require.NoError(t, os.Remove(name))
	}
	whole, err := openLogFile(s.Log, s.LogSize, func(err error) { t.Error(err) })
	require.NoError(t, err)
	_, err = whole.Write([]byte("line 1\nline 2\nline 3\n" + strings.Repeat("x", 27)))
	require.NoError(t, err)
	require.NoError(t, whole.Close())
	for name, want := range map[string]string{s.Log: "xxxxxxx", s.Log + ".1": strings.Repeat("x", 20)} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
	}
	s.Log = "/nonexistent/log"
	g.Set([]Spec{s})
	e.await(t, Ended, "/nonexistent/log")
}

func TestLines(t *testing.T) {
	var got []string
	l := &lines{report: func(s string) { got = append(got, s) }}
	for _, s := range []string{"a\nb", "c\r\n\n", strings.Repeat("x", maxLine+1), "\nend"} {
		n, err := l.Write([]byte(s))
		assert.NoError(t, err)
		assert.Len(t, s, n)
	}
	assert.NoError(t, l.Close())
	assert.Equal(t, []string{"a", "bc", "", strings.Repeat("x", maxLine), "x", "end"}, got)
}
