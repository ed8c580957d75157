package supervise

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
)

// runProcess runs a program once and returns how it ended. If the context ends,
// the program is stopped. What it leaves behind, such as children, is killed.
func runProcess(ctx context.Context, s Spec, report func(Event)) error {
	out, err := openLog(s, report)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	cmd.Dir, cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = s.Grace
	release, err := prepare(cmd, s.Limits)
	if err != nil {
		return err
	}
	defer release()
	if err := cmd.Start(); err != nil {
		return err
	}
	report(Event{Program: s.Name, What: Started, PID: cmd.Process.Pid})
	err = cmd.Wait()
	killRest(cmd)
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		return nil // its children held the pipe
	}
	return err
}

// openLog returns where a program's output goes.
func openLog(s Spec, report func(Event)) (io.WriteCloser, error) {
	if s.Log == "" {
		return &lines{report: func(line string) {
			report(Event{Program: s.Name, What: Printed, Line: line})
		}}, nil
	}
	return openLogFile(s.Log, s.LogSize, func(err error) {
		report(Event{Program: s.Name, What: LogFailed, Err: err})
	})
}
