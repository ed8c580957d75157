//go:build unix

package main

import (
	"os/exec"

	"golang.org/x/sys/unix"
)

// withChildren has a program end together with those that it runs.
func withChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
}
