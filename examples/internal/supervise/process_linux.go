package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitedArg is the first argument of a process that limits itself and then
// becomes a program.
const limitedArg = "__limited"

// prepare has a program run in a process group of its own, which is told to end
// when the daemon dies, and with limits: these a process cannot have from the
// start, so this executable is started first, for [Main]. release must be called
// when the program has ended.
func prepare(cmd *exec.Cmd, l Limits) (release func(), err error) {
	// The signal comes when the thread ends that started the program.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if l != (Limits{}) && cmd.Err == nil {
		cmd.Args = append([]string{cmd.Args[0], limitedArg, fmt.Sprint(l.Memory), fmt.Sprint(l.Files), fmt.Sprint(l.CPU), cmd.Path}, cmd.Args...)
		cmd.Path = "/proc/self/exe" // also if it was replaced by a new version
	}
	return runtime.UnlockOSThread, nil
}

// killRest kills what is left of a program's process group.
func killRest(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// Main becomes the program that it was started for, if this process was started
// by a Group to limit itself. Every program that has a Group calls it first of all.
func Main() {
	if len(os.Args) < 7 || os.Args[1] != limitedArg {
		return
	}
	err := become(os.Args[2:5], os.Args[5], os.Args[6:])
	fmt.Fprintln(os.Stderr, err)
	os.Exit(127)
}

// become limits this process and runs a program in it. It returns only if it
// cannot.
func become(limits []string, path string, args []string) error {
	env := os.Environ()
	for i, resource := range []int{unix.RLIMIT_DATA, unix.RLIMIT_NOFILE, unix.RLIMIT_CPU} {
		n, err := strconv.ParseUint(limits[i], 10, 64)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit %d: %w", n, err)
		}
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, args, env))
}
