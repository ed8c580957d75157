package asleep

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Alarm tells when the machine wakes up.
type Alarm struct{ timer *os.File }

// NewAlarm returns an alarm, which must be closed.
//
// It is a timer of the kernel's that never expires and is cancelled when the time of
// day jumps, which it does when the machine wakes up. It also does when somebody sets
// the clock: an alarm may be false.
func NewAlarm() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	if err := arm(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &Alarm{os.NewFile(uintptr(fd), "alarm")}, nil
}

// arm has the timer be cancelled by the next jump.
func arm(fd int) error {
	const never = 1<<31 - 1 // in seconds, which 32 bits hold
	at := unix.ItimerSpec{Value: unix.Timespec{Sec: never}}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &at, nil))
}

// Receive waits until the machine has woken up. An error means that it will not tell.
func (a *Alarm) Receive() error {
	_, err := a.timer.Read(make([]byte, 8))
	if !errors.Is(err, unix.ECANCELED) {
		return fmt.Errorf("alarm: %w", err)
	}
	conn, err := a.timer.SyscallConn()
	if err != nil {
		return err
	}
	if err2 := conn.Control(func(fd uintptr) { err = arm(int(fd)) }); err2 != nil {
		return err2
	}
	return err
}

// Close has Receive return.
func (a *Alarm) Close() error { return a.timer.Close() }
