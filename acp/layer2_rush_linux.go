package acp

import (
	"time"

	"golang.org/x/sys/unix"
)

// rush tells whether datagrams come to a receiver in a rush, and so that it has to wake up
// for each one or two of them.
//
// To sleep and to be woken takes several times as long as to read a datagram, and waking
// takes time of the sender, too. Where all processors are busy, as when many instances on a
// host hear the same floods, more is done if each lets the others run, among them the one
// that sends, before it sleeps: then it finds several datagrams to read at once.
type rush struct {
	on   bool
	last time.Time // when datagrams came
}

const (
	// rushTime is much longer than waking up takes, and shorter than a discovery with its
	// answer: where one datagram follows from the one before, nobody gains by waiting.
	rushTime = 200 * time.Microsecond
	// rushFew is how many datagrams are too few to wake up for.
	rushFew = 2
)

// came notes that a number of datagrams came.
func (r *rush) came(n int, now time.Time) {
	r.on = n <= rushFew && now.Sub(r.last) < rushTime
	r.last = now
}

// ends reports whether there was a rush, which is over now unless more comes.
func (r *rush) ends() bool {
	on := r.on
	r.on = false
	return on
}

// yield lets others run that are ready to run and have no processor, threads of this and
// of other programs. If there are none, it returns at once. Go's scheduler is not told, for
// the reason that batch.fill gives.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
