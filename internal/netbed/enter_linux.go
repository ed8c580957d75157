package netbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/longtest"
)

// These mark a child of Enter.
const (
	envOutside = "GRASP_NETBED_OUTSIDE" // the namespace it must not be in
	envTest    = "GRASP_NETBED_TEST"    // the test it runs
	reportFD   = 3                      // where it says what became of the test
)

// What a child reports.
const (
	reportEntered   = "entered\n"
	reportPowerless = "powerless\n" // without the rights of root in the namespace
	reportSkipped   = "skipped\n"
)

// Enter runs the calling test in a network namespace of its own: a child
// process that runs this test alone, with those of its subtests that the flag -run
// selects, as root of a new user and network namespace with nothing but the loopback
// interface, which is up. In the child Enter returns true. In the parent it waits, passes
// the child's output on, fails the test if the child fails, and returns false: the caller
// returns.
// Children wait more than they work, so the parent calls t.Parallel, unless the test
// did, or cannot because it called t.Setenv.
//
// It belongs at the beginning of a test, since what comes before runs twice.
// It works in subtests too. If the child hangs it is killed before the
// deadline of the test. A benchmark that enters measures in the child and is
// skipped in the parent.
//
// If there can be no namespace the test is skipped, or fails if the
// environment has CI=true.
func Enter(t testing.TB) bool {
	t.Helper()
	entered, err := enter(t)
	if err != nil {
		unavailable(t, err.Error())
	}
	return entered
}

// enter is Enter that returns an error where there can be no namespace.
func enter(t testing.TB) (bool, error) {
	t.Helper()
	if outside := os.Getenv(envOutside); outside != "" {
		settle(t, outside)
		return true, nil
	}
	outside, err := os.Readlink(netnsPath)
	if err != nil {
		return false, fmt.Errorf("no network namespaces: %w", err)
	}
	if t, ok := t.(*testing.T); ok {
		parallel(t)
	}
	report, err := again(t, outside)
	switch {
	case errors.Is(err, errNoNamespace):
		return false, err
	case err != nil:
		t.Fatalf("netbed: in the namespace: %v", err)
	case strings.Contains(report, reportPowerless):
		return false, errors.New("a namespace without the rights of root in it")
	case !strings.Contains(report, reportEntered):
		t.Fatal("netbed: the child did not run the test")
	case strings.Contains(report, reportSkipped):
		t.Skip("skipped in the namespace, see above")
	}
	if _, ok := t.(*testing.B); ok {
		t.Skip("measured in the namespace, see above") // or it would run again with a larger N
	}
	return false, nil
}

// childrenPerProcessor is how many children there are at the same time, unless the
// flag -parallel says so, or the tests run at their full length and work more.
const childrenPerProcessor = 4

func init() {
	if testing.Init(); !longtest.On() {
		_ = flag.Lookup("test.parallel").Value.Set(strconv.Itoa(childrenPerProcessor * runtime.GOMAXPROCS(0)))
	}
}

// parallel is t.Parallel for tests that may have called it.
func parallel(t *testing.T) {
	defer func() { _ = recover() }() // all that it does then
	t.Parallel()
}

// netnsPath is the namespace of the calling thread. The main thread may be one that
// was left in another namespace.
const netnsPath = "/proc/thread-self/ns/net"

// prepareOnce prepares the namespace of a child.
var prepareOnce = sync.OnceValue(prepare)

// settle prepares a new namespace. If it cannot, it fails the test, which must not
// run on the machine's own links.
func settle(t testing.TB, outside string) {
	t.Helper()
	inside, err := os.Readlink(netnsPath)
	if err != nil || inside == outside {
		t.Fatalf("netbed: still in the namespace %s: %v", outside, err)
	}
	if t.Name() == os.Getenv(envTest) { // and not a subtest of it
		report(t)
	}
	err = prepareOnce()
	if errors.Is(err, os.ErrPermission) {
		tell(t, reportPowerless)
		t.Skipf("netbed: a namespace without the rights of root in it: %v", err)
	}
	if err != nil {
		t.Fatalf("netbed: %v", err)
	}
}

// report tells the parent that the test runs, and later whether it was skipped.
func report(t testing.TB) {
	t.Helper()
	unix.CloseOnExec(reportFD)
	tell(t, reportEntered)
	t.Cleanup(func() {
		if t.Skipped() {
			tell(t, reportSkipped)
		}
	})
}

// tell tells the parent what became of the test.
func tell(t testing.TB, what string) {
	t.Helper()
	if _, err := unix.Write(reportFD, []byte(what)); err != nil {
		t.Errorf("netbed: report to the parent: %v", err)
	}
}

// prepare brings the loopback interface of this namespace up and turns
// duplicate address detection off for links to come.
func prepare() error {
	if err := setUp("lo"); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no IPv6: for the test to find out
	}
	return err
}

// setUp sets the flag by a system call, so that no program is needed.
func setUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// attr asks for a new network namespace, in which the child is root.
func attr(userns bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	if userns {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// errNoNamespace means that the system gives no namespace.
var errNoNamespace = errors.New("cannot make a network namespace")

// start starts a command in a new network namespace: one in a new user
// namespace, or else, for root, in the present one.
func start(build func() *exec.Cmd) (*exec.Cmd, error) {
	cmd := build()
	cmd.SysProcAttr = attr(true)
	err := cmd.Start()
	if err == nil {
		return cmd, nil
	}
	if os.Getuid() == 0 {
		cmd = build()
		cmd.SysProcAttr = attr(false)
		rootErr := cmd.Start()
		if rootErr == nil {
			return cmd, nil
		}
		err = errors.Join(err, rootErr)
	}
	return nil, fmt.Errorf("%w: %w", errNoNamespace, err)
}

// again runs the test in a child and returns what it reports.
func again(t testing.TB, outside string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	defer w.Close()
	ctx := context.Background()
	args := testArgs(t)
	if d, ok := deadline(t); ok {
		left := time.Until(d)
		// The child's own timeout comes first and prints its goroutines,
		// then it is killed, then there is time to report it.
		args = append(args, "-test.timeout="+(left*8/10).String()) // instead of the one above
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left*9/10)
		defer cancel()
	}
	out := &prefixer{w: t.Output(), mark: "| "}
	if _, ok := t.(*testing.B); ok {
		out = &prefixer{w: os.Stdout} // results, which t.Output would not show
	}
	defer out.flush()
	build := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, exe, args...)
		cmd.Env = append(os.Environ(), envOutside+"="+outside, envTest+"="+t.Name(), gorace())
		cmd.Stdout, cmd.Stderr = out, out
		cmd.ExtraFiles = []*os.File{w} // reportFD
		cmd.WaitDelay = Patience       // for programs that it left behind
		return cmd
	}
	// The child gets its signal when this thread ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := start(build)
	if err != nil {
		return "", err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return "", fmt.Errorf("killed: it did not end in time: %w", err)
	}
	if err != nil {
		return "", err
	}
	_ = w.Close()
	_ = r.SetReadDeadline(time.Now().Add(Patience)) // for programs that it left behind
	report, err := io.ReadAll(r)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "", err
	}
	return string(report), nil
}

// gorace keeps the race detector from sleeping a second whenever a process
// ends.
func gorace() string {
	return "GORACE=atexit_sleep_ms=20 " + os.Getenv("GORACE")
}

// deadline returns when the test has to be over, if it says so. A benchmark does
// not: its child gets the flag. Tests replace it.
var deadline = func(t testing.TB) (time.Time, bool) {
	if t, ok := t.(*testing.T); ok {
		return t.Deadline()
	}
	return time.Time{}, false
}

// passedOn are the flags of package testing that a child gets, too.
var passedOn = []string{"v", "short", "skip", "benchtime", "benchmem", "parallel", "paniconexit0", "timeout"}

// testArgs returns the flags that select the test, and those of this process that say
// how tests run.
func testArgs(t testing.TB) []string {
	args := []string{"-test.count=1", "-test.cpu=" + strconv.Itoa(runtime.GOMAXPROCS(0))}
	if _, ok := t.(*testing.B); ok {
		args = append(args, "-test.run=^$", "-test.bench="+selection(t.Name(), flag.Lookup("test.bench").Value.String()))
	} else {
		args = append(args, "-test.run="+selection(t.Name(), flag.Lookup("test.run").Value.String()))
	}
	flag.Visit(func(f *flag.Flag) {
		name, ofTesting := strings.CutPrefix(f.Name, "test.")
		if !ofTesting || slices.Contains(passedOn, name) {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return args
}
