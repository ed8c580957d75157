//go:build unix

package scale

import (
	"syscall"
	"time"
)

// usedCPU returns the processor time that this process has used.
func usedCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
