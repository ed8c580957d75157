package graspybed

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/output"
)

// Env is the environment variable that names the checkout of graspy.
const Env = "GRASPY"

// EnvModules is the environment variable that names, if it is set, a directory
// with other modules grasp and graspi for graspy's programs: those in
// examples/python, which need GRASP_LIB, too.
const EnvModules = "GRASPY_MODULES"

// python is Debian's, for which graspy's modules are packaged.
const python = "/usr/bin/python3"

//go:embed driver.py
var driver []byte

// Checkout returns the path of the checkout of graspy, or skips the test if
// none is named. Call it before netbed.Enter.
func Checkout(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(Env)
	if dir == "" {
		t.Skipf("no Python prototype to meet: %s names no checkout of github.com/becarpenter/graspy", Env)
	}
	if _, err := os.Stat(filepath.Join(dir, "grasp.py")); err != nil {
		t.Fatalf("%s names no checkout of graspy: %v", Env, err)
	}
	return dir
}

// NeedsDNSPython skips the test if the package is missing that GetDNSSD2 needs.
// Call it before netbed.Enter.
func NeedsDNSPython(t testing.TB) {
	t.Helper()
	if err := exec.Command(python, "-c", "import dns.resolver").Run(); err != nil {
		t.Skipf("%s has no package dns (dnspython): %v", python, err)
	}
}

// process is a Python process in a node. It ends with the test, or with this
// process.
type process struct {
	stdin  io.WriteCloser
	stdout io.Reader
	output *Output
	stop   func()        // ends it
	ended  chan struct{} // closed when it has
	err    error         // of its end, then
}

// Setting is how a process is to be started.
type Setting func(*exec.Cmd)

// QUADS puts graspy into the QUADS domain with this password. Without it, it
// talks in clear.
func QUADS(password string) Setting {
	return func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "GRASPY_PASSWORD="+password, "GRASP_PASSWORD="+password)
	}
}

// OnGo has it run on the engine in Go: the library libgrasp at lib, and the
// modules in examples/python.
func OnGo(lib, modules string) Setting {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "PYTHONPATH="+modules, "GRASP_LIB="+lib) }
}

// DNS has an agent ask this DNS server only, an IPv4 address and port.
func DNS(server string) Setting {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GRASPY_DNS="+server) }
}

// Typing has each answer to an agent's questions take so long.
func Typing(d time.Duration) Setting {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, fmt.Sprintf("GRASPY_TYPING=%.1f", d.Seconds())) }
}

// Haste has an agent, but not its engine, make no pauses but those of more than
// fifteen seconds.
func Haste(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GRASPY_HASTE=1") }

// Dir has the process start in a directory.
func Dir(path string) Setting { return func(cmd *exec.Cmd) { cmd.Dir = path } }

// start runs the driver in a node.
func start(t testing.TB, node *netbed.Node, name string, settings []Setting, args ...string) *process {
	t.Helper()
	checkout := Checkout(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "driver.py")
	if err := os.WriteFile(script, driver, 0o600); err != nil {
		t.Fatalf("graspy: %v", err)
	}
	cmd := node.Exec(context.Background(), python, append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(),
		"PYTHONPATH="+cmp.Or(os.Getenv(EnvModules), checkout),
		"PYTHONUTF8=1", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
	for _, set := range settings {
		set(cmd)
	}
	p := &process{output: &Output{}, ended: make(chan struct{})}
	cmd.Stderr = p.output
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatalf("graspy: %v", err)
	}
	// Not StdoutPipe, which must not be read while Wait is called.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("graspy: %v", err)
	}
	p.stdout, cmd.Stdout = r, w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		t.Fatalf("graspy: %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	p.stop = sync.OnceFunc(func() {
		_ = p.stdin.Close()
		late := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
		<-p.ended
		late.Stop()
	})
	t.Cleanup(func() {
		p.stop()
		_ = r.Close()
		if t.Failed() {
			t.Logf("graspy %s ended (%v), having printed:\n%s", name, p.err, p.output)
		}
	})
	return p
}

// Output is what a process printed.
type Output struct{ output.Buffer }

// Lines returns the lines that are complete, without what graspy puts before
// each: the kind of thread and its number.
func (o *Output) Lines() []string {
	var out []string
	for line := range strings.Lines(o.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, " "); ok {
			if number, said, ok := strings.Cut(rest, " "); ok && isNumber(number) {
				line = said
			}
		}
		out = append(out, line)
	}
	return out
}

func isNumber(s string) bool {
	return len(s) > 6 && strings.Trim(s, "0123456789") == ""
}

// complaints are parts of what graspy prints when it is sent something that it
// does not take for GRASP, or that it stumbles over.
var complaints = []string{
	"Message parsing error",
	"invalid message format",
	"Invalid Request message",
	"CBOR decode error",
	"Unexpected exception",
	"Traceback",
	"Anomalous locator",
	"invalid content",
	"queue full",
	"queue error",
	"cache overflow",
}

// Complaints returns the lines that tell of trouble with what it was sent.
func (o *Output) Complaints() []string {
	var out []string
	for _, line := range o.Lines() {
		for _, c := range complaints {
			if strings.Contains(line, c) {
				out = append(out, line)
				break
			}
		}
	}
	return out
}

// RunASA runs one of the example agents of graspy, such as "Briggs", in a node
// until the test ends. It begins with graspy's dialogue, whose questions are
// all answered with no: neither test mode, nor diagnostics of what does not
// parse unless diagnosing is set, nor hearing its own multicasts, nor DULL.
func RunASA(t testing.TB, node *netbed.Node, name string, diagnosing bool, settings ...Setting) *Output {
	t.Helper()
	diagnostics := "n"
	if diagnosing {
		diagnostics = "y"
	}
	return RunASAWith(t, node, name, []string{"n", diagnostics, "n", "n"}, settings...)
}

// RunASAWith is RunASA with these answers to all questions: those of the agent
// before and after graspy's dialogue, if it has any, included.
func RunASAWith(t testing.TB, node *netbed.Node, name string, answers []string, settings ...Setting) *Output {
	t.Helper()
	script := filepath.Join(Checkout(t), "ASA-examples", name+".py")
	return run(t, node, name, settings, append([]string{"asa", script}, answers...)...)
}

// RunSuite runs one of the test suites of graspy in a node. The last line that
// it prints is SuiteEnded.
func RunSuite(t testing.TB, node *netbed.Node, name string, settings ...Setting) *Output {
	t.Helper()
	return run(t, node, name, settings, "suite", filepath.Join(Checkout(t), name+".py"))
}

// SuiteEnded is what driver.py says when the threads of a suite have ended.
const SuiteEnded = "the suite has ended"

// run runs the driver in a node and collects all that it prints.
func run(t testing.TB, node *netbed.Node, name string, settings []Setting, args ...string) *Output {
	t.Helper()
	p := start(t, node, name, settings, args...)
	go func() { // ends with the process
		lines := bufio.NewScanner(p.stdout)
		for lines.Scan() {
			_, _ = p.output.Write(append(lines.Bytes(), '\n'))
		}
	}()
	return p.output
}
