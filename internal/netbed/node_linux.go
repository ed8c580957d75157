package netbed

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The names under which the test binary runs itself for other purposes.
const (
	argv0Hold = "netbed-hold" // keep a namespace alive until stdin ends
	argv0Exec = "netbed-exec" // run a program in a namespace
	argv0Deny = "netbed-deny" // run this program where there are no namespaces to be had
)

// init takes over if the test binary was started for one of these purposes.
func init() {
	var err error
	switch os.Args[0] {
	case argv0Hold:
		err = hold()
	case argv0Exec:
		err = execIn(os.Args[1], os.Args[2:])
	case argv0Deny:
		err = execDenied(os.Args[1:])
	default:
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(127)
	}
	os.Exit(0)
}

// self returns a command that runs this binary under another name.
func self(argv0 string, args ...string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = argv0
	return cmd, nil
}

// hold keeps the namespace it was started in until its parent ends it or dies.
func hold() error {
	if err := prepare(); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready"); err != nil {
		return err
	}
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// execIn becomes a program in another network namespace.
func execIn(netns string, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the one that becomes the program
	if err := enterThread(netns); err != nil {
		return err
	}
	return os.NewSyscallError("exec "+path, syscall.Exec(path, args, os.Environ()))
}

// enterThread moves the calling thread to another network namespace. It must
// be locked, and never be unlocked again.
func enterThread(netns string) error {
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", netns, err)
	}
	defer unix.Close(fd)
	return os.NewSyscallError("setns "+netns, unix.Setns(fd, unix.CLONE_NEWNET))
}

// Node is a network namespace besides the test's own. The nil *Node is the
// test's own namespace.
type Node struct {
	// Name is for messages, and for the names of links that lead to it.
	Name string

	pid int
}

// NewNode makes a namespace, which goes at the end of the test. Its loopback
// interface is up.
func NewNode(t testing.TB, name string) *Node {
	t.Helper()
	cmd, err := self(argv0Hold)
	if err != nil {
		t.Fatalf("netbed: node %s: %v", name, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe() // which ends with this process, and so does the node
	if err != nil {
		t.Fatalf("netbed: node %s: %v", name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("netbed: node %s: %v", name, err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("netbed: node %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	if b, err := io.ReadAll(stdout); string(b) != "ready" {
		t.Fatalf("netbed: node %s: not ready: %v", name, err)
	}
	return &Node{Name: name, pid: cmd.Process.Pid}
}

// netns is the path of the node's namespace.
func (n *Node) netns() string {
	return "/proc/" + strconv.Itoa(n.pid) + "/ns/net"
}

// String returns the name of the node.
func (n *Node) String() string {
	if n == nil {
		return "here"
	}
	return n.Name
}

// Exec returns a command that runs a program in the node. To run a test of the
// same binary, give os.Args[0] and its flags. The command's fields may be set
// as usual, but for Path and Args.
func (n *Node) Exec(ctx context.Context, program string, args ...string) *exec.Cmd {
	if n == nil {
		return exec.CommandContext(ctx, program, args...)
	}
	exe, err := os.Executable()
	if err != nil {
		return &exec.Cmd{Err: err}
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{n.netns(), program}, args...)...)
	cmd.Args[0] = argv0Exec
	return cmd
}

// Do runs a function on a thread in the node and waits for it. Sockets that the
// function opens itself, not in other goroutines, stay in the node after it returns.
func (n *Node) Do(t testing.TB, f func()) {
	t.Helper()
	if n == nil {
		f()
		return
	}
	var failed error
	n.do(func(err error) {
		if failed = err; err == nil {
			f()
		}
	})
	if failed != nil {
		t.Errorf("netbed: node %v: %v", n, failed) // maybe not in the test's goroutine
	}
}

// do runs a function on a thread that is in the node, or failed to get there.
func (n *Node) do(f func(error)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		f(enterThread(n.netns()))
	}()
	<-done
}
