package graspybed

import (
	"testing"
	"time"
)

// AcceptAll has the process accept at once whatever is asked for, in so many
// threads, until it ends.
func (a *ASA) AcceptAll(t testing.TB, o Objective, threads int) {
	t.Helper()
	a.ok(t, "accept_all", nil, o, threads)
}

// Rate is how many negotiations the process agreed upon in some time, and how
// often req_negotiate returned which other code.
type Rate struct {
	Agreed int
	Failed map[int]int
	Took   time.Duration
}

// PerSecond is the rate of those that were agreed upon.
func (r Rate) PerSecond() float64 { return float64(r.Agreed) / r.Took.Seconds() }

// NegotiateMany calls req_negotiate n times in so many threads.
func (a *ASA) NegotiateMany(t testing.TB, o Objective, to *Locator, timeout time.Duration, n, threads int) Rate {
	t.Helper()
	var r Rate
	var seconds float64
	call := a.p.Go("negotiate_many", nil, a.handle, o, to, timeout.Milliseconds(), n, threads)
	// All may end with the timeout, after as long a time to connect.
	within := Patience + 2*timeout*time.Duration(n/threads+1)
	if err := call.Result(within, &r.Agreed, &r.Failed, &seconds); err != nil {
		t.Fatal(err)
	}
	r.Took = time.Duration(seconds * float64(time.Second))
	return r
}
